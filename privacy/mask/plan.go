package mask

import (
	"fmt"

	"custody-nvr/nvr"
)

// A Plan is a mask made ready for painting: which 16x16 blocks of the shown picture are hidden. It
// never changes and may be shared.
type Plan struct {
	size       nvr.Size
	aspW, aspH int
	digest     nvr.MaskDigest
	cols, rows int
	hidden     []bool  // cols x rows
	spans      [][]run // per row of blocks, left to right, covering the whole width
	area       int     // hidden luma samples
}

// A run is a stretch of one row of blocks that is hidden or visible throughout, in luma samples.
type run struct {
	x0, x1 int
	hidden bool
}

// NewPlan rasterises the areas of the mask outwards: a block is hidden where an area touches it at
// all, be it with its border only, so that no rounding can uncover a sample that was meant to be
// hidden. Areas that cross themselves hide all that they wind around.
func NewPlan(spec nvr.MaskSpec) (*Plan, error) {
	if err := spec.Validate(); err != nil {
		return nil, fmt.Errorf("plan mask: %w", err)
	}
	p := &Plan{
		size:   spec.Picture,
		digest: spec.Digest(),
		cols:   (spec.Picture.Width + Block - 1) / Block,
		rows:   (spec.Picture.Height + Block - 1) / Block,
	}
	p.aspW, p.aspH = spec.PixelAspect()
	p.hidden = make([]bool, p.cols*p.rows)
	for _, a := range spec.Areas {
		p.hide(a)
	}
	p.spans = make([][]run, p.rows)
	for by := range p.rows {
		p.spans[by] = p.rowRuns(by)
	}
	return p, nil
}

func (p *Plan) rowRuns(by int) []run {
	var runs []run
	high := min(Block, p.size.Height-by*Block)
	for bx := range p.cols {
		x0, x1 := bx*Block, min(bx*Block+Block, p.size.Width)
		h := p.hidden[by*p.cols+bx]
		if h {
			p.area += (x1 - x0) * high
		}
		if n := len(runs); n > 0 && runs[n-1].hidden == h {
			runs[n-1].x1 = x1
		} else {
			runs = append(runs, run{x0, x1, h})
		}
	}
	return runs
}

// Digest names the mask that the plan was made of.
func (p *Plan) Digest() nvr.MaskDigest { return p.digest }

// Size is the shown picture that the plan fits.
func (p *Plan) Size() nvr.Size { return p.size }

// Hidden is the hidden part of the picture, 0 to 1.
func (p *Plan) Hidden() float64 { return float64(p.area) / float64(p.size.Width*p.size.Height) }

// Covers reports whether the luma sample x,y is hidden. Outside the picture nothing is visible.
func (p *Plan) Covers(x, y int) bool {
	if x < 0 || y < 0 || x >= p.size.Width || y >= p.size.Height {
		return true
	}
	return p.hidden[y/Block*p.cols+x/Block]
}

// touch is how far, in samples, an area may miss a block and still count as touching it: far more
// than the rounding of float64, far less than anything anyone can see.
const touch = 1e-6

// hide marks every block that the closed polygon touches: those that an edge meets, and those whose
// centre it winds around. A block that no edge meets is wholly inside or wholly outside.
func (p *Plan) hide(area []nvr.Point) {
	w, h := float64(p.size.Width), float64(p.size.Height)
	pts := make([]nvr.Point, len(area))
	for i, q := range area {
		pts[i] = nvr.Point{X: q.X * w, Y: q.Y * h}
	}
	for i, a := range pts {
		p.hideEdge(a, pts[(i+1)%len(pts)])
	}
	for by := range p.rows {
		for bx := range p.cols {
			c := nvr.Point{X: float64(bx*Block) + Block/2, Y: float64(by*Block) + Block/2}
			if !p.hidden[by*p.cols+bx] && winding(pts, c) != 0 {
				p.hidden[by*p.cols+bx] = true
			}
		}
	}
}

func (p *Plan) hideEdge(a, b nvr.Point) {
	bx0, bx1 := blockRange(a.X, b.X, p.cols)
	by0, by1 := blockRange(a.Y, b.Y, p.rows)
	for by := by0; by <= by1; by++ {
		for bx := bx0; bx <= bx1; bx++ {
			lo := nvr.Point{X: float64(bx*Block) - touch, Y: float64(by*Block) - touch}
			hi := nvr.Point{X: float64(bx*Block+Block) + touch, Y: float64(by*Block+Block) + touch}
			if meets(a, b, lo, hi) {
				p.hidden[by*p.cols+bx] = true
			}
		}
	}
}

// blockRange gives the blocks of one axis that can touch the span of two coordinates.
func blockRange(a, b float64, n int) (lo, hi int) {
	a, b = min(a, b), max(a, b)
	lo = max(int((a-touch)/Block)-1, 0)
	hi = min(int((b+touch)/Block), n-1)
	return min(lo, n-1), hi
}

// meets reports whether the segment a-b has a point in the closed rectangle lo-hi (Liang-Barsky).
func meets(a, b, lo, hi nvr.Point) bool {
	t0, t1 := 0.0, 1.0
	clip := func(from, d, lo, hi float64) bool {
		if d == 0 {
			return from >= lo && from <= hi
		}
		u, v := (lo-from)/d, (hi-from)/d
		t0, t1 = max(t0, min(u, v)), min(t1, max(u, v))
		return t0 <= t1
	}
	return clip(a.X, b.X-a.X, lo.X, hi.X) && clip(a.Y, b.Y-a.Y, lo.Y, hi.Y)
}

// winding is how often the polygon goes around c. Not zero is a superset of the even-odd rule: what
// either rule calls inside is hidden.
func winding(pts []nvr.Point, c nvr.Point) int {
	n := 0
	for i, a := range pts {
		b := pts[(i+1)%len(pts)]
		side := (b.X-a.X)*(c.Y-a.Y) - (c.X-a.X)*(b.Y-a.Y)
		switch {
		case a.Y <= c.Y && b.Y > c.Y && side > 0:
			n++
		case a.Y > c.Y && b.Y <= c.Y && side < 0:
			n--
		}
	}
	return n
}
