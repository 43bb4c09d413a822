package main

import (
	"bytes"
	"fmt"
	"math"
	"math/cmplx"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/camera/clip"
	"custody-nvr/privacy/camera/fakecamera"
	"custody-nvr/privacy/codec"
	"custody-nvr/privacy/mask"
	"custody-nvr/recorder/live"
	"custody-nvr/recorder/stamp"
)

// A night is what an infra-red camera sees of a dark cell: the noise of its sensor everywhere, and a
// dark blanket of faint folds that goes up and down by a pixel or two with somebody's breath.
type night struct {
	size  nvr.Size
	fps   float64
	swing float64 // pixels to either side
	sigma float64 // of the noise, in code values
	noise *rand.Rand
}

const breath = 0.25 // Hz

func (n *night) blanket() rect {
	w, h := n.size.Width, n.size.Height
	return rect{w / 4, h / 3, w * 3 / 4, h * 2 / 3}
}

// nightWC is where nobody looks at night.
func (n *night) wc() rect {
	w, h := n.size.Width, n.size.Height
	return rect{w * 13 / 16 &^ 15, h * 3 / 4 &^ 15, w * 15 / 16 &^ 15, h * 15 / 16 &^ 15}
}

// draw draws picture i, its number in the top left corner, eight blocks of one bit.
func (n *night) draw(i int, p mask.Planes) {
	move := n.swing * math.Sin(2*math.Pi*breath*float64(i)/n.fps)
	in := n.blanket()
	// The folds are a product of sums of one coordinate each, so that a picture costs few sines.
	var sx, cx, sx2, cx2 []float64
	for x := range n.size.Width {
		u := float64(x) + move
		sx, cx = append(sx, math.Sin(u/3.5)), append(cx, math.Cos(u/3.5))
		sx2, cx2 = append(sx2, math.Sin(u/9)), append(cx2, math.Cos(u/9))
	}
	for y := range n.size.Height {
		row := p.Y[y*p.YStride:][:n.size.Width]
		w := float64(y) + move/2
		s, c, s2, c2 := math.Sin(w/11), math.Cos(w/11), math.Sin(w/6), math.Cos(w/6)
		for x := range row {
			v := 30.0
			if x >= in.x0 && x < in.x1 && y >= in.y0 && y < in.y1 {
				v = 38 + 4*(sx[x]*c+cx[x]*s) + 3*(sx2[x]*c2-cx2[x]*s2)
			}
			row[x] = uint8(min(max(v+n.noise.NormFloat64()*n.sigma+0.5, 16), 235))
		}
	}
	if n.size.Width < 8*barcode || n.size.Height < barcode {
		return
	}
	for y := range barcode {
		for bit := range 8 {
			for x := range barcode {
				p.Y[y*p.YStride+bit*barcode+x] = uint8(16 + i>>bit&1*200)
			}
		}
	}
}

// barcode is the side of one bit of a picture's number.
const barcode = 16

// number reads the number of a drawn picture.
func (p picture) number() int {
	n := 0
	for bit := range 8 {
		if p.y[(barcode/2)*p.size.Width+bit*barcode+barcode/2] > 110 {
			n |= 1 << bit
		}
	}
	return n
}

// film has n pictures coded as a camera's own x264 might be told to.
func (n *night) film(t testing.TB, pictures int, settings ...string) string {
	t.Helper()
	needFFmpeg(t)
	path := filepath.Join(t.TempDir(), "night.h264")
	args := []string{"-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", n.size.String(), "-r", fmt.Sprint(n.fps), "-i", "-",
		"-c:v", "libx264", "-preset", "veryfast", "-profile:v", "main", "-bf", "0", "-threads", "1", "-sc_threshold", "0"}
	cmd := exec.CommandContext(t.Context(), "ffmpeg", append(append(args, settings...), path)...)
	var talk bytes.Buffer
	cmd.Stderr = &talk
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := mask.NewPlanes(n.size, false)
	for i := range p.U {
		p.U[i], p.V[i] = 128, 128
	}
	cw, ch := (n.size.Width+1)/2, (n.size.Height+1)/2
	for i := range pictures {
		n.draw(i, p)
		for y := range n.size.Height {
			if _, err := in.Write(p.Y[y*p.YStride:][:n.size.Width]); err != nil {
				t.Fatalf("ffmpeg: %v\n%s", err, talk.String())
			}
		}
		for _, c := range [][]byte{p.U, p.V} {
			for y := range ch {
				if _, err := in.Write(c[y*p.CStride:][:cw]); err != nil {
					t.Fatalf("ffmpeg: %v\n%s", err, talk.String())
				}
			}
		}
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, talk.String())
	}
	return path
}

// motion is the part of each sample of the blanket that goes with the breath, taken from pictures
// over whole breaths.
func (n *night) motion(pictures []picture) []complex128 {
	in := n.blanket()
	sum := make([]complex128, (in.x1-in.x0)*(in.y1-in.y0))
	for _, p := range pictures {
		turn := cmplx.Exp(complex(0, -2*math.Pi*breath*float64(p.number())/n.fps))
		i := 0
		for y := in.y0; y < in.y1; y++ {
			for _, v := range p.y[y*p.size.Width+in.x0 : y*p.size.Width+in.x1] {
				sum[i] += turn * complex(float64(v), 0)
				i++
			}
		}
	}
	return sum
}

// left is the share of the motion energy of source that stands in got, at the same place and in the
// same phase: what flickers at that frequency by chance does not count.
func left(got, source []complex128) float64 {
	var dot, energy float64
	for i, s := range source {
		dot += real(got[i] * cmplx.Conj(s))
		energy += real(s * cmplx.Conj(s))
	}
	g := dot / energy
	return g * math.Abs(g)
}

// breaths cuts n pictures in a row out of what was recorded, whose numbers follow on each other.
func breaths(all []picture, n int) []picture {
	from := 0
	for i := range all {
		if i > 0 && all[i].number() != (all[i-1].number()+1)%n {
			from = i
		}
		if i-from+1 == n {
			return all[from : i+1]
		}
	}
	return nil
}

// TestBreathingInTheDarkSurvives sends a dark cell through everything: camera, masker, disk, and
// the full-size view.
func TestBreathingInTheDarkSurvives(t *testing.T) {
	const pictures = 80 // two breaths, then the film begins again without a seam
	size := nvr.Size{Width: 1280, Height: 720}
	for _, c := range []struct {
		swing, sigma float64
		rate         string
	}{
		{1, 3, "2M"},
		{2, 6, "4M"},
	} {
		t.Run(fmt.Sprintf("%v px, noise %v, %sbit", c.swing, c.sigma, c.rate), func(t *testing.T) {
			t.Parallel()
			n := &night{size: size, fps: 10, swing: c.swing, sigma: c.sigma, noise: rand.New(rand.NewPCG(1, 2))}
			path := n.film(t, pictures, "-g", "20", "-b:v", c.rate, "-maxrate", c.rate, "-bufsize", c.rate)
			source := n.motion(decodeAll(t, "", path, nil, size))

			cam := fakecamera.Start(t, script(t, path))
			r := startRig(t, rigCamera{url: cam.URL(), mask: maskOver(size, n.wc())})
			s := r.watch()
			s.enlarge(0)
			r.waitState("cell-01", nvr.Recorded, 15*time.Second)
			r.waitClear(s, pictures+25)
			if r.main.hub.State("cell-01").NotChanging {
				t.Error("the wall says of a dark cell with somebody asleep that the picture does not change")
			}
			r.halt()

			var disk, view []picture
			for _, f := range r.files("cell-01") {
				disk = append(disk, decodeAll(t, "", f, nil, size)...)
			}
			for _, run := range s.runs(0, nvr.Archive) {
				view = append(view, decodeAll(t, "h264", "-", run, size)...)
			}
			for what, got := range map[string][]picture{"on disk": disk, "in the full-size view": view} {
				got := breaths(got, pictures)
				if got == nil {
					t.Fatalf("no %d pictures in a row %s", pictures, what)
				}
				share := left(n.motion(got), source)
				t.Logf("%.1f %% of the motion energy is left %s", share*100, what)
				if share < 0.8 {
					t.Errorf("%.1f %% of the motion energy is left %s, want 80 %%", share*100, what)
				}
			}
		})
	}
}

// TestEightHoursOfNightRaiseNoAlarm decodes and masks the key pictures of a night as the masker does,
// one of fresh noise every two seconds, and gives their figures to the wall. Pictures between them
// would only add chances to differ, and so would a larger picture: the real case is the easier one.
func TestEightHoursOfNightRaiseNoAlarm(t *testing.T) {
	const pictures = 8 * 60 * 60 / keyStep
	for _, sigma := range []float64{0.7, 3} {
		t.Run(fmt.Sprintf("noise %v", sigma), func(t *testing.T) {
			t.Parallel()
			n := &night{size: nvr.Size{Width: 96, Height: 64}, fps: 1. / keyStep, sigma: sigma, noise: rand.New(rand.NewPCG(3, 4))}
			path := n.film(t, pictures, "-g", "1", "-crf", "28")
			look := newNightWatch(t)
			alarms := 0
			frames := look.frames(n, path)
			for _, f := range frames {
				if look.show(f) {
					alarms++
				}
			}
			if len(frames) != pictures {
				t.Errorf("%d pictures were masked, want %d", len(frames), pictures)
			}
			t.Logf("%d pictures, %d with an alarm", len(frames), alarms)
			if alarms > 0 {
				t.Errorf("the wall said PICTURE NOT CHANGING at %d of %d key pictures of a night", alarms, len(frames))
			}

			// The control: the same camera sticks.
			for after := keyStep; !look.show(frames[len(frames)-1]); after += keyStep {
				if after > 15 {
					t.Fatal("a camera that has stuck for 15 s raises no alarm")
				}
			}
		})
	}
}

// keyStep is the time between two key pictures of a night, in seconds.
const keyStep = 2

// A nightWatch is the wall's hub in a time of its own.
type nightWatch struct {
	t   testing.TB
	hub *live.Hub
	now time.Duration
}

func newNightWatch(t testing.TB) *nightWatch {
	w := &nightWatch{t: t}
	w.hub = live.New(live.Config{Mono: func() time.Duration { return w.now }})
	t.Cleanup(w.hub.Close)
	w.hub.SetState("cell-01", live.State{Cause: nvr.Recorded})
	return w
}

// frames takes every picture of a film through decoder and mask, for its figures.
func (w *nightWatch) frames(n *night, path string) []nvr.Frame {
	w.t.Helper()
	film, err := clip.Read(path)
	if err != nil {
		w.t.Fatal(err)
	}
	decoder, err := codec.NewDecoder(codec.H264, codec.Limits{})
	if err != nil {
		w.t.Fatal(err)
	}
	defer decoder.Close()
	plan, err := mask.NewPlan(nvr.MaskSpec{Picture: n.size, Version: 1, Areas: [][]nvr.Point{{{X: 0.8, Y: 0.75}, {X: 0.95, Y: 0.75}, {X: 0.95, Y: 0.95}}}})
	if err != nil {
		w.t.Fatal(err)
	}
	canvas, err := mask.NewCanvas(mask.NewPlanes(n.size, false))
	if err != nil {
		w.t.Fatal(err)
	}
	inspector := codec.NewInspector(codec.H264)
	var frames []nvr.Frame
	for i, au := range film.Units {
		info, err := inspector.Look(au)
		if err != nil {
			w.t.Fatal(err)
		}
		err = decoder.Decode(au, time.Duration(i)*keyStep*time.Second, func(d codec.Decoded) error {
			pic := plan.Apply(d.Planes, d.Geometry.AspectW, d.Geometry.AspectH, canvas)
			frames = append(frames, nvr.Frame{Stream: nvr.Archive, Key: true, SourceKey: info.Key, Obscured: pic.Obscured(), Figures: pic.Figures(), Size: n.size})
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return frames
}

// show publishes one key picture, and says whether the alarm stands then.
func (w *nightWatch) show(f nvr.Frame) bool {
	w.now += keyStep * time.Second
	f.Arrived = w.now
	w.hub.Publish("cell-01", &stamp.Frame{Frame: f})
	return w.hub.State("cell-01").NotChanging
}

// TestStuckCameraIsNamedWithinFifteenSeconds has a camera that goes on sending, coded anew, what it
// saw last (F-55).
func TestStuckCameraIsNamedWithinFifteenSeconds(t *testing.T) {
	t.Parallel()
	size := nvr.Size{Width: 480, Height: 270}
	n := &night{size: size, fps: 10, swing: 1, sigma: 3, noise: rand.New(rand.NewPCG(5, 6))}
	path := n.film(t, 80, "-g", "20", "-b:v", "500k")
	stuckPath := filepath.Join(t.TempDir(), "stuck.h264")
	out, err := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-y", "-i", path, "-vf", "select='eq(n,5)',loop=loop=59:size=1",
		"-vsync", "passthrough", "-c:v", "libx264", "-preset", "veryfast", "-profile:v", "main", "-bf", "0", "-g", "20", "-qp", "26", stuckPath).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	cam := fakecamera.Start(t, script(t, path))
	r := startRig(t, rigCamera{url: cam.URL(), mask: maskOver(size, n.wc())})
	r.waitState("cell-01", nvr.Recorded, 15*time.Second)
	s := r.watch()
	waitPictures(t, s, 1, nvr.Tile, 10*time.Second)
	if text := s.said(`"notChanging":true`); text != "" {
		t.Errorf("the wall was told %s of a camera that works", text)
	}
	stuck := script(t, stuckPath)
	cam.SwitchTo(stuck.Kind, stuck.Units)
	began := time.Now()
	for s.said(`"notChanging":true`) == "" {
		if time.Since(began) > 15*time.Second {
			t.Fatalf("the wall says nothing of a picture that has not changed for 15 s: %+v\n%s", r.main.hub.State("cell-01"), r.log.tail(10))
		}
		wait(20 * time.Millisecond)
	}
	t.Logf("PICTURE NOT CHANGING %.1f s after the camera stuck", time.Since(began).Seconds())
	other := script(t, path)
	cam.SwitchTo(other.Kind, other.Units)
	for deadline := time.Now().Add(5 * time.Second); r.main.hub.State("cell-01").NotChanging; wait(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the alarm stands 5 s after the picture began to change")
		}
	}
}

// said returns the first text message of the wall so far that holds a word.
func (s *screen) said(word string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range s.texts {
		if strings.Contains(text, word) {
			return text
		}
	}
	return ""
}
