// Package privacy is the parent's door to the maskers.
//
// For each camera cmd/custody-nvr makes one Masker, which starts masker children (package
// privacy/masker), one per connection, and hands their masked frames to the recorder. It runs in
// the parent. It never sees an unmasked picture, and it never believes a child: frames are held
// to package wire's rules, sockets lead to the camera's address only, text is cleaned before it is
// logged or shown, and a child that breaks a rule is killed.
package privacy

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/wire"

	"golang.org/x/sys/unix"
)

// A Camera is what the suite file, the secrets and the approved masks say about one camera.
type Camera struct {
	ID        nvr.CameraID
	URL       string // rtsp:// or rtsps://, without credentials
	User      string
	Password  string
	Transport string // "tcp", "udp", or "" for tcp
	UDPReason string // why UDP is allowed; without it UDP is refused
	TLSPin    string // hex SHA-256 of the certificate, rtsps only
	// Mask is the approved mask; without one no child is ever started.
	Mask *nvr.MaskSpec
	// Pin is the stream fingerprint that was approved; empty takes the first one that comes.
	Pin string
	// MaxPixels of one picture; zero is the child's default.
	MaxPixels int
}

// Config is what a Masker works with. Camera is required.
type Config struct {
	Camera Camera
	// Exec starts a child; nil means this binary's masker command.
	Exec []string
	// SandboxDisabled is the reason for going on with missing walls; empty refuses to.
	SandboxDisabled string
	// DataLimit is RLIMIT_DATA of a child in bytes; zero is the child's default.
	DataLimit uint64
	// TileWidth is the width of tile pictures; zero is the child's default.
	TileWidth int
	Log       *slog.Logger
	Clock     nvr.Clock // Mono alone is used; nil means CLOCK_MONOTONIC
	// OnState is told each change, now and then by two goroutines at once. It must not block.
	OnState func(State)
	// OnPin keeps the first fingerprint for good. Without success no frame of the run passes.
	OnPin func(fingerprint string) error
}

// A Phase says what a Masker is doing.
type Phase string

const (
	Unapproved Phase = "no approved mask"
	Refused    Phase = "cannot start" // the configuration forbids it
	Starting   Phase = "starting"     // a child runs and has sent no picture yet
	Running    Phase = "running"
	Waiting    Phase = "waiting" // for the next attempt
	Stopped    Phase = "stopped"
)

// A State is what is known about a camera's masker. It holds no secret.
type State struct {
	Phase  Phase
	Outage *nvr.Outage   // nil while frames come
	Since  time.Duration // of Phase, CLOCK_MONOTONIC
	Retry  time.Duration // when the next attempt is made, while Waiting
	Run    nvr.RunID
	PID    int
	Starts int // children so far
	Faults int // of them, ended by masker faults

	// Pin is the approved fingerprint, Fingerprint what the camera sends now.
	Pin, Fingerprint string
	// Differs says that they are not the same: everything is obscured until somebody decides.
	Differs bool

	Walls   wire.Walls
	Weaker  []string // reasons given for weaker walls (UDP, sandbox)
	Report  wire.Report
	Status  wire.Status
	Dropped uint64 // frames lost because the recorder did not take them
}

// A Masker keeps one camera's masked frames coming. Run does the work, one goroutine calls Next.
type Masker struct {
	cfg      Config
	log      *slog.Logger
	mono     func() time.Duration
	address  *address
	queue    *queue
	backoff  backoff // owned by Run
	patience patience
	wrong    *nvr.Outage   // why no child may be started
	probe    time.Duration // of Probe, else 0
	// unreached: no connection came about the last time. Owned by Run.
	unreached bool

	mu     sync.Mutex
	state  State        // guarded by mu
	pin    string       // guarded by mu
	tiles  bool         // guarded by mu
	child  *child       // guarded by mu
	probed *wire.Probed // guarded by mu
}

// New makes a Masker. Whatever is wrong with the configuration is said by Next and State, so that
// one camera's mistake never stops another's recording.
func New(cfg Config) *Masker {
	if len(cfg.Exec) == 0 {
		cfg.Exec = []string{"/proc/self/exe", "masker"}
	}
	if cfg.Camera.Transport == "" {
		cfg.Camera.Transport = "tcp"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	m := &Masker{
		cfg: cfg, log: cfg.Log.With("camera", string(cfg.Camera.ID)), mono: cfg.Clock.Mono,
		queue: newQueue(), backoff: backoff{rand: rand.Float64}, pin: cfg.Camera.Pin, patience: usualPatience,
	}
	if m.mono == nil {
		m.mono = monotonic
	}
	m.state = State{Phase: Starting, Since: m.mono(), Pin: m.pin}
	if cfg.SandboxDisabled != "" {
		m.state.Weaker = append(m.state.Weaker, "sandbox: "+cfg.SandboxDisabled)
	}
	if cfg.Camera.Transport == "udp" {
		m.state.Weaker = append(m.state.Weaker, "UDP: "+cfg.Camera.UDPReason)
	}
	m.address, m.wrong = newAddress(cfg.Camera.URL, net.DefaultResolver.LookupNetIP)
	if m.wrong == nil {
		m.wrong = forbidden(cfg.Camera)
	}
	return m
}

// forbidden says why no child may be started for a camera.
func forbidden(c Camera) *nvr.Outage {
	switch {
	case c.Mask == nil:
		return &nvr.Outage{Cause: nvr.NoApprovedMask, Detail: "draw a mask for this camera and have it approved"}
	case c.Mask.Validate() != nil:
		return &nvr.Outage{Cause: nvr.NoApprovedMask, Detail: c.Mask.Validate().Error()}
	case c.Transport != "tcp" && c.Transport != "udp":
		return &nvr.Outage{Cause: nvr.CameraLost, Detail: "the transport must be tcp or udp: correct the suite file"}
	case c.Transport == "udp" && c.UDPReason == "":
		return &nvr.Outage{Cause: nvr.CameraLost, Detail: "UDP needs a reason in the suite file, or use TCP"}
	}
	return nil
}

// monotonic is CLOCK_MONOTONIC, which the children's times are in too.
func monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic("CLOCK_MONOTONIC cannot be read: " + err.Error()) // no Linux is without it
	}
	return time.Duration(t.Nano())
}

// Run starts children, one after the other, until ctx ends; then it returns nil.
func (m *Masker) Run(ctx context.Context) error {
	// A child asks the kernel to be killed with the thread that started it; this goroutine keeps
	// that thread alive for as long as a child may live.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer m.change(func(s *State) {
		s.Phase = Stopped
		s.Outage = &nvr.Outage{Cause: nvr.RecorderStopped, Detail: "this camera's masker was stopped"}
	})
	if m.wrong != nil {
		m.change(func(s *State) {
			s.Phase, s.Outage = Refused, m.wrong
			if m.wrong.Cause == nvr.NoApprovedMask {
				s.Phase = Unapproved
			}
		})
		m.log.Error("masker cannot start", "cause", m.wrong.Error())
		<-ctx.Done()
		return nil
	}
	m.change(func(s *State) { s.Outage = &nvr.Outage{Cause: nvr.CameraLost, Detail: "connecting to the camera"} })
	var told nvr.Outage // since the last picture
	for {
		end := m.runOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wait, note := m.backoff.next(m.mono(), end)
		out := end.outage
		if note != "" {
			out.Detail = note + ": " + out.Detail
		}
		level := slog.LevelWarn
		if out == told && !end.frames {
			level = slog.LevelDebug // a camera that is gone for a week is one event
		}
		told = out
		m.log.Log(ctx, level, "masker ended", "cause", out.Error(), "retry_in", wait)
		m.change(func(s *State) {
			s.Phase, s.Outage, s.Retry, s.PID = Waiting, &out, m.mono()+wait, 0
			if out.Cause == nvr.MaskerFault {
				s.Faults++
			}
		})
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// Next returns the next masked frame. While there are none it returns each *nvr.Outage once and
// then blocks; any other error is ctx's.
func (m *Masker) Next(ctx context.Context) (nvr.Frame, error) { return m.queue.next(ctx) }

// Watch says whether anybody looks at tiles. It never blocks.
func (m *Masker) Watch(tiles bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tiles = tiles
	if m.child != nil {
		m.child.pokeWatch()
	}
}

// Accept makes fingerprint the approved stream from now on: somebody with the right has looked at
// the camera. A child that holds to another one is started anew.
func (m *Masker) Accept(fingerprint string) {
	m.mu.Lock()
	changed := m.pin != fingerprint
	m.pin = fingerprint
	c := m.child
	m.mu.Unlock()
	if changed && c != nil {
		c.fail(nvr.CameraLost, "the camera's stream was accepted, connecting anew")
	}
}

// State returns what is known now.
func (m *Masker) State() State {
	dropped := m.queue.lost()
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state
	s.Pin, s.Dropped = m.pin, dropped
	return s
}

// change applies f to the state, tells Next about a new outage and OnState about the change.
func (m *Masker) change(f func(*State)) {
	m.mu.Lock()
	phase := m.state.Phase
	f(&m.state)
	if m.state.Phase != phase {
		m.state.Since = m.mono()
	}
	if m.state.Phase != Waiting {
		m.state.Retry = 0
	}
	if out := m.state.Outage; out != nil {
		m.queue.outage(*out)
	}
	m.mu.Unlock()
	if m.cfg.OnState != nil {
		m.cfg.OnState(m.State())
	}
}
