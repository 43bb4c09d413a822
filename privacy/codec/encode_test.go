package codec

import (
	"bytes"
	"testing"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/mask"
)

func testPlan(tb testing.TB, size nvr.Size, areas ...[]nvr.Point) *mask.Plan {
	tb.Helper()
	spec := nvr.MaskSpec{Picture: size, Areas: areas, Version: 1}
	if len(areas) == 0 {
		spec.NoToiletInView = "test"
	}
	p, err := mask.NewPlan(spec)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func testEncoder(tb testing.TB, cfg EncoderConfig) *Encoder {
	tb.Helper()
	e, err := NewEncoder(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(e.Close)
	return e
}

var corner = []nvr.Point{{X: 0.1, Y: 0.6}, {X: 0.35, Y: 0.6}, {X: 0.35, Y: 0.9}, {X: 0.1, Y: 0.9}}

// annexBytes joins a packet into a stream that any player takes.
func annexBytes(p Packet) []byte {
	var b []byte
	for _, u := range append([][]byte{p.SPS, p.PPS}, p.NALs...) {
		if len(u) > 0 {
			b = append(append(b, 0, 0, 0, 1), u...)
		}
	}
	return b
}

// drawNoise fills a picture with a moving pattern and noise of a seed.
func drawNoise(p mask.Planes, t int, seed uint32) {
	x := seed | 1
	for i := range p.Y {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		row, col := i/p.YStride, i%p.YStride
		p.Y[i] = byte(60 + (row+t)/2%60 + col/3%80 + int(x%7))
	}
	for i := range p.U {
		p.U[i], p.V[i] = byte(100+i%50), byte(150-(i+t)%40)
	}
}

func TestEveryPictureComesOutAtOnceAndDecodesElsewhere(t *testing.T) {
	size := nvr.Size{Width: 320, Height: 240}
	e := testEncoder(t, EncoderConfig{Size: size})
	plan := testPlan(t, size, corner)
	src := mask.NewPlanes(size, false)
	var stream []byte
	for i := range 30 {
		drawNoise(src, i, 7)
		p, err := e.Encode(plan.Apply(src, 1, 1, e.Canvas()), time.Duration(i)*40*time.Millisecond, i%10 == 0)
		if err != nil {
			t.Fatal(err)
		}
		if p.Key != (i%10 == 0) || p.Key != (p.SPS != nil) || p.Key != (p.PPS != nil) {
			t.Errorf("picture %d: key %v with parameter sets %d and %d", i, p.Key, len(p.SPS), len(p.PPS))
		}
		for _, n := range p.NALs {
			if typ := n[0] & 31; typ != 1 && typ != 5 {
				t.Errorf("picture %d: NAL unit of type %d", i, typ)
			}
		}
		stream = append(stream, annexBytes(p)...)
	}
	raw := ffmpeg(t, stream, "-f", "h264", "-i", "-", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-")
	if want := 320 * 240 * 3 / 2 * 30; len(raw) != want {
		t.Errorf("ffmpeg decodes %d bytes, want %d", len(raw), want)
	}
}

func TestOnlyAPicturePaintedOnThisCanvasIsEncoded(t *testing.T) {
	size := nvr.Size{Width: 64, Height: 64}
	e, other := testEncoder(t, EncoderConfig{Size: size}), testEncoder(t, EncoderConfig{Size: size})
	plan := testPlan(t, size)
	src := mask.NewPlanes(size, false)
	old := plan.Apply(src, 1, 1, e.Canvas())
	if _, err := e.Encode(old, 0, true); err != nil {
		t.Fatal(err)
	}
	fresh := plan.Apply(src, 1, 1, e.Canvas())
	for name, pic := range map[string]mask.Picture{
		"the zero picture":     {},
		"of another encoder":   plan.Apply(src, 1, 1, other.Canvas()),
		"that is painted over": old,
	} {
		if _, err := e.Encode(pic, time.Second, false); err == nil {
			t.Errorf("a picture %s was encoded", name)
		}
	}
	if _, err := e.Encode(fresh, 0, false); err == nil {
		t.Error("a picture was encoded whose time does not rise")
	}
	if _, err := e.Encode(fresh, time.Second, false); err != nil {
		t.Error(err)
	}
}

// The picture's hidden part must not be in the packets in any form: not in samples, not in a
// quantiser, not in a size.
func TestPicturesThatDifferOnlyInsideTheMaskGiveEqualPackets(t *testing.T) {
	size := nvr.Size{Width: 322, Height: 242}
	for _, n := range []int{1, 100} {
		plan := testPlan(t, size, corner)
		a, b := testEncoder(t, EncoderConfig{Size: size}), testEncoder(t, EncoderConfig{Size: size})
		sa, sb := mask.NewPlanes(size, false), mask.NewPlanes(size, false)
		for i := range n {
			drawNoise(sa, i, 7)
			drawNoise(sb, i, 7)
			scribble(plan, sb, byte(i))
			if bytes.Equal(sa.Y, sb.Y) || bytes.Equal(sa.U, sb.U) || bytes.Equal(sa.V, sb.V) {
				t.Fatal("the test scribbles nothing")
			}
			pts := time.Duration(i) * 40 * time.Millisecond
			pa, err := a.Encode(plan.Apply(sa, 1, 1, a.Canvas()), pts, i%25 == 0)
			if err != nil {
				t.Fatal(err)
			}
			pb, err := b.Encode(plan.Apply(sb, 1, 1, b.Canvas()), pts, i%25 == 0)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(annexBytes(pa), annexBytes(pb)) {
				t.Fatalf("packet %d of %d shows what is behind the mask", i, n)
			}
		}
	}
}

// scribble draws a bright pattern into what the plan hides.
func scribble(plan *mask.Plan, p mask.Planes, seed byte) {
	for y := range p.Size.Height {
		for x := range p.Size.Width {
			if plan.Covers(x, y) {
				p.Y[y*p.YStride+x] = byte(x*y) + seed
				p.U[y/2*p.CStride+x/2] = byte(x) + seed
				p.V[y/2*p.CStride+x/2] = byte(y) ^ seed
			}
		}
	}
}
