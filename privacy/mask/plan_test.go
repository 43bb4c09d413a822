package mask

import (
	"math"
	"testing"

	"custody-nvr/nvr"

	"pgregory.net/rapid"
)

func spec(size nvr.Size, areas ...[]nvr.Point) nvr.MaskSpec {
	s := nvr.MaskSpec{Picture: size, Areas: areas, Version: 1}
	if len(areas) == 0 {
		s.NoToiletInView = "test"
	}
	return s
}

func plan(tb testing.TB, size nvr.Size, areas ...[]nvr.Point) *Plan {
	tb.Helper()
	p, err := NewPlan(spec(size, areas...))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// pixels makes an area of points in samples.
func pixels(size nvr.Size, xy ...float64) []nvr.Point {
	var a []nvr.Point
	for i := 0; i < len(xy); i += 2 {
		a = append(a, nvr.Point{X: xy[i] / float64(size.Width), Y: xy[i+1] / float64(size.Height)})
	}
	return a
}

// picture shows the hidden blocks as text.
func (p *Plan) picture() string {
	s := ""
	for by := range p.rows {
		for bx := range p.cols {
			if p.hidden[by*p.cols+bx] {
				s += "#"
			} else {
				s += "."
			}
		}
		s += "\n"
	}
	return s
}

func TestEveryBlockThatAnAreaTouchesIsHidden(t *testing.T) {
	size := nvr.Size{Width: 80, Height: 48} // 5 x 3 blocks
	for _, c := range []struct {
		name string
		area []nvr.Point
		want string
	}{
		{"inside one block", pixels(size, 20, 20, 28, 20, 28, 28), ".....\n.#...\n.....\n"},
		{"a border that is the border of blocks hides both sides", pixels(size, 32, 17, 40, 17, 40, 31, 32, 31), ".....\n.##..\n.....\n"},
		{"on the border of four blocks", pixels(size, 16, 16, 16, 16, 16, 16), "##...\n##...\n.....\n"},
		{"a tenth of a sample over the border", pixels(size, 20, 20, 32.1, 20, 32.1, 28, 20, 28), ".....\n.##..\n.....\n"},
		{"the whole picture", []nvr.Point{{X: 0, Y: 0}, {X: 1, Y: 0}, {X: 1, Y: 1}, {X: 0, Y: 1}}, "#####\n#####\n#####\n"},
		{"the last corner", []nvr.Point{{X: 1, Y: 1}, {X: 1, Y: 1}, {X: 1, Y: 1}}, ".....\n.....\n....#\n"},
		{"the first corner", []nvr.Point{{X: 0, Y: 0}, {X: 0, Y: 0}, {X: 0, Y: 0}}, "#....\n.....\n.....\n"},
		{"a line without width", pixels(size, 4, 24, 76, 24, 40, 24), ".....\n#####\n.....\n"},
		{"a slanted line", pixels(size, 4, 4, 44, 44, 24, 24), "##...\n###..\n.##..\n"},
		{"a bow tie, both wings", pixels(size, 1, 1, 79, 47, 79, 1, 1, 47), "##.##\n#####\n##.##\n"},
		{"wound twice", pixels(size, 1, 1, 79, 1, 79, 47, 1, 47, 1, 1, 79, 1, 79, 47, 1, 47), "#####\n#####\n#####\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := plan(t, size, c.area).picture(); got != c.want {
				t.Errorf("hidden blocks:\n%swant:\n%s", got, c.want)
			}
		})
	}
}

// insideEvenOdd and nearEdge are an oracle written another way than the plan's rasteriser.
func insideEvenOdd(a []nvr.Point, x, y float64) bool {
	in := false
	for i, j := 0, len(a)-1; i < len(a); j, i = i, i+1 {
		if (a[i].Y > y) != (a[j].Y > y) && x < (a[j].X-a[i].X)*(y-a[i].Y)/(a[j].Y-a[i].Y)+a[i].X {
			in = !in
		}
	}
	return in
}

func TestNoSampleThatAnAreaTouchesIsVisible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := nvr.Size{Width: rapid.IntRange(16, 150).Draw(t, "width"), Height: rapid.IntRange(16, 150).Draw(t, "height")}
		fraction := rapid.OneOf(rapid.Float64Range(0, 1), rapid.Just(0.0), rapid.Just(1.0), rapid.Just(16/float64(size.Width)))
		area := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) nvr.Point {
			return nvr.Point{X: min(fraction.Draw(t, "x"), 1), Y: fraction.Draw(t, "y")}
		}), 3, 12).Draw(t, "area")
		p, err := NewPlan(spec(size, area))
		if err != nil {
			t.Fatal(err)
		}
		px := make([]nvr.Point, len(area))
		for i, q := range area {
			px[i] = nvr.Point{X: q.X * float64(size.Width), Y: q.Y * float64(size.Height)}
		}
		for y := range size.Height {
			for x := range size.Width {
				if insideEvenOdd(px, float64(x)+0.5, float64(y)+0.5) && !p.Covers(x, y) {
					t.Fatalf("sample %d,%d lies inside of the area and is visible", x, y)
				}
			}
		}
		for i, a := range px {
			b := px[(i+1)%len(px)]
			for k := range 400 {
				f := float64(k) / 399
				x, y := int(a.X+(b.X-a.X)*f), int(a.Y+(b.Y-a.Y)*f)
				if !p.Covers(min(x, size.Width-1), min(y, size.Height-1)) {
					t.Fatalf("sample %d,%d lies on the border of the area and is visible", x, y)
				}
			}
		}
	})
}

func TestHiddenIsTheHiddenPart(t *testing.T) {
	size := nvr.Size{Width: 40, Height: 20} // blocks 16, 16, 8 wide and 16, 4 high
	p := plan(t, size, pixels(size, 34, 17, 39, 17, 39, 19))
	if want := 8.0 * 4 / 800; math.Abs(p.Hidden()-want) > 1e-12 {
		t.Errorf("hidden %v, want %v", p.Hidden(), want)
	}
	if p.Covers(31, 19) || !p.Covers(32, 16) || !p.Covers(40, 0) || !p.Covers(-1, 0) {
		t.Error("Covers does not follow the blocks, or shows samples outside of the picture")
	}
}

func TestAMaskThatIsNotValidMakesNoPlan(t *testing.T) {
	if _, err := NewPlan(nvr.MaskSpec{Picture: nvr.Size{Width: 64, Height: 64}, Version: 1}); err == nil {
		t.Error("a mask without areas and without a declaration made a plan")
	}
}
