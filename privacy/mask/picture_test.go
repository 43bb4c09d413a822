package mask

import (
	"bytes"
	"hash/crc32"
	"testing"

	"custody-nvr/nvr"

	"pgregory.net/rapid"
)

func canvas(tb testing.TB, size nvr.Size) *Canvas {
	tb.Helper()
	p := NewPlanes(size, false)
	for _, b := range [][]byte{p.Y, p.U, p.V} {
		fill(b, 0xEE) // what was on the canvas before
	}
	c, err := NewCanvas(p)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// busy draws samples none of which has the fill colour, with strides larger than the picture.
func busy(size nvr.Size) Planes {
	w, h := size.Width, size.Height
	p := Planes{Size: size, YStride: w + 7, CStride: (w+1)/2 + 3}
	p.Y = make([]byte, p.YStride*h)
	p.U, p.V = make([]byte, p.CStride*((h+1)/2)), make([]byte, p.CStride*((h+1)/2))
	for i := range p.Y {
		p.Y[i] = byte(100 + i%90)
	}
	for i := range p.U {
		p.U[i], p.V[i] = byte(i%100), byte(150+i%100)
	}
	return p
}

func TestAppliedPicturesAreTheSourceOutsideAndTheFillInside(t *testing.T) {
	for _, size := range []nvr.Size{{Width: 64, Height: 48}, {Width: 65, Height: 49}, {Width: 33, Height: 17}, {Width: 47, Height: 31}, {Width: 16, Height: 16}} {
		t.Run(size.String(), func(t *testing.T) {
			p := plan(t, size, pixels(size, 9, 9, 14, 9, 14, 14), pixels(size, float64(size.Width)-1, float64(size.Height)-1, float64(size.Width), float64(size.Height)-1, float64(size.Width), float64(size.Height)))
			src, c := busy(size), canvas(t, size)
			pic := p.Apply(src, 1, 1, c)
			if pic.Obscured() != nvr.Recorded || pic.Digest() != p.Digest() || pic.Canvas() != c || !pic.Valid() {
				t.Fatalf("the picture is obscured for %v, or does not say what it is", pic.Obscured())
			}
			checkPlanes(t, p, src, pic.Planes())
		})
	}
}

// checkPlanes requires every sample of all planes, the padding included.
func checkPlanes(t *testing.T, p *Plan, src, got Planes) {
	t.Helper()
	w, h := p.size.Width, p.size.Height
	for y := range even(h) {
		for x := range even(w) {
			sx, sy := min(x, w-1), min(y, h-1)
			want := src.Y[sy*src.YStride+sx]
			if p.Covers(sx, sy) {
				want = FillY
			}
			if got.Y[y*got.YStride+x] != want {
				t.Fatalf("luma %d,%d is %d, want %d", x, y, got.Y[y*got.YStride+x], want)
			}
		}
	}
	for y := range (h + 1) / 2 {
		for x := range (w + 1) / 2 {
			u, v := src.U[y*src.CStride+x], src.V[y*src.CStride+x]
			if p.Covers(2*x, 2*y) {
				u, v = FillU, FillV
			}
			if gu, gv := got.U[y*got.CStride+x], got.V[y*got.CStride+x]; gu != u || gv != v {
				t.Fatalf("chroma %d,%d is %d,%d, want %d,%d", x, y, gu, gv, u, v)
			}
		}
	}
}

func checkFilled(t *testing.T, got Planes) {
	t.Helper()
	for y := range even(got.Size.Height) {
		row := got.Y[y*got.YStride:][:even(got.Size.Width)]
		if len(bytes.Trim(row, string([]byte{FillY}))) != 0 {
			t.Fatalf("luma row %d is not filled", y)
		}
	}
	for y := range (got.Size.Height + 1) / 2 {
		for x := range (got.Size.Width + 1) / 2 {
			if got.U[y*got.CStride+x] != FillU || got.V[y*got.CStride+x] != FillV {
				t.Fatalf("chroma %d,%d is not filled", x, y)
			}
		}
	}
}

func TestAPictureThatIsNotThePlansIsObscuredWhole(t *testing.T) {
	size := nvr.Size{Width: 65, Height: 49}
	p := plan(t, size)
	short := busy(size)
	short.V = short.V[:len(short.V)/2]
	for _, c := range []struct {
		name  string
		src   Planes
		w, h  int
		dst   nvr.Size
		cause nvr.Cause
	}{
		{"as planned", busy(size), 1, 1, size, nvr.Recorded},
		{"aspect not said", busy(size), 0, 0, size, nvr.Recorded},
		{"aspect in other terms", busy(size), 7, 7, size, nvr.Recorded},
		{"wider", busy(nvr.Size{Width: 66, Height: 49}), 1, 1, size, nvr.ObscuredWrongSize},
		{"turned", busy(nvr.Size{Width: 49, Height: 65}), 1, 1, size, nvr.ObscuredWrongSize},
		{"other aspect", busy(size), 4, 3, size, nvr.ObscuredWrongSize},
		{"other canvas", busy(size), 1, 1, nvr.Size{Width: 33, Height: 21}, nvr.ObscuredWrongSize},
		{"planes too short", short, 1, 1, size, nvr.ObscuredWrongSize},
	} {
		t.Run(c.name, func(t *testing.T) {
			pic := p.Apply(c.src, c.w, c.h, canvas(t, c.dst))
			if pic.Obscured() != c.cause {
				t.Fatalf("obscured for %v, want %v", pic.Obscured(), c.cause)
			}
			if c.cause != nvr.Recorded {
				checkFilled(t, pic.Planes())
			}
		})
	}
}

func TestObscureFillsEverything(t *testing.T) {
	size := nvr.Size{Width: 35, Height: 19}
	p, c := plan(t, size), canvas(t, size)
	before := p.Apply(busy(size), 1, 1, c)
	pic := p.Obscure(nvr.ObscuredDamaged, c)
	checkFilled(t, pic.Planes())
	if pic.Obscured() != nvr.ObscuredDamaged || pic.Digest() != p.Digest() || before.Valid() {
		t.Error("the picture does not say why it is obscured, or the one before still counts as painted")
	}
	if f := pic.Figures(); f.Luma != 0 || f.Change != 0 || f.Edges != 0 {
		t.Errorf("figures %+v of a picture with nothing visible", f)
	}
}

func TestFiguresDoNotDependOnWhatIsHidden(t *testing.T) {
	size := nvr.Size{Width: 160, Height: 96}
	p := plan(t, size, pixels(size, 40, 40, 80, 40, 80, 80, 40, 80))
	rapid.Check(t, func(t *rapid.T) {
		a, b := busy(size), busy(size)
		noise := rapid.SliceOfN(rapid.Byte(), 64, 64).Draw(t, "noise")
		for y := range size.Height {
			for x := range size.Width {
				if p.Covers(x, y) {
					b.Y[y*b.YStride+x] = noise[(x+y*7)%64]
				}
			}
		}
		ca, _ := NewCanvas(NewPlanes(size, false))
		cb, _ := NewCanvas(NewPlanes(size, false))
		for range 2 {
			if fa, fb := p.Apply(a, 1, 1, ca).Figures(), p.Apply(b, 1, 1, cb).Figures(); fa != fb {
				t.Fatalf("figures %+v and %+v", fa, fb)
			}
		}
	})
}

func TestFiguresMeasureTheVisiblePart(t *testing.T) {
	size := nvr.Size{Width: 64, Height: 32}
	p := plan(t, size, pixels(size, 1, 1, 15, 1, 15, 31, 1, 31))
	src := NewPlanes(size, false)
	fill(src.Y, 50)
	c := canvas(t, size)
	first := p.Apply(src, 1, 1, c)
	if f := first.Figures(); f.Luma != 50 || f.Change != 0 || f.Edges != 0 || f.Sum != crc32.Checksum(first.Planes().Y, castagnoli) {
		t.Errorf("an even picture has the figures %+v", f)
	}
	if again := p.Apply(src, 1, 1, c).Figures(); again != first.Figures() {
		t.Errorf("the same picture again has the figures %+v", again)
	}
	for y := range size.Height {
		for x := range size.Width {
			if x >= 40 {
				src.Y[y*src.YStride+x] = byte(100 + x%2*10) // half of what is visible
			}
		}
	}
	if f := p.Apply(src, 1, 1, c).Figures(); f.Luma != 80 || f.Change != 5000 || f.Edges != 500 {
		t.Errorf("the changed picture has the figures %+v", f)
	}
	p.Obscure(nvr.ObscuredDamaged, c)
	fill(src.Y, 200)
	if f := p.Apply(src, 1, 1, c).Figures(); f.Change != 0 {
		t.Errorf("after an obscured picture there is nothing to compare with, yet Change is %d", f.Change)
	}
}

func TestShrinkIsTheMeanOfWhatItStandsFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := nvr.Size{Width: rapid.IntRange(16, 90).Draw(t, "w"), Height: rapid.IntRange(16, 60).Draw(t, "h")}
		small := nvr.Size{Width: rapid.IntRange(1, size.Width).Draw(t, "dw"), Height: rapid.IntRange(1, size.Height).Draw(t, "dh")}
		src := busy(size)
		for i := range src.Y {
			src.Y[i] = byte(i * 37)
		}
		p, err := NewPlan(spec(size))
		if err != nil {
			t.Fatal(err)
		}
		big, _ := NewCanvas(NewPlanes(size, false))
		dst, _ := NewCanvas(NewPlanes(small, false))
		pic := p.Apply(src, 1, 1, big)
		got := pic.Shrink(dst)
		if got.Figures() != pic.Figures() || got.Digest() != pic.Digest() || !got.Valid() {
			t.Fatal("the small picture does not say what the large one does")
		}
		q := got.Planes()
		for y := range small.Height {
			for x := range small.Width {
				x0, x1 := box(x, size.Width, small.Width)
				y0, y1 := box(y, size.Height, small.Height)
				sum := 0
				for sy := y0; sy < y1; sy++ {
					for sx := x0; sx < x1; sx++ {
						sum += int(src.Y[sy*src.YStride+sx])
					}
				}
				n := (x1 - x0) * (y1 - y0)
				if want := (sum + n/2) / n; int(q.Y[y*q.YStride+x]) != want {
					t.Fatalf("sample %d,%d is %d, want %d", x, y, q.Y[y*q.YStride+x], want)
				}
			}
		}
	})
}

func TestShrinkKeepsAnObscuredPictureFilled(t *testing.T) {
	size := nvr.Size{Width: 131, Height: 67}
	p := plan(t, size)
	pic := p.Obscure(nvr.ObscuredPrivacyInterval, canvas(t, size)).Shrink(canvas(t, nvr.Size{Width: 33, Height: 17}))
	checkFilled(t, pic.Planes())
	if pic.Obscured() != nvr.ObscuredPrivacyInterval {
		t.Errorf("the small picture is obscured for %v", pic.Obscured())
	}
}

func TestACanvasNeedsMemoryForItsPadding(t *testing.T) {
	p := NewPlanes(nvr.Size{Width: 33, Height: 33}, false)
	p.Y = p.Y[:33*34]
	if _, err := NewCanvas(p); err == nil {
		t.Error("a canvas was made of memory without room for the padding")
	}
}

func BenchmarkApply1080p(b *testing.B) {
	size := nvr.Size{Width: 1920, Height: 1080}
	p := plan(b, size, pixels(size, 193, 641, 671, 641, 671, 959, 193, 959))
	src, c := busy(size), canvas(b, size)
	for b.Loop() {
		p.Apply(src, 1, 1, c)
	}
}

func BenchmarkShrink1080pToTile(b *testing.B) {
	size := nvr.Size{Width: 1920, Height: 1080}
	p := plan(b, size)
	pic := p.Apply(busy(size), 1, 1, canvas(b, size))
	dst := canvas(b, nvr.Size{Width: 384, Height: 216})
	for b.Loop() {
		pic.Shrink(dst)
	}
}
