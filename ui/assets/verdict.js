// What a tile says. Pure functions: all numbers go in, words come out, so that the rule can be
// read (and tested) in one place.

// Milliseconds. The wall must say DELAYED once a picture is older than 1.5 s and take it away at
// 3.0 s at the latest. It looks ten times a second and needs a moment to paint, so it acts early.
export const DELAYED_AFTER = 1400;
export const GONE_AFTER = 2600;
export const NO_LINK_AFTER = 1900; // without a heartbeat; the rule says 2 s
const FIRST_PICTURE_WITHIN = 3000; // after the page connected

// verdict({age, waited, obscured, cause, detail, notChanging, notRecording, lost, words}) returns
// {state, mark, say, why, faults, picture}; faults are the words that sound the alarm:
//   age       ms since the capture of the newest good picture, Infinity if there was none
//   waited    ms since the page began to wait for a first picture
//   obscured  cause number that the newest picture itself carries (0: it is a picture of the cell)
//   cause, detail, notChanging, notRecording   the recorder's last word on this cell
//   lost      no connection to the recorder
//   words     cause number -> words, from the recorder
export function verdict(v) {
  const seen = sight(v);
  if (!v.notRecording || v.lost) return seen;
  const faults = [...seen.faults, 'NOT RECORDING'];
  // A picture that can be watched says it in the bar and above it, any other state below its own words.
  if (seen.state === 'live' || seen.state === 'delayed') {
    const mark = seen.state === 'delayed' ? 'DELAYED' : 'NOT RECORDING';
    return { state: 'norec', mark, say: 'NOT RECORDING', why: v.notRecording, faults, picture: true };
  }
  return { ...seen, why: [`NOT RECORDING: ${v.notRecording}`, seen.why].filter(Boolean).join('. '), faults };
}

// sight says what the picture is worth to somebody who watches.
function sight(v) {
  const why = (cause) => [v.words[cause] ?? '', v.detail].filter(Boolean).join(': ');
  const missing = v.cause >= 16;
  const hidden = v.obscured || (v.cause && !missing ? v.cause : 0);
  if (v.age > GONE_AFTER) {
    if (v.age === Infinity && !missing && v.waited < FIRST_PICTURE_WITHIN) {
      return { state: 'waiting', mark: 'WAITING', say: '', why: '', faults: [], picture: false };
    }
    let cause = 'no picture arrives';
    if (v.lost) cause = 'no connection to the recorder';
    else if (v.cause) cause = why(v.cause);
    return { state: 'notlive', mark: 'NOT LIVE', say: 'NOT LIVE', why: cause, faults: ['NOT LIVE'], picture: false };
  }
  const delayed = v.age > DELAYED_AFTER;
  if (hidden) {
    const detail = v.cause === hidden || !v.cause ? why(hidden) : (v.words[hidden] ?? '');
    return {
      state: 'blind', mark: delayed ? 'DELAYED' : 'CANNOT SEE', say: 'CANNOT SEE - CHECK THE CELL', why: detail,
      faults: ['CANNOT SEE'], picture: false,
    };
  }
  if (v.notChanging) {
    return {
      state: 'still', mark: delayed ? 'DELAYED' : 'NOT CHANGING', say: 'PICTURE NOT CHANGING - CHECK THE CELL', why: '',
      faults: ['PICTURE NOT CHANGING'], picture: true,
    };
  }
  if (delayed) return { state: 'delayed', mark: 'DELAYED', say: '', why: '', faults: [], picture: true };
  return { state: 'live', mark: 'LIVE', say: '', why: '', faults: [], picture: true };
}

// ageText is how old the picture is, in words for people.
export function ageText(ms) {
  if (!Number.isFinite(ms)) return '';
  return `${(Math.max(0, ms) / 1000).toFixed(1)} s`;
}

// civilTime writes a capture time as clock time in the United Kingdom. The recorder sends the
// offset with each picture, so that the browser's own idea of time zones plays no part.
export function civilTime(utc, offsetMinutes, unsure) {
  const t = new Date(utc + offsetMinutes * 60000).toISOString();
  return `${unsure ? '~' : ''}${t.slice(11, 19)} ${offsetMinutes === 60 ? 'BST' : 'GMT'}`;
}
