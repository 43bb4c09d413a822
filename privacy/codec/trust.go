package codec

import (
	"errors"
	"time"
)

// trust decides which pictures are provably clean. It numbers the pictures as they are sent to the
// decoder, because they come back in another order.
type trust struct {
	next        int64
	sent        map[int64]sent
	lost        bool          // from here on nothing is clean
	cleanFrom   time.Duration // pictures shown before this time are not, see recovery
	skipLeading bool          // RASL pictures build on what was lost

	// A recovery point on the way to its end.
	running    bool
	start, run int // order of the picture it stood at, and how far it runs
	rotation   int
}

// sent is what is kept of a picture until the decoder shows it.
type sent struct {
	pts      time.Duration
	key      bool
	second   bool // field; the picture comes out under the number of its first field
	damaged  bool
	geometry Geometry
}

// maxHeld bounds the pictures waiting to be shown: no stream may reorder further than 16, and
// fields come two to a picture.
const maxHeld = 64

func newTrust() trust {
	return trust{sent: map[int64]sent{}, lost: true, skipLeading: true, cleanFrom: -1 << 62}
}

func (t *trust) lose() {
	t.lost = true
	t.running = false
}

// admit numbers a picture that is about to be sent.
func (t *trust) admit(p *picture, pts time.Duration, kind Kind) int64 {
	seq := t.next
	t.next++
	if p.gap && !p.key {
		t.lose()
	}
	if p.key {
		t.skipLeading = t.lost
		t.lost, t.running, t.cleanFrom = p.gap, false, -1<<62
	} else {
		t.recover(p, pts)
	}
	if p.sei.display {
		t.rotation = p.sei.rotation
	} else if p.key {
		t.rotation = 0
	}
	t.sent[seq] = sent{
		pts: pts, key: p.key, second: p.second, damaged: t.lost || pts < t.cleanFrom,
		geometry: p.stream.geometry(kind, t.rotation),
	}
	delete(t.sent, seq-maxHeld)
	return seq
}

// recover follows a recovery point while the stream is lost. Pictures are clean from the one at the
// end of the run on, in the order of showing. One that claims to be clean at once must be intra.
func (t *trust) recover(p *picture, pts time.Duration) {
	if !t.lost {
		return
	}
	if !t.running && !p.gap && p.sei.recovery >= 0 && (p.sei.recovery > 0 || p.intra) {
		t.running, t.start, t.run = true, p.order, p.sei.recovery
	}
	if !t.running {
		return
	}
	way := p.order - t.start
	if p.orders > 0 {
		way = (way + p.orders) % p.orders
	}
	if way >= t.run {
		t.lost, t.running = false, false
		t.cleanFrom = pts
	}
}

// damage marks a picture and all that were sent after it up to the next key picture.
func (t *trust) damage(seq int64) {
	if t.sent[seq].second {
		seq--
	}
	for i := seq; i < t.next; i++ {
		s, ok := t.sent[i]
		if ok && s.key && i > seq {
			return
		}
		if ok {
			s.damaged = true
			t.sent[i] = s
		}
	}
	t.lose()
}

func (t *trust) take(seq int64) (sent, bool) {
	s, ok := t.sent[seq]
	return s, ok
}

func isDamage(err error) bool { return errors.Is(err, ErrDamaged) }
