package archive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/recorder/segment"
	"custody-nvr/recorder/stamp"
)

// A RowState is where a segment stands in its life.
type RowState uint8

const (
	StateOpen   RowState = 1 // being written; Bytes of it are durable
	StateSealed RowState = 2 // closed in good order, the file ends in its seal
	StateTorn   RowState = 3 // given up or cut off: only the first Bytes of the file count
	StateDoomed RowState = 4 // being erased
)

// A Row is what the index knows of one segment.
type Row struct {
	ID          segment.ID
	State       RowState
	Clock       stamp.State
	Volume      [16]byte
	Run         nvr.RunID
	Number      uint32 // of the segment in its run
	Start, End  time.Time
	Bytes       int64 // durable and verified length
	Fragments   uint32
	Ticks       uint64 // media length
	MaskVersion uint32
	Mask        nvr.MaskDigest
	Last        segment.Digest // of the last durable fragment
	Root        segment.Digest // Merkle root over header and fragments, zero while open
}

// Name is the path of the file on its volume.
func (r *Row) Name(cam nvr.CameraID) string {
	return fmt.Sprintf("%s/%s/%s-%s-%04d.mp4", cam, r.Start.Format("2006-01-02"),
		r.Start.Format("20060102T150405.000Z"), r.Run, r.Number)
}

// FORMAT.md has the diagrams of all values of this file.
const (
	rowVersion = 1
	rowBytes   = 4 + 16 + 8 + 4 + 8 + 8 + 8 + 4 + 8 + 4 + 32 + 32 + 32
)

var be = binary.BigEndian

var errFormat = errors.New("is not in the format of this program")

func (r *Row) encode(b []byte) []byte {
	b = append(b, rowVersion, byte(r.State), byte(r.Clock), 0)
	b = append(b, r.Volume[:]...)
	b = append(b, r.Run[:]...)
	b = be.AppendUint32(b, r.Number)
	b = be.AppendUint64(b, uint64(r.Start.UnixNano()))
	b = be.AppendUint64(b, uint64(r.End.UnixNano()))
	b = be.AppendUint64(b, uint64(r.Bytes))
	b = be.AppendUint32(b, r.Fragments)
	b = be.AppendUint64(b, r.Ticks)
	b = be.AppendUint32(b, r.MaskVersion)
	b = append(b, r.Mask[:]...)
	b = append(b, r.Last[:]...)
	return append(b, r.Root[:]...)
}

func decodeRow(id segment.ID, b []byte) (Row, error) {
	r := Row{ID: id}
	if len(b) != rowBytes || b[0] != rowVersion || b[3] != 0 {
		return r, fmt.Errorf("row of segment %s %w", id, errFormat)
	}
	r.State, r.Clock = RowState(b[1]), stamp.State(b[2])
	copy(r.Volume[:], b[4:])
	copy(r.Run[:], b[20:])
	r.Number = be.Uint32(b[28:])
	r.Start, r.End = nanos(b[32:]), nanos(b[40:])
	r.Bytes = int64(be.Uint64(b[48:]))
	r.Fragments = be.Uint32(b[56:])
	r.Ticks = be.Uint64(b[60:])
	r.MaskVersion = be.Uint32(b[68:])
	copy(r.Mask[:], b[72:])
	copy(r.Last[:], b[104:])
	copy(r.Root[:], b[136:])
	if r.State < StateOpen || r.State > StateDoomed || !r.Clock.Known() || r.Bytes < 0 || !r.Start.Equal(id.Start()) || r.End.Before(r.Start) {
		return r, fmt.Errorf("row of segment %s %w", id, errFormat)
	}
	return r, nil
}

func nanos(b []byte) time.Time { return time.Unix(0, int64(be.Uint64(b))).UTC() }

// A Span is a half-open time and what was the case in it.
type Span struct {
	From, To time.Time
	Cause    nvr.Cause // Recorded, or why not
	Detail   string
}

const maxDetail = 200

// A span's key is its From and a number that tells spans apart that begin together; its value the
// rest.
func (s *Span) encode(b []byte) []byte {
	b = append(b, rowVersion, byte(s.Cause))
	b = be.AppendUint64(b, uint64(s.To.UnixNano()))
	d := s.Detail[:min(len(s.Detail), maxDetail)]
	b = append(b, byte(len(d)))
	return append(b, d...)
}

const spanFixed = 11

func decodeSpan(key, b []byte) (Span, error) {
	if len(key) != 12 || len(b) < spanFixed || b[0] != rowVersion || len(b) != spanFixed+int(b[10]) || b[10] > maxDetail || !nvr.Cause(b[1]).Known() {
		return Span{}, fmt.Errorf("span %x %w", key, errFormat)
	}
	return Span{From: nanos(key), Cause: nvr.Cause(b[1]), To: nanos(b[2:]), Detail: string(b[spanFixed:])}, nil
}

// A head is the end of what is known of one camera.
type head struct {
	edge time.Time // all before it is in rows, spans, or below
	last segment.Digest
	gap  *Span // open: To is not known
	seg  *Row  // open
	obsc *Span // of the open segment or the ones before it, up to now
}

// encodeHeads writes all heads as one value: forty of them are then one page write a second instead
// of forty. known is the time up to which they hold.
func encodeHeads(known time.Time, heads map[nvr.CameraID]*head, order []nvr.CameraID) []byte {
	b := append(make([]byte, 0, 300*len(order)+11), rowVersion)
	b = be.AppendUint64(b, uint64(known.UnixNano()))
	b = be.AppendUint16(b, uint16(len(order)))
	span := func(s *Span) {
		if s == nil {
			b = append(b, 0)
			return
		}
		b = append(b, 1)
		b = be.AppendUint64(b, uint64(s.From.UnixNano()))
		b = s.encode(b)
	}
	for _, id := range order {
		h := heads[id]
		b = append(b, byte(len(id)))
		b = append(b, id...)
		b = be.AppendUint64(b, uint64(h.edge.UnixNano()))
		b = append(b, h.last[:]...)
		span(h.gap)
		span(h.obsc)
		if h.seg == nil {
			b = append(b, 0)
			continue
		}
		b = append(b, 1)
		b = append(b, h.seg.ID[:]...)
		b = h.seg.encode(b)
	}
	return b
}

func decodeHeads(b []byte) (known time.Time, heads map[nvr.CameraID]*head, order []nvr.CameraID, err error) {
	bad := fmt.Errorf("heads of the index: %w", errFormat)
	take := func(n int) []byte {
		if err != nil || n > len(b) {
			err = bad
			return make([]byte, n)
		}
		p := b[:n]
		b = b[n:]
		return p
	}
	flag := func() bool {
		f := take(1)[0]
		if f > 1 {
			err = bad
		}
		return f == 1
	}
	span := func() *Span {
		if !flag() {
			return nil
		}
		key := append([]byte{}, take(8)...)
		fix := take(spanFixed)
		v := append(append([]byte{}, fix...), take(int(fix[10]))...)
		s, e := decodeSpan(append(key, 0, 0, 0, 0), v)
		if e != nil {
			err = bad
		}
		return &s
	}
	if take(1)[0] != rowVersion {
		err = bad
	}
	known = nanos(take(8))
	heads = map[nvr.CameraID]*head{}
	for n := int(be.Uint16(take(2))); n > 0 && err == nil; n-- {
		id := nvr.CameraID(take(int(take(1)[0])))
		if nvr.ValidID(string(id)) != nil || heads[id] != nil {
			err = bad
		}
		h := &head{edge: nanos(take(8))}
		copy(h.last[:], take(32))
		h.gap, h.obsc = span(), span()
		if flag() {
			sid := segment.ID(take(16))
			r, e := decodeRow(sid, take(rowBytes))
			if e != nil {
				err = bad
			}
			h.seg = &r
		}
		heads[id] = h
		order = append(order, id)
	}
	if len(b) != 0 {
		err = bad
	}
	return known, heads, order, err
}
