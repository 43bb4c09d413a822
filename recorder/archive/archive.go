// Package archive keeps footage on disk: segment files, the index over them, and the cause of every
// second that has no picture.
//
// The recorder feeds it in the parent process; whoever shows coverage or reads footage asks it. It
// never opens a picture, never writes to a file again after an error, and never deletes a file that
// it does not know. This is its first form: holds, the year and the book come with theirs.
package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"custody-nvr/nvr"
	"custody-nvr/nvr/durable"
)

// Config is what an Archive is told. State, Volumes, Suite, Clock and Log are needed.
type Config struct {
	State   string   // folder of the index
	Volumes []string // folders, each best a file system of its own; a camera has its place on one
	Suite   string   // name of the suite, at most 64 bytes
	Clock   nvr.Clock
	Log     *slog.Logger
	Length  time.Duration // of a segment; 0 is ten minutes

	// Keep and MaxBytes bound what a demo keeps; zero means for ever. They know neither hold nor
	// calendar year and are not for a real suite.
	Keep     time.Duration
	MaxBytes int64

	// Durable is called for each fragment that is on disk, by the goroutine that wrote it.
	Durable func(cam nvr.CameraID, run nvr.RunID, seq uint64)

	wrap func(disk) disk // tests
}

// An Archive is open from Open to Close. Run works for it in between.
type Archive struct {
	cfg     Config
	log     *slog.Logger
	locks   []*os.File
	state   *os.Root
	index   *index
	volumes []*volume
	roots   []*os.Root

	ends map[nvr.CameraID]time.Time // of what was here at Open; not changed

	mu    sync.Mutex
	feeds map[nvr.CameraID]*Feed  // guarded by mu
	gone  map[nvr.CameraID][]Span // guarded by mu: times whose row has no file any more
}

// Open locks State and all volumes, proves that the volumes are the ones that were here before, opens
// or rebuilds the index, and takes in what the last run left.
func Open(cfg Config) (a *Archive, err error) {
	if cfg.Length == 0 {
		cfg.Length = 10 * time.Minute
	}
	if cfg.Length > longest/2 {
		return nil, fmt.Errorf("segments of %s are too long, at most %s", cfg.Length, longest/2)
	}
	if len(cfg.Suite) > 64 || len(cfg.Volumes) == 0 {
		return nil, errors.New("open archive: needs a suite name of at most 64 bytes and a volume")
	}
	a = &Archive{cfg: cfg, log: cfg.Log, feeds: map[nvr.CameraID]*Feed{}, ends: map[nvr.CameraID]time.Time{}, gone: map[nvr.CameraID][]Span{}}
	defer func() {
		if err != nil {
			a.release()
			a = nil
		}
	}()
	if a.state, err = os.OpenRoot(cfg.State); err != nil {
		return a, fmt.Errorf("open archive: %w", err)
	}
	l, err := durable.Lock(a.state, "recorder.lock")
	if err != nil {
		return a, fmt.Errorf("open archive: %s: %w", cfg.State, err)
	}
	a.locks = append(a.locks, l)
	for _, path := range cfg.Volumes {
		if err := a.openVolume(path); err != nil {
			return a, fmt.Errorf("volume %s: %w", path, err)
		}
	}
	return a, a.openIndex()
}

// bootID names this boot of the machine; all zero where the kernel does not say.
func bootID() (id [16]byte) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err == nil {
		fmt.Sscanf(strings.ReplaceAll(string(b), "-", ""), "%x", (*hex16)(&id))
	}
	return id
}

// Feed returns the way of one camera into the archive, from now until Close.
func (a *Archive) Feed(cam nvr.CameraID) (*Feed, error) {
	if err := nvr.ValidID(string(cam)); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.feeds[cam] != nil {
		return a.feeds[cam], nil
	}
	v := a.volumes[place(cam)%uint64(len(a.volumes))]
	f := &Feed{cam: cam, fault: v.why, tooOld: a.ends[cam]}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.feeds = append(v.feeds, f)
	a.feeds[cam] = f
	return f, nil
}

// Run writes to disk until ctx ends: a goroutine for each volume, one for the index. What was queued
// by then is written by Close, so stop the cameras, then Run, then Close.
func (a *Archive) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, v := range a.volumes {
		wg.Go(func() { v.run(ctx) })
	}
	wg.Go(func() { a.runIndex(ctx) })
	if a.cfg.Keep > 0 || a.cfg.MaxBytes > 0 {
		wg.Go(func() { a.runDemoRetention(ctx) })
	}
	wg.Wait()
	return nil
}

// runIndex commits once a second what has arrived from the volumes, waiting for none of them.
func (a *Archive) runIndex(ctx context.Context) {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		err := a.index.commit(a.cfg.Clock.Wall())
		if err != nil && !failing {
			a.log.Error("index refuses to write, footage goes on into its files", "err", err)
		}
		if err == nil && failing {
			a.log.Info("index writes again")
		}
		failing = err != nil
	}
}

// Close writes what is queued, seals all files and lets go of the folders. Run must have returned.
func (a *Archive) Close() error {
	var errs error
	for _, v := range a.volumes {
		v.tick(true)
		errs = errors.Join(errs, v.fault)
	}
	errs = errors.Join(errs, a.index.commit(a.cfg.Clock.Wall()))
	return errors.Join(errs, a.release())
}

func (a *Archive) release() (errs error) {
	if a.index != nil && !a.index.dead.Load() { // else Close would wait for locks that nobody lets go
		errs = a.index.db.Close()
	}
	for _, v := range a.volumes {
		for _, l := range v.lanes {
			if l.open != nil {
				l.open.f.Close()
			}
		}
	}
	for _, r := range a.roots {
		errs = errors.Join(errs, r.Close())
	}
	for _, l := range a.locks {
		errs = errors.Join(errs, l.Close())
	}
	if a.state != nil {
		errs = errors.Join(errs, a.state.Close())
	}
	return errs
}

// ownFileSystem reports whether dir is the top of a file system.
func ownFileSystem(root *os.Root) (bool, error) {
	var here, above unix.Stat_t
	d, err := root.Open(".")
	if err != nil {
		return false, err
	}
	defer d.Close()
	if err := unix.Fstat(int(d.Fd()), &here); err != nil {
		return false, err
	}
	if err := unix.Fstatat(int(d.Fd()), "..", &above, 0); err != nil {
		return false, err
	}
	return here.Dev != above.Dev, nil
}
