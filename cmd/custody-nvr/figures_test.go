package main

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/camera/fakecamera"
)

// The figures of the whole recorder, as separate processes on this machine, with a wall watching:
//
//	go test ./cmd/custody-nvr -run '^$' -bench Figures -benchtime 1x
//
// They are measured, not asserted: what a busy machine makes of them says nothing about the code.
var (
	figuresFor    = flag.Duration("figures.for", time.Minute, "how long memory is watched")
	figuresFrames = flag.Int("figures.frames", 500, "how many pictures the latency is taken from")
)

// BenchmarkFiguresParentMemory: the parent's goal is 150 MiB with 16 cameras.
func BenchmarkFiguresParentMemory(b *testing.B) {
	for b.Loop() {
		p := startDemo(b, 16)
		s := p.watch()
		waitPictures(b, s, 16, nvr.Tile, time.Minute)
		wait(*figuresFor)
		now, most := resident(b, p.cmd.Process.Pid)
		var maskers []float64
		for _, pid := range p.children("masker") {
			_, most := resident(b, pid)
			maskers = append(maskers, most)
		}
		if len(maskers) != 16 {
			b.Fatalf("%d maskers, want 16\n%s", len(maskers), p.talk)
		}
		b.ReportMetric(now, "MiB-parent")
		b.ReportMetric(most, "MiB-parent-most")
		b.ReportMetric(slices.Max(maskers), "MiB-360p-masker-most")
		p.end()
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkFiguresMaskerMemory: a child's goal is 120 MiB with a camera of 1080 lines.
func BenchmarkFiguresMaskerMemory(b *testing.B) {
	hd := nvr.Size{Width: 1920, Height: 1080}
	for _, c := range []struct {
		name  string
		scene scene
	}{
		{"h264", scene{size: hd, kind: "h264", n: 50}},
		{"h264,refs=4,bframes", scene{size: hd, kind: "h264", n: 50, extra: []string{"-bf", "2", "-x264-params", "ref=4:bframes=2:level=40"}}},
		{"h265", scene{size: hd, kind: "h265", n: 50}},
	} {
		b.Run(c.name, func(b *testing.B) {
			c.scene.wc = rect{1200, 480, 1500, 840}
			cam := fakecamera.Start(b, script(b, c.scene.file(b, "camera")))
			for b.Loop() {
				p := startRun(b, b.TempDir(), "", rigCamera{url: cam.URL(), mask: c.scene.masked()})
				s := p.watch()
				s.enlarge(0)
				waitPictures(b, s, 1, nvr.Archive, time.Minute)
				wait(*figuresFor / 2)
				pids := p.children("masker")
				if len(pids) != 1 {
					b.Fatalf("%d maskers, want 1\n%s", len(pids), p.talk)
				}
				now, most := resident(b, pids[0])
				b.ReportMetric(now, "MiB-masker")
				b.ReportMetric(most, "MiB-masker-most")
				p.end()
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// TestMaskerOfLargePicturesStaysSmall holds the child to its 120 MiB with what needs most: H.265 of
// 1080 lines, full size and tiles, as a wall watches it.
func TestMaskerOfLargePicturesStaysSmall(t *testing.T) {
	t.Parallel()
	sc := scene{size: nvr.Size{Width: 1920, Height: 1080}, wc: rect{1200, 480, 1500, 840}, kind: "h265"}
	cam := fakecamera.Start(t, script(t, sc.file(t, "camera")))
	r := startRig(t, rigCamera{url: cam.URL(), mask: sc.masked()})
	s := r.watch()
	s.enlarge(0)
	r.waitState("cell-01", nvr.Recorded, 15*time.Second)
	r.waitClear(s, 60)
	_, most := resident(t, r.main.maskers["cell-01"].State().PID)
	t.Logf("the masker took %.1f MiB", most)
	if most > 120 {
		t.Errorf("the masker of a camera of 1080 lines took %.1f MiB, at most 120", most)
	}
}

// waitPictures waits until each of the first n tiles has had pictures of a stream.
func waitPictures(t testing.TB, s *screen, n int, kind nvr.Stream, within time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(within); ; wait(50 * time.Millisecond) {
		missing := 0
		for tile := range n {
			if _, clear := s.count(tile, kind); clear == 0 {
				missing++
			}
		}
		if missing == 0 {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("%d of %d tiles have no %s picture after %v", missing, n, kind, within)
		}
	}
}

// BenchmarkFiguresLatency takes the time from a picture's last packet at the RTSP client to the
// picture on a WebSocket. The goal at p95 is one frame interval and 25 ms. Every process of it runs
// on this machine, the camera and the reader of the WebSocket too.
func BenchmarkFiguresLatency(b *testing.B) {
	for _, c := range []struct {
		size nvr.Size
		wc   rect
		fps  float64
	}{
		{nvr.Size{Width: 1280, Height: 720}, rect{800, 320, 1000, 560}, 10},
		{nvr.Size{Width: 1280, Height: 720}, rect{800, 320, 1000, 560}, 25},
		{nvr.Size{Width: 1920, Height: 1080}, rect{1200, 480, 1500, 840}, 10},
		{nvr.Size{Width: 1920, Height: 1080}, rect{1200, 480, 1500, 840}, 25},
	} {
		b.Run(fmt.Sprintf("%dp%.0f", c.size.Height, c.fps), func(b *testing.B) {
			sc := scene{size: c.size, wc: c.wc, kind: "h264", n: 100}
			play := script(b, sc.file(b, "camera"))
			play.FPS = c.fps
			cam := fakecamera.Start(b, play)
			for b.Loop() {
				p := startRun(b, b.TempDir(), "", rigCamera{url: cam.URL(), mask: sc.masked()})
				s := p.watch()
				s.enlarge(0)
				waitPictures(b, s, 1, nvr.Archive, time.Minute)
				from := len(s.latencies(0, nvr.Archive)) + int(c.fps) // the start is not what staff watch
				masker := p.children("masker")[0]
				began, before := time.Now(), processorTime(b, masker)
				limit := time.Now().Add(time.Duration(float64(*figuresFrames)/c.fps*2)*time.Second + 10*time.Second)
				for len(s.latencies(0, nvr.Archive)) < from+*figuresFrames {
					if time.Now().After(limit) {
						b.Fatalf("only %d pictures of %d\n%s", len(s.latencies(0, nvr.Archive)), from+*figuresFrames, p.talk)
					}
					wait(100 * time.Millisecond)
				}
				b.ReportMetric((processorTime(b, masker)-before).Seconds()/time.Since(began).Seconds(), "cores-masker")
				for _, kind := range []nvr.Stream{nvr.Archive, nvr.Tile} {
					all := s.latencies(0, kind)
					all = slices.Sorted(slices.Values(all[min(from, len(all)-1):]))
					at := func(share float64) float64 {
						return all[min(len(all)-1, int(share*float64(len(all))))].Seconds() * 1000
					}
					b.ReportMetric(at(0.5), "ms-p50-"+kind.String())
					b.ReportMetric(at(0.95), "ms-p95-"+kind.String())
					b.ReportMetric(at(1), "ms-most-"+kind.String())
				}
				b.ReportMetric(1000/c.fps+25, "ms-goal")
				p.end()
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// latencies are those of one stream so far, in the order of the pictures.
func (s *screen) latencies(tile int, kind nvr.Stream) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []time.Duration
	for i, p := range s.pictures {
		if p.Tile == tile && p.View == kind {
			all = append(all, s.received[i]-p.Arrived)
		}
	}
	return all
}

// BenchmarkFiguresDemoProcessor is what the demo of six cells costs while a wall watches it, in
// processor cores: cameras, maskers and recorder. Decoding in a browser comes on top.
func BenchmarkFiguresDemoProcessor(b *testing.B) {
	for b.Loop() {
		p := startDemo(b, 6)
		s := p.watch()
		waitPictures(b, s, 6, nvr.Tile, time.Minute)
		wait(3 * time.Second)
		sum := func() (all time.Duration, parts [3]time.Duration) {
			for i, pids := range [][]int{{p.cmd.Process.Pid}, p.children("masker"), p.children("democamera")} {
				for _, pid := range pids {
					parts[i] += processorTime(b, pid)
				}
				all += parts[i]
			}
			return all, parts
		}
		frames := len(s.latencies(0, nvr.Tile))
		began := time.Now()
		before, partsBefore := sum()
		wait(*figuresFor / 2)
		after, parts := sum()
		took := time.Since(began).Seconds()
		b.ReportMetric((after-before).Seconds()/took, "cores")
		for i, name := range []string{"recorder", "maskers", "cameras"} {
			b.ReportMetric((parts[i]-partsBefore[i]).Seconds()/took, "cores-"+name)
		}
		b.ReportMetric(float64(len(s.latencies(0, nvr.Tile))-frames)/took, "fps-tile")
		p.end()
	}
	b.ReportMetric(0, "ns/op")
}
