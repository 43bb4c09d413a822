// Package recorder cuts one camera's masked frames into segments and declares the cause of every gap.
//
// The wiring in cmd runs one Camera for each camera of the suite, in the parent process. It has only
// ever seen masked frames, never decodes one, and never waits for a disk or a watcher.
package recorder

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/recorder/archive"
	"custody-nvr/recorder/live"
	"custody-nvr/recorder/segment"
	"custody-nvr/recorder/stamp"
)

// A Source gives the frames of one camera. Next blocks until there is one. While there are none and
// the cause is known it returns an *nvr.Outage, and goes on working; any other error ends it.
type Source interface {
	Next(ctx context.Context) (nvr.Frame, error)
}

// The figures of the cut.
const (
	silence    = 2 * time.Second        // without a frame for so long the pictures have ended
	heldUp     = 200 * time.Millisecond // a timer that fires so late says that the recorder did not run
	beat       = 500 * time.Millisecond // the loop looks at the clock at least this often
	fragment   = 900 * time.Millisecond // a key picture this long after the first one begins a new fragment
	maxGroup   = 10 * time.Second       // a source that sends no key picture for so long is broken
	maxPending = 8 << 20                // or so many bytes
	maxOff     = 500 * time.Millisecond // media time may differ from wall time by so much
)

// A Camera records one camera and shows it live.
type Camera struct {
	ID      nvr.CameraID
	Source  Source
	Live    *live.Hub
	Archive *archive.Archive
	Clock   nvr.Clock
	Log     *slog.Logger
	// ClockState is the quality of the system clock; nil means that nobody knows.
	ClockState func() stamp.State
	// Why says in one line for staff why pictures are obscured for a cause; nil where nobody knows.
	Why func(nvr.Cause) string
	// MaskVersion numbers a mask that has this digest; nil, or 0, means not known.
	MaskVersion func(nvr.MaskDigest) int

	// owned by Run
	feed    *archive.Feed
	stamper stamp.Stamper
	frames  []stamp.Frame // of the fragment that is being gathered; the first one is a key frame
	bytes   int
	params  stamp.Frame // the key frame whose SPS and PPS hold
	run     nvr.RunID
	seq     uint64        // fragments of this run so far
	fresh   bool          // the next fragment begins a segment
	edge    time.Time     // end of the pictures so far, or begin of the gap
	gap     nvr.Cause     // Recorded while there is none
	lost    uint64        // frames that did not reach the disk, for the log
	off     time.Duration // media time minus wall time, since the last forced cut
	nominal time.Duration // length of the last frame before a gap: that of the one before it
	said    bool          // live and detail were told to Live
	live    nvr.Cause
	detail  string
	trouble string        // told to Live: why pictures do not reach the disk
	awake   time.Duration // when the loop last ran, monotonic
	held    time.Time     // end of the last time in which the recorder itself did not run for silence
}

// arrival is what the source gave, on its way to Run's loop.
type arrival struct {
	frame nvr.Frame
	err   error
}

// Run records until ctx ends or the source does. The frames that it holds by then go to the archive.
func (c *Camera) Run(ctx context.Context) error {
	feed, err := c.Archive.Feed(c.ID)
	if err != nil {
		return fmt.Errorf("record camera %q: %w", c.ID, err)
	}
	c.feed = feed
	c.fresh = true
	if end := feed.After(); !end.IsZero() {
		c.stamper.After(c.clampStart(end))
	}
	c.begin(nvr.CameraLost, "waiting for the first picture", c.now())

	ctx, stop := context.WithCancel(ctx)
	in := make(chan arrival)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.pump(ctx, in)
	}()
	err = c.loop(ctx, in)
	stop()
	<-done
	c.outage(nvr.RecorderStopped, "the recorder was stopped")
	return err
}

// clampStart keeps a clock that was set back between two runs of the recorder from being taken for
// one that pictures may not go behind: then the step is declared, as if it had been seen.
func (c *Camera) clampStart(end time.Time) time.Time {
	now := c.now()
	if end.After(now.Add(time.Second)) {
		c.feed.Step(now, now.Sub(end))
		return now
	}
	return end
}

// pump turns the blocking Next into something that can be waited for with a time limit.
func (c *Camera) pump(ctx context.Context, in chan<- arrival) {
	for {
		f, err := c.Source.Next(ctx)
		select {
		case in <- arrival{f, err}:
		case <-ctx.Done():
			return
		}
		if _, out := nvr.AsOutage(err); err != nil && !out {
			return
		}
	}
}

func (c *Camera) loop(ctx context.Context, in <-chan arrival) error {
	quiet := time.NewTimer(silence)
	defer quiet.Stop()
	due := time.Now().Add(silence) // when quiet should fire
	pulse := time.NewTicker(beat)
	defer pulse.Stop()
	c.awake = c.Clock.Mono()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pulse.C:
			c.wake()
			c.sayTrouble()
			continue
		case <-quiet.C:
			c.wake()
			// A recorder that was itself held up must not blame the camera: what came meanwhile is
			// let in first, and the camera has as long as ever to send the next picture.
			if time.Since(due) > heldUp {
				quiet.Reset(silence)
				due = time.Now().Add(silence)
				continue
			}
			if len(c.frames) > 0 || c.gap == nvr.Recorded { // else the cause is known already
				c.outage(nvr.CameraLost, "no picture for 2 seconds: check the camera and its cable")
			}
			quiet.Reset(silence)
			due = time.Now().Add(silence)
		case a := <-in:
			c.wake()
			if a.err == nil {
				quiet.Reset(silence)
				due = time.Now().Add(silence)
				c.take(a.frame)
				continue
			}
			if ctx.Err() != nil {
				return nil
			}
			out, ok := nvr.AsOutage(a.err)
			if !ok {
				c.outage(nvr.MaskerFault, "the picture source ended: restart the recorder")
				return fmt.Errorf("record camera %s: %w", c.ID, a.err)
			}
			c.outage(out.Cause, out.Detail)
		}
	}
}

// wake notices that the loop did not run for so long that pictures were lost by it, not by the camera:
// the process was stopped, or the machine stood still.
func (c *Camera) wake() {
	now := c.Clock.Mono()
	if now-c.awake > silence {
		c.held = c.now()
		c.Log.Warn("the recorder was held up", "camera", c.ID, "for", now-c.awake)
	}
	c.awake = now
}

func (c *Camera) now() time.Time { return c.Clock.Wall().UTC().Round(0) }

// take handles one frame: time, wall, disk.
func (c *Camera) take(f nvr.Frame) {
	if f.Stream != nvr.Archive { // tiles are for the wall alone, with the time of the archive's frame
		if !c.stamper.Begun(f.Run) {
			return
		}
		c.Live.Publish(c.ID, &stamp.Frame{Frame: f, UTC: c.stamper.UTC(f.PTS), Clock: c.clockState(), Media: f.PTS})
		return
	}
	s := c.stamper.Stamp(f, c.Clock.Wall(), c.Clock.Mono(), c.clockState())
	c.Live.Publish(c.ID, &s)
	c.say(f.Obscured, c.why(f.Obscured))
	if s.Step != 0 {
		c.Log.Warn("system clock was set", "camera", c.ID, "by", s.Step)
	} else if s.Cut {
		c.Log.Warn(s.Why, "camera", c.ID)
	}
	c.gather(s)
}

func (c *Camera) why(cause nvr.Cause) string {
	if c.Why == nil || cause == nvr.Recorded {
		return ""
	}
	return c.Why(cause)
}

func (c *Camera) clockState() stamp.State {
	if c.ClockState == nil {
		return stamp.Untrusted
	}
	return c.ClockState()
}

// gather adds s to the fragment, or closes the fragment and begins the next one with s.
func (c *Camera) gather(s stamp.Frame) {
	if n := len(c.frames); n > 0 {
		last := &c.frames[n-1]
		switch {
		case s.Step != 0:
			c.flush(nil)
			c.feed.Step(s.UTC, s.Step)
			c.edge = s.UTC
			c.fresh = true
		case s.Run != last.Run:
			c.interrupted("connected anew")
		case !s.Key && (s.Mask != last.Mask || s.Obscured != last.Obscured):
			c.missing(nvr.MaskerFault, "the mask changed without a key picture")
		case s.Seq != last.Seq+1:
			c.missing(nvr.Overload, "pictures were lost on the way to the recorder")
		case s.Arrived-last.Arrived > silence || !s.Cut && s.Media-last.Media > silence:
			c.interrupted("no picture for 2 seconds")
		case s.Cut:
			c.flush(&s)
			c.fresh = true
		case s.Key && c.complete(&s):
			c.flush(&s)
		case s.Media-c.frames[0].Media > maxGroup || c.bytes > maxPending:
			c.missing(nvr.MaskerFault, "no key picture for 10 seconds")
		}
	} else if s.Step != 0 {
		c.feed.Step(s.UTC, s.Step)
		c.edge = s.UTC
	}
	if len(c.frames) == 0 && !s.Key {
		if c.gap == nvr.Recorded {
			c.begin(nvr.CameraLost, "waiting for a key picture", c.edge)
		}
		return
	}
	if s.Key {
		if s.Size != c.params.Size || string(s.SPS) != string(c.params.SPS) || string(s.PPS) != string(c.params.PPS) {
			if len(c.frames) > 0 {
				c.flush(&s)
			}
			c.fresh = true
		}
		c.params = s
	}
	c.frames = append(c.frames, s)
	c.bytes += s.Bytes()
}

// complete reports whether the key frame s ends the fragment that is being gathered.
func (c *Camera) complete(s *stamp.Frame) bool {
	f := &c.frames[0]
	if f.Run != c.run && s.Arrived-f.Arrived < stamp.Settling && s.Mask == f.Mask && s.Obscured == f.Obscured {
		return false // the run is not settled, see settle
	}
	return s.Media-f.Media >= fragment || s.Mask != f.Mask || s.Obscured != f.Obscured || s.Clock != f.Clock
}

// outage ends the pictures for a cause.
func (c *Camera) outage(cause nvr.Cause, detail string) {
	c.missing(cause, detail)
	c.say(cause, detail)
}

// interrupted ends the fragment where the next picture is there already: the camera is to blame, unless
// the recorder itself was held up since.
func (c *Camera) interrupted(detail string) {
	c.flush(nil)
	if c.held.After(c.edge) {
		c.missing(nvr.Overload, recorderHeld)
		return
	}
	c.missing(nvr.CameraLost, detail)
}

const recorderHeld = "the recorder was held up"

// missing ends the fragment with its last frame, and begins a gap there.
func (c *Camera) missing(cause nvr.Cause, detail string) {
	c.flush(nil)
	at := c.edge
	if c.gap != nvr.Recorded {
		at = c.now()
	} else if cause == nvr.CameraLost && c.held.After(at) {
		c.begin(nvr.Overload, recorderHeld, at)
		at = c.held
	}
	c.begin(cause, detail, at)
}

// begin declares a gap from at on.
func (c *Camera) begin(cause nvr.Cause, detail string, at time.Time) {
	if cause.IsObscured() || cause == nvr.Recorded {
		cause, detail = nvr.MaskerFault, "the source gave a wrong cause"
	}
	c.feed.Gap(at, cause, detail)
	if at.After(c.edge) {
		c.edge = at
	}
	c.gap, c.fresh = cause, true
}

// say tells the wall; it does so only when something changed.
func (c *Camera) say(cause nvr.Cause, detail string) {
	if c.said && c.live == cause && c.detail == detail {
		return
	}
	c.said, c.live, c.detail = true, cause, detail
	c.Live.SetState(c.ID, live.State{Cause: cause, Detail: detail})
}

// sayTrouble tells the wall whether pictures reach the disk.
func (c *Camera) sayTrouble() {
	if t := c.feed.Trouble(); t != c.trouble {
		c.trouble = t
		c.Live.SetNotRecording(c.ID, t)
	}
}

// flush gives the gathered fragment to the archive. next is the frame that follows without a hole,
// nil where none does.
func (c *Camera) flush(next *stamp.Frame) {
	if len(c.frames) == 0 {
		return
	}
	frames := c.frames
	c.frames, c.bytes = nil, 0
	if frames[0].Run != c.run {
		frames = c.settle(frames, next)
		c.run, c.seq = frames[0].Run, 0
		c.fresh = true
	}
	p := c.piece(frames, next)
	from := p.Fragment.Start
	c.seq++
	if err := c.feed.Write(p); err != nil {
		c.lose(from, p.Fragment.End, len(frames), err)
		return
	}
	if c.lost > 0 {
		c.Log.Info("pictures reach the disk again", "camera", c.ID, "lost_frames", c.lost)
		c.lost = 0
	}
	c.gap, c.fresh, c.edge = nvr.Recorded, false, p.Fragment.End
}

// lose declares the gap for a fragment that the archive could not take.
func (c *Camera) lose(from, to time.Time, frames int, err error) {
	out, ok := nvr.AsOutage(err)
	if !ok {
		out = &nvr.Outage{Cause: nvr.DiskFault, Detail: err.Error()}
	}
	if c.lost == 0 {
		c.Log.Error("pictures do not reach the disk", "camera", c.ID, "err", err)
	}
	c.lost += uint64(frames)
	if c.gap != out.Cause {
		c.begin(out.Cause, out.Detail, from)
	}
	c.fresh, c.edge = true, to
}

// settle gives the first frames of a run the times at which they were taken, now that the run's begin
// is known: a camera may send at once what it had in store. Pictures from before the edge were recorded
// by the run before, as far as they can be: whole groups of them are left out.
func (c *Camera) settle(frames []stamp.Frame, next *stamp.Frame) []stamp.Frame {
	if frames[0].Clock&stamp.ByArrival != 0 {
		return frames
	}
	utc, media := c.end(frames, next)
	from := 0
	for i := range frames {
		f := &frames[i]
		if t := utc.Add(f.Media - media); t.Before(f.UTC) {
			f.UTC = t
		}
		if f.Key && frames[from].UTC.Before(c.edge) {
			from = i
		}
	}
	return frames[from:]
}

// end is when the last of frames ends, in UTC and in media time.
func (c *Camera) end(frames []stamp.Frame, next *stamp.Frame) (time.Time, time.Duration) {
	n := len(frames)
	last := &frames[n-1]
	if n > 1 {
		c.nominal = last.Media - frames[n-2].Media
	}
	nominal := c.nominal
	if nominal <= 0 || nominal > silence { // a run of one frame
		nominal = time.Second / 25
	}
	switch {
	case next == nil:
		return last.UTC.Add(nominal), last.Media + nominal
	case next.Cut: // media time begins anew
		return next.UTC, last.Media + nominal
	}
	return next.UTC, next.Media
}

// piece makes a fragment of frames.
func (c *Camera) piece(frames []stamp.Frame, next *stamp.Frame) *archive.Piece {
	first := &frames[0]
	f := segment.Fragment{Run: first.Run, Seq: c.seq, FirstFrame: first.Seq, Clock: first.Clock, Obscured: first.Obscured,
		Mask: first.Mask, Mono: first.Arrived, Media: segment.Ticks(first.Media), Start: first.UTC}
	var end time.Duration // media time
	f.End, end = c.end(frames, next)
	if !c.fresh || f.Start.Before(c.edge) {
		f.Start = c.edge
	}
	if !f.End.After(f.Start) {
		f.End = f.Start.Add(time.Millisecond)
	}
	// What plays must last as long as it says that it covers. Where the camera's clock lies by more, the
	// pictures last until the next one arrived.
	at := func(i int) time.Duration { return frames[i].Media }
	off := end - first.Media - f.End.Sub(f.Start)
	if off.Abs() > maxOff {
		f.Clock |= stamp.ByArrival
		c.fresh = true
		off, end = 0, f.End.Sub(f.Start)
		at = func(i int) time.Duration { return max(0, min(end, frames[i].UTC.Sub(first.UTC))) }
	}
	if c.off += off; c.fresh || c.off.Abs() > maxOff {
		c.fresh, c.off = true, off
	}
	for i := range frames {
		till := end
		if i+1 < len(frames) {
			till = at(i + 1)
		}
		d := segment.Ticks(till) - segment.Ticks(at(i))
		f.Samples = append(f.Samples, segment.Sample{Duration: uint32(d), Key: frames[i].Key, Data: segment.SampleData(frames[i].NALs)})
	}
	p := &archive.Piece{Fragment: f, Size: first.Size, SPS: first.SPS, PPS: first.PPS, Fresh: c.fresh}
	if c.MaskVersion != nil {
		p.MaskVersion = uint32(max(c.MaskVersion(first.Mask), 0))
	}
	return p
}
