package mask

import "encoding/binary"

// Shrink paints the picture on a smaller canvas by area average. The small picture keeps the
// digest, the cause and the figures of the large one. It reads masked samples only.
func (p Picture) Shrink(dst *Canvas) Picture {
	if !p.Valid() {
		panic("mask: Shrink of a picture that is no longer on its canvas")
	}
	src := &p.canvas.p
	w, h := dst.p.Size.Width, dst.p.Size.Height
	var s shrinker
	s.plane(src.Y, src.YStride, src.Size.Width, src.Size.Height, dst.p.Y, dst.p.YStride, w, h)
	cw, ch := (src.Size.Width+1)/2, (src.Size.Height+1)/2
	dw, dh := dst.w/2, dst.h/2
	s.plane(src.U, src.CStride, cw, ch, dst.p.U, dst.p.CStride, dw, dh)
	s.plane(src.V, src.CStride, cw, ch, dst.p.V, dst.p.CStride, dw, dh)
	if dst.w > w {
		for y := range h {
			dst.p.Y[y*dst.p.YStride+w] = dst.p.Y[y*dst.p.YStride+w-1]
		}
	}
	if dst.h > h {
		copy(dst.p.Y[h*dst.p.YStride:][:dst.w], dst.p.Y[(h-1)*dst.p.YStride:][:dst.w])
	}
	return dst.painted(p.digest, p.obscured, p.figures)
}

// A shrinker averages boxes of whole samples. It adds up rows eight samples at a time, in 16 bit
// lanes of two words: even samples in one, odd samples in the other. A lane holds 257 rows of 255.
type shrinker struct {
	lanes []uint64
	sums  []uint16
}

const (
	lane    = 0x00ff00ff00ff00ff
	maxRows = 256
)

func (s *shrinker) plane(src []byte, stride, w, h int, dst []byte, dstStride, dw, dh int) {
	words := (w + 7) / 8
	if len(s.lanes) < words*2 {
		s.lanes = make([]uint64, words*2)
		s.sums = make([]uint16, words*8)
	}
	for y := range dh {
		y0, y1 := box(y, h, dh)
		y1 = min(y1, y0+maxRows)
		s.addRows(src, stride, w, y0, y1)
		out := dst[y*dstStride:][:dw]
		for x := range out {
			x0, x1 := box(x, w, dw)
			sum := 0
			for _, v := range s.sums[x0:x1] {
				sum += int(v)
			}
			n := (x1 - x0) * (y1 - y0)
			out[x] = byte((sum + n/2) / n)
		}
	}
}

// box gives the samples of 0..from that the i-th of to samples stands for: at least one.
func box(i, from, to int) (lo, hi int) {
	lo = i * from / to
	return lo, max((i+1)*from/to, lo+1)
}

func (s *shrinker) addRows(src []byte, stride, w, y0, y1 int) {
	words := w / 8
	lanes := s.lanes[:words*2]
	clear(lanes)
	for y := y0; y < y1; y++ {
		row := src[y*stride:][:w]
		for i := range words {
			v := binary.LittleEndian.Uint64(row[i*8:])
			lanes[i*2] += v & lane
			lanes[i*2+1] += v >> 8 & lane
		}
	}
	for i := range words {
		even, odd := lanes[i*2], lanes[i*2+1]
		out := s.sums[i*8:][:8]
		for j := 0; j < 8; j += 2 {
			out[j], out[j+1] = uint16(even), uint16(odd)
			even, odd = even>>16, odd>>16
		}
	}
	for x := words * 8; x < w; x++ {
		s.sums[x] = 0
		for y := y0; y < y1; y++ {
			s.sums[x] += uint16(src[y*stride+x])
		}
	}
}
