// The live wall: pictures in, verdicts out, ten times a second.
//
// The order of one tick: keep the connection alive, judge every tile by the age of the picture
// that is painted on it, name the faults, sound the alarm, and only then put the dead-man sheet
// back to its beginning and put off the dead-man tone. If anything in this file stops, throws or hangs, the sheet is not put back
// and covers the screen by itself (style.css), and the tone sounds by itself (alarm.js).

import { Link } from './link.js';
import { Player } from './player.js';
import { Alarm } from './alarm.js';
import { GONE_AFTER, verdict, ageText, civilTime } from './verdict.js';

const BLIND = 15000; // nothing comes out of any decoder: see revive
const REPORT_EVERY = 5000; // what was painted
const SHEET_EVERY = 250; // the sheet's restart; it covers the screen 2.4 s after the last one
const SHIFT_EVERY = 180000; // the wall moves by a pixel or two, so that it does not burn in
const SETTLE = 1500; // for first pictures after a reconnect
const AGE_EVERY = 1000; // a fresh picture's age is written once a second: numbers that race distract

const byId = (id) => document.getElementById(id);

// write changes text only when it is another: screen readers and layout stay quiet.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// A Cell is one tile: what the recorder said, what is painted, and what stands there in words.
class Cell {
  constructor(element) {
    this.element = element;
    this.name = element.dataset.name;
    this.id = element.dataset.cell;
    this.hasCamera = element.dataset.state !== 'none';
    if (!this.hasCamera) return;
    this.face = {
      frame: element, say: element.querySelector('.say strong'), why: element.querySelector('.why'),
      mark: element.querySelector('.mark'), time: element.querySelector('.time'), age: element.querySelector('.age'),
    };
    this.player = new Player(element.querySelector('canvas'));
    this.inView = true;
    this.painted = 0; // pictures since the last report
    this.forget();
  }

  // forget what the recorder said: a new connection tells it again.
  forget() {
    this.state = { cause: 0, detail: '', notChanging: false, notRecording: '' };
  }
}

// judge says what a player's picture is worth. since is when the page began to wait for it.
function judge(player, cell, since) {
  const { cause, detail, notChanging, notRecording } = cell.state;
  const obscured = player.newest?.obscured ?? 0;
  // A covered picture is never painted, and neither is any while nobody can see the page: then the
  // newest decoded picture counts. Otherwise only what is on the canvas does.
  const counts = isCovered(player.newest, cell) || document.hidden ? player.newest : player.onCanvas;
  const age = counts ? link.age(counts) : Infinity;
  const v = verdict({
    age, waited: performance.now() - since, obscured, cause, detail, notChanging, notRecording, lost: link.lost, words,
  });
  return { ...v, age, about: counts };
}

function isCovered(about, cell) {
  const { cause } = cell.state;
  return (about?.obscured ?? 0) !== 0 || (cause > 0 && cause < 16);
}

// tell writes a verdict on a tile or on the full-size view.
function tell(face, player, v) {
  const { frame } = face;
  if (!v.picture) player.clear();
  const changed = frame.dataset.state !== v.state;
  if (changed) frame.dataset.state = v.state;
  write(face.say, v.say);
  if (face.why.textContent !== v.why) {
    face.why.textContent = v.why;
    face.why.title = v.why; // a tile may have no room for all of it
  }
  write(face.mark, v.mark);
  const shown = v.picture && v.about && player.onCanvas;
  write(face.time, shown ? civilTime(v.about.utc, v.about.offset, v.about.unsure) : '');
  const now = performance.now();
  if (changed || v.age > 1000 || now - (face.agedAt ?? 0) > AGE_EVERY) {
    face.agedAt = now;
    write(face.age, shown || v.state === 'blind' ? ageText(v.age) : '');
  }
}

// ---- what there is -------------------------------------------------------------------------

const cells = [...document.querySelectorAll('[data-tile]')].map((e) => new Cell(e));
const watched = cells.filter((c) => c.hasCamera);
const alarm = new Alarm();
let words = {}; // cause -> words, from the recorder
let enlarged = null; // the Cell shown full size
let one = null; // its Player
let onePainted = 0;
const loadedAt = performance.now();
let enlargedAt = 0;
const oneFace = {
  frame: byId('one'), say: byId('onesay'), why: byId('onewhy'), mark: byId('onemark'), time: byId('onetime'), age: byId('oneage'),
};

const link = new Link({
  hello(m) {
    words = m.causes;
    if (m.build !== document.body.dataset.build) loadAgain();
    for (const c of watched) {
      c.forget();
      c.player.reset(); // the picture stays and ages, the stream begins anew
    }
    one?.reset();
    askForEnlarged();
  },
  state(m) {
    const c = cells[m.tile];
    if (c?.hasCamera) c.state = { cause: m.cause ?? 0, detail: m.detail ?? '', notChanging: m.notChanging ?? false, notRecording: m.notRecording ?? '' };
  },
  picture(p) {
    const c = cells[p.tile];
    if (!c?.hasCamera) return;
    if (!p.archive) c.player.feed(p);
    else if (c === enlarged) one.feed(p);
  },
  beat: tick, // also heartbeats tick, should the worker ever be slowed down
});

// loadAgain fetches the new version of this page, once the server surely answers: a browser's own
// error page would be a wall without an alarm.
async function loadAgain() {
  const last = Number(sessionStorage.getItem('loadedAgain') ?? 0);
  if (Date.now() - last < 10000 && Date.now() >= last) return;
  try {
    const r = await fetch('/', { cache: 'no-store' });
    if (!r.ok) return;
    sessionStorage.setItem('loadedAgain', String(Date.now()));
    location.reload();
  } catch {
    // The server went away again; the next hello brings us back here.
  }
}

// ---- painting ------------------------------------------------------------------------------

// The browser calls paint when it is about to show a new picture of the page, and not at all while
// the page is hidden.
function paint() {
  requestAnimationFrame(paint);
  for (const c of watched) if (put(c.player, c) && c.inView) c.painted++;
  if (one && put(one, enlarged)) onePainted++;
}

// put paints the newest picture if it may be seen: fresh, and not covered.
function put(player, cell) {
  const about = player.ready?.about;
  const age = about ? link.age(about) : Infinity;
  if (age === Infinity) return false;
  if (age > GONE_AFTER || isCovered(about, cell)) {
    player.clear();
    return false;
  }
  return player.paint();
}

// ---- the tick ------------------------------------------------------------------------------

let sheetAt = 0;
let reportAt = performance.now() + REPORT_EVERY;
let reportFrom = performance.now();
let seenThroughout = !document.hidden;

function tick() {
  const now = performance.now();
  link.tick();
  const faults = new Map(); // key -> words
  let live = 0;
  for (const c of watched) {
    const v = judge(c.player, c, loadedAt);
    tell(c.face, c.player, v);
    if (v.state === 'live') live++;
    for (const fault of v.faults) faults.set(`${c.id} ${fault}`, { cell: c, text: `${c.name} ${fault}` });
  }
  if (enlarged) tell(oneFace, one, judge(one, enlarged, enlargedAt));
  announce(faults, live);
  revive(now);
  if (now >= reportAt) report(now);
  if (now - sheetAt >= SHEET_EVERY) {
    sheetAt = now;
    restartSheet();
    alarm.alive(); // the same for the ear
  }
}

// revive loads the page again where pictures go into the decoders and none has come out of any for
// so long: the browser's decoding has died, and a new decoder in the same page does not bring it
// back. Nobody is there at night to press a key (REQ-LIVE-12).
function revive(now) {
  const fed = watched.filter((c) => now - c.player.fedAt < 2000);
  if (fed.length > 0 && fed.every((c) => c.player.waiting && now - c.player.waiting > BLIND)) location.reload();
}

// restartSheet puts the dead-man sheet back to its beginning: it has two animations of equal
// effect, and changing from one to the other starts it afresh.
function restartSheet() {
  const sheet = byId('deadman');
  sheet.dataset.turn = sheet.dataset.turn === 'a' ? 'b' : 'a';
}

// announce shows and sounds the faults. While the recorder cannot be reached that is the one fault:
// every tile says so too, but thirty-two alarms for one cable help nobody.
let said = '';
let wasLost = false;
let settleUntil = 0;
function announce(faults, live) {
  // After a reconnect the tiles need a moment for their first pictures; that is no new fault.
  if (wasLost && !link.lost) settleUntil = performance.now() + SETTLE;
  if (faults.size === 0) settleUntil = 0;
  wasLost = link.lost;
  const lost = link.lost || performance.now() < settleUntil;
  const keys = lost ? new Set(['link']) : new Set(faults.keys());
  alarm.stand(keys);
  const sound = alarm.status();
  byId('nolink').hidden = !lost;
  byId('soundoff').hidden = sound !== 'off';
  byId('faults').hidden = lost || faults.size === 0;
  byId('silence').hidden = keys.size === 0;
  const silent = sound === 'silenced';
  write(byId('silence'), silent ? `Silenced, sounds again in ${Math.ceil((alarm.silentUntil - performance.now()) / 1000)} s` : 'Silence for 2 minutes');
  document.body.dataset.sound = sound;
  document.body.dataset.faults = String(keys.size);

  const blind = cells.length - watched.length;
  write(byId('summary'), lost ? 'No live pictures' : `${live} of ${watched.length} cameras live${blind ? `, ${blind} ${blind === 1 ? 'cell' : 'cells'} without CCTV` : ''}`);
  const check = new Set([...faults.values()].map((f) => f.cell)).size;
  write(byId('count'), check === 1 ? '1 CELL TO CHECK' : `${check} CELLS TO CHECK`);
  const now = lost ? 'No connection to the recorder. Check the cells.' : [...faults.values()].map((f) => f.text).join(', ');
  if (now === said) return;
  said = now;
  write(byId('spoken'), now === '' ? 'All cells are back.' : now);
  byId('faultlist').replaceChildren(...[...faults.values()].map((f) => {
    const item = document.createElement('li');
    const a = document.createElement('a');
    a.href = `#${f.cell.id}`;
    a.textContent = f.text;
    item.append(a);
    return item;
  }));
  fold();
}

// fold leaves as many faults in the strip as its two lines hold and counts the others. The strip
// has the same room with and without faults: the pictures must not jump when one comes or goes.
function fold() {
  const list = byId('faultlist');
  list.querySelector('.more')?.remove();
  const items = [...list.children];
  for (const item of items) item.hidden = false;
  const full = () => list.scrollHeight > list.clientHeight + 2;
  if (!full()) return;
  const more = document.createElement('li');
  more.className = 'more';
  list.append(more);
  for (let shown = items.length - 1; shown >= 0; shown--) {
    items[shown].hidden = true;
    more.textContent = `+ ${items.length - shown} more`;
    if (!full()) return;
  }
}

// report tells the recorder what was painted since the last report: not what was sent.
function report(now) {
  link.send({
    kind: 'painted', milliseconds: Math.round(now - reportFrom), visible: seenThroughout && !document.hidden, sound: alarm.status(),
    tiles: cells.map((c) => c.painted ?? 0), enlarged: enlarged ? cells.indexOf(enlarged) : -1, frames: onePainted,
  });
  for (const c of watched) c.painted = 0;
  onePainted = 0;
  reportFrom = now;
  reportAt = now + REPORT_EVERY;
  seenThroughout = !document.hidden;
}

// ---- one cell full size ----------------------------------------------------------------------

// The address says which cell is full size (#cell-04), so that Back, links and a reload work.
function follow() {
  const id = decodeURIComponent(location.hash.slice(1));
  const next = watched.find((c) => c.id === id) ?? null;
  if (next === enlarged) return;
  const before = enlarged;
  if (enlarged) {
    report(performance.now()); // or the pictures would count for the next cell
    one.stop();
    one = null;
    delete enlarged.element.dataset.one;
  }
  enlarged = next;
  document.body.classList.toggle('enlarged', next !== null);
  oneFace.frame.hidden = next === null;
  if (next) {
    one = new Player(byId('onecanvas'));
    next.element.dataset.one = 'yes';
    enlargedAt = performance.now();
    write(byId('onename'), next.name);
    byId('onename').focus();
  } else {
    before?.element.focus();
  }
  askForEnlarged();
  fit();
  tick();
}

function askForEnlarged() {
  link.send({ kind: 'enlarge', tile: enlarged ? cells.indexOf(enlarged) : -1 });
}

function leave() {
  if (cameFromWall) history.back();
  else location.hash = '';
}

let cameFromWall = false;
addEventListener('hashchange', (e) => {
  cameFromWall = new URL(e.oldURL).hash === '' || new URL(e.oldURL).hash === '#';
  follow();
});

// ---- keys, size, visibility ------------------------------------------------------------------

addEventListener('keydown', (e) => {
  if (e.key === 'Escape' && enlarged) {
    e.preventDefault();
    leave();
    return;
  }
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[e.key];
  if (!step || e.altKey || e.ctrlKey || e.metaKey) return;
  const at = watched.indexOf(cells.find((c) => c.element === document.activeElement));
  const from = cells.indexOf(watched[at]);
  let to = from + step;
  while (cells[to] && !cells[to].hasCamera) to += step; // there is nothing to open
  const next = at < 0 ? watched[0] : cells[to];
  if (!next) return;
  e.preventDefault();
  next.element.focus();
});

byId('back').addEventListener('click', (e) => {
  e.preventDefault();
  leave();
});

byId('silence').addEventListener('click', () => {
  alarm.silence();
  tick();
});

// fit chooses the number of columns: pictures nearly as large as can be, and few empty places.
let columns = 1;
function fit() {
  const list = byId('tiles');
  const { clientWidth: width, clientHeight: height } = list;
  const ways = cells.map((_, i) => {
    const n = i + 1;
    const rows = Math.ceil(cells.length / n);
    const w = width / n;
    const h = height / rows;
    return { n, empty: n * rows - cells.length, picture: Math.min(w, (h - Math.min(w * 0.075, h * 0.15)) * (16 / 9)) };
  });
  const most = Math.max(...ways.map((w) => w.picture));
  const good = ways.filter((w) => w.picture > 0.93 * most);
  columns = good.reduce((a, b) => (b.empty < a.empty || (b.empty === a.empty && b.picture > a.picture) ? b : a), good[0])?.n ?? 1;
  if (matchMedia('(max-width: 700px)').matches) columns = cells.length > 1 && width > 480 ? 2 : 1;
  list.style.setProperty('--columns', columns);
  list.style.setProperty('--rows', Math.ceil(cells.length / columns));
}
new ResizeObserver(fit).observe(byId('tiles'));
new ResizeObserver(fold).observe(byId('faults')); // is observed, too, when it comes into sight

new IntersectionObserver((seen) => {
  for (const s of seen) {
    const c = watched.find((w) => w.element === s.target);
    if (c) c.inView = s.intersectionRatio >= 0.5;
  }
}, { threshold: [0.5] });

document.addEventListener('visibilitychange', () => {
  seenThroughout &&= !document.hidden;
  // What was painted before is old by the time anybody looks again: take it away now.
  if (document.hidden) for (const p of [...watched.map((c) => c.player), one]) p?.clear();
  tick();
});

let shift = 0;
function move() {
  shift = (shift + 1) % 4;
  document.body.dataset.shift = String(shift);
}

// ---- start ---------------------------------------------------------------------------------

function start() {
  if (!('VideoDecoder' in window)) {
    cannotShow();
    return;
  }
  follow();
  fit();
  requestAnimationFrame(paint);
  let movedAt = performance.now();
  const clockwork = new Worker(new URL('./beat.js', import.meta.url));
  clockwork.onmessage = () => {
    tick();
    if (performance.now() - movedAt > SHIFT_EVERY) {
      movedAt = performance.now();
      move();
    }
  };
}

// cannotShow says plainly that this browser is not able to. The sheet is taken away, because its
// words would be wrong.
function cannotShow() {
  const p = document.createElement('p');
  p.className = 'across';
  p.textContent = 'THIS BROWSER CANNOT SHOW LIVE PICTURES - CHECK THE CELLS. Use Chromium, Chrome or Edge, version 94 or later, on the recorder itself or over https.';
  document.querySelector('main').replaceChildren(p);
  byId('deadman').remove();
  alarm.disarm();
  write(byId('summary'), 'No live pictures');
}

start();
