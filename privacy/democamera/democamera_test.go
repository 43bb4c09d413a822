package democamera

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/nvr/cliptest"
	"custody-nvr/privacy/camera"
	"custody-nvr/privacy/codec"
	"custody-nvr/privacy/mask"
)

// start runs the command in the test's process and reads its announcement.
func start(t *testing.T, args ...string) Announcement {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	var errors strings.Builder
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, args, w, &errors)
		w.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-ended; code != 0 {
			t.Errorf("exit %d: %s", code, errors.String())
		}
	})
	line, err := bufio.NewReader(r).ReadBytes('\n')
	if err != nil {
		t.Fatalf("no announcement: %v", err)
	}
	var a Announcement
	if err := json.Unmarshal(line, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// watch decodes n pictures of a cell.
func watch(t *testing.T, a Announcement, cell int, n int, look func(int, codec.Decoded)) {
	t.Helper()
	s, err := camera.Open(t.Context(), camera.Spec{URL: "rtsp://" + a.Address + a.Cells[cell].Path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d, err := codec.NewDecoder(codec.Kind(s.Track().Kind), codec.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	seen, begun := 0, false
	for deadline := time.Now().Add(20 * time.Second); seen < n; {
		u, err := s.Next(t.Context())
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("after %d of %d pictures: %v", seen, n, err)
		}
		info, err := codec.NewInspector(codec.Kind(s.Track().Kind)).Look(u.NALs)
		if begun = begun || err == nil && info.Key; !begun {
			continue
		}
		if err := d.Decode(u.NALs, u.PTS, func(p codec.Decoded) error {
			look(seen, p)
			seen++
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// The drawn cells come as RTSP cameras with the pattern in all three planes: without a mask it is
// seen, which is the positive control of the leak test.
func TestPatternIsInTheCamerasOwnStream(t *testing.T) {
	a := start(t, "--cells", "7")
	if len(a.Cells) != 7 || a.Cells[6].ID != "cell-07" || a.Cells[0].Size != (nvr.Size{Width: 640, Height: 360}) || len(a.Cells[0].WC) != 4 {
		t.Fatalf("announced %+v", a)
	}
	for _, cell := range []int{0, 5} { // by day, and at night
		watch(t, a, cell, 5, func(i int, p codec.Decoded) {
			if c := PatternContrast(p.Planes, Pattern); c.Least() < 0.9 || c.Most() > 1.1 {
				t.Errorf("cell %d picture %d: contrast %+v, want near 1", cell+1, i, c)
			}
		})
	}
}

// The recorder's mask over WC takes the pattern away, and its measure with it.
func TestMaskTakesThePatternAway(t *testing.T) {
	for _, size := range []nvr.Size{{Width: 1280, Height: 720}, {Width: 640, Height: 360}} {
		planes := mask.NewPlanes(size, false)
		Draw(0, 0, planes)
		if c := PatternContrast(planes, Pattern); c.Least() < 0.99 {
			t.Errorf("%s drawn: contrast %+v", size, c)
		}
		plan, err := mask.NewPlan(nvr.MaskSpec{Picture: size, Areas: [][]nvr.Point{WC()}, Version: 1})
		if err != nil {
			t.Fatal(err)
		}
		canvas, err := mask.NewCanvas(mask.NewPlanes(size, false))
		if err != nil {
			t.Fatal(err)
		}
		if c := PatternContrast(plan.Apply(planes, 1, 1, canvas).Planes(), Pattern); c.Most() != 0 {
			t.Errorf("%s masked: contrast %+v", size, c)
		}
	}
}

// Every cell looks different, moves, and ends as it begins.
func TestScenesDifferMoveAndLoop(t *testing.T) {
	size := nvr.Size{Width: 640, Height: 360}
	var before mask.Planes
	for number := range 6 {
		s := NewScene(number, size)
		a, b, c := mask.NewPlanes(size, false), mask.NewPlanes(size, false), mask.NewPlanes(size, false)
		s.Draw(time.Second, a)
		s.Draw(Loop+time.Second, b)
		s.Draw(5*time.Second+700*time.Millisecond, c)
		if n := differ(a, b); n != 0 {
			t.Errorf("scene %d: %d samples differ after a loop", number, n)
		}
		if n := differ(a, c); n < 50 {
			t.Errorf("scene %d: %d samples moved", number, n)
		}
		if before.Y != nil && differ(a, before) < 200 {
			t.Errorf("scene %d looks like the one before", number)
		}
		before = a
	}
}

func differ(a, b mask.Planes) int {
	n := 0
	for i := range a.Y {
		if a.Y[i] != b.Y[i] {
			n++
		}
	}
	return n
}

// The blanket at night moves by one to two samples at 0.25 Hz, under the noise.
func TestNightBreathes(t *testing.T) {
	size := nvr.Size{Width: 1280, Height: 720}
	s := NewScene(5, size)
	up, down := mask.NewPlanes(size, false), mask.NewPlanes(size, false)
	edge := func(at time.Duration, p mask.Planes) float64 {
		s.Draw(at, p)
		place := on(0.35, 0.5)
		sum := 0.0
		for x := int(place.x*1280) - 20; x < int(place.x*1280)+20; x++ {
			for y := int(place.y*720) - 110; y < int(place.y*720); y++ {
				sum += float64(p.Y[y*p.YStride+x])
			}
		}
		return sum / 40
	}
	// Where the dark blanket rises it covers light samples: the columns get darker.
	if high, low := edge(time.Second, up), edge(3*time.Second, down); low-high < 20 {
		t.Errorf("columns sum to %.0f with the blanket up and %.0f with it down", high, low)
	}
}

// A clip plays as it is, and its view is its own: no polygon is announced.
func TestClipPlays(t *testing.T) {
	a := start(t, "--cells", "1", "--clip", cliptest.File(t, "cros_test-25fps.h265"))
	if len(a.Cells[0].WC) != 0 || a.Cells[0].Size != (nvr.Size{Width: 320, Height: 240}) {
		t.Errorf("announced %+v", a.Cells[0])
	}
	watch(t, a, 0, 3, func(i int, p codec.Decoded) {
		if p.Planes.Size != a.Cells[0].Size {
			t.Errorf("picture %d is %s", i, p.Planes.Size)
		}
	})
}

// A loop's end is no seam: times go on by one step.
func TestLoopHasNoSeam(t *testing.T) {
	f := film{units: make([][][]byte, 4), length: 160 * time.Millisecond, first: 2,
		at: []time.Duration{0, 40 * time.Millisecond, 80 * time.Millisecond, 120 * time.Millisecond}}
	for n := range 20 {
		if i, at := f.unit(n); i != (n+2)%4 || at != time.Duration(n+2)*40*time.Millisecond {
			t.Errorf("unit %d is %d at %s", n, i, at)
		}
	}
}

// However many cells there are, none shows another's film, and so another's number.
func TestEveryCellHasItsOwnFilm(t *testing.T) {
	films, err := drawAll(maxDrawn+1, nvr.Size{Width: 160, Height: 96})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	pictures := 0
	for i, f := range films {
		key := string(bytes.Join(f.units[0], nil))
		if other, twice := seen[key]; twice {
			t.Errorf("cell %d shows the film of cell %d", i+1, other+1)
		}
		seen[key] = i
		pictures += len(f.units)
	}
	if most := maxDrawn * Rate * int(Loop/time.Second); pictures > most {
		t.Errorf("%d pictures were drawn for the start, at most %d", pictures, most)
	}
}

func BenchmarkStartOfSixCells(b *testing.B) {
	for b.Loop() {
		if _, err := drawAll(6, nvr.Size{Width: 1280, Height: 720}); err != nil {
			b.Fatal(err)
		}
	}
}

func TestBadArgumentsAreUsage(t *testing.T) {
	for _, args := range [][]string{{"--cells", "0"}, {"--cells", "65"}, {"--nonsense"}, {"more"}} {
		var said strings.Builder
		if code := run(t.Context(), args, io.Discard, &said); code != 2 || said.Len() == 0 {
			t.Errorf("%q: exit %d, %q", args, code, said.String())
		}
	}
	var said strings.Builder
	if code := run(t.Context(), []string{"--clip", "nothing.mp4"}, io.Discard, &said); code != 1 || !strings.Contains(said.String(), "nothing.mp4") {
		t.Errorf("exit %d, %q", code, said.String())
	}
}
