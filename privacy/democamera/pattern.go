package democamera

import "custody-nvr/privacy/mask"

// A Contrast says how much of the pattern is left in each plane: near 1 where it is shown, near 0
// where it is gone, between where it shines through.
type Contrast struct{ Y, U, V float64 }

// Least is the plane with the least of it: above 0.5 the pattern is certainly there.
func (c Contrast) Least() float64 { return min(c.Y, c.U, c.V) }

// Most is the plane with the most of it: below 0.1 no plane shows the pattern.
func (c Contrast) Most() float64 { return max(c.Y, c.U, c.V) }

// PatternContrast measures the pattern where it should be, rect in fractions of the shown picture
// (Pattern for drawn cells), at any size of the picture. It is the mean difference between the
// squares of one colour and of the other, against what was drawn; an inverted pattern counts too.
func PatternContrast(p mask.Planes, rect Rect) Contrast {
	var sum [2][3]float64
	var n [2][3]float64
	for row := range PatternRows {
		for col := range PatternColumns {
			r := rect.square(col, row, p.Size.Width, p.Size.Height)
			k := (col + row) % 2
			add := func(plane int, b []byte, stride, x0, y0, x1, y1 int) {
				// The middle of the square: coding and scaling smear its edges.
				dx, dy := (x1-x0)/4, (y1-y0)/4
				for y := y0 + dy; y < y1-dy; y++ {
					for x := x0 + dx; x < x1-dx; x++ {
						sum[k][plane] += float64(b[y*stride+x])
						n[k][plane]++
					}
				}
			}
			add(0, p.Y, p.YStride, r[0], r[1], r[2], r[3])
			add(1, p.U, p.CStride, r[0]/2, r[1]/2, r[2]/2, r[3]/2)
			add(2, p.V, p.CStride, r[0]/2, r[1]/2, r[2]/2, r[3]/2)
		}
	}
	my, mu, mv := magenta.yuv()
	gy, gu, gv := green.yuv()
	part := func(plane int, drawn float64) float64 {
		if n[0][plane] == 0 || n[1][plane] == 0 {
			return 0
		}
		d := (sum[0][plane]/n[0][plane] - sum[1][plane]/n[1][plane]) / drawn
		return max(d, -d)
	}
	return Contrast{part(0, my-gy), part(1, mu-gu), part(2, mv-gv)}
}
