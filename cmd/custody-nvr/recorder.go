package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"custody-nvr/configs"
	"custody-nvr/nvr"
	"custody-nvr/privacy"
	"custody-nvr/privacy/wire"
	"custody-nvr/recorder"
	"custody-nvr/recorder/archive"
	"custody-nvr/recorder/live"
	"custody-nvr/ui"
)

// A Main is the recorder of one suite, put together. "run", "demo" and the e2e tests start the
// same one: fill in the fields, Open, Run, Close.
type Main struct {
	Suite  *configs.Suite
	Listen string   // address of the web pages; "" is the suite file's
	Masker []string // command that starts a masker; nil is this very binary
	Log    *slog.Logger
	Clock  nvr.Clock // zero is the system's

	// Of a demo only: every page says DEMO, and no more than this is kept.
	Demo     bool
	Keep     time.Duration
	MaxBytes int64

	OnPainted func(ui.Painted) // may be nil

	archive  *archive.Archive
	hub      *live.Hub
	pins     *pins
	maskers  map[nvr.CameraID]*privacy.Masker
	cameras  []*recorder.Camera
	server   *ui.Server
	listener net.Listener
}

// systemClock is the machine's own.
func systemClock() nvr.Clock {
	return nvr.Clock{Wall: time.Now, Mono: func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			panic("CLOCK_MONOTONIC exists on every Linux: " + err.Error())
		}
		return time.Duration(ts.Nano())
	}}
}

// Open takes what the recorder needs: volumes, index, listener. Nothing is recorded yet.
func (m *Main) Open() (err error) {
	if m.Clock.Mono == nil {
		m.Clock = systemClock()
	}
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	if err := os.MkdirAll(m.Suite.State, 0o700); err != nil {
		return fmt.Errorf("make state folder: %w", err)
	}
	if m.pins, err = openPins(filepath.Join(m.Suite.State, "pins")); err != nil {
		return err
	}
	paths := make([]string, len(m.Suite.Volumes))
	for i, v := range m.Suite.Volumes {
		paths[i] = v.Path
	}
	if m.archive, err = archive.Open(archive.Config{
		State: m.Suite.State, Volumes: paths, Suite: m.Suite.Name, Clock: m.Clock, Log: m.Log,
		Keep: m.Keep, MaxBytes: m.MaxBytes,
	}); err != nil {
		return err
	}
	m.hub = live.New(live.Config{Mono: m.Clock.Mono, OnTiles: m.watchTiles})
	m.maskers = map[nvr.CameraID]*privacy.Masker{}
	for i := range m.Suite.Cameras {
		if err := m.addCamera(&m.Suite.Cameras[i]); err != nil {
			return err
		}
	}
	if m.server, err = ui.New(ui.Config{
		Suite: m.Suite.Name, Demo: m.Demo, Version: buildVersion().String(),
		Wall: newWall(m.Suite, m.hub), Clock: m.Clock, Log: m.Log, OnPainted: m.OnPainted,
	}); err != nil {
		return err
	}
	listen := m.Listen
	if listen == "" {
		listen = m.Suite.Network.Listen
	}
	if m.listener, err = net.Listen("tcp", listen); err != nil {
		return fmt.Errorf("listen for browsers: %w; is another recorder running, or is the port taken?", err)
	}
	return nil
}

// addCamera puts one camera's way together: masker, then recorder, then disk and wall.
func (m *Main) addCamera(cam *configs.Camera) error {
	pc, err := cameraOf(m.Suite, cam.ID)
	if err != nil {
		return err
	}
	if pc.Pin = cam.Fingerprint; pc.Pin == "" {
		if pc.Pin, err = m.pins.get(cam.ID); err != nil {
			// This camera alone is obscured: no stream is equal to an approval that nobody can read.
			m.Log.Error("camera is obscured until its stream is accepted again", "camera", string(cam.ID), "err", err)
			pc.Pin = unreadablePin
		}
	}
	spec := pc.Mask
	masker := privacy.New(privacy.Config{
		Camera: pc,
		Exec:   m.Masker, SandboxDisabled: m.Suite.Sandbox.Disabled,
		Log: m.Log, Clock: m.Clock,
		OnPin: func(fingerprint string) error {
			return m.pins.set(cam.ID, fingerprint, "taken on first use", m.Clock.Wall())
		},
	})
	m.maskers[cam.ID] = masker
	for _, why := range masker.State().Weaker {
		m.Log.Warn("weaker wall around a masker", "camera", string(cam.ID), "reason", why)
	}
	rec := &recorder.Camera{
		ID: cam.ID, Source: masker, Live: m.hub, Archive: m.archive, Clock: m.Clock,
		Log: m.Log, ClockState: recorder.KernelClock,
		Why: func(c nvr.Cause) string {
			if s := masker.State().Status; s.Obscured == c {
				return s.Detail
			}
			return ""
		},
	}
	if spec != nil {
		digest, version := spec.Digest(), spec.Version
		rec.MaskVersion = func(d nvr.MaskDigest) int {
			if d == digest {
				return version
			}
			return 0
		}
		_, small := wire.TileSize(spec.Picture)
		m.hub.TileIsArchive(cam.ID, !small)
	}
	m.cameras = append(m.cameras, rec)
	return nil
}

// watchTiles tells a masker whether its small pictures are looked at.
func (m *Main) watchTiles(cam nvr.CameraID, on bool) {
	if k := m.maskers[cam]; k != nil {
		k.Watch(on)
	}
}

// Addr is where the pages are served, after Open.
func (m *Main) Addr() string { return m.listener.Addr().String() }

// Run records and serves until ctx ends, then lets everything come to rest in order: cameras,
// archive, pages.
func (m *Main) Run(ctx context.Context) error {
	var errs [3]error
	var cams, disk, pages sync.WaitGroup
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	onDisk, diskDone := context.WithCancel(context.WithoutCancel(ctx))
	defer diskDone()
	disk.Go(func() {
		if errs[0] = m.archive.Run(onDisk); errs[0] != nil {
			fail(errs[0])
		}
	})
	pages.Go(func() {
		if errs[1] = m.server.Serve(ctx, m.listener); errs[1] != nil {
			fail(errs[1])
		}
	})
	cams.Go(func() { m.watchPins(ctx) })
	for _, k := range m.maskers {
		cams.Go(func() {
			if err := k.Run(ctx); err != nil && ctx.Err() == nil {
				fail(err)
			}
		})
	}
	for _, c := range m.cameras {
		cams.Go(func() {
			if err := c.Run(ctx); err != nil {
				fail(err)
			}
		})
	}
	cams.Wait()
	diskDone()
	disk.Wait()
	pages.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		errs[2] = cause
	}
	return errors.Join(errs[:]...)
}

// unreadablePin stands for an approval that is there and cannot be read.
const unreadablePin = "(unreadable)"

// pinsEvery is how soon "camera accept" reaches a running recorder.
const pinsEvery = 2 * time.Second

// watchPins takes over what somebody accepted on the console. A pin that cannot be read changes
// nothing: the camera is held to the one before.
func (m *Main) watchPins(ctx context.Context) {
	tick := time.NewTicker(pinsEvery)
	defer tick.Stop()
	unread := map[nvr.CameraID]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for i := range m.Suite.Cameras {
			cam := &m.Suite.Cameras[i]
			if cam.Fingerprint != "" {
				continue
			}
			kept, err := m.pins.get(cam.ID)
			if err != nil && !unread[cam.ID] {
				m.Log.Error("an accepted stream is not taken over", "camera", string(cam.ID), "err", err)
			}
			unread[cam.ID] = err != nil
			if err != nil || kept == "" {
				continue
			}
			k := m.maskers[cam.ID]
			if held := k.State().Pin; held != "" && held != kept {
				m.Log.Warn("another stream was accepted for a camera", "camera", string(cam.ID), "before", held, "now", kept)
				k.Accept(kept)
			}
		}
	}
}

// Close gives back what Open took, after Run.
func (m *Main) Close() error {
	var errs []error
	if m.hub != nil {
		m.hub.Close()
	}
	if m.listener != nil {
		m.listener.Close() // Serve has closed it, if it ever ran
	}
	if m.archive != nil {
		errs = append(errs, m.archive.Close())
	}
	if m.pins != nil {
		errs = append(errs, m.pins.Close())
	}
	return errors.Join(errs...)
}
