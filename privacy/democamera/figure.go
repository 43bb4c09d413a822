package democamera

import (
	"math"
	"time"
)

// Where the detained person walks between.
var (
	seat  = pt{0.560, 0.800} // feet while sitting on the bench
	hatch = pt{0.270, 0.665} // before the door
)

var (
	skin     = rgb{0.82, 0.63, 0.51}
	hair     = rgb{0.22, 0.16, 0.12}
	shirt    = rgb{0.58, 0.59, 0.62}
	trousers = rgb{0.25, 0.27, 0.32}
	shoes    = rgb{0.14, 0.14, 0.15}
)

// walker sits on the bench, gets up, walks to the door, waits at the hatch and walks back. t is in
// seconds of the film.
func (s *Scene) walker(p brush, t float64) {
	const rise, there, back, sit = 4.0, 7.2, 8.8, 12.0
	switch {
	case t < rise-0.4:
		s.person(p, seat, 1, 0.06*math.Sin(t*1.7), 0, 1)
	case t < rise+0.4:
		s.person(p, seat, 1-smooth((t-rise+0.4)/0.8), 0, 0, -1)
	case t < there:
		f := (t - rise - 0.4) / (there - rise - 0.4)
		s.person(p, seat.to(hatch, smooth(f)), 0, 0, math.Sin(f*14)*math.Sin(f*math.Pi), -1)
	case t < back:
		s.person(p, hatch, 0, 0.05*math.Sin((t-there)*4), 0, -1)
	case t < sit-0.8:
		f := (t - back) / (sit - 0.8 - back)
		s.person(p, hatch.to(seat, smooth(f)), 0, 0, math.Sin(f*14)*math.Sin(f*math.Pi), 1)
	default:
		s.person(p, seat, smooth((t-sit+0.8)/0.8), 0, 0, 1)
	}
}

func smooth(f float64) float64 {
	f = min(max(f, 0), 1)
	return f * f * (3 - 2*f)
}

// person draws the detained person: feet where they stand, sitting from 0 to 1, lean and stride
// from -1 to 1, facing -1 left or 1 right.
func (s *Scene) person(p brush, feet pt, sitting, lean, stride, facing float64) {
	aspect := float64(p.dst.Size.Height) / float64(p.dst.Size.Width)
	tall := 0.36 + (feet.y-0.60)*0.55 // nearer is larger
	at := func(x, y float64) pt { return pt{feet.x + x*tall*aspect, feet.y - y*tall} }
	mix := func(a, b pt) pt { return a.to(b, sitting) }

	hip := mix(at(0, 0.50), at(0.16, 0.36))
	chest := mix(at(0.03*facing+lean, 0.78), at(0.15+lean, 0.62))
	head := mix(at(0.05*facing+lean*1.4, 0.93), at(0.13+lean*1.5, 0.79))
	kneeA := mix(at(0.10*stride+0.02*facing, 0.26), at(-0.03, 0.32))
	kneeB := mix(at(-0.10*stride+0.02*facing, 0.26), at(0.06, 0.33))
	footA := mix(at(0.20*stride, 0.015+0.03*max(0, stride)), at(-0.05, 0.01))
	footB := mix(at(-0.20*stride, 0.015+0.03*max(0, -stride)), at(0.05, 0.02))

	p.shadow(at(-0.12, -0.005), at(0.16, 0.01), 0.05*tall)
	for _, leg := range [][2]pt{{kneeB, footB}, {kneeA, footA}} {
		p.limb(hip, leg[0], 0.075*tall, 0.058*tall, trousers, 1)
		p.limb(leg[0], leg[1], 0.055*tall, 0.040*tall, trousers, 1)
		p.limb(leg[1], pt{leg[1].x + 0.07*tall*aspect*facing, leg[1].y + 0.006*tall}, 0.032*tall, 0.028*tall, shoes, 1)
	}
	handB := mix(at(0.12*stride+0.02*facing, 0.46), at(0.02, 0.40))
	handA := mix(at(-0.12*stride+0.06*facing, 0.46), at(-0.05, 0.38))
	p.limb(chest, handB, 0.055*tall, 0.036*tall, shirt.times(0.85), 1)
	p.limb(hip, chest, 0.092*tall, 0.105*tall, shirt, 1)
	shoulder := chest.to(hip, 0.08)
	p.limb(shoulder, shoulder.to(handA, 0.55), 0.056*tall, 0.044*tall, shirt.times(0.92), 1)
	p.limb(shoulder.to(handA, 0.55), handA, 0.042*tall, 0.034*tall, shirt.times(0.92), 1)
	p.limb(handA, handA, 0.034*tall, 0.034*tall, skin, 1)
	p.limb(chest.to(head, 0.5), head, 0.035*tall, 0.035*tall, skin.times(0.9), 1)
	p.limb(head, head, 0.068*tall, 0.068*tall, skin, 1)
	crown := pt{head.x - 0.014*tall*aspect*facing, head.y - 0.026*tall}
	p.limb(crown, crown, 0.058*tall, 0.058*tall, hair, 1)
}

// sleeper is the detained person under the blanket, breathing: the chest moves by one and a half
// samples four times a minute... at 0.25 Hz, which is what the night test looks for.
func (s *Scene) sleeper(p brush, t time.Duration, blanket, head rgb) {
	breath := 1.5 / float64(p.dst.Size.Height) * math.Sin(2*math.Pi*0.25*t.Seconds())
	lift := func(q pt, by float64) pt { return pt{q.x, q.y - 0.045 - by} }
	pillow := lift(on(0.12, 0.5), 0.008)
	p.limb(pillow, pillow, 0.030, 0.030, head, 1)
	p.limb(pt{pillow.x - 0.006, pillow.y - 0.008}, pt{pillow.x - 0.003, pillow.y - 0.012}, 0.026, 0.024, rgb{head.r * 0.3, head.r * 0.25, head.r * 0.22}, 1)
	p.limb(lift(on(0.22, 0.55), breath), lift(on(0.90, 0.50), 0), 0.062, 0.040, blanket.times(0.72), 1)
	p.limb(lift(on(0.24, 0.50), 0.012+breath), lift(on(0.52, 0.48), 0.010+breath), 0.050, 0.046, blanket, 1)
	p.limb(lift(on(0.52, 0.48), 0.010+breath), lift(on(0.88, 0.46), 0.004), 0.046, 0.030, blanket, 1)
	p.limb(lift(on(0.58, 0.40), 0.024), lift(on(0.70, 0.40), 0.020), 0.020, 0.018, blanket.times(1.12), 1)
}
