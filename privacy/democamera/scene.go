package democamera

import (
	"fmt"
	"math"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/mask"
)

// The film of a scene: after Loop it begins again without a seam.
const (
	Loop = 12 * time.Second
	Rate = 10 // pictures a second
)

// A Rect is a rectangle in fractions of the picture.
type Rect struct{ X0, Y0, X1, Y1 float64 }

// Pattern is where the bright pattern on the WC stands: a checker of 8 by 5 squares, magenta and
// green, which differ in all three planes. Its edges lie on whole 16x16 blocks at 1280x720 and at
// 640x360. It is inside WC.
var Pattern = Rect{0.05, 34.0 / 45, 0.25, 44.0 / 45}

// The pattern's squares, and its colours.
const (
	PatternColumns, PatternRows = 8, 5
)

var (
	magenta = rgb{1, 0.27, 1}
	green   = rgb{0, 0.51, 0}
)

// WC is the polygon to mask in every drawn cell: the WC with its pattern.
func WC() []nvr.Point {
	return []nvr.Point{{X: 0, Y: 0.7}, {X: 0.275, Y: 0.7}, {X: 0.275, Y: 1}, {X: 0, Y: 1}}
}

// blankets tell cells apart.
var blankets = []rgb{{0.75, 0.30, 0.22}, {0.28, 0.52, 0.36}, {0.82, 0.62, 0.22}, {0.50, 0.34, 0.60}, {0.20, 0.52, 0.60}, {0.52, 0.42, 0.34}}

// A Scene draws one cell as its camera, high in a corner, sees it.
type Scene struct {
	number int
	night  bool
	still  mask.Planes // what does not move
}

// NewScene prepares the scene of a cell; cells count from 0. Every sixth is a night scene: what an
// infra-red camera shows in the dark.
func NewScene(number int, size nvr.Size) *Scene {
	s := &Scene{number: number, night: number%6 == 5, still: mask.NewPlanes(size, false)}
	e := newEasel(size.Width, size.Height)
	s.room(e)
	e.develop(s.still)
	if s.night {
		s.darken()
	}
	s.pattern()
	return s
}

// Draw draws cell number at time t into dst. A Scene does it faster when many are drawn.
func Draw(number int, t time.Duration, dst mask.Planes) { NewScene(number, dst.Size).Draw(t, dst) }

// Draw draws the scene at time t, which repeats after Loop.
func (s *Scene) Draw(t time.Duration, dst mask.Planes) {
	size := s.still.Size
	for y := range size.Height {
		copy(dst.Y[y*dst.YStride:][:size.Width], s.still.Y[y*s.still.YStride:])
	}
	for y := range (size.Height + 1) / 2 {
		copy(dst.U[y*dst.CStride:][:(size.Width+1)/2], s.still.U[y*s.still.CStride:])
		copy(dst.V[y*dst.CStride:][:(size.Width+1)/2], s.still.V[y*s.still.CStride:])
	}
	t %= Loop
	p := brush{dst}
	if s.night {
		s.sleeper(p, t, rgb{0.10, 0.10, 0.10}, rgb{0.34, 0.34, 0.34})
		s.noise(dst, t)
	} else if own := (t + time.Duration(s.number)*3700*time.Millisecond) % Loop; s.number%3 == 2 {
		s.sleeper(p, t, blankets[s.number%len(blankets)], rgb{0.80, 0.62, 0.50})
	} else {
		s.walker(p, own.Seconds())
	}
	s.clock(p, t)
}

// room paints walls, floor, bench, door, WC and number.
func (s *Scene) room(e *easel) {
	back, foot := pt{0.42, 0.10}, pt{0.42, 0.48}
	lamp := pt{0.55, 0.02}
	lit := func(base rgb, strength float64) func(pt) rgb {
		return func(p pt) rgb {
			d := math.Hypot(p.x-lamp.x, (p.y-lamp.y)*0.7)
			return base.times((1.12 - strength*d) * (1 + 0.012*grain(p)))
		}
	}
	cream, dado, floor := rgb{0.86, 0.84, 0.76}, rgb{0.55, 0.64, 0.62}, rgb{0.52, 0.50, 0.47}
	e.polygon([]pt{{0, 0}, {1, 0}, back}, lit(rgb{0.92, 0.92, 0.90}, 0.25))
	// Each wall: cream above, a painted band below.
	leftTop, leftFoot, rightTop, rightFoot := pt{0, 0}, pt{0, 0.74}, pt{1, 0}, pt{1, 0.70}
	band := func(top, bottom pt) pt { return top.to(bottom, 0.62) }
	e.polygon([]pt{leftTop, back, foot, leftFoot}, lit(cream.times(0.93), 0.55))
	e.polygon([]pt{back, rightTop, rightFoot, foot}, lit(cream, 0.45))
	e.polygon([]pt{band(leftTop, leftFoot), band(back, foot), foot, leftFoot}, lit(dado.times(0.93), 0.55))
	e.polygon([]pt{band(back, foot), band(rightTop, rightFoot), rightFoot, foot}, lit(dado, 0.45))
	e.polygon([]pt{foot, rightFoot, {1, 1}, {0, 1}, leftFoot}, func(p pt) rgb {
		c := lit(floor, 0.42)(p)
		if seam(p) {
			c = c.times(0.93)
		}
		return c
	})
	e.polygon([]pt{{0.47, 0.0}, {0.63, 0.0}, {0.585, 0.035}, {0.475, 0.035}}, func(pt) rgb { return rgb{1, 1, 0.96} })
	s.door(e, lit)
	s.bench(e, lit)
	e.text(pt{0.585, 0.145}, 0.085, fmt.Sprintf("CELL %d", s.number+1), rgb{0.24, 0.34, 0.46})
	// The WC: a partition, the cistern, and the pattern goes on top.
	e.polygon([]pt{{0.262, 0.70}, {0.275, 0.705}, {0.275, 1}, {0.262, 1}}, lit(rgb{0.70, 0.72, 0.72}, 0.4))
	e.polygon([]pt{{0.10, 0.703}, {0.20, 0.703}, {0.205, 0.757}, {0.095, 0.757}}, lit(rgb{0.97, 0.97, 0.97}, 0.2))
	e.polygon([]pt{{0.03, 0.75}, {0.262, 0.75}, {0.262, 0.99}, {0.03, 0.99}}, lit(rgb{0.80, 0.82, 0.82}, 0.2))
}

func (s *Scene) door(e *easel, lit func(rgb, float64) func(pt) rgb) {
	steel := rgb{0.40, 0.47, 0.56}
	e.polygon([]pt{{0.093, 0.150}, {0.267, 0.165}, {0.267, 0.577}, {0.093, 0.683}}, lit(steel.times(0.62), 0.4))
	e.polygon([]pt{{0.105, 0.170}, {0.258, 0.182}, {0.258, 0.580}, {0.105, 0.672}}, lit(steel, 0.4))
	e.polygon([]pt{{0.140, 0.300}, {0.226, 0.300}, {0.226, 0.375}, {0.140, 0.385}}, lit(steel.times(0.55), 0.3))
	e.polygon([]pt{{0.148, 0.312}, {0.218, 0.312}, {0.218, 0.364}, {0.148, 0.373}}, lit(rgb{0.70, 0.80, 0.84}, 0.2))
	e.polygon([]pt{{0.236, 0.400}, {0.250, 0.400}, {0.250, 0.440}, {0.236, 0.442}}, lit(rgb{0.85, 0.82, 0.62}, 0.2))
	for _, y := range []float64{0.22, 0.40, 0.58} {
		e.polygon([]pt{{0.101, y}, {0.109, y}, {0.109, y + 0.04}, {0.101, y + 0.04}}, lit(rgb{0.25, 0.28, 0.32}, 0.2))
	}
}

// The bench's top: far left, far right, near right, near left.
var bench = [4]pt{{0.505, 0.520}, {0.985, 0.700}, {0.875, 0.835}, {0.400, 0.600}}

// on gives a place on the bench: u along it, v from the wall to its edge.
func on(u, v float64) pt { return bench[0].to(bench[1], u).to(bench[3].to(bench[2], u), v) }

func (s *Scene) bench(e *easel, lit func(rgb, float64) func(pt) rgb) {
	wood, blue := rgb{0.62, 0.54, 0.44}, rgb{0.20, 0.34, 0.62}
	down := func(p pt, d float64) pt { return pt{p.x, p.y + d} }
	e.polygon([]pt{down(bench[3], 0.06), down(bench[2], 0.075), down(on(1.02, 1.18), 0.10), down(on(-0.03, 1.2), 0.08)}, lit(rgb{0.40, 0.385, 0.36}, 0.42))
	e.polygon([]pt{bench[3], bench[2], down(bench[2], 0.085), down(bench[3], 0.070)}, lit(wood.times(0.75), 0.3))
	e.polygon(bench[:], lit(wood, 0.35))
	up := func(p pt) pt { return pt{p.x, p.y - 0.028} }
	a, b, c, d := on(0.03, 0.06), on(0.97, 0.06), on(0.97, 0.92), on(0.03, 0.92)
	e.polygon([]pt{up(d), up(c), c, d}, lit(blue.times(0.72), 0.3))
	e.polygon([]pt{up(b), up(c), c, b}, lit(blue.times(0.6), 0.3))
	e.polygon([]pt{up(a), up(b), up(c), up(d)}, lit(blue, 0.35))
	e.polygon([]pt{up(on(0.05, 0.15)), up(on(0.18, 0.15)), up(on(0.18, 0.82)), up(on(0.05, 0.82))}, lit(blue.to(rgb{1, 1, 1}, 0.25), 0.3))
	if s.number%3 != 2 && !s.night { // folded at the far end
		cloth := blankets[s.number%len(blankets)]
		up2 := func(p pt) pt { return pt{p.x, p.y - 0.056} }
		q := [4]pt{on(0.80, 0.12), on(0.96, 0.12), on(0.96, 0.88), on(0.80, 0.88)}
		e.polygon([]pt{up2(q[3]), up2(q[2]), up(q[2]), up(q[3])}, lit(cloth.times(0.7), 0.3))
		e.polygon([]pt{up2(q[0]), up2(q[3]), up(q[3]), up(q[0])}, lit(cloth.times(0.8), 0.3))
		e.polygon([]pt{up2(q[0]), up2(q[1]), up2(q[2]), up2(q[3])}, lit(cloth, 0.35))
	}
}

// grain is a fixed texture from -1 to 1.
func grain(p pt) float64 {
	n := uint32(int(p.x*2600))*374761393 + uint32(int(p.y*1500))*668265263
	n = (n ^ n>>13) * 1274126177
	return float64((n^n>>16)&0xffff)/32768 - 1
}

// seam says whether a joint of the floor runs through p.
func seam(p pt) bool {
	depth := 1 / (p.y - 0.18) // the horizon is far above
	u, v := (p.x-0.42)*depth*2.4, depth*5
	return u-math.Floor(u) < 0.035 || v-math.Floor(v) < 0.05
}

// darken turns the still part into what an infra-red camera sees: no colour, its own lamp in the
// middle.
func (s *Scene) darken() {
	w, h := float64(s.still.Size.Width), float64(s.still.Size.Height)
	for y := range s.still.Size.Height {
		for x := range s.still.Size.Width {
			d := math.Hypot(float64(x)/w-0.55, float64(y)/h-0.5)
			v := &s.still.Y[y*s.still.YStride+x]
			*v = sample(22 + (float64(*v)-16)*max(0.16, 0.62-0.75*d))
		}
	}
	for i := range s.still.U {
		s.still.U[i], s.still.V[i] = 128, 128
	}
}

// pattern draws the checker on the WC, also at night: the tests look for it in all planes.
func (s *Scene) pattern() {
	p := brush{s.still}
	w, h := s.still.Size.Width, s.still.Size.Height
	for row := range PatternRows {
		for col := range PatternColumns {
			r := Pattern.square(col, row, w, h)
			p.block(r[0], r[1], r[2], r[3], squareColour(col, row))
		}
	}
}

func squareColour(col, row int) rgb {
	if (col+row)%2 == 0 {
		return magenta
	}
	return green
}

// square gives the samples of one square of the pattern in a picture of that size.
func (r Rect) square(col, row, w, h int) [4]int {
	x := func(i int) int {
		return int(math.Round((r.X0 + (r.X1-r.X0)*float64(i)/PatternColumns) * float64(w)))
	}
	y := func(i int) int {
		return int(math.Round((r.Y0 + (r.Y1-r.Y0)*float64(i)/PatternRows) * float64(h)))
	}
	return [4]int{x(col), y(row), x(col + 1), y(row + 1)}
}

// noise is a sensor's at high gain.
func (s *Scene) noise(dst mask.Planes, t time.Duration) {
	n := uint32(t/time.Millisecond)*2654435761 + uint32(s.number) + 1
	for y := range dst.Size.Height {
		row := dst.Y[y*dst.YStride:][:dst.Size.Width]
		for x := range row {
			n ^= n << 13
			n ^= n >> 17
			n ^= n << 5
			row[x] = byte(min(max(int(row[x])+int(n&7)+int(n>>8&7)-7, 16), 235))
		}
	}
	s.restorePattern(dst)
}

// restorePattern keeps the test pattern clean of noise.
func (s *Scene) restorePattern(dst mask.Planes) {
	a := Pattern.square(0, 0, dst.Size.Width, dst.Size.Height)
	b := Pattern.square(PatternColumns-1, PatternRows-1, dst.Size.Width, dst.Size.Height)
	for y := a[1]; y < b[3]; y++ {
		copy(dst.Y[y*dst.YStride+a[0]:y*dst.YStride+b[2]], s.still.Y[y*s.still.YStride+a[0]:])
	}
}

// clock is on the wall: the time within the film.
func (s *Scene) clock(p brush, t time.Duration) {
	w, h := p.dst.Size.Width, p.dst.Size.Height
	dot := max(1, h/270)
	x, y := w*288/1000&^1, h*215/1000&^1
	digit, face := rgb{1, 0.25, 0.15}, rgb{0.05, 0.05, 0.06}
	if s.night {
		digit, face = rgb{0.75, 0.75, 0.75}, rgb{0.08, 0.08, 0.08}
	}
	p.block(x-3*dot, y-3*dot, x+43*dot, y+10*dot, face)
	p.text(x, y, dot, fmt.Sprintf("%02d:%02d.%d", int(t.Minutes()), int(t.Seconds())%60, t.Milliseconds()/100%10), digit)
	p.text(w-26*dot, 3*dot, dot, "DEMO", rgb{0.35, 0.35, 0.35})
}
