package privacy

import (
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/wire"
)

// The pace of attempts.
const (
	firstDelay   = 500 * time.Millisecond
	longestDelay = 30 * time.Second // after a masker fault, or where the machine is too slow
	longestLost  = 3 * time.Second  // after a camera was lost: it must be back within 5 s of its return
	firstSlow    = time.Minute
	longestSlow  = 10 * time.Minute
	healthy      = time.Minute // frames for so long forgive everything before
	window       = 10 * time.Minute

	maxRefusals  = 8  // log-ins that a camera refused, in the window: more would lock us out
	manyFaults   = 5  // in the window: say that it goes on
	manyChanges  = 3  // of SSRC in the window: say so
	worstChanges = 20 // of SSRC in the window: no longer at once

	freshEvery = time.Minute // between two connections for a key picture after damage
)

// An ending says how the life of one child ended.
type ending struct {
	outage nvr.Outage
	pace   wire.Pace
	frames bool          // at least one archive frame came
	flowed time.Duration // from the first archive frame to the end
}

// A backoff decides when the next child is started.
type backoff struct {
	rand func() float64 // 0 to 1

	delay    time.Duration   // the last one of the normal pace
	slow     time.Duration   // the last one of the slow pace, 0 when not refused
	refusals []time.Duration // in the window, as the others
	faults   []time.Duration
	changes  []time.Duration
	fresh    time.Duration // when a connection was last made for a key picture after damage
}

// patient reports whether such a connection was made so lately that another would not help.
func (b *backoff) patient(now time.Duration) bool { return b.fresh != 0 && now-b.fresh < freshEvery }

// next returns how long to wait, and what to say beyond the ending's own cause.
func (b *backoff) next(now time.Duration, e ending) (wait time.Duration, note string) {
	if e.flowed >= healthy {
		b.delay, b.slow = 0, 0
	}
	if e.frames { // the log-in works
		b.slow = 0
	}
	b.refusals, b.faults, b.changes = recent(b.refusals, now), recent(b.faults, now), recent(b.changes, now)
	switch {
	case e.pace == wire.Slow:
		b.refusals = append(b.refusals, now)
		b.slow = min(max(2*b.slow, firstSlow), longestSlow)
	case e.pace == wire.Fresh && !b.patient(now):
		b.fresh = now
		return 0, ""
	case e.pace == wire.Again:
		b.changes = append(b.changes, now)
		if len(b.changes) > manyChanges {
			note = "camera changes SSRC"
		}
		if e.frames && len(b.changes) <= worstChanges {
			return time.Duration(100+200*b.rand()) * time.Millisecond, note
		}
	}
	longest := longestDelay
	if e.outage.Cause == nvr.CameraLost {
		longest = longestLost
	}
	b.delay = min(max(2*b.delay, firstDelay), longest)
	wait = time.Duration(float64(b.delay) * (0.75 + 0.25*b.rand()))
	if e.outage.Cause == nvr.MaskerFault {
		b.faults = append(b.faults, now)
		if len(b.faults) >= manyFaults {
			wait, note = longestDelay, "masker crashes again and again"
		}
	}
	wait = max(wait, b.slow)
	if n := len(b.refusals); n >= maxRefusals {
		wait = max(wait, b.refusals[n-maxRefusals]+window-now)
	}
	return wait, note
}

// recent drops the times that the window has left behind.
func recent(times []time.Duration, now time.Duration) []time.Duration {
	for len(times) > 0 && times[0] <= now-window {
		times = times[1:]
	}
	return times
}
