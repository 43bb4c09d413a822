package codec

import (
	"math"
	"math/cmplx"
	"math/rand/v2"
	"testing"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/mask"
)

// night draws a dark cell under infra-red: sensor noise everywhere, and a blanket of faint folds
// that moves by one or two samples to either side at 0.25 Hz, as over somebody who breathes.
type night struct {
	noise *rand.Rand
	fps   float64
	swing float64 // samples
	sigma float64
}

const breath = 0.25 // Hz

func (n *night) blanket(size nvr.Size) (x0, y0, x1, y1 int) {
	return size.Width / 4, size.Height / 3, size.Width * 3 / 4, size.Height * 2 / 3
}

func (n *night) draw(i int, p mask.Planes) {
	move := n.swing * math.Sin(2*math.Pi*breath*float64(i)/n.fps)
	x0, y0, x1, y1 := n.blanket(p.Size)
	for y := range p.Size.Height {
		row := p.Y[y*p.YStride:][:p.Size.Width]
		for x := range row {
			v := 30 + 4*math.Sin(float64(x)/40)
			if x >= x0 && x < x1 && y >= y0 && y < y1 {
				u, w := float64(x)+move, float64(y)+move/2
				v = 38 + 4*math.Sin(u/3.5+w/11) + 3*math.Sin(u/9-w/6)
			}
			row[x] = uint8(min(max(v+n.noise.NormFloat64()*n.sigma+0.5, 0), 255))
		}
	}
}

// component accumulates the part of each sample at the breathing frequency.
type component struct {
	at []complex128
	n  int
}

func (c *component) add(n *night, p mask.Planes) {
	x0, y0, x1, y1 := n.blanket(p.Size)
	if c.at == nil {
		c.at = make([]complex128, (x1-x0)*(y1-y0))
	}
	turn := cmplx.Exp(complex(0, -2*math.Pi*breath*float64(c.n)/n.fps))
	i := 0
	for y := y0; y < y1; y++ {
		for _, v := range p.Y[y*p.YStride+x0 : y*p.YStride+x1] {
			c.at[i] += turn * complex(float64(v), 0)
			i++
		}
	}
	c.n++
}

// left is the share of the motion energy of src that is found in c with the right sign: noise or
// blocks that flicker at the same frequency do not count.
func (c *component) left(src *component) float64 {
	var dot, energy float64
	for i, s := range src.at {
		dot += real(c.at[i] * cmplx.Conj(s))
		energy += real(s * cmplx.Conj(s))
	}
	g := dot / energy
	return g * g
}

func nightEnergy(t *testing.T, cfg EncoderConfig, n *night, seconds int) (left, kbit float64) {
	t.Helper()
	e := testEncoder(t, cfg)
	plan := testPlan(t, cfg.Size)
	src := mask.NewPlanes(cfg.Size, false)
	d, err := NewDecoder(H264, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var before, after component
	size := 0
	for i := range seconds * int(n.fps) {
		n.draw(i, src)
		before.add(n, src)
		pts := time.Duration(float64(i) / n.fps * float64(time.Second))
		p, err := e.Encode(plan.Apply(src, 1, 1, e.Canvas()), pts, i%int(n.fps) == 0)
		if err != nil {
			t.Fatal(err)
		}
		size += len(annexBytes(p))
		au := p.NALs
		if p.Key {
			au = append([][]byte{p.SPS, p.PPS}, au...)
		}
		if err := d.Decode(au, pts, func(q Decoded) error { after.add(n, q.Planes); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if after.n != before.n {
		t.Fatalf("%d pictures in, %d out", before.n, after.n)
	}
	return after.left(&before), float64(size) * 8 / 1000 / float64(seconds)
}

func TestSlowBreathingInTheDarkSurvives(t *testing.T) {
	for _, swing := range []float64{1, 2} {
		for _, sigma := range []float64{1, 3, 6} {
			n := &night{noise: rand.New(rand.NewPCG(1, 2)), fps: 10, swing: swing, sigma: sigma}
			left, kbit := nightEnergy(t, EncoderConfig{Size: nvr.Size{Width: 160, Height: 96}}, n, 8)
			t.Logf("swing %v, noise %v: %.1f %% left, %.0f kbit/s", swing, sigma, left*100, kbit)
			if left < 0.8 {
				t.Errorf("swing %v, noise %v: %.1f %% of the motion energy is left, want 80 %%", swing, sigma, left*100)
			}
		}
	}
}
