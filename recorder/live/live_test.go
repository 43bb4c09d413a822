package live

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/recorder/frametest"
	"custody-nvr/recorder/stamp"
)

const cam = nvr.CameraID("cell-01")

func stamped(f nvr.Frame) *stamp.Frame { return &stamp.Frame{Frame: f} }

func hub(t *testing.T, onTiles func(nvr.CameraID, bool)) *Hub {
	begin := time.Now()
	h := New(Config{Mono: func() time.Duration { return time.Since(begin) }, OnTiles: onTiles})
	t.Cleanup(h.Close)
	return h
}

// drain takes what waits for s.
func drain(t *testing.T, s *Subscriber) (list []Frame) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for {
		f, err := s.Next(ctx)
		if errors.Is(err, context.Canceled) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, f)
	}
}

func seqs(list []Frame) (s []uint64) {
	for _, f := range list {
		s = append(s, f.Seq)
	}
	return s
}

func TestJoinerStartsWithTheNewestKeyFrame(t *testing.T) {
	h, m := hub(t, nil), frametest.New(t)
	for range 8 {
		h.Publish(cam, stamped(m.Next(0)))
	}
	s := h.Subscribe(Want{cam, nvr.Archive})
	h.Publish(cam, stamped(m.Next(0)))
	got := drain(t, s)
	if !slices.Equal(seqs(got), []uint64{5, 6, 7, 8}) || !got[0].Key || !got[0].Restart || got[1].Restart {
		t.Errorf("joiner got %v", seqs(got))
	}
}

func TestOldPicturesAreNotShownToJoiners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, m := hub(t, nil), frametest.New(t)
		h.Publish(cam, stamped(m.Next(0)))
		time.Sleep(staleGroup + time.Second)
		if got := drain(t, h.Subscribe(Want{cam, nvr.Archive})); len(got) != 0 {
			t.Errorf("joiner got %v", seqs(got))
		}
		m = frametest.New(t)
		h.Publish(cam, stamped(m.Next(staleGroup+time.Second)))
		h.SetState(cam, State{Cause: nvr.CameraLost})
		if got := drain(t, h.Subscribe(Want{cam, nvr.Archive})); len(got) != 0 {
			t.Errorf("joiner of a lost camera got %v", seqs(got))
		}
	})
}

// F-62: a slow watcher falls to the next key frame, the others see every frame.
func TestSlowWatcherSkipsToTheNextKeyFrameAlone(t *testing.T) {
	h, m := hub(t, nil), frametest.New(t)
	slow, fast := h.Subscribe(Want{cam, nvr.Archive}), h.Subscribe(Want{cam, nvr.Archive})
	var seen []uint64
	n := maxQueueFrames + 7
	for i := range n {
		if i == 2 { // so that the queue overflows behind a key frame, not at one
			drain(t, slow)
		}
		h.Publish(cam, stamped(m.Next(0)))
		seen = append(seen, seqs(drain(t, fast))...)
	}
	if len(seen) != n {
		t.Errorf("fast watcher got %d of %d frames", len(seen), n)
	}
	got := drain(t, slow)
	if len(got) != 2 || !got[0].Key || !got[0].Restart || got[0].Seq != uint64(n-2) {
		t.Errorf("slow watcher got %v", seqs(got))
	}
	m.Pad = maxQueueBytes / 2
	for range 3 {
		h.Publish(cam, stamped(m.Next(0)))
	}
	if got := drain(t, slow); len(got) > 1 {
		t.Errorf("queue holds %d frames of %d bytes", len(got), m.Pad)
	}
}

func TestCloseWakesTheWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hub(t, nil)
		for _, end := range []func(*Subscriber){(*Subscriber).Close, func(*Subscriber) { h.Close() }} {
			s := h.Subscribe(Want{cam, nvr.Archive})
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, err := s.Next(t.Context()); !errors.Is(err, ErrClosed) {
					t.Errorf("Next: %v", err)
				}
			})
			synctest.Wait()
			end(s)
			wg.Wait()
		}
	})
}

func TestSmallCameraShowsItsArchiveFramesAsTiles(t *testing.T) {
	h, m := hub(t, nil), frametest.New(t)
	s := h.Subscribe(Want{cam, nvr.Tile})
	h.Publish(cam, stamped(m.Next(0)))
	if got := drain(t, s); len(got) != 0 {
		t.Errorf("tile watcher got archive frames %v", seqs(got))
	}
	h.TileIsArchive(cam, true)
	h.Publish(cam, stamped(m.Next(0)))
	if got := drain(t, s); len(got) != 2 || got[0].For != (Want{cam, nvr.Tile}) || !got[0].Key {
		t.Errorf("tile watcher got %v", seqs(got))
	}
}

func TestWatcherChangesWhatItWants(t *testing.T) {
	h, m := hub(t, nil), frametest.New(t)
	s := h.Subscribe(Want{cam, nvr.Tile}, Want{"cell-02", nvr.Archive})
	h.Publish("cell-02", stamped(m.Next(0)))
	s.Want(Want{cam, nvr.Archive})
	if got := drain(t, s); len(got) != 0 {
		t.Errorf("frames of a dropped feed: %v", seqs(got))
	}
	h.Publish("cell-02", stamped(m.Next(0)))
	if got := drain(t, s); len(got) != 0 {
		t.Errorf("frames of a dropped feed: %v", seqs(got))
	}
}

func TestTilesAreMadeOnlyWhileSomebodyWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls []string
		begin := time.Now()
		h := hub(t, func(c nvr.CameraID, on bool) {
			calls = append(calls, fmt.Sprint(time.Since(begin).Seconds(), " ", c, " ", on))
		})
		a := h.Subscribe(Want{cam, nvr.Tile}, Want{cam, nvr.Archive})
		b := h.Subscribe(Want{cam, nvr.Tile})
		a.Close()
		time.Sleep(20 * time.Second)
		b.Close()
		time.Sleep(5 * time.Second) // lingers: a page that reloads
		c := h.Subscribe(Want{cam, nvr.Tile})
		time.Sleep(20 * time.Second)
		c.Close()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if want := []string{"0 cell-01 true", "55 cell-01 false"}; !slices.Equal(calls, want) {
			t.Errorf("calls %q, want %q", calls, want)
		}
	})
}

func TestPictureThatDoesNotChangeIsNoticed(t *testing.T) {
	type shot struct {
		at       time.Duration
		key      bool
		sum      uint32
		obscured nvr.Cause
	}
	const s = time.Second
	// every makes a camera that sends one frame in half a second.
	every := func(to, key time.Duration, sum func(at time.Duration) uint32) (list []shot) {
		for at := time.Duration(0); at <= to; at += s / 2 {
			list = append(list, shot{at: at, key: at%key == 0, sum: sum(at)})
		}
		return list
	}
	still := func(time.Duration) uint32 { return 7 }
	for _, c := range []struct {
		name  string
		shots []shot
		from  time.Duration // first frame at which it is raised, -1 never
		end   bool          // still raised at the last frame
	}{
		{"frozen, key picture a second", every(30*s, s, still), 10 * s, true},
		{"frozen, key picture in four seconds", every(30*s, 4*s, still), 10 * s, true},
		{"frozen, key picture in twelve seconds", every(30*s, 12*s, still), 12 * s, true},
		{"each key picture has new noise, nothing in between", every(60*s, 2*s, func(at time.Duration) uint32 { return uint32(at / (2 * s)) }), -1, false},
		{"frozen, then a change", every(30*s, s, func(at time.Duration) uint32 {
			if at < 20*s {
				return 7
			}
			return uint32(at)
		}), 10 * s, false},
		{"one group for ever, key picture in two seconds", every(30*s, 2*s, func(at time.Duration) uint32 { return uint32(at % (2 * s)) }), 10 * s, true},
		{"one group for ever, key picture in seven seconds", every(30*s, 7*s, func(at time.Duration) uint32 { return uint32(at % (7 * s)) }), 14 * s, true},
		{"one group for ever, then a key picture that differs", every(30*s, 2*s, func(at time.Duration) uint32 {
			if at < 20*s {
				return uint32(at % (2 * s))
			}
			return uint32(at)
		}), 10 * s, false},
		{"sensor noise", every(600*s, 2*s, func(time.Duration) uint32 { return rand.Uint32() }), -1, false},
		{"whole picture obscured", append([]shot{}, func() (list []shot) {
			for _, x := range every(30*s, s, still) {
				x.obscured = nvr.ObscuredPrivacyInterval
				list = append(list, x)
			}
			return list
		}()...), -1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := hub(t, nil)
			raised := time.Duration(-1)
			for i, x := range c.shots {
				f := nvr.Frame{Stream: nvr.Archive, Seq: uint64(i), Key: true, SourceKey: x.key, Arrived: x.at, Obscured: x.obscured, NALs: [][]byte{{5}}}
				f.Figures.Sum = x.sum
				h.Publish(cam, stamped(f))
				if raised < 0 && h.State(cam).NotChanging {
					raised = x.at
				}
			}
			if raised != c.from || h.State(cam).NotChanging != c.end {
				t.Errorf("raised at %s, want %s; at the end %v, want %v", raised, c.from, h.State(cam).NotChanging, c.end)
			}
		})
	}
}

func TestStateHoldsItsBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hub(t, nil)
		time.Sleep(time.Second)
		h.SetState(cam, State{Cause: nvr.MaskerFault, Detail: "a"})
		time.Sleep(time.Second)
		h.SetState(cam, State{Cause: nvr.MaskerFault, Detail: "b"})
		if s := h.State(cam); s.Since != time.Second || s.Detail != "b" {
			t.Errorf("state %+v", s)
		}
	})
}

// A hub under load: 40 cameras, 20 watchers of all, each slow in its own way.
func BenchmarkPublish(b *testing.B) {
	h := New(Config{Mono: func() time.Duration { return 0 }})
	var want []Want
	for i := range 40 {
		want = append(want, Want{nvr.CameraID(fmt.Sprintf("cell-%02d", i)), nvr.Archive})
	}
	for range 20 {
		h.Subscribe(want...)
	}
	m := frametest.New(b)
	for i := 0; b.Loop(); i++ {
		f := stamped(m.Next(0))
		h.Publish(want[i%40].Camera, f)
	}
}
