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
	lost        bool // from here on nothing is clean
	cleanFrom   int  // pictures in the order of showing before this one are not, see recover
	skipLeading bool // RASL pictures build on what was lost
	rotation    int
	turned      bool // a picture since the last key picture said how it is turned

	// A recovery point on the way to its end.
	running    bool
	start, run int // frame_num or picture order count where it stood, and how far it runs
}

// sent is what is kept of a picture until the decoder shows it.
type sent struct {
	pts      time.Duration
	poc      int
	key      bool
	second   bool // field; the picture comes out under the number of its first field
	damaged  bool
	geometry Geometry
}

// maxHeld bounds the pictures waiting to be shown: no stream may reorder further than 16, and
// fields come two to a picture.
const maxHeld = 64

// always is before all pictures.
const always = -1 << 62

func newTrust() trust {
	return trust{sent: map[int64]sent{}, lost: true, skipLeading: true, cleanFrom: always}
}

func (t *trust) lose() {
	t.lost = true
	t.running = false
}

// admit numbers a picture that is about to be sent.
func (t *trust) admit(p *picture, pts time.Duration, kind Kind) int64 {
	seq := t.next
	t.next++
	if p.part || p.gap && !p.key {
		t.lose()
	}
	if p.key {
		t.skipLeading = t.lost
		t.lost, t.running, t.cleanFrom = p.part, false, always
	} else {
		t.recover(p)
	}
	switch {
	case p.sei.display:
		t.rotation, t.turned = p.sei.rotation, true
	case p.key && t.turned:
		// A turn ends with its sequence, but cameras do not say it with each key picture. It is over
		// when a whole sequence did without: to obscure a second too long is better than a flash.
		t.turned = false
	case p.key:
		t.rotation = 0
	}
	t.sent[seq] = sent{
		pts: pts, poc: p.poc, key: p.key, second: p.second, damaged: t.lost || p.poc < t.cleanFrom,
		geometry: p.stream.geometry(kind, t.rotation),
	}
	delete(t.sent, seq-maxHeld)
	return seq
}

// recover follows a recovery point while the stream is lost. Pictures are clean from the one at the
// end of the run on, in the order of showing. One that claims to be clean at once must be intra.
func (t *trust) recover(p *picture) {
	if !t.lost || p.pocUnknown {
		return
	}
	at := p.poc
	if p.frameNums > 0 {
		at = p.frameNum
	}
	if !t.running && !p.part && p.sei.recovery >= 0 && (p.sei.recovery > 0 || p.intra) {
		t.running, t.start, t.run = true, at, p.sei.recovery
	}
	if !t.running {
		return
	}
	way := at - t.start
	if p.frameNums > 0 {
		way = (way + p.frameNums) % p.frameNums
	}
	if way >= t.run {
		t.lost, t.running = false, false
		t.cleanFrom = p.poc
	}
}

// damage marks a picture and all that were sent after it up to the next key picture.
func (t *trust) damage(seq int64) {
	if t.sent[seq].second {
		seq--
	}
	// What is shown before the end of a recovery is damaged already, and nothing after it builds on it.
	if s, ok := t.sent[seq]; ok && s.damaged && !t.lost && s.poc < t.cleanFrom {
		return
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
