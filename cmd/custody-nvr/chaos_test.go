package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/camera/fakecamera"
	"custody-nvr/privacy/mask"
	"custody-nvr/recorder/archive"
)

var (
	chaosFor  = flag.Duration("chaos", 20*time.Second, "how long TestChaos lets cameras misbehave")
	chaosSeed = flag.Uint64("chaosseed", 0, "seed of TestChaos; 0 takes another one each time and prints it")
)

// TestChaos lets two cameras do everything that cameras do wrong, at random, while their maskers are
// killed and stopped, and looks for the toilet in every picture that reaches the disk or the wall.
//
//	go test ./cmd/custody-nvr -run TestChaos -v -chaos 2m                    in CI
//	go test ./cmd/custody-nvr -run TestChaos -v -chaos 10m                   before a release
//	go test ./cmd/custody-nvr -run TestChaos -v -chaos 24h -timeout 25h      now and then
//
// Once a minute the files that are closed are decoded by ffmpeg, judged and deleted, and the coverage
// of that minute is held against the frames, so that memory and disk stay flat however long it takes.
// -chaosseed repeats a plan; when its steps fall is up to the machine.
func TestChaos(t *testing.T) {
	needFFmpeg(t)
	t.Parallel()
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	t.Logf("-chaosseed %d", seed)
	if !testing.Verbose() {
		fmt.Fprintf(os.Stderr, "TestChaos: -chaosseed %d\n", seed)
	}
	c := &chaos{t: t, injected: map[string]int{}, judged: map[string]bool{}, actors: []*actor{
		newActor(t, seed, 0, "h264", nvr.Size{Width: 640, Height: 360}, rect{320, 160, 448, 288}),
		newActor(t, seed, 1, "h265", filmSize, filmMask),
	}}
	var cams []rigCamera
	for _, a := range c.actors {
		cams = append(cams, rigCamera{url: a.cam.URL(), mask: maskOver(a.size, a.wc)})
	}
	c.rig = startRig(t, cams...)
	c.book = c.rig.follow()
	c.began = c.rig.main.Clock.Wall().UTC()
	for _, a := range c.actors {
		c.rig.waitState(a.id, nvr.Recorded, 60*time.Second)
	}

	ctx, cancel := context.WithTimeout(t.Context(), *chaosFor)
	defer cancel()
	var acting sync.WaitGroup
	for _, a := range c.actors {
		acting.Go(func() { c.act(ctx, a) })
	}
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	for over := false; !over; {
		select {
		case <-minute.C:
			c.judge(false)
		case <-ctx.Done():
			over = true
		}
	}
	acting.Wait()
	c.recover()
	c.watchWall()
	c.judge(false)
	c.rig.halt()
	c.judge(true)
	c.report()
}

// An actor is one camera of the chaos and its part in it.
type actor struct {
	id    nvr.CameraID
	cam   *fakecamera.Camera
	size  nvr.Size
	wc    rect
	own   fakecamera.Script   // as it is when it is well
	other []fakecamera.Script // other pictures that it may send
	rand  *rand.Rand
	hits  []time.Duration // when its maskers were killed or stopped
}

func newActor(t *testing.T, seed uint64, i int, kind string, size nvr.Size, wc rect) *actor {
	t.Helper()
	a := &actor{id: nvr.CameraID(fmt.Sprintf("cell-%02d", i+1)), size: size, wc: wc, rand: rand.New(rand.NewPCG(seed, uint64(i)))}
	well := scene{size: size, wc: wc, kind: kind}
	path := well.file(t, "well")
	well.mustShowToilet(t, path)
	a.own = script(t, path)
	// Other pictures with the toilet where this camera's mask does not lie, and B-frames.
	aside := rect{16, 16, 80, 80}
	for _, s := range []scene{
		{size: size, wc: wc, kind: kind, extra: []string{"-bf", "2"}},
		{size: nvr.Size{Width: size.Width / 2, Height: size.Height / 2}, wc: aside, kind: kind},
		{size: nvr.Size{Width: size.Width + 32, Height: size.Height + 16}, wc: aside, kind: kind},
		{size: size, wc: aside, kind: map[string]string{"h264": "h265", "h265": "h264"}[kind]},
	} {
		a.other = append(a.other, script(t, s.file(t, "other")))
	}
	a.cam = fakecamera.Start(t, a.own)
	return a
}

// chaos is the run.
type chaos struct {
	t      *testing.T
	rig    *rig
	book   *journal
	began  time.Time // of what is not judged yet
	actors []*actor

	mu       sync.Mutex
	injected map[string]int // guarded by mu: faults by kind

	// owned by the test's goroutine
	judged   map[string]bool // files
	frames   int             // decoded
	worst    verdict
	wall     int // pictures of the wall decoded
	spans    map[nvr.Cause]time.Duration
	heapPeak uint64
}

// faults are what an actor can do. Each returns how to undo it, nil where there is nothing to undo.
var chaosFaults = map[string]func(*chaos, *actor) func(){
	"no data":      func(_ *chaos, a *actor) func() { a.cam.Freeze(); return a.cam.Thaw },
	"half-open":    func(_ *chaos, a *actor) func() { a.cam.BlackHole(); return a.cam.Thaw },
	"RTCP only":    func(_ *chaos, a *actor) func() { a.cam.RTCPOnly(); return a.cam.Thaw },
	"packet loss":  func(_ *chaos, a *actor) func() { a.cam.Drop(1 + a.rand.IntN(30)); return func() { a.cam.Drop(0) } },
	"SSRC":         func(_ *chaos, a *actor) func() { a.cam.ChangeSSRC(); return nil },
	"sequence":     func(_ *chaos, a *actor) func() { a.cam.ResetSequence(); return nil },
	"garbage":      func(_ *chaos, a *actor) func() { a.cam.Garbage(1 + a.rand.IntN(3000)); return nil },
	"clock set":    func(_ *chaos, a *actor) func() { a.cam.JumpRTP(a.span(3 * time.Hour)); return nil },
	"wild stamp":   func(_ *chaos, a *actor) func() { a.cam.JumpOnce(a.span(10 * time.Hour)); return nil },
	"disconnect":   func(_ *chaos, a *actor) func() { a.cam.Disconnect(); return nil },
	"reboot":       func(_ *chaos, a *actor) func() { a.cam.Stop(); return a.cam.StartAgain },
	"masker dies":  func(c *chaos, a *actor) func() { c.signal(a, syscall.SIGKILL); return nil },
	"masker hangs": func(c *chaos, a *actor) func() { c.signal(a, syscall.SIGSTOP); return nil },
	"no video": func(_ *chaos, a *actor) func() {
		a.cam.Change(func(s *fakecamera.Script) { s.NoVideo, s.Audio = true, true })
		a.cam.Disconnect()
		return func() { a.cam.Change(func(s *fakecamera.Script) { s.NoVideo, s.Audio = false, false }) }
	},
	"burst": func(_ *chaos, a *actor) func() {
		a.cam.Change(func(s *fakecamera.Script) { s.FPS = 120 })
		return func() { a.cam.Change(func(s *fakecamera.Script) { s.FPS = a.own.FPS }) }
	},
	"other tracks": func(_ *chaos, a *actor) func() {
		a.cam.Change(func(s *fakecamera.Script) { s.Audio, s.Metadata, s.Unasked = true, true, true })
		return func() {
			a.cam.Change(func(s *fakecamera.Script) { s.Audio, s.Metadata, s.Unasked = false, false, false })
		}
	},
	"odd packets": func(_ *chaos, a *actor) func() {
		a.cam.Change(func(s *fakecamera.Script) {
			s.Markers = fakecamera.Markers(a.rand.IntN(4))
			s.TrailingZero, s.WholeFU, s.EmptyFU, s.MTU = true, a.rand.IntN(2) == 0, a.rand.IntN(2) == 0, 200+a.rand.IntN(1200)
		})
		return func() {
			a.cam.Change(func(s *fakecamera.Script) {
				s.Markers, s.TrailingZero, s.WholeFU, s.EmptyFU, s.MTU = 0, false, false, false, 0
			})
		}
	},
	"other picture": func(_ *chaos, a *actor) func() {
		o := a.other[a.rand.IntN(len(a.other))]
		a.cam.SwitchTo(o.Kind, o.Units)
		return func() { a.cam.SwitchTo(a.own.Kind, a.own.Units) }
	},
	"torn units": func(_ *chaos, a *actor) func() {
		torn := mapNALs(a.own.Units, func(nal []byte) []byte {
			nal = slices.Clone(nal)
			switch a.rand.IntN(12) {
			case 0:
				return nil
			case 1:
				nal = nal[:3+a.rand.IntN(len(nal)-2)] // a header and a byte, or it cannot be sent
			case 2:
				nal[a.rand.IntN(len(nal))] ^= byte(1 << a.rand.IntN(8))
			case 3:
				nal = append(nal, make([]byte, a.rand.IntN(100))...)
			}
			return nal
		})
		a.cam.SwitchTo(a.own.Kind, torn)
		return func() { a.cam.SwitchTo(a.own.Kind, a.own.Units) }
	},
}

// span is a time between -d and d.
func (a *actor) span(d time.Duration) time.Duration {
	return time.Duration(a.rand.Int64N(2*int64(d)) - int64(d))
}

// signal reaches the masker of a camera, if there is one just now. From the fifth fault of a masker in
// ten minutes on the recorder waits for 30 s: that is tested elsewhere, here it would only keep the
// cameras dark.
func (c *chaos) signal(a *actor, s syscall.Signal) {
	now := c.rig.main.Clock.Mono()
	if n := len(a.hits); n >= 4 && now-a.hits[n-4] < 10*time.Minute {
		return
	}
	a.hits = append(a.hits, now)
	pid := c.rig.main.maskers[a.id].State().PID
	if pid <= 0 {
		return
	}
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		c.t.Errorf("signal masker of %s: %v", a.id, err)
	}
}

// act misbehaves until ctx ends, then behaves.
func (c *chaos) act(ctx context.Context, a *actor) {
	kinds := slices.Sorted(maps.Keys(chaosFaults))
	var undo []func()
	for ctx.Err() == nil {
		kind := kinds[a.rand.IntN(len(kinds))]
		hits := len(a.hits)
		u := chaosFaults[kind](c, a)
		if !strings.HasPrefix(kind, "masker") || len(a.hits) > hits {
			c.mu.Lock()
			c.injected[kind]++
			c.mu.Unlock()
		}
		if u != nil {
			undo = append(undo, u)
		}
		a.pause(ctx, 3*time.Second)
		// Now and then two or three at a time.
		if len(undo) > 2 || a.rand.IntN(3) > 0 {
			for _, u := range undo {
				u()
			}
			undo = nil
			a.pause(ctx, 4*time.Second)
		}
	}
	for _, u := range undo {
		u()
	}
}

func (a *actor) pause(ctx context.Context, most time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(a.rand.Int64N(int64(most)))):
	}
}

// recover requires both cameras to be well within 30 s of the last fault, and to stay so.
func (c *chaos) recover() {
	at := c.rig.main.Clock.Mono()
	for _, a := range c.actors {
		var first shot
		for deadline := time.Now().Add(60 * time.Second); ; wait(pollEvery) {
			var ok bool
			if first, ok = c.book.firstAfter(a.id, at); ok {
				break
			}
			if time.Now().After(deadline) {
				c.t.Fatalf("%s does not come back: %s\n%s", a.id, c.book.history(a.id), c.rig.log.tail(40))
			}
		}
		took := first.arrived - at
		c.t.Logf("%s: a plain picture %v after the faults stopped", a.id, took.Round(time.Millisecond))
		if took > c.book.allow(30*time.Second) {
			c.t.Errorf("%s came back %v after the faults stopped, at most 30 s", a.id, took)
		}
	}
	wait(3 * time.Second)
	for _, a := range c.actors {
		c.rig.waitState(a.id, nvr.Recorded, 20*time.Second)
	}
}

// watchWall decodes the wall's tiles and enlarged cells for a few seconds.
func (c *chaos) watchWall() {
	for i, a := range c.actors {
		s := c.rig.watch()
		s.enlarge(i)
		for deadline := time.Now().Add(30 * time.Second); ; wait(50 * time.Millisecond) {
			_, full := s.count(i, nvr.Archive)
			_, tile := s.count(i, nvr.Tile)
			if full >= 20 && tile >= 15 {
				break
			}
			if time.Now().After(deadline) {
				c.t.Fatalf("%d pictures and %d tiles of %s on the wall after 30 s", full, tile, a.id)
			}
		}
		s.close()
		tileSize, small := tileOf(a.size)
		if !small {
			tileSize = a.size
		}
		scaled := rect{
			a.wc.x0 * tileSize.Width / a.size.Width, a.wc.y0 * tileSize.Height / a.size.Height,
			a.wc.x1 * tileSize.Width / a.size.Width, a.wc.y1 * tileSize.Height / a.size.Height,
		}
		for _, v := range []struct {
			kind  nvr.Stream
			size  nvr.Size
			wc    rect
			limit int
		}{{nvr.Archive, a.size, a.wc, codingNoise}, {nvr.Tile, tileSize, scaled, tileCodingNoise}} {
			for _, run := range s.runs(i, v.kind) {
				for n, p := range decodeAll(c.t, "h264", "-", run, v.size) {
					c.wall++
					if w, where := p.worst(v.wc.inset(4), mask.FillY, mask.FillU, mask.FillV); w > v.limit {
						c.t.Errorf("THE TOILET CAN BE SEEN on the wall: %s %s %d: %s", a.id, v.kind, n, where)
					}
				}
			}
		}
	}
}

// judge decodes the files that are closed (all of them where the recorder has ended) and drops them,
// and holds coverage against frames up to now.
func (c *chaos) judge(ended bool) {
	for _, a := range c.actors {
		open := map[string]bool{}
		if !ended {
			c.cover(a)
			rows, err := c.rig.main.archive.Segments(a.id, time.Unix(0, 0), time.Now().Add(time.Hour))
			if err != nil {
				c.t.Fatal(err)
			}
			for _, r := range rows {
				if r.State == archive.StateOpen {
					open[filepath.Base(r.Name(a.id))] = true
				}
			}
			// A file that is being begun is not in the index yet.
			if files := c.rig.files(a.id); len(files) > 0 {
				for _, f := range files[max(0, len(files)-2):] {
					open[filepath.Base(f)] = true
				}
			}
		}
		for _, f := range c.rig.files(a.id) {
			if open[filepath.Base(f)] || c.judged[f] {
				continue
			}
			c.decode(a, f)
			c.judged[f] = true
			if !ended {
				if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
					c.t.Error(err)
				}
				delete(c.judged, f)
			}
		}
	}
	if !ended {
		c.began = c.rig.main.Clock.Wall().UTC().Add(-10 * time.Second)
		c.book.forget(c.rig.main.Clock.Mono() - 20*time.Second)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		c.heapPeak = max(c.heapPeak, m.HeapAlloc)
	}
}

// cover checks the coverage of one camera since the last time.
func (c *chaos) cover(a *actor) {
	to := c.rig.main.Clock.Wall().UTC().Add(-5 * time.Second)
	list, err := c.book.coverage(a.id, c.began, to)
	if err != nil {
		c.t.Errorf("%v\n%s", err, c.rig.log.tail(20))
		return
	}
	// A second of slack, and one more for pictures that a run's beginning leaves out.
	if wrong := c.book.sound(a.id, list, 2*time.Second); wrong != "" {
		c.t.Errorf("coverage of %s: %s\n%s%s", a.id, wrong, spanText(list), c.book.history(a.id))
	}
	if c.spans == nil {
		c.spans = map[nvr.Cause]time.Duration{}
	}
	for _, s := range list {
		c.spans[s.Cause] += s.To.Sub(s.From)
	}
}

// decode judges every picture of one file.
func (c *chaos) decode(a *actor, file string) {
	inside := a.wc.inset(4)
	n := 0
	err := decodeEach(c.t.Context(), file, a.size, func(p picture) {
		c.worst.add(p, inside, filepath.Base(file), n)
		n++
	})
	if err != nil {
		c.t.Errorf("decode %s: %v", filepath.Base(file), err)
	}
	c.frames += n
}

// decodeEach is decodeAll of one file that keeps one picture in memory.
func decodeEach(ctx context.Context, file string, size nvr.Size, look func(picture)) error {
	cmd := exec.CommandContext(ctx, "ffmpeg", "-v", "error", "-threads", "1", "-i", file, "-vsync", "passthrough",
		"-vf", "setparams=range=tv,format=yuv420p", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-")
	var talk bytes.Buffer
	cmd.Stderr = &talk
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	luma := size.Width * size.Height
	chroma := (size.Width + 1) / 2 * ((size.Height + 1) / 2)
	raw := make([]byte, luma+2*chroma)
	var ended error
	for {
		if _, err := io.ReadFull(out, raw); err != nil {
			if !errors.Is(err, io.EOF) {
				ended = fmt.Errorf("no whole number of %v pictures: %w", size, err)
			}
			break
		}
		look(picture{size, raw[:luma], raw[luma : luma+chroma], raw[luma+chroma:]})
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, talk.String())
	}
	return ended
}

// report says what was done and what came of it.
func (c *chaos) report() {
	total := 0
	var kinds []string
	for _, k := range slices.Sorted(maps.Keys(c.injected)) {
		total += c.injected[k]
		kinds = append(kinds, fmt.Sprintf("%s %d", k, c.injected[k]))
	}
	var causes []string
	for _, k := range slices.Sorted(maps.Keys(c.spans)) {
		causes = append(causes, fmt.Sprintf("%s %v", k, c.spans[k].Round(time.Second)))
	}
	starts, faults := 0, 0
	memory := 0
	for _, a := range c.actors {
		s := c.rig.main.maskers[a.id].State()
		starts, faults, memory = starts+s.Starts, faults+s.Faults, max(memory, c.book.peak(a.id))
	}
	c.t.Logf("%v: %d faults injected (%s)", *chaosFor, total, strings.Join(kinds, ", "))
	c.t.Logf("%d pictures on disk and %d on the wall decoded by ffmpeg, worst deviation from the fill %d of 255", c.frames, c.wall, c.worst.worst)
	c.t.Logf("%d maskers started, %d of them ended by masker faults, at most %d MiB resident; parent's heap at most %d MiB", starts, faults, memory>>10, c.heapPeak>>20)
	c.t.Logf("coverage: %s", strings.Join(causes, ", "))
	c.t.Logf("this process was scheduled up to %v late", c.book.lateness().Round(time.Millisecond))
	if c.worst.worst > codingNoise {
		c.t.Errorf("THE TOILET CAN BE SEEN: %s (%d from the fill, at most %d)", c.worst.where, c.worst.worst, codingNoise)
	}
	if c.frames < 50 || c.wall < 50 {
		c.t.Errorf("only %d pictures on disk and %d on the wall were judged", c.frames, c.wall)
	}
}
