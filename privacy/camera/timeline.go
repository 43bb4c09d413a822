package camera

import (
	"time"
)

// Rules of the timeline.
const (
	maxStep     = time.Second     // between two units, unless the arrival times say the same
	maxDropped  = 3 * time.Second // a forward step that stays is taken as pictures the camera dropped
	lastingAt   = 4               // units in a row on another line: the camera's clock was set
	hopelessAt  = 50              // units in a row with no line at all
	defaultStep = 40 * time.Millisecond
)

// timeline turns 32-bit RTP time stamps into media time since the first unit. Stamps wrap every 13
// hours (F-27), go back with B-frames (F-29), and jump by hours for one unit (F-25); RTCP is never
// asked (F-51).
type timeline struct {
	clock uint32

	started bool
	first   int64         // unwrapped ticks of the first unit
	last    int64         // of the last unit in line
	pts     time.Duration // given last
	arrived time.Duration // of the last unit in line
	step    time.Duration // between units in line, smoothed

	outliers int   // in a row
	agreeing int   // of them, those in line with each other
	outlier  int64 // unwrapped ticks of the last one
}

// place gives the media time of a unit. restamped says that the camera's stamp was out of line and
// the time is a prediction; dropped that a step forward was accepted, so that units are missing.
func (t *timeline) place(stamp uint32, arrived time.Duration) (pts time.Duration, restamped, dropped bool, err error) {
	if !t.started {
		t.started, t.first, t.last, t.arrived = true, int64(stamp), int64(stamp), arrived
		return 0, false, false, nil
	}
	ticks := t.unwrap(t.last, stamp)
	step, waited := t.duration(ticks-t.last), arrived-t.arrived
	switch {
	case abs(step) <= maxStep || abs(step-waited) <= maxStep:
		if t.step == 0 {
			t.step = max(step, 0)
		} else if step > 0 && step <= maxStep {
			t.step += (step - t.step) / 8
		}
	case !t.lasting(ticks):
		if t.outliers >= hopelessAt {
			return 0, false, false, refuse(Protocol, "the camera's time stamps are out of line: update its firmware. So for %d pictures", t.outliers)
		}
		if t.step == 0 {
			t.step = defaultStep
		}
		t.pts += t.step
		return t.pts, true, false, nil
	case step > 0 && step <= maxDropped:
		dropped = true
	default:
		return 0, false, false, refuse(Closed, "the clock of the camera jumped: nothing to do, a new run begins. By %s, and it stays there", step.Round(time.Millisecond))
	}
	t.outliers, t.agreeing = 0, 0
	t.last, t.arrived = ticks, arrived
	t.pts = t.duration(ticks - t.first)
	return t.pts, false, dropped, nil
}

// lasting counts units out of line, and says whether enough of them agree with each other.
func (t *timeline) lasting(ticks int64) bool {
	if t.outliers > 0 && abs(t.duration(ticks-t.outlier)) <= maxStep {
		t.agreeing++
	} else {
		t.agreeing = 1
	}
	t.outliers++
	t.outlier = ticks
	return t.agreeing >= lastingAt
}

// unwrap extends a 32-bit stamp to the value next to last.
func (t *timeline) unwrap(last int64, stamp uint32) int64 {
	return last + int64(int32(stamp-uint32(last)))
}

// duration does not overflow: ticks differ by less than 2^31 from one unit to the next, and a
// session ends long before 2^63 nanoseconds.
func (t *timeline) duration(ticks int64) time.Duration {
	c := int64(t.clock)
	return time.Duration(ticks/c)*time.Second + time.Duration(ticks%c)*time.Second/time.Duration(c)
}

func abs(d time.Duration) time.Duration {
	if d < 0 {
		return -d
	}
	return d
}
