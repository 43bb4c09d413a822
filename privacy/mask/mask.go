// Package mask fills the mask areas of a picture and hands out the only picture type that the
// encoder accepts.
//
// The masker child is its one caller in the product. A Picture can only be made by Plan.Apply,
// Plan.Obscure and Picture.Shrink, and codec.Encoder takes nothing else: code that forgets to mask
// does not compile. The package holds no state of a camera beside the canvas it paints, does no
// I/O, and never draws anything but one solid colour: what the mask hides cannot be brought back.
package mask

import (
	"fmt"

	"custody-nvr/nvr"
)

// The fill colour, a dark grey that is legal in limited and in full range. It is not black, so that
// a mask can be told from a dark cell.
const (
	FillY = 80
	FillU = 128
	FillV = 128
)

// Block is the side of the squares in which a plan hides: one macroblock of the encoder, so that
// no block holds both hidden and visible samples.
const Block = 16

// Planes is an 8 bit 4:2:0 picture in memory. Chroma has (Width+1)/2 x (Height+1)/2 samples.
type Planes struct {
	Size             nvr.Size
	Y, U, V          []byte
	YStride, CStride int
	FullRange        bool // luma runs from 0 to 255 instead of 16 to 235
}

// NewPlanes returns a black picture with memory of its own, its rows and columns padded to even
// numbers.
func NewPlanes(size nvr.Size, fullRange bool) Planes {
	w, h := even(size.Width), even(size.Height)
	p := Planes{
		Size: size, YStride: w, CStride: w / 2, FullRange: fullRange,
		Y: make([]byte, w*h), U: make([]byte, w*h/4), V: make([]byte, w*h/4),
	}
	if !fullRange {
		fill(p.Y, 16)
	}
	fill(p.U, 128)
	fill(p.V, 128)
	return p
}

func even(n int) int { return n + n&1 }

// check reports whether the slices really hold a picture of w x h luma samples.
func (p *Planes) check(w, h int) error {
	if w < 1 || h < 1 {
		return fmt.Errorf("picture of %dx%d has no samples", w, h)
	}
	cw, ch := (w+1)/2, (h+1)/2
	if p.YStride < w || p.CStride < cw {
		return fmt.Errorf("strides %d and %d are too small for %dx%d", p.YStride, p.CStride, w, h)
	}
	if len(p.Y) < (h-1)*p.YStride+w || len(p.U) < (ch-1)*p.CStride+cw || len(p.V) < (ch-1)*p.CStride+cw {
		return fmt.Errorf("planes of %d, %d and %d bytes are too short for %dx%d", len(p.Y), len(p.U), len(p.V), w, h)
	}
	return nil
}

// fill sets all of b to v, by doubling copies: the compiler has no memset for other than zero.
func fill(b []byte, v byte) {
	if len(b) == 0 {
		return
	}
	b[0] = v
	for n := 1; n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}
