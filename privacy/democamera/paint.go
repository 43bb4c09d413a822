package democamera

import (
	"math"

	"custody-nvr/privacy/mask"
)

// rgb is a colour with parts from 0 to 1.
type rgb struct{ r, g, b float64 }

func (c rgb) times(f float64) rgb { return rgb{c.r * f, c.g * f, c.b * f} }

func (c rgb) to(d rgb, f float64) rgb {
	return rgb{c.r + (d.r-c.r)*f, c.g + (d.g-c.g)*f, c.b + (d.b-c.b)*f}
}

// yuv converts by BT.601 in limited range.
func (c rgb) yuv() (y, u, v float64) {
	return 16 + 65.481*c.r + 128.553*c.g + 24.966*c.b,
		128 - 37.797*c.r - 74.203*c.g + 112*c.b,
		128 + 112*c.r - 93.786*c.g - 18.214*c.b
}

// pt is a place in fractions of the picture.
type pt struct{ x, y float64 }

func (p pt) to(q pt, f float64) pt { return pt{p.x + (q.x-p.x)*f, p.y + (q.y-p.y)*f} }

// easel is the still part of a scene while it is painted: twice the size in each direction, so that
// edges come out smooth.
type easel struct {
	w, h int
	pix  []rgb
}

func newEasel(w, h int) *easel { return &easel{2 * w, 2 * h, make([]rgb, 4*w*h)} }

// polygon fills the inside of corners; shade gives the colour at a place.
func (e *easel) polygon(corners []pt, shade func(pt) rgb) {
	w, h := float64(e.w), float64(e.h)
	low, high := corners[0].y, corners[0].y
	for _, c := range corners {
		low, high = min(low, c.y), max(high, c.y)
	}
	var crossings []float64
	for y := max(0, int(low*h)); y < min(e.h, int(high*h)+1); y++ {
		fy := (float64(y) + 0.5) / h
		crossings = crossings[:0]
		for i, a := range corners {
			b := corners[(i+1)%len(corners)]
			if (a.y <= fy) != (b.y <= fy) {
				crossings = append(crossings, a.x+(fy-a.y)/(b.y-a.y)*(b.x-a.x))
			}
		}
		for i := 0; i+1 < len(crossings); i += 2 {
			lo, hi := min(crossings[i], crossings[i+1]), max(crossings[i], crossings[i+1])
			for x := max(0, int(math.Ceil(lo*w-0.5))); x < e.w && float64(x)+0.5 <= hi*w; x++ {
				e.pix[y*e.w+x] = shade(pt{(float64(x) + 0.5) / w, fy})
			}
		}
	}
}

// text writes with the bitmap font; high is the height of a letter as a fraction of the picture.
func (e *easel) text(at pt, high float64, s string, c rgb) {
	dot := high / 7
	wide := dot * float64(e.h) / float64(e.w)
	for i, r := range s {
		for row, bits := range glyph(r) {
			for col := range 5 {
				if bits>>(4-col)&1 == 1 {
					x, y := at.x+float64(6*i+col)*wide, at.y+float64(row)*dot
					e.polygon([]pt{{x, y}, {x + wide, y}, {x + wide, y + dot}, {x, y + dot}}, func(pt) rgb { return c })
				}
			}
		}
	}
}

// develop averages the easel down to planes.
func (e *easel) develop(dst mask.Planes) {
	w, h := dst.Size.Width, dst.Size.Height
	us, vs := make([]float64, w*h), make([]float64, w*h)
	for y := range h {
		for x := range w {
			a, b := e.pix[2*y*e.w+2*x:], e.pix[(2*y+1)*e.w+2*x:]
			mean := rgb{(a[0].r + a[1].r + b[0].r + b[1].r) / 4, (a[0].g + a[1].g + b[0].g + b[1].g) / 4, (a[0].b + a[1].b + b[0].b + b[1].b) / 4}
			var luma float64
			luma, us[y*w+x], vs[y*w+x] = mean.yuv()
			dst.Y[y*dst.YStride+x] = sample(luma)
		}
	}
	for y := range (h + 1) / 2 {
		for x := range (w + 1) / 2 {
			x1, y1 := min(2*x+1, w-1), min(2*y+1, h-1)
			i, j, k, l := 2*y*w+2*x, 2*y*w+x1, y1*w+2*x, y1*w+x1
			dst.U[y*dst.CStride+x] = sample((us[i] + us[j] + us[k] + us[l]) / 4)
			dst.V[y*dst.CStride+x] = sample((vs[i] + vs[j] + vs[k] + vs[l]) / 4)
		}
	}
}

func sample(v float64) byte { return byte(min(max(v+0.5, 0), 255)) }

// brush paints moving things straight onto planes.
type brush struct{ dst mask.Planes }

// limb paints a line with round ends, ra thick at a and rb at b (fractions of the picture's
// height), with soft edges.
func (p brush) limb(a, b pt, ra, rb float64, c rgb, opacity float64) {
	w, h := float64(p.dst.Size.Width), float64(p.dst.Size.Height)
	ax, ay, bx, by := a.x*w, a.y*h, b.x*w, b.y*h
	ra, rb = ra*h, rb*h
	r := max(ra, rb) + 1
	y0, u0, v0 := c.yuv()
	dx, dy := bx-ax, by-ay
	length := dx*dx + dy*dy
	cover := func(x, y float64) float64 {
		f := 0.0
		if length > 0 {
			f = min(max(((x-ax)*dx+(y-ay)*dy)/length, 0), 1)
		}
		px, py := x-ax-f*dx, y-ay-f*dy
		d := math.Sqrt(px*px + py*py)
		return min(max(ra+(rb-ra)*f-d+0.5, 0), 1) * opacity
	}
	left, right := max(0, int(min(ax, bx)-r)), min(p.dst.Size.Width-1, int(max(ax, bx)+r))
	top, bottom := max(0, int(min(ay, by)-r)), min(p.dst.Size.Height-1, int(max(ay, by)+r))
	for y := top; y <= bottom; y++ {
		for x := left; x <= right; x++ {
			if k := cover(float64(x)+0.5, float64(y)+0.5); k > 0 {
				blend(&p.dst.Y[y*p.dst.YStride+x], y0, k)
			}
		}
	}
	for y := top / 2; y <= bottom/2; y++ {
		for x := left / 2; x <= right/2; x++ {
			if k := cover(float64(2*x+1), float64(2*y+1)); k > 0 {
				blend(&p.dst.U[y*p.dst.CStride+x], u0, k)
				blend(&p.dst.V[y*p.dst.CStride+x], v0, k)
			}
		}
	}
}

// shadow darkens an ellipse-like limb on the floor; colours stay.
func (p brush) shadow(a, b pt, r float64) {
	q := brush{mask.Planes{Size: p.dst.Size, Y: p.dst.Y, YStride: p.dst.YStride,
		U: make([]byte, len(p.dst.U)), V: make([]byte, len(p.dst.V)), CStride: p.dst.CStride}}
	for i := range 3 {
		q.limb(a, b, r*(1+0.25*float64(i)), r*(1+0.25*float64(i)), rgb{}, 0.14)
	}
}

func blend(s *byte, v, k float64) { *s = sample(float64(*s)*(1-k) + v*k - 0.0) }

// block fills a rectangle of whole samples.
func (p brush) block(x0, y0, x1, y1 int, c rgb) {
	y0f, u, v := c.yuv()
	for y := max(y0, 0); y < min(y1, p.dst.Size.Height); y++ {
		for x := max(x0, 0); x < min(x1, p.dst.Size.Width); x++ {
			p.dst.Y[y*p.dst.YStride+x] = sample(y0f)
			p.dst.U[y/2*p.dst.CStride+x/2] = sample(u)
			p.dst.V[y/2*p.dst.CStride+x/2] = sample(v)
		}
	}
}

// text writes with dots of whole samples.
func (p brush) text(x, y, dot int, s string, c rgb) {
	for i, r := range s {
		for row, bits := range glyph(r) {
			for col := range 5 {
				if bits>>(4-col)&1 == 1 {
					p.block(x+(6*i+col)*dot, y+row*dot, x+(6*i+col+1)*dot, y+(row+1)*dot, c)
				}
			}
		}
	}
}

// glyph is a letter of the 5 by 7 font, a row a byte.
func glyph(r rune) [7]byte {
	switch r {
	case '0':
		return [7]byte{0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e}
	case '1':
		return [7]byte{0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e}
	case '2':
		return [7]byte{0x0e, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1f}
	case '3':
		return [7]byte{0x1f, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0e}
	case '4':
		return [7]byte{0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02}
	case '5':
		return [7]byte{0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e}
	case '6':
		return [7]byte{0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e}
	case '7':
		return [7]byte{0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08}
	case '8':
		return [7]byte{0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e}
	case '9':
		return [7]byte{0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c}
	case 'A':
		return [7]byte{0x0e, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11}
	case 'C':
		return [7]byte{0x0e, 0x11, 0x10, 0x10, 0x10, 0x11, 0x0e}
	case 'D':
		return [7]byte{0x1e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x1e}
	case 'E':
		return [7]byte{0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x1f}
	case 'L':
		return [7]byte{0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x1f}
	case 'M':
		return [7]byte{0x11, 0x1b, 0x15, 0x15, 0x11, 0x11, 0x11}
	case 'N':
		return [7]byte{0x11, 0x19, 0x15, 0x13, 0x11, 0x11, 0x11}
	case 'O':
		return [7]byte{0x0e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e}
	case 'R':
		return [7]byte{0x1e, 0x11, 0x11, 0x1e, 0x14, 0x12, 0x11}
	case 'W':
		return [7]byte{0x11, 0x11, 0x11, 0x15, 0x15, 0x1b, 0x11}
	case ':':
		return [7]byte{0x00, 0x04, 0x04, 0x00, 0x04, 0x04, 0x00}
	case '.':
		return [7]byte{0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x0c}
	}
	return [7]byte{}
}
