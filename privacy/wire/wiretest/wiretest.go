// Package wiretest makes masked frames by hand.
//
// Only tests import it: they need frames that the pipe reader accepts, without an encoder. The
// slices hold a true header and no picture, so nothing of it can be decoded.
package wiretest

import (
	"time"

	"custody-nvr/nvr"
)

// An SPS describes the parameter set to write; the zero values are what our encoder does.
type SPS struct {
	Size       nvr.Size // coded size is this rounded up to 16, the rest is cropped
	Profile    int      // 0 = High
	Chroma     int      // 0 = 4:2:0
	Depth      int      // 0 = 8
	ID         int
	Interlaced bool
	CropLeft   int
	CropRight  int // on top of the padding
}

// Unit returns the NAL unit.
func (s SPS) Unit() []byte {
	var w writer
	profile, chroma, depth := s.Profile, s.Chroma, s.Depth
	if profile == 0 {
		profile = 100
	}
	if chroma == 0 {
		chroma = 1
	}
	if depth == 0 {
		depth = 8
	}
	w.u(8, profile)
	w.u(8, 0)
	w.u(8, 40) // level 4
	w.ue(s.ID)
	if profile >= 100 {
		w.ue(chroma)
		w.ue(depth - 8)
		w.ue(depth - 8)
		w.u(1, 0)
		w.u(1, 0)
	}
	w.ue(0) // log2_max_frame_num_minus4
	w.ue(2) // pic_order_cnt_type
	w.ue(1) // max_num_ref_frames
	w.u(1, 0)
	wide, high := (s.Size.Width+1)&^1, (s.Size.Height+1)&^1
	w.ue((wide+15)/16 - 1)
	w.ue((high+15)/16 - 1)
	if s.Interlaced {
		w.u(2, 0)
	} else {
		w.u(1, 1)
	}
	w.u(1, 1) // direct_8x8_inference
	right, bottom := (16-wide%16)%16/2+s.CropRight, (16-high%16)%16/2
	if right+bottom+s.CropLeft > 0 {
		w.u(1, 1)
		w.ue(s.CropLeft)
		w.ue(right)
		w.ue(0)
		w.ue(bottom)
	} else {
		w.u(1, 0)
	}
	w.u(1, 0) // no VUI
	return w.unit(0x67)
}

// PPS returns a picture parameter set.
func PPS() []byte {
	var w writer
	w.ue(0)
	w.ue(0)
	w.u(2, 0)
	w.ue(0)
	return w.unit(0x68)
}

// Slice returns a slice of the given type (0 P, 1 B, 2 I) and about size bytes.
func Slice(key bool, kind, pps, size int) []byte {
	var w writer
	w.ue(0)
	w.ue(kind)
	w.ue(pps)
	head := byte(0x41)
	if key {
		head = 0x65
	}
	u := w.unit(head)
	for len(u) < size {
		u = append(u, byte(len(u))|1)
	}
	return u
}

// A Maker makes the frames of one stream in order.
type Maker struct {
	Stream nvr.Stream // 0 = Archive
	Run    nvr.RunID
	Mask   nvr.MaskDigest
	Size   nvr.Size
	Bytes  int           // of a slice; 0 = 200
	GOP    uint64        // 0 = 10
	Step   time.Duration // 0 = 40 ms
	seq    uint64
}

// Next returns the next frame, arrived at the given CLOCK_MONOTONIC time.
func (m *Maker) Next(arrived time.Duration) *nvr.Frame {
	gop, step, size := m.GOP, m.Step, m.Bytes
	if gop == 0 {
		gop = 10
	}
	if step == 0 {
		step = 40 * time.Millisecond
	}
	if size == 0 {
		size = 200
	}
	f := &nvr.Frame{
		Stream: max(m.Stream, nvr.Archive), Run: m.Run, Seq: m.seq, Key: m.seq%gop == 0, SourceKey: m.seq%gop == 0,
		PTS: time.Duration(m.seq) * step, Arrived: arrived, Mask: m.Mask, Size: m.Size,
		Figures: nvr.Figures{Luma: 90, Change: 12, Edges: 345, Sum: uint32(m.seq) * 2654435761},
	}
	kind := 0
	if f.Key {
		f.SPS, f.PPS, kind = SPS{Size: m.Size}.Unit(), PPS(), 2
	}
	f.NALs = [][]byte{Slice(f.Key, kind, 0, size)}
	m.seq++
	return f
}

// writer puts bits together, most significant first.
type writer struct {
	b []byte
	n int
}

func (w *writer) u(n, v int) {
	for i := n - 1; i >= 0; i-- {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[len(w.b)-1] |= byte(v>>i&1) << (7 - w.n%8)
		w.n++
	}
}

func (w *writer) ue(v int) {
	n := 0
	for (v+1)>>(n+1) != 0 {
		n++
	}
	w.u(n, 0)
	w.u(n+1, v+1)
}

// unit closes the bits with rbsp_trailing_bits and escapes them.
func (w *writer) unit(head byte) []byte {
	w.u(1, 1)
	out, zeros := []byte{head}, 0
	for _, c := range w.b {
		if zeros >= 2 && c < 4 {
			out, zeros = append(out, 3), 0
		}
		if out = append(out, c); c == 0 {
			zeros++
		} else {
			zeros = 0
		}
	}
	return out
}
