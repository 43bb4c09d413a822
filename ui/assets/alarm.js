// The audible alarm. Faults are named by a key; each can be silenced for two minutes, none for
// good, and a fault that is new always sounds.
//
// Those tones are started by the script, so a script that hangs would be silent. Against that a tone
// goes round all the time behind a closed gain, and the gain is told beforehand to open: the audio
// thread does that by itself, as the compositor shows the dead-man sheet, unless the script comes
// and puts it off. Nothing silences this tone, because it only sounds while nobody judges the cells.

const SILENCE = 120000;
const EVERY = 2500; // ms from one alarm to the next
const NEW_AT_MOST = 5000; // faults that begin within this time are one sound
const DEAD_AFTER = 3; // seconds after the script last put off the dead-man tone
const STUCK = 2000; // ms without progress of the sound clock: no loudspeaker takes the sound

export class Alarm {
  constructor() {
    this.faults = new Map(); // key -> performance.now() until which it is silenced
    this.soundedAt = -Infinity;
    this.newAt = -Infinity;
    this.audio = null;
    this.clock = { time: 0, at: 0 };
    this.deadman = null; // the gain before the dead-man tone
    const wake = () => this.start();
    addEventListener('keydown', wake, true);
    addEventListener('pointerdown', wake, true);
    this.start();
  }

  // start makes the browser play sound; it may refuse until somebody pressed a key.
  start() {
    this.audio ??= new AudioContext();
    if (!this.deadman) this.arm();
    if (this.audio.state !== 'running') this.audio.resume().catch(() => {});
  }

  get silentUntil() {
    return Math.min(...this.faults.values());
  }

  // silence quietens the faults that stand now.
  silence() {
    for (const key of this.faults.keys()) this.faults.set(key, performance.now() + SILENCE);
  }

  // status is "on", "silenced" or "off" (nobody would hear an alarm).
  status() {
    const now = performance.now();
    if (this.audio.currentTime !== this.clock.time || this.clock.at === 0) this.clock = { time: this.audio.currentTime, at: now };
    if (this.audio.state !== 'running' || now - this.clock.at > STUCK) return 'off';
    return this.faults.size > 0 && this.silentUntil > now ? 'silenced' : 'on';
  }

  // stand takes the faults that stand now and sounds what has to sound.
  stand(keys) {
    const now = performance.now();
    let fresh = false;
    for (const key of this.faults.keys()) if (!keys.has(key)) this.faults.delete(key);
    for (const key of keys) {
      if (this.faults.has(key)) continue;
      this.faults.set(key, 0);
      fresh = true;
    }
    if (this.faults.size === 0 || this.audio.state !== 'running') return;
    if (fresh && now - this.newAt > NEW_AT_MOST) {
      this.newAt = this.soundedAt = now;
      this.tones([660, 880, 1175, 660, 880, 1175], 0.12);
    } else if (now - this.soundedAt > EVERY && this.silentUntil < now) {
      this.soundedAt = now;
      this.tones([880, 587, 880, 587], 0.28);
    }
  }

  // arm starts the dead-man tone behind its closed gain.
  arm() {
    const rate = this.audio.sampleRate;
    const round = this.audio.createBuffer(1, 2 * rate, rate); // 1.5 s of tones, 0.5 s of silence
    const wave = round.getChannelData(0);
    for (let i = 0; i < 1.5 * rate; i++) {
      const t = i / rate;
      const hertz = t % 0.5 < 0.25 ? 988 : 659;
      const edge = Math.min(1, (t % 0.25) * 60, (0.25 - (t % 0.25)) * 60); // no clicks
      wave[i] = edge * Math.asin(Math.sin(2 * Math.PI * hertz * t)) * (2 / Math.PI);
    }
    const tone = this.audio.createBufferSource();
    tone.buffer = round;
    tone.loop = true;
    this.deadman = this.audio.createGain();
    this.deadman.gain.value = 0;
    tone.connect(this.deadman).connect(this.audio.destination);
    tone.start();
    this.alive();
  }

  // alive puts the dead-man tone off. The wall says it after each look at all cells.
  alive() {
    const now = this.audio.currentTime;
    const { gain } = this.deadman;
    gain.cancelScheduledValues(0);
    gain.setValueAtTime(0, now);
    gain.setValueAtTime(0.6, now + DEAD_AFTER);
  }

  // disarm ends the dead-man tone for good: there are no cells to judge on this page.
  disarm() {
    this.deadman.disconnect();
  }

  // tones plays one after the other, each so many seconds.
  tones(pitches, length) {
    const gain = this.audio.createGain();
    const tone = this.audio.createOscillator();
    const from = this.audio.currentTime + 0.02;
    tone.type = 'triangle';
    pitches.forEach((hertz, i) => {
      const t = from + i * length;
      tone.frequency.setValueAtTime(hertz, t);
      gain.gain.setValueAtTime(0, t);
      gain.gain.linearRampToValueAtTime(0.5, t + 0.015);
      gain.gain.setValueAtTime(0.5, t + length - 0.03);
      gain.gain.linearRampToValueAtTime(0, t + length - 0.01);
    });
    tone.connect(gain).connect(this.audio.destination);
    tone.start(from);
    tone.stop(from + pitches.length * length);
  }
}
