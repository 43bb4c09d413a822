// One stream of H.264 onto one canvas, by WebCodecs.

const MAX_QUEUE = 75; // pictures in the decoder; beyond it, skip to the next key picture
const SILENT = 75; // pictures that went in while none came out: the decoder has died quietly

export class Player {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext('2d', { alpha: false });
    this.decoder = null;
    this.params = ''; // SPS and PPS that the decoder was made for, as text
    this.needKey = true;
    this.about = new Map(); // decoder timestamp -> what the recorder said about that picture
    this.unanswered = 0;
    this.fedAt = -Infinity; // performance.now() of the last picture that went in
    this.waiting = 0; // since when pictures go in and none comes out; 0: one came
    this.count = 0; // the decoder's timestamps: only an order, ages come from elsewhere
    this.ready = null; // {frame: VideoFrame, about}: decoded, to be painted next
    this.newest = null; // about the newest good picture that came out of the decoder
    this.onCanvas = null; // about the picture that stands on the canvas
  }

  // feed takes one picture as it came from the recorder (see link.js).
  feed(p) {
    if (p.key) this.prepare(p);
    if (this.decoder && this.decoder.decodeQueueSize > MAX_QUEUE) this.needKey = true;
    if (this.unanswered > SILENT) this.reset();
    if (!this.decoder || (this.needKey && !p.key)) return;
    this.needKey = false;
    const timestamp = ++this.count;
    this.about.set(timestamp, p);
    this.unanswered++;
    this.fedAt = performance.now();
    this.waiting ||= this.fedAt;
    try {
      this.decoder.decode(new EncodedVideoChunk({ type: p.key ? 'key' : 'delta', timestamp, data: p.data }));
    } catch {
      this.reset();
    }
    p.data = null; // `about` must not hold the bytes
  }

  // prepare makes a decoder for a key picture, a new one when the parameter sets are others.
  prepare(p) {
    const params = p.data.subarray(0, p.paramsLength).join();
    if (this.decoder && this.decoder.state === 'configured' && params === this.params) return;
    this.reset();
    this.params = params;
    // Bytes 1 to 3 of the SPS after its start code and NAL header: profile, constraints, level.
    const codec = 'avc1.' + [...p.data.subarray(5, 8)].map((b) => b.toString(16).padStart(2, '0')).join('');
    const decoder = new VideoDecoder({
      output: (frame) => this.decoded(frame),
      error: () => { if (this.decoder === decoder) this.reset(); },
    });
    try {
      decoder.configure({ codec, optimizeForLatency: true });
      this.decoder = decoder;
    } catch {
      decoder.close(); // what this browser cannot decode stays dark, and the tile says so
    }
  }

  decoded(frame) {
    const about = this.about.get(frame.timestamp);
    this.unanswered = 0;
    this.waiting = 0;
    for (const t of this.about.keys()) if (t <= frame.timestamp) this.about.delete(t);
    if (!about) {
      frame.close();
      return;
    }
    this.ready?.frame.close(); // never more than one picture is held back
    this.ready = { frame, about };
    this.newest = about;
  }

  // paint puts the newest decoded picture on the canvas. It returns whether it did.
  paint() {
    if (!this.ready) return false;
    const { frame, about } = this.ready;
    this.ready = null;
    if (this.canvas.width !== frame.displayWidth || this.canvas.height !== frame.displayHeight) {
      this.canvas.width = frame.displayWidth;
      this.canvas.height = frame.displayHeight;
    }
    this.context.drawImage(frame, 0, 0, this.canvas.width, this.canvas.height);
    frame.close();
    this.onCanvas = about;
    return true;
  }

  // clear takes the picture away: nothing of it stays on the screen or waits to be painted.
  clear() {
    this.ready?.frame.close();
    this.ready = null;
    if (!this.onCanvas) return;
    this.onCanvas = null;
    this.context.fillStyle = '#000';
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }

  // reset drops the decoder and waits for the next key picture.
  reset() {
    const d = this.decoder;
    this.decoder = null;
    this.params = '';
    this.needKey = true;
    this.unanswered = 0;
    this.about.clear();
    if (d && d.state !== 'closed') d.close();
  }

  // stop forgets all about the stream.
  stop() {
    this.reset();
    this.clear();
    this.newest = null;
  }
}
