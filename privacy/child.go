package privacy

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	codecLimit  = 1800 * time.Millisecond // for one picture; the child is dead by 2 s
	silentLimit = 1800 * time.Millisecond // without a status
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
	m.queue.newRun()
	c, err := m.start(to)
	if err != nil {
		return ending{outage: nvr.Outage{Cause: nvr.MaskerFault, Detail: err.Error()}}
	}
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
	return c.ending(exit)
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
		c.fail(nvr.MaskerFault, "masker did not start within %v", c.m.patience.start)
	case statusAt != 0 && now-statusAt > silentLimit:
		c.fail(nvr.MaskerFault, "masker hangs: no sign of life for 2 s")
	case busy && now-busyAt > codecLimit:
		c.fail(nvr.MaskerFault, "masker hangs: picture %d is in the codec for 2 s", picture)
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
		return "masker ended by itself and gave no reason"
	case !ok:
		return "masker ended: " + err.Error()
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return fmt.Sprintf("masker was ended by %s (%s)", unix.SignalName(status.Signal()), status.Signal())
	}
	return fmt.Sprintf("masker ended with exit code %d: the log has what it said", exit.ExitCode())
}

// talkToChild sends the start message, what Watch wants, and at the end the stop message. A
// child that does not read holds up this goroutine only, until it is killed.
func (c *child) talkToChild() {
	m := c.m
	m.mu.Lock()
	pin := m.pin
	m.mu.Unlock()
	cam := m.cfg.Camera
	if err := c.parent.Send(wire.ToChild{Start: &wire.Start{
		Run: c.run, Mask: *cam.Mask, Pin: pin, TileWidth: m.cfg.TileWidth, SandboxDisabled: m.cfg.SandboxDisabled, Parent: os.Getpid(), Patient: c.patient, Probe: m.probe,
		Camera: wire.Camera{ID: cam.ID, URL: cam.URL, User: cam.User, Password: cam.Password, Transport: cam.Transport, TLSPin: cam.TLSPin},
		Limits: wire.Limits{MaxPixels: cam.MaxPixels, DataLimit: m.cfg.DataLimit},
	}}, nil); err != nil {
		return // it is gone; watchOver sees that
	}
	told := false
	for {
		m.mu.Lock()
		tiles := m.tiles
		m.mu.Unlock()
		if tiles != told {
			if err := c.parent.Send(wire.ToChild{Watch: &wire.Watch{Tiles: tiles}}, nil); err != nil {
				return
			}
			told = tiles
		}
		select {
		case <-c.poke:
		case <-c.over.Done():
			_ = c.parent.Send(wire.ToChild{Stop: &wire.Stop{}}, nil) // it may be gone, which is as well
			return
		}
	}
}

// pokeWatch is called with the Masker's mu held.
func (c *child) pokeWatch() {
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

// readControl deals with what the child says.
func (c *child) readControl() {
	for {
		m, err := c.parent.Receive()
		if err != nil {
			if errors.Is(err, wire.ErrBroken) {
				c.fail(nvr.MaskerFault, "masker broke the control protocol: %v", err)
			}
			return // else it is gone, or about to be
		}
		now := c.m.mono()
		if now-c.countedAt > time.Second {
			c.countedAt, c.counted = now, 0
		}
		if c.counted++; c.counted > maxControl {
			c.fail(nvr.MaskerFault, "masker sends more than %d control messages a second", maxControl)
			return
		}
		switch {
		case m.Walls != nil:
			c.onWalls(*m.Walls)
		case m.Dial != nil:
			c.onSocket(*m.Dial, c.dial)
		case m.Listen != nil:
			c.onSocket(*m.Listen, c.listen)
		case m.Report != nil:
			c.onReport(*m.Report)
		case m.Status != nil:
			c.onStatus(*m.Status, now)
		case m.Fault != nil:
			c.mu.Lock()
			if c.fault == nil {
				c.fault, c.faultAt = m.Fault, now
			}
			c.mu.Unlock()
		case m.Probed != nil:
			c.onProbed(*m.Probed)
		}
	}
}

// onWalls refuses a child that goes on with a wall missing when nobody allowed that.
func (c *child) onWalls(w wire.Walls) {
	if (len(w.Missing) > 0 || !w.Seccomp) && c.m.cfg.SandboxDisabled == "" {
		c.fail(nvr.MaskerFault, "the masker's sandbox is not complete (%q): see INSTALL, or give the reason in the suite file", w.Missing)
		return
	}
	for i := range w.Missing {
		w.Missing[i] = clean(w.Missing[i], c.m.cfg.Camera.Password, maxDetail)
	}
	c.mu.Lock()
	first := c.walls == nil
	c.walls = &w
	c.mu.Unlock()
	if !first {
		c.fail(nvr.MaskerFault, "masker reported its walls twice")
		return
	}
	c.m.change(func(s *State) { s.Walls = w })
}

func (c *child) onStatus(s wire.Status, now time.Duration) {
	s.Detail = clean(s.Detail, c.m.cfg.Camera.Password, maxDetail)
	c.mu.Lock()
	// The child says since when, but it cannot push the moment past the one we first heard of it.
	if s.Busy && (!c.status.Busy || s.Picture != c.status.Picture || c.statusAt == 0) {
		c.busyAt = min(now, max(s.Since, c.statusAt))
	}
	c.status, c.statusAt = s, now
	c.mu.Unlock()
	c.m.mu.Lock()
	c.m.state.Status = s
	c.m.mu.Unlock()
}

// onReport compares the camera with the approved one, or approves the first one that comes.
func (c *child) onReport(r wire.Report) {
	m := c.m
	r.Geometry = clean(r.Geometry, m.cfg.Camera.Password, maxDetail)
	r.Track = clean(r.Track, m.cfg.Camera.Password, maxDetail)
	r.Certificate = clean(r.Certificate, m.cfg.Camera.Password, maxDetail)
	r.Medias = r.Medias[:min(len(r.Medias), 16)]
	for i := range r.Medias {
		r.Medias[i] = clean(r.Medias[i], m.cfg.Camera.Password, maxDetail)
	}
	if r.Fingerprint != clean(r.Fingerprint, "", 2*len(r.Fingerprint)) {
		c.fail(nvr.MaskerFault, "masker reported a fingerprint that is no line of text")
		return
	}
	m.mu.Lock()
	pin := m.pin
	m.mu.Unlock()
	if pin == "" {
		if m.cfg.OnPin != nil {
			if err := m.cfg.OnPin(r.Fingerprint); err != nil {
				c.fail(nvr.MaskerFault, "the camera's fingerprint cannot be stored: %v", err)
				return
			}
		}
		pin = r.Fingerprint
		m.mu.Lock()
		m.pin = pin
		m.mu.Unlock()
	}
	differs := r.Fingerprint != pin
	c.mu.Lock()
	first := len(c.pins) == 0
	if len(c.pins) == 64 { // the frames of the oldest have long passed
		c.pins = append(c.pins[:0], c.pins[32:]...)
	}
	c.pins = append(c.pins, pinned{r.From, differs})
	c.mu.Unlock()
	if first {
		close(c.reported)
	}
	m.change(func(s *State) { s.Report, s.Fingerprint, s.Differs = r, r.Fingerprint, differs })
}

// onSocket answers a request for a socket. A dial takes time, so it has a goroutine; their number
// is bounded by maxAsked.
func (c *child) onSocket(d wire.Dial, open func(wire.Dial) (syscall.Conn, io.Closer, error)) {
	c.mu.Lock()
	c.asked++
	tooMany := c.asked > maxAsked
	var err error
	switch {
	case c.walls == nil:
		err = errors.New("no socket before the walls stand")
	case c.sockets >= maxSockets:
		err = fmt.Errorf("this masker has had its %d sockets", maxSockets)
	default:
		c.sockets++
	}
	c.mu.Unlock()
	if tooMany {
		c.fail(nvr.MaskerFault, "masker asked for more than %d sockets", maxAsked)
		return
	}
	if err != nil {
		c.answer(d.ID, nil, err)
		return
	}
	c.group.Go(func() {
		conn, closer, err := open(d)
		if err != nil {
			c.mu.Lock()
			c.sockets--
			c.mu.Unlock()
			c.answer(d.ID, nil, err)
			return
		}
		c.answer(d.ID, conn, nil)
		closer.Close() // the child has its own copy now
	})
}

func (c *child) answer(id uint32, conn syscall.Conn, err error) {
	a := wire.Answer{ID: id}
	if err != nil {
		a.Error = err.Error()
	}
	// A send fails only where the child is gone, which watchOver sees.
	_ = c.parent.Send(wire.ToChild{Answer: &a}, conn)
}

func (c *child) dial(d wire.Dial) (syscall.Conn, io.Closer, error) {
	if err := c.m.address.allow(c.address, d.Network, d.Address); err != nil {
		c.mu.Lock()
		if c.refused == "" {
			c.refused = clean(fmt.Sprintf("refused to connect: %v (does the camera redirect?)", err), c.m.cfg.Camera.Password, maxDetail)
		}
		c.mu.Unlock()
		return nil, nil, err
	}
	dialer := net.Dialer{Timeout: dialTime}
	conn, err := dialer.DialContext(c.over, "tcp", c.address.String())
	if err != nil {
		return nil, nil, err
	}
	return conn.(*net.TCPConn), conn, nil
}

func (c *child) listen(d wire.Dial) (syscall.Conn, io.Closer, error) {
	port, err := allowListen(c.m.cfg.Camera.Transport, d.Network, d.Address)
	if err != nil {
		return nil, nil, err
	}
	network := "udp4"
	if c.address.Addr().Is6() {
		network = "udp6"
	}
	conn, err := net.ListenUDP(network, &net.UDPAddr{Port: port})
	if err != nil {
		return nil, nil, err
	}
	if err := conn.SetReadBuffer(udpBuffer); err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("enlarge the receive buffer: %w", err)
	}
	return conn, conn, nil
}

// readFrames passes frames on until the pipe ends or a rule is broken.
func (c *child) readFrames() {
	m := c.m
	r := wire.NewReader(c.frames, wire.Rules{
		Run: c.run, Masks: []nvr.MaskDigest{c.digest}, MaxPixels: m.cfg.Camera.MaxPixels, Mono: m.mono,
	})
	for {
		f, err := r.Next()
		if err != nil {
			if errors.Is(err, wire.ErrBroken) {
				c.fail(nvr.MaskerFault, "masker broke the frame protocol: %v", err)
			}
			return
		}
		if f.Obscured == nvr.Recorded && !c.waitForReport() {
			return
		}
		if !c.admit(&f) {
			return
		}
		m.queue.put(f)
	}
}

// waitForReport holds the first frame that shows anything until the report that must have been sent
// before it is dealt with: the two come on different ways. A stream that does not fit the mask is
// never reported, nor is one that is still damaged: their frames are obscured whole.
func (c *child) waitForReport() bool {
	select {
	case <-c.reported:
		return true
	default:
	}
	timer := time.NewTimer(c.m.patience.report)
	defer timer.Stop()
	select {
	case <-c.reported:
		return true
	case <-timer.C:
		c.fail(nvr.MaskerFault, "masker sent a frame before it reported what the camera sends")
	case <-c.failed:
	case <-c.over.Done():
	}
	return false
}

// admit checks what package wire cannot know: age and identity.
func (c *child) admit(f *nvr.Frame) bool {
	now := c.m.mono()
	switch {
	case f.Arrived > now:
		c.fail(nvr.MaskerFault, "masker sent a frame from the future (%v ahead)", f.Arrived-now)
		return false
	case f.Arrived <= now-maxAge:
		c.fail(nvr.Overload, "frames come %v late: the machine cannot keep up", (now - f.Arrived).Round(time.Second))
		return false
	}
	c.mu.Lock()
	noWalls := c.walls == nil
	differs := c.differsAt(f.PTS)
	c.mu.Unlock()
	switch {
	case noWalls:
		c.fail(nvr.MaskerFault, "masker sent a frame before it reported its walls")
		return false
	case differs && f.Obscured == nvr.Recorded:
		c.fail(nvr.MaskerFault, "masker sent a picture of a camera that is not the approved one")
		return false
	}
	if f.Stream != nvr.Archive {
		return true
	}
	c.mu.Lock()
	first, resumed := c.firstAt == 0, c.stalled
	if first {
		c.firstAt = now
	}
	c.lastAt, c.stalled = now, false
	c.mu.Unlock()
	if first || resumed {
		c.m.change(func(s *State) { s.Phase, s.Outage = Running, nil })
	}
	return true
}

// differsAt is called with mu held.
func (c *child) differsAt(pts time.Duration) bool {
	for i := len(c.pins) - 1; i >= 0; i-- {
		if c.pins[i].from <= pts || i == 0 {
			return c.pins[i].differs
		}
	}
	return true // no report: not approved
}
