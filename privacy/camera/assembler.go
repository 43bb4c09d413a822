package camera

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"
)

// assembler groups RTP packets, which come in order of sequence but may have holes, into access
// units. It never gives a unit that misses something without saying so.
type assembler struct {
	kind string
	depacketizer
	give func(unit)

	started bool
	next    uint16 // sequence number expected

	pending unit
	bytes   int
	have    bool // pending has a time stamp
	picture bool // pending has a slice
	skip    bool // the rest of this time stamp is dropped: it was beyond the limits
	given   bool // a unit was given

	// The unit given last ended by its marker; more slices of its picture mean that the camera sets
	// the marker on every NAL unit, so that only the time stamp can be trusted.
	endedByMarker  bool
	endedStamp     uint32
	markersMislead bool

	// beyond says which limit the newest picture broke, "" once one was given. Read by others.
	beyond atomic.Value // string
}

// What a camera sends that is beyond the limits, in words that go on "the camera sends ".
var (
	tooMany  = fmt.Sprintf("pictures of more than %d NAL units, which are not accepted; set its encoder to fewer slices", maxNALs)
	tooLarge = fmt.Sprintf("pictures of more than %d MiB, which are not accepted; set its bit rate lower", maxBytes>>20)
)

// unit is an access unit whose time is still in RTP ticks.
type unit struct {
	nals    [][]byte
	stamp   uint32
	arrived time.Duration
	gap     bool
}

// packet takes one packet. It copies nothing: payloads must not be reused.
func (a *assembler) packet(p *rtp.Packet, arrived time.Duration) {
	if a.started && p.SequenceNumber == a.next-1 {
		return // sent twice
	}
	// What is missing may belong to the unit under way, to the one that this packet belongs to, or
	// to both.
	missing := a.started && p.SequenceNumber != a.next
	a.started, a.next = true, p.SequenceNumber+1
	if missing {
		a.lost()
		a.pending.gap = true
	}
	if a.have && p.Timestamp != a.pending.stamp {
		if a.depacketizer.fragment != nil { // its end never came
			a.lost()
			a.pending.gap = true
		}
		if a.picture {
			a.end()
		}
		a.skip = false
	}
	a.pending.stamp, a.have = p.Timestamp, true // parameter sets sent on their own join what follows (F-33)
	a.pending.gap = a.pending.gap || missing
	if len(p.Payload) == 0 {
		return // keeps a path open, carries nothing
	}

	nals, err := a.take(nil, p)
	if err != nil {
		a.pending.gap = true
		if errors.Is(err, errTooLarge) {
			a.beyond.Store(tooLarge)
		}
	}
	for _, nal := range nals {
		a.add(nal)
	}
	a.pending.arrived = arrived
	if p.Marker && a.picture && !a.markersMislead && a.depacketizer.fragment == nil {
		a.endedByMarker, a.endedStamp = true, p.Timestamp
		a.end()
	}
}

func (a *assembler) add(raw []byte) {
	for _, nal := range splitAnnexB(nil, raw) {
		c := classOf(a.kind, nal)
		switch {
		case c == banned:
			a.pending.gap = true
			continue
		case a.skip:
			continue
		case len(a.pending.nals) == maxNALs || a.bytes+len(nal) > maxBytes:
			a.beyond.Store(tooLarge)
			if len(a.pending.nals) == maxNALs {
				a.beyond.Store(tooMany)
			}
			a.clear()
			a.skip, a.pending.gap = true, true
			continue
		case c == slice && !a.picture:
			a.opening(nal)
		}
		a.pending.nals = append(a.pending.nals, nal)
		a.bytes += len(nal)
	}
}

// opening takes the first slice of a unit.
func (a *assembler) opening(nal []byte) {
	a.picture = true
	if firstSlice(a.kind, nal) {
		return
	}
	if a.endedByMarker && a.endedStamp == a.pending.stamp {
		a.markersMislead, a.pending.gap = true, true
	}
	if !a.given { // over UDP the beginning of the first unit may be lost without a hole
		a.pending.gap = true
	}
}

// end gives the pending unit.
func (a *assembler) end() {
	u := a.pending
	a.clear()
	a.have, a.given = false, true
	a.beyond.Store("")
	a.give(u)
}

func (a *assembler) clear() {
	a.pending.nals, a.pending.gap = nil, false
	a.bytes, a.picture = 0, false
}
