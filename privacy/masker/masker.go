// Package masker is the child process that sees a camera's unmasked pictures and masks them.
//
// cmd/custody-nvr calls Main when it is started as "custody-nvr masker"; package privacy starts it
// so, one child for each connection to a camera. It holds no file, reaches nothing but its own
// camera through sockets that the parent dials, and writes nothing but masked frames to one pipe.
// It will never write a picture that mask.Plan did not make, and never outlives its parent.
package masker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"custody-nvr/nvr"
	"custody-nvr/privacy/camera"
	"custody-nvr/privacy/codec"
	"custody-nvr/privacy/mask"
	"custody-nvr/privacy/sandbox"
	"custody-nvr/privacy/wire"
)

// statusEvery is the pulse that the parent's watchdog waits for (DESIGN section 3).
const statusEvery = 500 * time.Millisecond

// Main runs the child on the descriptors it inherited and returns its exit code: 0 when it was
// asked to stop, 1 after a fault that it has told the parent.
func Main() int {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	control, err := wire.Inherit(wire.ControlFD, os.Exit)
	if err != nil {
		log.Error("masker was not started by a recorder", "err", err)
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	start, err := control.Start(ctx)
	cancel()
	if err != nil {
		log.Error("masker was told nothing", "err", err)
		return 1
	}
	m := &masker{
		start: start, control: control, log: log,
		frames: os.NewFile(wire.FramesFD, "frames"),
		now:    monotonic,
		open: func(k codec.Kind, l codec.Limits) (decoder, error) {
			d, err := codec.NewDecoder(k, l)
			if err != nil {
				return nil, err
			}
			return d, nil
		},
	}
	err = m.run()
	if err == nil {
		return 0
	}
	if err := control.Send(wire.ToParent{Fault: faultOf(err)}); err != nil {
		log.Error("the parent could not be told of a fault", "err", err)
	}
	return 1
}

func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("CLOCK_MONOTONIC exists on every Linux: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// A masker is one life of the child: one connection to one camera.
type masker struct {
	start   wire.Start
	control *wire.Child
	frames  io.Writer
	log     *slog.Logger
	now     func() time.Duration
	open    func(codec.Kind, codec.Limits) (decoder, error)

	// Opened before the walls go up, since libraries may want files then.
	plan     *mask.Plan
	decoders map[string]decoder // by camera.Track kind
	archive  *output
	tile     *output

	beat  heartbeat
	state state
}

// run is the whole life: open, lock in, connect, mask until something ends it.
func (m *masker) run() error {
	m.beat.now = m.now
	if err := m.prepare(); err != nil {
		return err
	}
	if err := m.lockIn(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var background sync.WaitGroup
	defer background.Wait()
	defer stop()
	background.Go(func() { m.pulse(ctx) })
	background.Go(func() {
		select {
		case <-m.control.Stopped():
			stop()
		case <-ctx.Done():
		}
	})
	err := m.play(ctx)
	if ctx.Err() != nil {
		return nil // asked to stop
	}
	return err
}

// prepare opens everything that may need a file: the decoders of both codings, and the encoders of
// both streams, whose sizes the mask knows.
func (m *masker) prepare() error {
	var err error
	if m.plan, err = mask.NewPlan(m.start.Mask); err != nil {
		return err
	}
	limits := codec.Limits{MaxPixels: m.start.Limits.MaxPixels, MaxUnits: m.start.Limits.MaxUnits, MaxBytes: m.start.Limits.MaxBytes}
	m.decoders = map[string]decoder{}
	for _, k := range []codec.Kind{codec.H264, codec.H265} {
		if m.decoders[string(k)], err = m.open(k, limits); err != nil {
			return fmt.Errorf("open %s decoder: %w", k, err)
		}
	}
	if m.archive, err = m.output(nvr.Archive, m.plan.Size()); err != nil {
		return err
	}
	if size, ok := wire.TileSize(m.plan.Size()); ok {
		if m.tile, err = m.output(nvr.Tile, size); err != nil {
			return err
		}
		m.tile.every = tileEvery
	}
	return nil
}

func (m *masker) output(s nvr.Stream, size nvr.Size) (*output, error) {
	c := codec.EncoderConfig{Size: size}
	c.AspectW, c.AspectH = m.start.Mask.PixelAspect()
	e, err := codec.NewEncoder(c)
	if err != nil {
		return nil, fmt.Errorf("open %s encoder for %v: %w", s, size, err)
	}
	return &output{stream: s, run: m.start.Run, config: c, encoder: e, pipe: m.frames}, nil
}

// lockIn takes the child's rights away and proves that they are gone. Without walls the child goes
// on only where the suite file says why.
func (m *masker) lockIn() error {
	report, err := sandbox.Enforce(sandbox.Walls{LandlockABI: -1, DataLimit: m.start.Limits.DataLimit, UDP: m.start.Camera.Transport == "udp"})
	if err == nil {
		err = sandbox.Probe(m.start.Parent)
	}
	walls := wire.Walls{Seccomp: report.Seccomp, Landlock: report.Landlock, SwapPossible: report.SwapPossible}
	if err != nil {
		walls.Missing = []string{err.Error()}
	}
	if e := m.control.Send(wire.ToParent{Walls: &walls}); e != nil {
		return e
	}
	if err != nil && m.start.SandboxDisabled == "" {
		return &fault{nvr.MaskerFault, fmt.Sprintf("the sandbox around the unmasked picture does not hold: %v", err), wire.Normal}
	}
	return nil
}

// play holds one session with the camera.
func (m *masker) play(ctx context.Context) error {
	c := m.start.Camera
	s, err := camera.Open(ctx, camera.Spec{
		URL: c.URL, User: c.User, Password: c.Password, Transport: c.Transport, TLSPin: c.TLSPin,
		Dial: m.control.Dial, ListenPacket: m.control.ListenPacket, Log: m.log,
	})
	if err != nil {
		return err
	}
	defer s.Close()
	if m.start.Probe > 0 {
		return m.probe(ctx, s)
	}
	p := m.pipeline(s.Track())
	for {
		au, err := s.Next(ctx)
		if err != nil {
			return err
		}
		m.state.unit(au.Gap)
		if err := p.take(au); err != nil {
			return err
		}
	}
}

// pipeline builds the one way from access units to the pipe, with what the description of the
// stream already says of its parameters.
func (m *masker) pipeline(t camera.Track) *pipeline {
	p := &pipeline{
		plan: m.plan, inspector: codec.NewInspector(codec.Kind(t.Kind)), decoder: m.decoders[t.Kind],
		archive: m.archive, tile: m.tile, wantTiles: m.control.Watching,
		damage: newDamage(), beat: &m.beat, tell: m.state.tell, patient: m.start.Patient,
	}
	for kind, d := range m.decoders {
		if kind != t.Kind {
			d.Close()
			delete(m.decoders, kind)
		}
	}
	p.first = parameterSets(t)
	p.pin = &pin{spec: m.start.Mask, approved: m.start.Pin, source: t.SessionName, report: func(fingerprint string, g codec.Geometry, from time.Duration) error {
		return m.control.Send(wire.ToParent{Report: &wire.Report{
			From: from, Fingerprint: fingerprint, Geometry: g.Fingerprint(), Size: g.Shown,
			Track: trackWords(t), Medias: t.Medias, Certificate: t.Certificate,
		}})
	}}
	return p
}

// trackWords name the codec and what the camera calls itself.
func trackWords(t camera.Track) string {
	return fmt.Sprintf("%s from %q, server %q", t.Kind, t.SessionName, t.Server)
}

// parameterSets are those of the session description. Cameras that send none in their stream put
// them there.
func parameterSets(t camera.Track) [][]byte {
	var sets [][]byte
	for _, u := range [][]byte{t.VPS, t.SPS, t.PPS} {
		if len(u) > 0 {
			sets = append(sets, u)
		}
	}
	return sets
}

// pulse tells the parent every half second that the child lives, and what it is busy with.
func (m *masker) pulse(ctx context.Context) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		if err := m.control.Send(wire.ToParent{Status: m.status()}); err != nil {
			m.log.Error("status could not be sent", "err", err)
			return // the parent misses it and ends the child
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (m *masker) status() *wire.Status {
	since := m.beat.inCodec()
	st := m.state.get()
	return &wire.Status{
		Busy: since != 0, Picture: m.beat.pictures.Load(), Since: since,
		Units: st.units, Gaps: st.gaps, Decoded: m.beat.pictures.Load(),
		Obscured: st.cause, Detail: st.detail,
	}
}

// A state is what staff read on the tile. The pipeline writes it, the pulse reads it.
type state struct {
	mu     sync.Mutex
	units  uint64 // guarded by mu, as the rest
	gaps   uint64
	cause  nvr.Cause
	detail string
}

func (s *state) unit(gap bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.units++
	if gap {
		s.gaps++
	}
}

func (s *state) tell(cause nvr.Cause, detail string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cause != s.cause || detail != "" {
		s.cause, s.detail = cause, detail
	}
}

type stateValues struct {
	units, gaps uint64
	cause       nvr.Cause
	detail      string
}

func (s *state) get() stateValues {
	s.mu.Lock()
	defer s.mu.Unlock()
	return stateValues{s.units, s.gaps, s.cause, s.detail}
}

// A fault is an error that already knows its cause and when to try again.
type fault struct {
	cause  nvr.Cause
	detail string
	pace   wire.Pace
}

func (f *fault) Error() string { return f.detail }

// faultOf puts any end of the child into words for staff.
func faultOf(err error) *wire.Fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return &wire.Fault{Cause: f.cause, Detail: f.detail, Pace: f.pace}
	}
	if r, ok := errors.AsType[*camera.Refusal](err); ok {
		return &wire.Fault{Cause: nvr.CameraLost, Detail: r.Detail, Pace: paceOf(r.Kind)}
	}
	if r, ok := errors.AsType[*codec.Refused](err); ok {
		return &wire.Fault{Cause: nvr.CameraLost, Detail: r.What}
	}
	if d, ok := errors.AsType[*errDamaged](err); ok {
		return &wire.Fault{Cause: nvr.CameraLost, Detail: d.Error(), Pace: wire.Fresh}
	}
	return &wire.Fault{Cause: nvr.MaskerFault, Detail: err.Error()}
}

// paceOf says when a camera that refused may be asked again. Log-ins are counted by cameras, and
// too many lock everybody out (FAULTS F-43).
func paceOf(k camera.RefusalKind) wire.Pace {
	switch k {
	case camera.WrongPassword, camera.UnknownAuth, camera.TooManySessions:
		return wire.Slow
	case camera.SSRCChanged:
		return wire.Again
	}
	return wire.Normal
}
