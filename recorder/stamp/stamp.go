// Package stamp gives every frame of one camera its UTC.
//
// The recorder calls it once for each frame, in the parent process. It reads no clock and never
// lets the time of a camera's frames run backwards, except across a declared step of the system
// clock.
//
// The rule (DESIGN section 3 step 8). Frames arrive late, never early, so within a run the frame
// with the least delay tells best when the run began: begin = min(arrival - media time). That
// minimum is taken over the last minute and the begin in use moves towards it by at most 500 ppm of
// the time that passes, so frame spacing stays the camera's own. A camera whose clock is further
// off than that is stamped by arrival instead, and each of its frames says so.
package stamp

import (
	"fmt"
	"time"

	"custody-nvr/nvr"
)

// A State says how far the UTC of a frame can be trusted. It is stored on disk: never renumber.
// The lowest two bits are the system clock's quality, the others are marks.
type State uint8

const (
	Untrusted State = 0 // the system clock is not synchronised
	Synced    State = 1 // the kernel says that it is
	Holdover  State = 2 // it was; now it runs by itself

	// ByArrival: the camera's own clock was of no use, the time is when the picture arrived.
	ByArrival State = 1 << 4
	// Shifted: moved later so as not to overlap what was recorded before.
	Shifted State = 1 << 5
	// SteppedBack: the system clock had been set back, this time occurs twice.
	SteppedBack State = 1 << 6

	known = Synced | Holdover | ByArrival | Shifted | SteppedBack
)

// Known reports whether s has no bit or value that this version does not know.
func (s State) Known() bool { return s&^known == 0 && s&3 != 3 }

func (s State) String() string {
	t := [...]string{"untrusted", "synced", "holdover", "unknown"}[s&3]
	for _, m := range []struct {
		bit  State
		word string
	}{{ByArrival, " by-arrival"}, {Shifted, " shifted"}, {SteppedBack, " stepped-back"}} {
		if s&m.bit != 0 {
			t += m.word
		}
	}
	return t
}

// A Frame is a masked frame with its time. Frames are shared by everyone who has them: nobody may
// change one, nor the bytes of its NAL units.
type Frame struct {
	nvr.Frame
	UTC   time.Time
	Clock State
	// Media is the time to write into files: the PTS, or, where the camera's clock is of no use, the
	// arrival. It strictly increases within a run until Cut.
	Media time.Duration
	// Cut says that this frame cannot stand in one segment with those before it; Why is the reason.
	Cut bool
	Why string
	// Step is how far the system clock was set at this frame, else 0. It implies Cut.
	Step time.Duration
}

// The figures of the rule.
const (
	maxSlewPPM = 500
	window     = 60 * time.Second // least-delayed frame of the last two halves of this
	maxStep    = 250 * time.Millisecond
	maxAway    = time.Second     // media and arrival may disagree by this much
	awayFrames = 3               // for this many frames
	maxLate    = 3 * time.Second // and, where they are just late, for so long
	settling   = time.Second     // a run's begin may still jump: nothing of it is on disk yet
	minSpacing = time.Millisecond
)

// Settling is how long after the first frame of a run its begin may still jump. Whoever writes a run
// to disk waits for that long with its first pictures.
const Settling = time.Second

// A Stamper holds the time of one camera. The zero value is ready.
type Stamper struct {
	run   nvr.RunID
	begun bool // run is set
	byArr bool // the camera's clock is of no use

	offset time.Duration // wall - mono, as last seen, since the Unix epoch
	seen   bool          // offset is set

	// Of the run, all as Unix time in the system clock.
	begin     time.Duration // in use
	arrived0  time.Duration
	low       [2]time.Duration // least begin of the last half window and of the current one
	lows      int
	half      time.Duration // when the current half began, by arrival
	ref       time.Duration // least begin a window ago
	refAt     time.Duration
	refs      bool
	lastArr   time.Duration
	lastMedia time.Duration
	lastPTS   time.Duration
	away      int
	outOfLine bool          // this frame is
	verdict   bool          // the way of stamping changes at the next key frame
	awayMin   time.Duration // disagreement just before the run of frames that are away
	awaySince time.Duration // arrival of the first of them

	last     time.Duration // UTC of the last frame
	stamped  bool
	mark     State
	floorEnd time.Duration // end of what was recorded before, see After
}

// After says that the camera has pictures up to end: later frames are not stamped before it.
func (s *Stamper) After(end time.Time) { s.floorEnd = time.Duration(end.UnixNano()) }

// Stamp gives f its time. wall and mono are both clocks now, read together; q is the quality of the
// system clock.
func (s *Stamper) Stamp(f nvr.Frame, wall time.Time, mono time.Duration, q State) Frame {
	out := Frame{Frame: f}
	off := time.Duration(wall.UnixNano()) - mono
	if d := off - s.offset; s.seen && (d > maxStep || d < -maxStep) {
		if f.Key || f.Run != s.run {
			s.step(d, &out)
		} else {
			off = s.offset // by the old time until a segment can begin
		}
	}
	s.offset, s.seen = off, true
	arrived := f.Arrived + off

	if !s.begun || s.run != f.Run {
		s.start(f, arrived)
	}
	if out.Step == 0 {
		s.follow(f, arrived, &out)
	}
	s.set(f, arrived, &out)
	out.Clock |= q&3 | s.mark
	if s.byArr {
		out.Clock |= ByArrival
	}
	return out
}

// Begun reports whether a frame of run was stamped last.
func (s *Stamper) Begun(run nvr.RunID) bool { return s.begun && s.run == run }

// UTC is the time of another frame of the same run, such as the small one for the wall, by its PTS.
func (s *Stamper) UTC(pts time.Duration) time.Time {
	if s.byArr {
		return time.Unix(0, int64(s.last+pts-s.lastPTS)).UTC()
	}
	return time.Unix(0, int64(s.begin+pts)).UTC()
}

// step takes in that the system clock was set by d.
func (s *Stamper) step(d time.Duration, out *Frame) {
	out.Step, out.Cut, out.Why = d, true, fmt.Sprintf("system clock was set by %s", d.Round(time.Millisecond))
	s.begin += d
	s.low[0] += d
	s.low[1] += d
	s.ref += d
	s.refAt += d
	s.half += d
	s.arrived0 += d
	s.lastArr += d
	s.last += d
	s.floorEnd = s.last // only frames after the step count for order
	if d < 0 {
		s.mark |= SteppedBack
	} else {
		s.mark &^= SteppedBack
	}
}

func (s *Stamper) start(f nvr.Frame, arrived time.Duration) {
	s.run, s.begun = f.Run, true
	s.arrived0 = arrived
	s.lastArr, s.lastPTS = arrived, f.PTS-1
	s.lastMedia = -time.Hour // the media time of another run does not count
	s.begin = arrived - f.PTS
	s.anchor(arrived)
}

// anchor forgets what was learnt about the camera's clock: begin is right now.
func (s *Stamper) anchor(arrived time.Duration) {
	s.low = [2]time.Duration{s.begin, s.begin}
	s.lows, s.refs = 1, false
	s.half, s.ref, s.refAt = arrived, s.begin, arrived
	s.away, s.awayMin = 0, 0
	s.verdict, s.outOfLine = false, false
	s.mark &^= Shifted
}

// follow lets begin run after the least-delayed frame, and watches the camera's clock.
func (s *Stamper) follow(f nvr.Frame, arrived time.Duration, out *Frame) {
	cand := arrived - f.PTS
	away := cand - s.begin // positive: late
	// A clock that jumped: media time went back, or on by more than passed. A stall and the burst of
	// frames after it are not that.
	if d := f.PTS - s.lastPTS; s.lastArr != 0 && (d <= 0 || d > arrived-s.lastArr+maxAway) {
		s.outOfLine = true
	}
	if s.byArr || away.Abs() <= maxAway {
		s.outOfLine = false
	}
	if !s.outOfLine {
		s.slew(f, cand, arrived, out)
		away = cand - s.begin
	}
	if s.byArr || away.Abs() <= maxAway {
		s.away, s.awayMin = 0, away.Abs()
		return
	}
	if s.away++; s.away == 1 {
		s.awaySince = arrived
	}
	// Early frames, and those of a clock that jumped, prove it at once; late ones only when they stay
	// late, for the network may have held them up.
	late := away > 0 && !s.outOfLine && arrived-s.awaySince < maxLate
	if s.away <= awayFrames || late || !f.Key {
		return
	}
	out.Cut, out.Why = true, "camera clock jumped"
	if s.awayMin > maxAway/2 { // it crept there
		s.byArr = true
		out.Why = whyByArrival
	}
	s.begin = cand
	s.anchor(arrived)
}

const whyByArrival = "camera clock runs too fast or too slow, stamped by arrival"

// slew takes a frame in line into the least delay, and moves begin.
func (s *Stamper) slew(f nvr.Frame, cand, arrived time.Duration, out *Frame) {
	if arrived-s.half >= window/2 {
		s.low[0], s.low[1] = s.low[1], cand
		s.half = arrived
		s.lows++
		s.judge(arrived)
	}
	if s.verdict && f.Key {
		s.turn(out)
	}
	s.low[1] = min(s.low[1], cand)
	// Within the first second a run's begin is simply the least: nothing of it is on disk yet.
	if arrived-s.arrived0 < Settling && !s.byArr {
		s.begin = min(s.begin, cand)
		return
	}
	if passed := arrived - s.lastArr; passed > 0 {
		most := passed * maxSlewPPM / 1e6
		s.begin += max(-most, min(most, min(s.low[0], s.low[1])-s.begin))
	}
}

// judge looks at the camera's clock once in half a window.
func (s *Stamper) judge(arrived time.Duration) {
	least := s.low[0]
	if s.lows == 2 || !s.refs {
		s.ref, s.refAt, s.refs = least, arrived, true
		return
	}
	span := arrived - s.refAt
	if span < window {
		return
	}
	d := least - s.ref
	off := d > span*maxSlewPPM/1e6 || d < -span*maxSlewPPM/1e6
	s.verdict = off != s.byArr
	s.ref, s.refAt = least, arrived
}

// turn changes between the camera's clock and the arrival, at a key frame.
func (s *Stamper) turn(out *Frame) {
	s.verdict, s.byArr = false, !s.byArr
	out.Cut, out.Why = true, "camera clock is usable again"
	if s.byArr {
		out.Why = whyByArrival
	}
	s.begin = min(s.low[0], s.low[1])
}

// set puts the times into out, in order.
func (s *Stamper) set(f nvr.Frame, arrived time.Duration, out *Frame) {
	utc, media := s.begin+f.PTS, f.PTS
	switch {
	case s.byArr:
		utc, media = arrived, f.Arrived
	case s.outOfLine:
		utc, media = s.last+arrived-s.lastArr, s.lastMedia+arrived-s.lastArr
		out.Clock = ByArrival
	}
	if floor := max(s.floorEnd, s.last+minSpacing); (s.stamped || s.floorEnd != 0) && utc < floor {
		if utc < s.floorEnd && !s.byArr {
			s.begin = s.floorEnd - f.PTS // follows its true begin by the slew
			s.mark |= Shifted
		}
		utc = floor
	}
	if s.stamped && media <= s.lastMedia && !out.Cut {
		media = s.lastMedia + minSpacing
	}
	s.last, s.lastMedia, s.lastPTS, s.lastArr, s.stamped = utc, media, f.PTS, arrived, true
	out.UTC, out.Media = time.Unix(0, int64(utc)).UTC(), media
}
