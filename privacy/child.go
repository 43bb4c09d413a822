package privacy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/wire"

	"golang.org/x/sys/unix"
)

// Limits of a child's life.
const (
	tick        = 50 * time.Millisecond
	codecLimit  = 1600 * time.Millisecond // for one picture; the child is dead by 2 s
	silentLimit = 1600 * time.Millisecond // without a status
	lastWords   = time.Second             // between a fault and the end
	maxAge      = 10 * time.Second        // of a frame when it is read
	maxControl  = 400                     // control messages in a second
	pipeSize    = 1 << 20
	udpBuffer   = 2 << 20 // a key picture comes in one burst; the kernel may give less
)

// patience is how long a child may take where seconds do not matter to anybody's privacy.
type patience struct {
	start  time.Duration // to the first status: a loaded machine starts slowly
	report time.Duration // from the first frame to the report that was sent before it
	first  time.Duration // to the first picture
	stall  time.Duration // without a picture: say so
	lost   time.Duration // without a picture: reconnect
	stop   time.Duration // to say goodbye to the camera
}

var usualPatience = patience{start: 10 * time.Second, report: 5 * time.Second, first: 20 * time.Second, stall: 3 * time.Second, lost: 10 * time.Second, stop: 1500 * time.Millisecond}

// A child is one masker process, from its start to its end.
type child struct {
	m       *Masker
	run     nvr.RunID
	address netip.AddrPort
	digest  nvr.MaskDigest
	cmd     *exec.Cmd
	parent  *wire.Parent
	frames  *os.File
	started time.Duration
	patient bool // it was started for a key picture after damage, or a moment after such a one

	group    sync.WaitGroup
	failed   chan struct{} // closed with the first failure
	reported chan struct{} // closed with the first report that is dealt with
	poke     chan struct{} // an element where Watch has news
	over     context.Context
	end      context.CancelFunc

	mu        sync.Mutex
	failure   *ending       // guarded by mu: what the parent found; it goes before what the child says
	fault     *wire.Fault   // guarded by mu
	faultAt   time.Duration // guarded by mu
	walls     *wire.Walls   // guarded by mu
	pins      []pinned      // guarded by mu
	asked     int           // guarded by mu, requests for sockets
	sockets   int           // guarded by mu, handed over or on the way
	ready     net.Conn      // guarded by mu: the first socket where it is open already
	unreached bool          // guarded by mu: no connection came about
	refused   string        // guarded by mu: a dial to a foreign address
	statusAt  time.Duration // guarded by mu, zero before the first
	status    wire.Status   // guarded by mu
	busyAt    time.Duration // guarded by mu: when status.Picture went in, by our own reckoning
	firstAt   time.Duration // guarded by mu: of the first archive frame
	lastAt    time.Duration // guarded by mu: of the last one
	stalled   bool          // guarded by mu: said
	countedAt time.Duration // owned by readControl
	counted   int           // owned by readControl
}

// pinned says from which media time on the camera is the approved one, or is not.
type pinned struct {
	from    time.Duration
	differs bool
}

// fail records the first thing that went wrong; the child is then killed.
func (c *child) fail(cause nvr.Cause, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil {
		return
	}
	c.failure = &ending{outage: nvr.Outage{Cause: cause, Detail: clean(fmt.Sprintf(format, args...), c.m.cfg.Camera.Password, maxDetail)}}
	close(c.failed)
}

// runOnce is the life of one child: start, watch over it, wait for its end, say why.
func (m *Masker) runOnce(ctx context.Context) ending {
	to, out := m.address.resolve(ctx)
	if out != nil {
		return ending{outage: *out}
	}
	ready, err := m.knock(ctx, to)
	if err != nil {
		return ending{outage: nvr.Outage{Cause: nvr.CameraLost, Detail: fmt.Sprintf("no connection to %s (%s): check the camera's power and cable", to, reason(err))}}
	}
	m.queue.newRun()
	c, err := m.start(to)
	if err != nil {
		if ready != nil {
			ready.Close()
		}
		return ending{outage: nvr.Outage{Cause: nvr.MaskerFault, Detail: err.Error()}}
	}
	c.ready = ready
	c.patient = m.backoff.patient(m.mono())
	m.change(func(s *State) {
		s.Phase, s.Run, s.PID = Starting, c.run, c.cmd.Process.Pid
		s.Walls, s.Report, s.Status = wire.Walls{}, wire.Report{}, wire.Status{}
		s.Starts++
	})
	m.mu.Lock()
	m.child = c
	m.mu.Unlock()

	c.group.Go(c.readFrames)
	c.group.Go(c.readControl)
	c.group.Go(c.talkToChild)
	exited := make(chan error, 1)
	c.group.Go(func() { exited <- c.cmd.Wait() })
	exit := c.watchOver(ctx, exited)

	m.mu.Lock()
	m.child = nil
	m.mu.Unlock()
	// Nobody holds the other ends any more; the deadlines are for what cannot be.
	soon := time.Now().Add(time.Second)
	c.frames.SetReadDeadline(soon)
	c.parent.SetReadDeadline(soon)
	c.end()
	c.group.Wait()
	c.frames.Close()
	c.parent.Close()
	if c.ready != nil {
		c.ready.Close()
	}
	m.unreached = c.unreached
	return c.ending(exit)
}

// knock connects to a camera that could not be reached the last time, before a child is started for
// it: a child for each attempt at a camera that is switched off would cost more than recording it.
// The connection is the child's first one. Elsewhere it returns nil: the child asks when it is ready.
func (m *Masker) knock(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	if !m.unreached {
		return nil, nil
	}
	dialer := net.Dialer{Timeout: dialTime}
	return dialer.DialContext(ctx, "tcp", to.String())
}

// start makes the pipe, the pair and the process.
func (m *Masker) start(to netip.AddrPort) (*child, error) {
	frames, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make the frames pipe: %w", err)
	}
	defer write.Close()
	parent, control, err := wire.Pair()
	if err != nil {
		frames.Close()
		return nil, err
	}
	defer control.Close()
	cmd := exec.Command(m.cfg.Exec[0], m.cfg.Exec[1:]...)
	cmd.Args[0] = "custody-nvr" // so that people find it by its name
	// Nothing of our environment. The Go settings keep the child's runtime from holding cgroup files
	// open, which its sandbox would have to close. One arena, because the codecs are called from
	// whatever thread Go has at hand, and glibc would keep what was freed for each of them: 25 MiB.
	cmd.Env = []string{"GODEBUG=containermaxprocs=0,updatemaxprocs=0", "TZ=UTC", "MALLOC_ARENA_MAX=1"}
	cmd.ExtraFiles = []*os.File{write, control}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Dir = "/"
	said := &talk{log: m.log, secret: m.cfg.Camera.Password, mono: m.mono}
	cmd.Stderr = said
	cmd.WaitDelay = time.Second
	c := &child{
		m: m, run: nvr.NewRunID(), address: to, digest: m.cfg.Camera.Mask.Digest(), cmd: cmd, parent: parent, frames: frames,
		failed: make(chan struct{}), reported: make(chan struct{}), poke: make(chan struct{}, 1), started: m.mono(),
	}
	c.over, c.end = context.WithCancel(context.Background())
	if err := cmd.Start(); err != nil {
		frames.Close()
		parent.Close()
		c.end()
		return nil, fmt.Errorf("start a masker: %w", err)
	}
	setPipeSize(frames)
	return c, nil
}

// setPipeSize lets a key frame fit into the pipe; a kernel that refuses costs only speed.
func setPipeSize(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
}

// watchOver kills the child when something fails, asks it to stop when ctx ends, and returns
// when it is gone.
func (c *child) watchOver(ctx context.Context, exited <-chan error) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	failed, done := c.failed, ctx.Done()
	var stopBy time.Duration
	last := c.m.mono()
	for {
		select {
		case err := <-exited:
			return err
		case <-failed:
			failed = nil
			c.kill()
		case <-done:
			done = nil
			stopBy = c.m.mono() + c.m.patience.stop
			c.end() // talkToChild says stop, dials end
		case <-ticker.C:
			now := c.m.mono()
			// A parent that was itself held up must not blame the child.
			late := now-last > 10*tick
			last = now
			switch {
			case stopBy != 0 && now > stopBy:
				c.kill()
			case stopBy == 0:
				c.check(now, late)
			}
		}
	}
}

// kill ends the process. It is gone when Wait returns; an error means that it is gone already.
func (c *child) kill() { _ = c.cmd.Process.Kill() }

// check is the watchdog.
func (c *child) check(now time.Duration, late bool) {
	c.mu.Lock()
	if late && c.statusAt != 0 {
		c.statusAt, c.busyAt = now, now
	}
	statusAt, busy, busyAt, picture := c.statusAt, c.status.Busy, c.busyAt, c.status.Picture
	last := c.lastAt
	gone := c.fault != nil && now-c.faultAt > lastWords
	say := !c.stalled && last != 0 && now-last > c.m.patience.stall
	if say {
		c.stalled = true
	}
	c.mu.Unlock()
	switch {
	case gone:
		c.kill() // it has said why
	case statusAt == 0 && now-c.started > c.m.patience.start:
		c.fail(nvr.MaskerFault, "masker did not start within %v: it is started anew, tell ICT if it goes on", c.m.patience.start)
	case statusAt != 0 && now-statusAt > silentLimit:
		c.fail(nvr.MaskerFault, "masker hangs: it is started anew. There was no sign of life for 2 s")
	case busy && now-busyAt > codecLimit:
		c.fail(nvr.MaskerFault, "masker hangs: it is started anew. Picture %d is in the codec for 2 s", picture)
	case last == 0 && now-c.started > c.m.patience.first:
		c.fail(nvr.CameraLost, "no picture within %v of connecting: check the camera's stream settings", c.m.patience.first)
	case last != 0 && now-last > c.m.patience.lost:
		c.fail(nvr.CameraLost, "no picture from the camera for %v: check camera and network", c.m.patience.lost)
	}
	if say {
		out := nvr.Outage{Cause: nvr.CameraLost, Detail: fmt.Sprintf("no picture from the camera for %v: check camera and network", c.m.patience.stall)}
		c.m.change(func(s *State) { s.Outage = &out })
	}
}

// ending says why the child ended: what the parent found goes first, then what the child said,
// then how the process ended.
func (c *child) ending(exit error) ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	var e ending
	switch {
	case c.failure != nil:
		e = *c.failure
	case c.refused != "":
		e.outage = nvr.Outage{Cause: nvr.CameraLost, Detail: c.refused}
	case c.fault != nil:
		e.outage = nvr.Outage{Cause: c.fault.Cause, Detail: clean(c.fault.Detail, c.m.cfg.Camera.Password, maxDetail)}
		e.pace = c.fault.Pace
	default:
		e.outage = nvr.Outage{Cause: nvr.MaskerFault, Detail: exitWords(exit)}
	}
	if c.firstAt != 0 {
		e.frames, e.flowed = true, c.lastAt-c.firstAt
	}
	return e
}

// exitWords says how a process ended.
func exitWords(err error) string {
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return "masker ended by itself: it is started anew, tell ICT if it goes on"
	case !ok:
		return "masker ended: it is started anew, tell ICT if it goes on. " + err.Error()
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return fmt.Sprintf("masker was ended by %s (%s): it is started anew", unix.SignalName(status.Signal()), status.Signal())
	}
	return fmt.Sprintf("masker ended with exit code %d: it is started anew. The log has what it said", exit.ExitCode())
}
