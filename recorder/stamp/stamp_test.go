package stamp

import (
	"testing"
	"time"

	"custody-nvr/nvr"
)

// A world is what happens to one camera: every function gets the true time since the start.
type world struct {
	for_    time.Duration
	rate    float64                                                // of the camera's clock, 1 is right
	sent    func(t time.Duration, pts time.Duration) time.Duration // changes the PTS, may be nil
	delay   func(i int) time.Duration                              // from exposure to arrival, may be nil
	wall    func(t time.Duration) time.Duration                    // error of the system clock, may be nil
	reconn  time.Duration                                          // a new run this often, 0 never
	spacing time.Duration
}

type result struct {
	frames  int
	cuts    int
	steps   int
	byArr   int           // frames stamped by arrival
	worst   time.Duration // largest error of UTC against the system clock's true exposure, after settling
	stretch float64       // largest deviation of spacing in UTC from that in PTS, as a fraction, while not by arrival
}

var zero = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// play runs the world at 10 frames a second with a key frame a second and checks order on the way.
func play(t *testing.T, w world) (r result) {
	t.Helper()
	if w.rate == 0 {
		w.rate = 1
	}
	if w.spacing == 0 {
		w.spacing = 100 * time.Millisecond
	}
	var s Stamper
	var last Frame
	run, began := nvr.NewRunID(), time.Duration(0)
	base := 5 * time.Hour // monotonic
	lastMono := time.Duration(0)
	for i := 0; time.Duration(i)*w.spacing < w.for_; i++ {
		at := time.Duration(i) * w.spacing // exposed
		if w.reconn > 0 && at-began >= w.reconn {
			run, began = nvr.NewRunID(), at
		}
		pts := time.Duration(float64(at-began) * w.rate)
		if w.sent != nil {
			pts = w.sent(at, pts)
		}
		arr := at
		if w.delay != nil {
			arr += w.delay(i)
		}
		mono := max(base+arr, lastMono) // packets keep their order
		lastMono = mono
		wallErr := time.Duration(0)
		if w.wall != nil {
			wallErr = w.wall(mono - base)
		}
		f := s.Stamp(nvr.Frame{Run: run, Seq: uint64(i), Key: i%10 == 0 || at == began, PTS: pts, Arrived: mono}, zero.Add(mono-base+wallErr), mono, Synced)
		r.frames++
		if f.Cut {
			r.cuts++
		}
		if f.Step != 0 {
			r.steps++
		}
		if f.Clock&ByArrival != 0 {
			r.byArr++
		}
		if i > 0 && !f.UTC.After(last.UTC) && f.Step >= 0 {
			t.Fatalf("frame %d at %s has UTC %s, not after %s", i, at, f.UTC, last.UTC)
		}
		if i > 0 && f.Run == last.Run && !f.Cut && f.Media <= last.Media {
			t.Fatalf("frame %d at %s has media time %s, not after %s", i, at, f.Media, last.Media)
		}
		if i > 0 && f.Run == last.Run && !f.Cut && (f.Clock|last.Clock)&ByArrival == 0 && at-began > 3*time.Second {
			d := float64(f.UTC.Sub(last.UTC)-(f.PTS-last.PTS)) / float64(f.PTS-last.PTS)
			r.stretch = max(r.stretch, d, -d)
		}
		if e := f.UTC.Sub(zero.Add(at + wallErr)).Abs(); at > 3*time.Second && e > r.worst {
			r.worst = e
		}
		last = f
	}
	return r
}

func jitter(most time.Duration) func(int) time.Duration {
	return func(i int) time.Duration { return time.Duration(uint32(i)*2654435761>>8) % most }
}

func TestStampRule(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name    string
		w       world
		cuts    [2]int // at least, at most
		steps   int
		byArr   [2]float64 // share of frames, at least, at most
		worst   time.Duration
		stretch float64
	}{
		{name: "right clock, even network", w: world{for_: 10 * time.Minute}, worst: 2 * ms, stretch: 1e-6},
		{name: "least-delayed frame wins over jitter of 400 ms", w: world{for_: 10 * time.Minute, delay: jitter(400 * ms)}, worst: 120 * ms, stretch: 600e-6},
		{name: "group sent in a burst at the connection", w: world{for_: time.Minute, delay: func(i int) time.Duration { return max(0, 900*ms-time.Duration(i)*100*ms) }}, worst: 2 * ms, stretch: 600e-6},
		{name: "a stall of 2.5 s and the burst after it", w: world{for_: time.Minute, delay: func(i int) time.Duration {
			if i == 305 {
				return 2500 * ms
			}
			return 0
		}}, worst: 5 * ms, stretch: 600e-6},
		{name: "clock 300 ppm fast is followed", w: world{for_: 30 * time.Minute, rate: 1.0003}, worst: 60 * ms, stretch: 1e-3},
		{name: "clock 300 ppm slow is followed", w: world{for_: 30 * time.Minute, rate: 0.9997}, worst: 60 * ms, stretch: 1e-3},
		{name: "F-31 clock 2 % fast", w: world{for_: 10 * time.Minute, rate: 1.02}, cuts: [2]int{1, 2}, byArr: [2]float64{0.8, 1}, worst: 1200 * ms, stretch: 1e-3},
		{name: "F-30 declared 25, delivered 21", w: world{for_: 10 * time.Minute, rate: 0.84}, cuts: [2]int{1, 2}, byArr: [2]float64{0.9, 1}, worst: 1600 * ms, stretch: 1e-3},
		{name: "F-25 hours out of line every few seconds", w: world{for_: 5 * time.Minute, sent: func(at, pts time.Duration) time.Duration {
			if at/(100*ms)%70 == 35 {
				return pts + 9800*time.Second
			}
			return pts
		}}, byArr: [2]float64{0.01, 0.02}, worst: 5 * ms, stretch: 1e-3},
		{name: "camera clock jumps back 5 s once", w: world{for_: 5 * time.Minute, sent: func(at, pts time.Duration) time.Duration {
			if at >= time.Minute {
				return pts - 5*time.Second
			}
			return pts
		}}, cuts: [2]int{1, 1}, byArr: [2]float64{0, 0.01}, worst: 5 * ms, stretch: 1e-3},
		{name: "camera clock jumps on by 9 h", w: world{for_: 5 * time.Minute, sent: func(at, pts time.Duration) time.Duration {
			if at >= time.Minute {
				return pts + 9*time.Hour
			}
			return pts
		}}, cuts: [2]int{1, 1}, byArr: [2]float64{0, 0.01}, worst: 5 * ms, stretch: 1e-3},
		{name: "F-26 reconnects every 20 s", w: world{for_: 5 * time.Minute, reconn: 20 * time.Second, delay: jitter(50 * ms)}, worst: 60 * ms, stretch: 1e-3},
		{name: "F-24 system clock set back 1 h", w: world{for_: 2 * time.Minute, wall: func(at time.Duration) time.Duration {
			if at > 61500*ms {
				return -time.Hour
			}
			return 0
		}}, cuts: [2]int{1, 1}, steps: 1, worst: 2 * time.Hour, stretch: 1e-3},
		{name: "F-57 system clock set on 1 year", w: world{for_: 2 * time.Minute, wall: func(at time.Duration) time.Duration {
			if at > 61500*ms {
				return 365 * 24 * time.Hour
			}
			return 0
		}}, cuts: [2]int{1, 1}, steps: 1, worst: 366 * 24 * time.Hour, stretch: 1e-3},
		{name: "system clock bled by 200 ms is no step", w: world{for_: 10 * time.Minute, wall: func(at time.Duration) time.Duration {
			return min(200*ms, time.Duration(float64(at)*400e-6))
		}}, worst: 60 * ms, stretch: 1e-3},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := play(t, c.w)
			share := float64(r.byArr) / float64(r.frames)
			if r.cuts < c.cuts[0] || r.cuts > c.cuts[1] || r.steps != c.steps {
				t.Errorf("%d cuts, want %v; %d steps, want %d", r.cuts, c.cuts, r.steps, c.steps)
			}
			if share < c.byArr[0] || share > c.byArr[1] {
				t.Errorf("%.4f of the frames by arrival, want %v", share, c.byArr)
			}
			if r.worst > c.worst || r.stretch > c.stretch {
				t.Errorf("worst error %s, want %s; spacing stretched by %.6f, want %.6f", r.worst, c.worst, r.stretch, c.stretch)
			}
		})
	}
}

func TestNothingIsStampedBeforeWhatIsRecorded(t *testing.T) {
	var s Stamper
	s.After(zero.Add(800 * time.Millisecond)) // a burst brings pictures from before the connection
	f := s.Stamp(nvr.Frame{Run: nvr.NewRunID(), Key: true, Arrived: time.Hour}, zero, time.Hour, Synced)
	if f.UTC.Before(zero.Add(800*time.Millisecond)) || f.Clock&Shifted == 0 {
		t.Errorf("stamped %s, %s", f.UTC, f.Clock)
	}
}

func TestStateNames(t *testing.T) {
	for s, want := range map[State]string{Untrusted: "untrusted", Synced | ByArrival: "synced by-arrival", Holdover | SteppedBack: "holdover stepped-back"} {
		if s.String() != want || !s.Known() {
			t.Errorf("state %d is %q, known %v", s, s, s.Known())
		}
	}
	if State(3).Known() || State(8).Known() {
		t.Error("an unknown state passes")
	}
}
