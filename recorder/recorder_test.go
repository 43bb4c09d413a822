package recorder

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/recorder/archive"
	"custody-nvr/recorder/frametest"
	"custody-nvr/recorder/live"
	"custody-nvr/recorder/segment"
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
	mu      sync.Mutex
	step    time.Duration // guarded by mu: added to the wall clock
	held    time.Duration // guarded by mu: who asks for the time next sleeps for so long
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
	return newRigIn(t, t.TempDir(), change, cams...)
}

func newRigIn(t *testing.T, dir string, change func(*archive.Config), cams ...nvr.CameraID) *rig {
	t.Helper()
	r := &rig{t: t, dir: dir, epoch: time.Now(), cams: map[nvr.CameraID]*script{}, makers: map[nvr.CameraID]*frametest.Maker{}}
	for _, d := range []string{"state", "archive"} {
		if err := os.Mkdir(filepath.Join(r.dir, d), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	r.clock = nvr.Clock{
		Wall: r.wall,
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

func (r *rig) wall() time.Time {
	r.mu.Lock()
	held := r.held
	r.held = 0
	r.mu.Unlock()
	time.Sleep(held)
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Add(r.step)
}

// hold keeps whoever asks for the time next from running for d, as a machine that is too busy does.
func (r *rig) hold(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = d
}

// setClock sets the system clock by d.
func (r *rig) setClock(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.step += d
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

// coverage tells what the archive says of a camera since the start of the rig, in tenths of seconds;
// the archive must be closed.
func (r *rig) coverage(cam nvr.CameraID) string {
	r.t.Helper()
	r.start(nil)
	defer r.close()
	if err := r.archive.Check(); err != nil {
		r.t.Errorf("check: %v", err)
	}
	list, err := r.archive.Coverage(cam, r.epoch.Add(-2*time.Hour), r.clock.Wall().Add(24*time.Hour))
	if err != nil {
		r.t.Fatal(err)
	}
	var p []string
	for _, s := range list {
		if s.Cause != nvr.NotInService {
			p = append(p, fmt.Sprintf("%s %.1f", s.Cause, s.To.Sub(s.From).Seconds()))
		}
	}
	return strings.Join(p, ", ")
}

// segments are the closed segments of a camera; the archive must be closed.
func (r *rig) segments(cam nvr.CameraID) []archive.Row {
	r.t.Helper()
	r.start(nil)
	defer r.close()
	list, err := r.archive.Segments(cam, time.Unix(0, 0), time.Unix(0, 1<<62))
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

const cell = nvr.CameraID("cell-01")

// A recorder that was itself held up for two seconds must not say that the camera was lost: the
// pictures came meanwhile and wait.
func TestRecorderThatWasHeldUpDoesNotBlameTheCamera(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, cell)
		m := r.makers[cell]
		r.frames(cell, 15)
		for range 8 {
			time.Sleep(m.Spacing)
			began := r.clock.Mono()
			r.hold(2500 * time.Millisecond)
			r.frame(cell)
			for k := 1; k <= 12; k++ {
				r.cams[cell].steps <- func() (nvr.Frame, error) { return m.Next(began + time.Duration(k)*m.Spacing), nil }
			}
			r.frames(cell, 5)
		}
		r.close()
		if got := r.coverage(cell); strings.Count(got, "camera lost") != 1 {
			t.Errorf("coverage is %s", got)
		}
	})
}

// The process was stopped for 11 s (kill -STOP, then CONT), and what the camera sent meanwhile is gone.
func TestStallOfTheRecorderIsNotCalledCameraLost(t *testing.T) {
	for _, c := range []struct {
		name  string
		after func(r *rig)
		want  string
	}{
		{"the camera goes on", func(r *rig) {
			r.makers[cell].PTS += 11 * time.Second
		}, "recorder overloaded 11.6"},
		{"the camera connects anew", func(r *rig) {
			r.makers[cell].NewRun()
		}, "recorder overloaded 10.8"},
		{"pictures were lost on the way", func(r *rig) {
			r.makers[cell].PTS += 11 * time.Second
			r.makers[cell].Seq += 55
		}, "recorder overloaded 11.6"},
		{"the masker says it first", func(r *rig) {
			r.outage(cell, nvr.CameraLost, "the camera closed the connection")
			r.makers[cell].NewRun()
		}, "recorder overloaded 10.6, camera lost 0.2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil, cell)
				r.frames(cell, 25)
				r.frame(cell) // whatever keeps time in the loop asks for it once more
				r.hold(11 * time.Second)
				time.Sleep(r.makers[cell].Spacing)
				r.frame(cell) // and here the loop stands still
				time.Sleep(11 * time.Second)
				c.after(r)
				for r.makers[cell].Seq%5 != 0 {
					r.makers[cell].Next(0)
				}
				r.frames(cell, 25)
				r.close()
				if got, _ := strings.CutPrefix(r.coverage(cell), "camera lost 0.2, recorded 5.4, "); got != c.want+", recorded 5.0" {
					t.Errorf("coverage is %s, want %s", got, c.want)
				}
			})
		})
	}
}

// REQ-REC-4: the wall says within ten seconds that pictures do not reach the disk, beside a picture that
// is sound, and takes it back.
func TestWallIsToldThatPicturesDoNotReachTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, cell)
		r.frames(cell, 25)
		for _, f := range r.files() {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
		r.frames(cell, 25)
		if s := r.hub.State(cell); !strings.Contains(s.NotRecording, "removed") || s.Cause != nvr.Recorded {
			t.Errorf("5 s later the wall says %+v", s)
		}
		r.frames(cell, 200)
		if s := r.hub.State(cell); s.NotRecording != "" {
			t.Errorf("45 s later the wall says %+v", s)
		}
		r.close()
	})
}

func TestFramesBecomeSegmentsThatPlay(t *testing.T) {
	dir := t.TempDir() // outlives the bubble
	var files []string
	synctest.Test(t, func(t *testing.T) {
		r := newRigIn(t, dir, func(c *archive.Config) { c.Length = 20 * time.Second }, cell)
		r.frames(cell, 5*50)
		r.close()
		files = r.files()
		if got := r.coverage(cell); got != "camera lost 0.2, recorded 50.0" {
			t.Errorf("coverage is %s", got)
		}
		var media time.Duration
		for _, s := range r.segments(cell) {
			media += segment.Duration(s.Ticks)
		}
		if media != 50*time.Second {
			t.Errorf("media time is %s", media)
		}
	})
	if len(files) < 3 || len(files) > 4 {
		t.Fatalf("%d files in %s", len(files), dir)
	}
	if _, err := exec.LookPath("ffprobe"); err != nil {
		t.Skip("ffprobe is not installed: playing is not tested")
	}
	total := 0
	for _, f := range files {
		out, err := exec.Command("ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", f).Output()
		n, err2 := strconv.Atoi(strings.TrimSpace(string(out)))
		if err != nil || err2 != nil {
			t.Fatalf("ffprobe %s: %v, %v", f, err, err2)
		}
		total += n
	}
	if total != 250 {
		t.Errorf("ffprobe decodes %d pictures of 250", total)
	}
}

// Each case plays a camera and says what the archive must tell about it.
func TestEveryInterruptionIsAGapWithItsCause(t *testing.T) {
	for _, c := range []struct {
		name     string
		play     func(r *rig)
		want     string
		segments int
		live     nvr.Cause // at the end
	}{
		{"nothing happens", func(r *rig) {
			r.frames(cell, 50)
		}, "recorded 10.0", 1, nvr.Recorded},
		{"the camera is lost for 7 s", func(r *rig) {
			r.frames(cell, 25)
			r.outage(cell, nvr.CameraLost, "no answer")
			time.Sleep(7 * time.Second)
			r.makers[cell].NewRun()
			r.frames(cell, 25)
		}, "recorded 5.0, camera lost 7.0, recorded 5.0", 2, nvr.Recorded},
		{"the cause changes during the gap", func(r *rig) {
			r.frames(cell, 25)
			r.outage(cell, nvr.MaskerFault, "crashed")
			time.Sleep(3 * time.Second)
			r.outage(cell, nvr.NoApprovedMask, "no mask")
			time.Sleep(4 * time.Second)
		}, "recorded 5.0, masker fault 2.8, no approved mask 4.0", 1, nvr.NoApprovedMask},
		{"a new run without a word", func(r *rig) {
			r.frames(cell, 25)
			r.makers[cell].NewRun()
			time.Sleep(time.Second)
			r.frames(cell, 25)
		}, "recorded 5.0, camera lost 1.0, recorded 5.0", 2, nvr.Recorded},
		{"no frame for 6 s and nobody says why", func(r *rig) {
			r.frames(cell, 25)
			time.Sleep(6 * time.Second)
			r.makers[cell].PTS += 6 * time.Second
			r.frames(cell, 25)
		}, "recorded 5.0, camera lost 6.0, recorded 5.0", 2, nvr.Recorded},
		{"frames come late but lack nothing", func(r *rig) {
			r.frames(cell, 27)
			time.Sleep(1500 * time.Millisecond)
			for range 7 {
				r.frame(cell)
			}
			r.frames(cell, 16)
		}, "recorded 10.0", 1, nvr.Recorded},
		{"frames are lost on the way", func(r *rig) {
			r.frames(cell, 26)
			r.makers[cell].Next(0)
			time.Sleep(frametest.Spacing)
			r.frames(cell, 23)
		}, "recorded 5.2, recorder overloaded 0.8, recorded 4.0", 2, nvr.Recorded},
		{"no key picture for 10 s", func(r *rig) {
			r.makers[cell].NoKeys = true
			r.frames(cell, 60)
		}, "recorded 10.2, masker fault 1.6", 1, nvr.Recorded},
		{"obscured pictures begin with a key picture", func(r *rig) {
			r.frames(cell, 25)
			r.makers[cell].Obscured = nvr.ObscuredDamaged
			r.frames(cell, 10)
			r.makers[cell].Obscured = nvr.Recorded
			r.frames(cell, 15)
		}, "recorded 5.0, obscured: damaged picture 2.0, recorded 3.0", 1, nvr.Recorded},
		{"the mask changes", func(r *rig) {
			r.frames(cell, 25)
			r.makers[cell].Mask = nvr.MaskDigest{77}
			r.frames(cell, 25)
		}, "recorded 10.0", 2, nvr.Recorded},
		{"the mask changes without a key picture", func(r *rig) {
			r.frames(cell, 27)
			r.makers[cell].Mask = nvr.MaskDigest{77}
			r.frames(cell, 23)
		}, "recorded 5.4, masker fault 0.6, recorded 4.0", 2, nvr.Recorded},
		{"the system clock is set on by an hour", func(r *rig) {
			r.frames(cell, 27)
			r.setClock(time.Hour)
			r.frames(cell, 23)
		}, "recorded 6.0, clock step 3600.0, recorded 4.0", 2, nvr.Recorded},
		{"the system clock is set back by an hour", func(r *rig) {
			r.frames(cell, 27)
			r.setClock(-time.Hour)
			r.frames(cell, 23)
		}, "", 2, nvr.Recorded},
		{"the system clock is set back while the camera is lost", func(r *rig) {
			r.frames(cell, 25)
			r.outage(cell, nvr.CameraLost, "no answer")
			time.Sleep(2 * time.Second)
			r.setClock(-time.Minute)
			time.Sleep(2 * time.Second)
			r.makers[cell].NewRun()
			r.frames(cell, 25)
		}, "", 2, nvr.Recorded},
		{"a new run begins with pictures from before the old one ended", func(r *rig) {
			r.frames(cell, 25)
			r.makers[cell].NewRun()
			time.Sleep(frametest.Spacing)
			r.flood(cell, 10)
			r.frames(cell, 25)
		}, "recorded 5.0, camera lost 0.2, recorded 5.0", 2, nvr.Recorded},
		{"F-20: the camera sends 40 s of pictures in no time", func(r *rig) {
			r.frames(cell, 25)
			r.flood(cell, 200)
			r.frames(cell, 25)
		}, "recorded 10.0", 0, nvr.Recorded},
		{"the camera clock jumps", func(r *rig) {
			r.frames(cell, 25)
			r.makers[cell].PTS += time.Hour
			r.frames(cell, 75)
		}, "recorded 20.0", 2, nvr.Recorded},
		{"tile frames are not recorded", func(r *rig) {
			for range 50 {
				r.frames(cell, 1)
				m := r.makers[cell]
				f := frametest.New(r.t).Next(r.clock.Mono())
				f.Stream, f.Run, f.PTS = nvr.Tile, m.Run, m.PTS-m.Spacing
				r.cams[cell].steps <- func() (nvr.Frame, error) { return f, nil }
			}
		}, "recorded 10.0", 1, nvr.Recorded},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil, cell)
				c.play(r)
				if s := r.hub.State(cell); s.Cause != c.live {
					t.Errorf("the wall says %s", s.Cause)
				}
				r.close()
				got, _ := strings.CutPrefix(r.coverage(cell), "camera lost 0.2, ")
				if c.want != "" && got != c.want {
					t.Errorf("coverage is %s, want %s", got, c.want)
				}
				if n := len(r.segments(cell)); c.segments > 0 && n != c.segments {
					t.Errorf("%d segments, want %d", n, c.segments)
				}
			})
		})
	}
}

// A group that the camera had in store comes at once; its pictures get the time at which they were taken.
func TestBurstAtTheConnectionIsTimedByTheCamera(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, cell)
		time.Sleep(2 * time.Second)
		at := r.clock.Wall()
		for range 5 {
			r.frame(cell)
		}
		r.frames(cell, 20)
		r.close()
		s := r.segments(cell)
		if len(s) != 1 || s[0].Start.Sub(at) != -4*frametest.Spacing {
			t.Errorf("segment starts %s after the connection", s[0].Start.Sub(at))
		}
		r.coverage(cell)
	})
}

func TestOneCameraCostsNoOtherAFrame(t *testing.T) {
	for name, harm := range map[string]func(r *rig){
		"stalls":      func(r *rig) {},
		"is lost":     func(r *rig) { r.outage("cell-02", nvr.CameraLost, "gone") },
		"floods":      func(r *rig) { r.makers["cell-02"].Pad = 1 << 20; r.flood("cell-02", 30) },
		"wrong cause": func(r *rig) { r.outage("cell-02", nvr.ObscuredDamaged, "?") },
		"empty frames": func(r *rig) {
			r.cams["cell-02"].steps <- func() (nvr.Frame, error) { return nvr.Frame{Stream: nvr.Archive, Key: true}, nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil, cell, "cell-02")
				idle := r.hub.Subscribe(live.Want{Camera: cell, Stream: nvr.Archive}) // reads nothing
				defer idle.Close()
				for range 20 {
					r.frames(cell, 5)
					harm(r)
				}
				r.close()
				if got := r.coverage(cell); got != "camera lost 0.2, recorded 20.0" {
					t.Errorf("coverage of the other camera is %s", got)
				}
				r.coverage("cell-02")
			})
		})
	}
}

func (r *rig) flood(cam nvr.CameraID, n int) {
	for range n {
		r.frame(cam)
	}
}

// A second life of the recorder: the time in between has its cause, and nothing is written over.
func TestRestartDeclaresItsOwnAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, cell)
		r.frames(cell, 25)
		r.close()
		time.Sleep(30 * time.Second)
		r.start(nil, cell)
		r.frames(cell, 25)
		r.close()
		want := "camera lost 0.2, recorded 5.0, recorder stopped 29.8, camera lost 0.2, recorded 5.0"
		if got := r.coverage(cell); got != want {
			t.Errorf("coverage is %s, want %s", got, want)
		}
	})
}

// F-56: a clock that is behind at the start is declared, and overwrites nothing.
func TestClockBehindAtStartIsDeclared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, cell)
		r.frames(cell, 25)
		r.close()
		r.setClock(-time.Hour)
		r.start(nil, cell)
		r.frames(cell, 25)
		r.close()
		if s := r.segments(cell); len(s) != 2 || s[0].Fragments != 5 || s[1].Fragments != 5 {
			t.Errorf("segments %+v", s)
		}
		r.coverage(cell)
	})
}
