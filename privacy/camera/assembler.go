package camera

import (
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
	lossy   bool // the unit that comes next misses something

	// The unit given last ended by its marker; more slices of its picture mean that the camera sets
	// the marker on every NAL unit, so that only the time stamp can be trusted.
	endedByMarker  bool
	endedStamp     uint32
	markersMislead bool
}

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
	if a.started && p.SequenceNumber != a.next {
		a.loss()
	}
	a.started, a.next = true, p.SequenceNumber+1
	if len(p.Payload) == 0 {
		return // keeps a path open, carries nothing
	}

	if a.have && p.Timestamp != a.pending.stamp {
		if a.depacketizer.fragment != nil {
			a.loss()
		}
		a.endedByMarker = false
		if a.picture {
			a.end()
		}
		a.skip = false
	}
	if !a.have || p.Timestamp != a.pending.stamp {
		a.pending.stamp, a.have = p.Timestamp, true // parameter sets sent on their own join what follows (F-33)
	}

	nals, err := a.take(nil, p)
	if err != nil {
		a.lossy = true
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

// loss marks the unit under way and the one that comes next.
func (a *assembler) loss() {
	a.lost()
	if a.picture {
		a.pending.gap = true
	}
	a.lossy = true
}

func (a *assembler) add(raw []byte) {
	for _, nal := range splitAnnexB(nil, raw) {
		c := classOf(a.kind, nal)
		if c == banned {
			a.lossy = true
			continue
		}
		if a.skip {
			continue
		}
		if len(a.pending.nals) == maxNALs || a.bytes+len(nal) > maxBytes {
			a.clear()
			a.skip, a.lossy = true, true
			continue
		}
		if c == slice {
			if !a.picture && a.endedByMarker && a.endedStamp == a.pending.stamp && !firstSlice(a.kind, nal) {
				a.markersMislead, a.lossy = true, true
			}
			a.picture = true
		}
		a.pending.nals = append(a.pending.nals, nal)
		a.bytes += len(nal)
	}
}

// end gives the pending unit.
func (a *assembler) end() {
	u := a.pending
	u.gap = u.gap || a.lossy
	a.lossy = false
	a.clear()
	a.have = false
	a.give(u)
}

func (a *assembler) clear() {
	a.pending.nals, a.pending.gap = nil, false
	a.bytes, a.picture = 0, false
}
