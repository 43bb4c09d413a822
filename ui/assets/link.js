// The connection to the recorder: one WebSocket that is made again for ever, and the recorder's
// clock as this page can know it. FORMAT.md describes the messages.

import { NO_LINK_AFTER } from './verdict.js';

const HEADER = 32;
const OPEN_WITHIN = 3000;
const BACK_OFF = [500, 1000, 2000]; // ms before the next try; the last one again and again
const PING_EVERY = 250;
const FORGET_PING = 60000; // clocks drift: a bound on the offset is believed for a minute

export class Link {
  // on: {hello(message), state(message), picture(picture), beat()}
  constructor(on) {
    this.on = on;
    this.socket = null;
    this.open = false;
    this.failures = 0;
    this.retryAt = 0;
    this.startedAt = 0;
    this.pingAt = 0;
    this.heard = performance.now(); // the last heartbeat, or the start of the page
    this.got = 0; // pictures on this connection
    this.connection = 0; // counts connections
    this.clock = null; // {offset, width, at}: recorder's clock = performance.now() + offset
  }

  get lost() {
    return performance.now() - this.heard > NO_LINK_AFTER;
  }

  // age is how many ms ago picture p was captured, by the recorder's clock, at most one round trip
  // too old and never too young. A picture of an earlier connection ages by this page's clock,
  // because the recorder may have started again with another one. Infinity: not known yet.
  age(p) {
    const now = performance.now();
    if (p.connection === this.connection && this.clock) p.capturedAt = p.arrived - this.clock.offset;
    return p.capturedAt === undefined ? Infinity : now - p.capturedAt;
  }

  // tick is called ten times a second by the wall.
  tick() {
    const now = performance.now();
    if (!this.socket) {
      if (now >= this.retryAt) this.connect(now);
      return;
    }
    if (this.open ? now - Math.max(this.heard, this.startedAt) > NO_LINK_AFTER : now - this.startedAt > OPEN_WITHIN) {
      this.drop(); // hung, or half-open: it will not come back, a new one might
      return;
    }
    if (now >= this.pingAt) this.ping(now);
  }

  ping(now) {
    this.pingAt = now + PING_EVERY;
    this.send({ kind: 'ping', echo: now, got: this.got });
  }

  connect(now) {
    const url = new URL('/live', location.href);
    url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    url.hash = '';
    const socket = new WebSocket(url);
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    this.open = false;
    this.startedAt = now;
    this.got = 0;
    this.connection++;
    this.clock = null;
    socket.onopen = () => { if (socket === this.socket) this.open = true; };
    socket.onmessage = (m) => { if (socket === this.socket) this.receive(m.data); };
    socket.onclose = () => { if (socket === this.socket) this.drop(); };
  }

  drop() {
    const socket = this.socket;
    this.socket = null;
    this.open = false;
    this.retryAt = performance.now() + BACK_OFF[Math.min(this.failures++, BACK_OFF.length - 1)];
    socket.close();
  }

  send(message) {
    if (this.open) this.socket.send(JSON.stringify(message));
  }

  receive(data) {
    if (typeof data !== 'string') {
      this.got++;
      const p = readPicture(data);
      p.connection = this.connection;
      this.on.picture(p);
      return;
    }
    const m = JSON.parse(data);
    const now = performance.now();
    switch (m.kind) {
      case 'beat':
        this.heard = now;
        this.failures = 0;
        // The recorder's clock has reached m.mono by now. If that is later than we believed, this
        // computer slept or its clock runs slow: believe the recorder.
        if (this.clock && m.mono > now + this.clock.offset) this.clock.offset = m.mono - now;
        this.on.beat();
        return;
      case 'pong': {
        // m.mono was read between m.echo and now, so the offset is at most m.mono - m.echo.
        const width = now - m.echo;
        if (!this.clock || width <= this.clock.width || now - this.clock.at > FORGET_PING) {
          this.clock = { offset: m.mono - m.echo, width, at: now };
        }
        return;
      }
      case 'hello':
        this.ping(now); // ages are not known before the answer
        this.on.hello(m);
        return;
      case 'state':
        this.on.state(m);
    }
  }
}

// readPicture takes a binary message apart.
function readPicture(buffer) {
  const view = new DataView(buffer);
  if (view.getUint8(0) !== 1) throw new Error('picture message of another version');
  const flags = view.getUint8(1);
  return {
    key: (flags & 1) !== 0,
    archive: (flags & 2) !== 0,
    unsure: (flags & 4) !== 0,
    obscured: view.getUint8(2),
    tile: view.getUint16(4),
    paramsLength: view.getUint16(6),
    arrived: Number(view.getBigUint64(8)) / 1000,
    utc: Number(view.getBigUint64(16)),
    offset: view.getInt16(24),
    data: new Uint8Array(buffer, HEADER),
  };
}
