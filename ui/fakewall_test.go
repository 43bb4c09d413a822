package ui

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os/exec"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"custody-nvr/nvr"
)

// testClock is the machine's monotonic clock and a wall clock that tests may set back.
type testClock struct {
	mu   sync.Mutex
	step time.Duration
}

func (c *testClock) clock() nvr.Clock {
	return nvr.Clock{
		Mono: func() time.Duration {
			var ts unix.Timespec
			if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
				panic(err)
			}
			return time.Duration(ts.Nano())
		},
		Wall: func() time.Time {
			c.mu.Lock()
			defer c.mu.Unlock()
			return time.Now().UTC().Add(c.step)
		},
	}
}

func (c *testClock) stepBy(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step += d
}

// A clip is encoded pictures to send in a loop; clips[0] is a key frame.
type clip struct {
	frames []nvr.Frame
	rate   int
}

var clips sync.Map

// makeClip encodes two seconds of ffmpeg's test picture as the masker does: no B-frames, one
// slice, parameter sets on key frames, a key frame a second.
func makeClip(t testing.TB, size string, rate int) clip {
	t.Helper()
	key := fmt.Sprint(size, rate)
	if c, ok := clips.Load(key); ok {
		return c.(clip)
	}
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("ffmpeg is not installed: no H.264 to play (apt-get install ffmpeg)")
	}
	out, err := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-f", "lavfi", "-i", fmt.Sprintf("testsrc=size=%s:rate=%d:duration=2", size, rate),
		"-pix_fmt", "yuv420p", "-c:v", "libx264", "-profile:v", "high", "-preset", "superfast", "-tune", "zerolatency", "-threads", "1",
		"-g", fmt.Sprint(rate), "-keyint_min", fmt.Sprint(rate), "-x264-params", "sliced-threads=0:scenecut=0", "-f", "h264", "-").Output()
	if err != nil {
		t.Fatal("encode the test picture:", err)
	}
	c := clip{rate: rate}
	var sps, pps []byte
	for _, unit := range bytes.Split(bytes.ReplaceAll(out, []byte{0, 0, 0, 1}, []byte{0, 0, 1}), []byte{0, 0, 1}) {
		if len(unit) == 0 {
			continue
		}
		switch unit[0] & 31 {
		case 7:
			sps = unit
		case 8:
			pps = unit
		case 5:
			c.frames = append(c.frames, nvr.Frame{Key: true, SPS: sps, PPS: pps, NALs: [][]byte{unit}})
		case 1:
			c.frames = append(c.frames, nvr.Frame{NALs: [][]byte{unit}})
		}
	}
	if len(c.frames) != 2*rate || !c.frames[0].Key {
		t.Fatalf("the test picture has %d frames, not %d", len(c.frames), 2*rate)
	}
	clips.Store(key, c)
	return c
}

// A fakeWall plays a clip on every cell, as a suite with healthy cameras would.
type fakeWall struct {
	tiles []Tile
	small clip
	large clip
	clock nvr.Clock

	mu       sync.Mutex
	feeds    map[*fakeFeed]bool
	states   map[nvr.CellID]State
	frozen   map[nvr.CellID]bool
	obscured map[nvr.CellID]nvr.Cause
	lastSent map[nvr.CellID]time.Time // wall time of the last small picture's arrival, unstepped
}

func newFakeWall(t testing.TB, cameras, without, rate int, clock nvr.Clock) *fakeWall {
	w := &fakeWall{
		small: makeClip(t, "640x360", rate), large: makeClip(t, "1280x720", rate), clock: clock,
		feeds: map[*fakeFeed]bool{}, states: map[nvr.CellID]State{}, frozen: map[nvr.CellID]bool{},
		obscured: map[nvr.CellID]nvr.Cause{}, lastSent: map[nvr.CellID]time.Time{},
	}
	for i := range cameras + without {
		w.tiles = append(w.tiles, Tile{Cell: cellID(i), Name: fmt.Sprintf("Cell %d", i+1), Camera: i < cameras})
	}
	return w
}

func cellID(i int) nvr.CellID { return nvr.CellID(fmt.Sprintf("cell-%02d", i+1)) }

func (w *fakeWall) Tiles() []Tile { return w.tiles }

// play sends pictures until ctx ends.
func (w *fakeWall) play(ctx context.Context) {
	tick := time.NewTicker(time.Second / time.Duration(w.small.rate))
	defer tick.Stop()
	for n := 0; ; n++ {
		w.publish(n)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (w *fakeWall) publish(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.tiles {
		if !t.Camera || w.frozen[t.Cell] {
			continue
		}
		for _, kind := range []nvr.Stream{nvr.Tile, nvr.Archive} {
			c := w.small
			if kind == nvr.Archive {
				c = w.large
			}
			f := c.frames[n%len(c.frames)]
			f.Stream, f.Seq, f.Arrived, f.Obscured = kind, uint64(n), w.clock.Mono(), w.obscured[t.Cell]
			ev := Shot{Cell: t.Cell, View: kind, Frame: &f, UTC: w.clock.Wall()}
			for feed := range w.feeds {
				if kind == nvr.Tile || feed.enlarged == t.Cell {
					feed.push(ev)
				}
			}
		}
		w.lastSent[t.Cell] = time.Now()
	}
}

func (w *fakeWall) set(cell nvr.CellID, s State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.states[cell] = s
}

func (w *fakeWall) States() map[nvr.CellID]State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.states)
}

func (w *fakeWall) obscure(cell nvr.CellID, c nvr.Cause) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.obscured[cell] = c
}

func (w *fakeWall) freeze(cell nvr.CellID, frozen bool) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frozen[cell] = frozen
	return w.lastSent[cell]
}

func (w *fakeWall) Subscribe() Feed {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := &fakeFeed{wall: w, wake: make(chan struct{}, 1), wait: map[stream]bool{}}
	for i, t := range w.tiles {
		if t.Camera {
			f.wait[stream{i, nvr.Tile}] = true
		}
	}
	w.feeds[f] = true
	return f
}

// A fakeFeed keeps at most half a second of pictures and skips to key frames beyond.
type fakeFeed struct {
	wall     *fakeWall
	wake     chan struct{}
	queue    []Shot          // guarded by wall.mu
	enlarged nvr.CellID      // guarded by wall.mu
	wait     map[stream]bool // guarded by wall.mu; streams waiting for a key frame
}

// push is called with wall.mu held.
func (f *fakeFeed) push(ev Shot) {
	var id stream
	for i, t := range f.wall.tiles {
		if t.Cell == ev.Cell {
			id = stream{i, ev.View}
		}
	}
	if len(f.queue) > len(f.wall.tiles)*f.wall.small.rate {
		f.wait[id] = true
		return
	}
	if f.wait[id] && !ev.Frame.Key {
		return
	}
	delete(f.wait, id)
	f.queue = append(f.queue, ev)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *fakeFeed) Next(ctx context.Context) (Shot, error) {
	for {
		f.wall.mu.Lock()
		if len(f.queue) > 0 {
			ev := f.queue[0]
			f.queue = f.queue[1:]
			f.wall.mu.Unlock()
			return ev, nil
		}
		f.wall.mu.Unlock()
		select {
		case <-f.wake:
		case <-ctx.Done():
			return Shot{}, ctx.Err()
		}
	}
}

func (f *fakeFeed) Enlarge(cell nvr.CellID) {
	f.wall.mu.Lock()
	defer f.wall.mu.Unlock()
	f.enlarged = cell
	for i, t := range f.wall.tiles {
		if t.Cell == cell {
			f.wait[stream{i, nvr.Archive}] = true
		}
	}
}

func (f *fakeFeed) Close() {
	f.wall.mu.Lock()
	defer f.wall.mu.Unlock()
	delete(f.wall.feeds, f)
}
