package recorder

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/recorder/archive"
	"custody-nvr/recorder/frametest"
	"custody-nvr/recorder/live"
)

// script is a Source that plays steps, each at its time.
type script struct {
	steps chan func() (nvr.Frame, error)
}

func (s *script) Next(ctx context.Context) (nvr.Frame, error) {
	select {
	case <-ctx.Done():
		return nvr.Frame{}, ctx.Err()
	case f := <-s.steps:
		return f()
	}
}

// rig is one recorder with one or more cameras, in a synctest bubble.
type rig struct {
	t       *testing.T
	dir     string
	clock   nvr.Clock
	step    time.Duration // added to the wall clock
	epoch   time.Time
	hub     *live.Hub
	archive *archive.Archive
	stop    context.CancelFunc
	wait    sync.WaitGroup
	cams    map[nvr.CameraID]*script
	makers  map[nvr.CameraID]*frametest.Maker
}

func newRig(t *testing.T, change func(*archive.Config), cams ...nvr.CameraID) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), epoch: time.Now(), cams: map[nvr.CameraID]*script{}, makers: map[nvr.CameraID]*frametest.Maker{}}
	for _, d := range []string{"state", "archive"} {
		if err := os.Mkdir(filepath.Join(r.dir, d), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	r.clock = nvr.Clock{
		Wall: func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(r.step) },
		Mono: func() time.Duration { return time.Since(r.epoch) + time.Hour },
	}
	r.start(change, cams...)
	return r
}

func (r *rig) start(change func(*archive.Config), cams ...nvr.CameraID) {
	r.t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	cfg := archive.Config{State: filepath.Join(r.dir, "state"), Volumes: []string{filepath.Join(r.dir, "archive")}, Suite: "test", Clock: r.clock, Log: log}
	if change != nil {
		change(&cfg)
	}
	a, err := archive.Open(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.archive = a
	r.hub = live.New(live.Config{Mono: r.clock.Mono})
	ctx, stop := context.WithCancel(r.t.Context())
	r.stop = stop
	r.wait.Go(func() { a.Run(ctx) })
	for _, id := range cams {
		s := &script{make(chan func() (nvr.Frame, error))}
		r.cams[id] = s
		r.makers[id] = frametest.New(r.t)
		c := &Camera{ID: id, Source: s, Live: r.hub, Archive: a, Clock: r.clock, Log: log}
		r.wait.Go(func() {
			if err := c.Run(ctx); err != nil {
				r.t.Error(err)
			}
		})
	}
}

func (r *rig) close() {
	r.t.Helper()
	r.stop()
	r.wait.Wait()
	r.hub.Close()
	if err := r.archive.Close(); err != nil {
		r.t.Error(err)
	}
}

// frames plays n frames in real time.
func (r *rig) frames(cam nvr.CameraID, n int) {
	for range n {
		time.Sleep(r.makers[cam].Spacing) // synctest: no real time passes
		r.frame(cam)
	}
}

func (r *rig) frame(cam nvr.CameraID) {
	m := r.makers[cam]
	r.cams[cam].steps <- func() (nvr.Frame, error) { return m.Next(r.clock.Mono()), nil }
	synctest.Wait()
}

func (r *rig) outage(cam nvr.CameraID, cause nvr.Cause, detail string) {
	r.cams[cam].steps <- func() (nvr.Frame, error) { return nvr.Frame{}, &nvr.Outage{Cause: cause, Detail: detail} }
	synctest.Wait()
}

func (r *rig) files() (list []string) {
	r.t.Helper()
	err := filepath.WalkDir(filepath.Join(r.dir, "archive"), func(p string, d os.DirEntry, err error) error {
		if strings.HasSuffix(p, ".mp4") {
			list = append(list, p)
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

func TestFramesBecomeSegmentsThatPlay(t *testing.T) {
	var dir []string
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, "cell-01")
		from := r.clock.Wall()
		r.frames("cell-01", 5*60)
		r.close()
		dir = r.files()
		r.start(nil)
		defer r.close()
		cov, err := r.archive.Coverage("cell-01", from, r.clock.Wall())
		t.Log(cov, err)
		segs, err := r.archive.Segments("cell-01", from, r.clock.Wall())
		t.Log(segs, err)
		if err := r.archive.Check(); err != nil {
			t.Error(err)
		}
		if len(dir) == 0 {
			t.Fatal("no file")
		}
		if _, err := exec.LookPath("ffprobe"); err != nil {
			t.Skip("ffprobe is not installed: playing is not tested")
		}
		for _, f := range dir {
			out, err := exec.Command("ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames,duration,codec_name", "-of", "csv=p=0", f).CombinedOutput()
			t.Log(string(out), err)
		}
	})
}
