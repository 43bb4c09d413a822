package masker

import (
	"time"

	"custody-nvr/privacy/codec"
)

// damage decides which pictures of a camera's stream can be trusted to be what the camera saw.
//
// A decoder conceals what it did not get: it drags samples along motion vectors, and so it can
// drag toilet pixels out of the mask. So a picture that was lost, late, incomplete or predicted
// from such a picture is never shown; the whole picture is obscured until decoding is provably
// clean again (DESIGN section 3 step 4):
//   - an IDR, BLA or CRA picture that arrived whole, and everything shown from it on (the leading
//     pictures of a CRA refer to pictures before it, hence "shown", not "decoded"); or
//   - a recovery point whose count of pictures has run out without a loss.
//
// This is one of two judges, and a picture needs both. It looks at packets and headers; the decoder
// looks at what it decodes (codec.Decoded.Damaged). Neither hears the other, or each could wait for
// the other's next key picture for ever.
type damage struct {
	dirty     bool
	doubted   bool          // by the decoder: its last word was no clean picture
	since     time.Duration // arrival of the first unit in doubt, by the monotonic clock
	cleanFrom time.Duration // pictures shown before this media time are still damaged
	recover   int           // pictures left until a recovery point is reached; -1: none is running
	hope      int           // units for which a whole key picture may still come out of the decoder
	pending   map[ticket]unit
	next      ticket
}

// A ticket numbers access units in decoding order. It travels through the decoder in the place of
// a time stamp, because cameras repeat and reset theirs.
type ticket int64

// A unit is an access unit between its arrival and the picture that the decoder makes of it.
type unit struct {
	pts, arrived time.Duration
	key          bool // the camera coded it as a key picture
	trusted      bool
}

func newDamage() *damage {
	// A stream starts dirty: until the first key picture there is nothing that could be trusted.
	return &damage{dirty: true, doubted: true, recover: -1, pending: map[ticket]unit{}}
}

// look takes note of one access unit in decoding order and gives it a ticket. lost says that
// packets are missing before or inside it.
func (d *damage) look(info codec.Info, pts, arrived time.Duration, lost bool) ticket {
	if lost || info.Gap {
		d.dirty, d.recover = true, -1
	}
	if (d.dirty || d.doubted) && d.since == 0 {
		d.since = arrived
	}
	if d.hope > 0 {
		d.hope--
	}
	if info.Key && !lost {
		d.hope = maxReorder
	}
	switch {
	case !d.dirty:
	case info.Key && !lost:
		d.clean(pts)
	case info.Recovery >= 0 && !lost && d.recover < 0:
		d.recovers(info.Recovery, pts)
	case d.recover > 0 && info.Picture:
		d.recovers(d.recover-1, pts)
	}
	t := d.next
	d.next++
	d.pending[t] = unit{pts: pts, arrived: arrived, key: info.Key, trusted: !d.dirty && pts >= d.cleanFrom}
	delete(d.pending, t-maxPending)
	return t
}

// maxPending is how many units may wait in the decoder: twice the largest picture buffer of H.264
// and H.265 (16 pictures), as fields count singly. What is older is never going to be shown.
const maxPending = 64

// maxReorder is how many units go in before the first picture comes out, at most.
const maxReorder = 16

// doubt takes note that the decoder gave no clean picture.
func (d *damage) doubt(arrived time.Duration) {
	d.doubted = true
	if d.since == 0 {
		d.since = arrived
	}
}

// believe takes note that it gave one.
func (d *damage) believe() {
	d.doubted, d.hope = false, 0
	if !d.dirty {
		d.since = 0
	}
}

// blind reports whether there is nothing that could be shown for the unit just looked at, and
// nothing to hope for.
func (d *damage) blind() bool { return (d.dirty || d.doubted) && d.hope == 0 }

func (d *damage) recovers(left int, pts time.Duration) {
	if d.recover = left; left == 0 {
		d.clean(pts)
	}
}

func (d *damage) clean(from time.Duration) {
	d.dirty, d.recover, d.cleanFrom = false, -1, from
	if !d.doubted {
		d.since = 0
	}
}

// shown hands back the unit of a ticket, once. A ticket that was never given is not trusted.
//
// Pictures are shown in their order, so each takes the earliest media time and the earliest arrival
// that wait. With B-frames arrivals are not in order of showing, and some cameras stamp their units
// in decoding order as well (FAULTS F-29). Without them both are its own. What is older than a key
// picture that is shown is never going to be.
func (d *damage) shown(t ticket) unit {
	u, known := d.pending[t]
	delete(d.pending, t)
	if !known {
		return u
	}
	for o, w := range d.pending {
		if u.key && o < t {
			delete(d.pending, o)
			continue
		}
		w.pts, u.pts = max(w.pts, u.pts), min(w.pts, u.pts)
		w.arrived, u.arrived = max(w.arrived, u.arrived), min(w.arrived, u.arrived)
		d.pending[o] = w
	}
	return u
}

// lasting is for how long nothing could be trusted, zero while all is well.
func (d *damage) lasting(now time.Duration) time.Duration {
	if d.since == 0 {
		return 0
	}
	return max(now-d.since, 0)
}
