package mask

import (
	"fmt"
	"hash/crc32"

	"custody-nvr/nvr"
)

// A Canvas is the memory that masked pictures of one stream are painted into, one after the other.
// The encoder owns the memory, so that painting is the only copy. Its size is padded to even
// numbers: the picture's last row and column are repeated there.
type Canvas struct {
	p      Planes
	w, h   int // padded size
	paints uint64
	seen   glance
}

// NewCanvas makes a canvas of memory for pictures of p.Size; the planes must hold them padded to
// even numbers.
func NewCanvas(p Planes) (*Canvas, error) {
	c := &Canvas{p: p, w: even(p.Size.Width), h: even(p.Size.Height)}
	if err := p.check(c.w, c.h); err != nil {
		return nil, fmt.Errorf("make canvas: %w", err)
	}
	return c, nil
}

// Size is the size of the pictures that are painted on the canvas, without the padding.
func (c *Canvas) Size() nvr.Size { return c.p.Size }

// A Picture is a masked picture on a canvas. It is valid until its canvas is painted again. Only
// Plan.Apply, Plan.Obscure and Shrink make one; the zero Picture is none.
type Picture struct {
	canvas   *Canvas
	paint    uint64
	digest   nvr.MaskDigest
	obscured nvr.Cause
	figures  nvr.Figures
}

// Planes gives the masked samples for reading only.
func (p Picture) Planes() Planes {
	if p.canvas == nil {
		return Planes{}
	}
	return p.canvas.p
}

// Digest names the mask the picture was painted with.
func (p Picture) Digest() nvr.MaskDigest { return p.digest }

// Obscured is nvr.Recorded where only the mask areas are filled, else why the whole picture is.
func (p Picture) Obscured() nvr.Cause { return p.obscured }

// Figures are measured on the masked picture.
func (p Picture) Figures() nvr.Figures { return p.figures }

// Canvas is where the picture was painted.
func (p Picture) Canvas() *Canvas { return p.canvas }

// Valid reports whether the picture still stands on its canvas.
func (p Picture) Valid() bool { return p.canvas != nil && p.canvas.paints == p.paint }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Apply copies src to the canvas and fills what the plan hides, in all three planes. A picture of
// another size or pixel aspect than the plan's, or a canvas of another size, is filled whole: the
// mask was drawn on another view and says nothing about this one.
func (p *Plan) Apply(src Planes, aspectW, aspectH int, dst *Canvas) Picture {
	if src.Size != p.size || dst.p.Size != p.size || !p.sameAspect(aspectW, aspectH) || src.check(p.size.Width, p.size.Height) != nil {
		return p.Obscure(nvr.ObscuredWrongSize, dst)
	}
	var sum uint32
	w, h := p.size.Width, p.size.Height
	for y := range h {
		from, to := src.Y[y*src.YStride:][:w], dst.p.Y[y*dst.p.YStride:][:dst.w]
		for _, r := range p.spans[y/Block] {
			if r.hidden {
				fill(to[r.x0:r.x1], FillY)
			} else {
				copy(to[r.x0:r.x1], from[r.x0:r.x1])
			}
		}
		if dst.w > w {
			to[w] = to[w-1]
		}
		sum = crc32.Update(sum, castagnoli, to[:w])
	}
	if dst.h > h {
		copy(dst.p.Y[h*dst.p.YStride:][:dst.w], dst.p.Y[(h-1)*dst.p.YStride:][:dst.w])
	}
	p.applyChroma(src.U, dst.p.U, src.CStride, dst.p.CStride, FillU)
	p.applyChroma(src.V, dst.p.V, src.CStride, dst.p.CStride, FillV)
	f := dst.seen.look(p, &dst.p)
	f.Sum = sum
	return dst.painted(p.digest, nvr.Recorded, f)
}

func (p *Plan) applyChroma(src, dst []byte, srcStride, dstStride int, colour byte) {
	cw, ch := (p.size.Width+1)/2, (p.size.Height+1)/2
	for y := range ch {
		from, to := src[y*srcStride:][:cw], dst[y*dstStride:][:cw]
		for _, r := range p.spans[y*2/Block] {
			x0, x1 := r.x0/2, (r.x1+1)/2
			if r.hidden {
				fill(to[x0:x1], colour)
			} else {
				copy(to[x0:x1], from[x0:x1])
			}
		}
	}
}

func (p *Plan) sameAspect(w, h int) bool {
	if w <= 0 || h <= 0 { // the stream does not say
		w, h = 1, 1
	}
	return w*p.aspH == h*p.aspW
}

// Obscure fills the whole canvas. c must be one of the obscured causes.
func (p *Plan) Obscure(c nvr.Cause, dst *Canvas) Picture {
	if !c.IsObscured() {
		panic(fmt.Sprintf("mask: a picture cannot be obscured because of %q", c))
	}
	var sum uint32
	for y := range dst.h {
		row := dst.p.Y[y*dst.p.YStride:][:dst.w]
		fill(row, FillY)
		if y < dst.p.Size.Height {
			sum = crc32.Update(sum, castagnoli, row[:dst.p.Size.Width])
		}
	}
	for y := range dst.h / 2 {
		fill(dst.p.U[y*dst.p.CStride:][:dst.w/2], FillU)
		fill(dst.p.V[y*dst.p.CStride:][:dst.w/2], FillV)
	}
	dst.seen.forget()
	return dst.painted(p.digest, c, nvr.Figures{Sum: sum})
}

func (c *Canvas) painted(d nvr.MaskDigest, cause nvr.Cause, f nvr.Figures) Picture {
	c.paints++
	return Picture{canvas: c, paint: c.paints, digest: d, obscured: cause, figures: f}
}
