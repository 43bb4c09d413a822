package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Child is the child's end of the control pair, with a goroutine that ends the process when the
// parent is gone.
type Child struct {
	s    *socket
	exit func(code int)

	start   chan Start
	stopped chan struct{}
	watch   atomic.Bool

	mu      sync.Mutex
	lastID  uint32                  // guarded by mu
	waiting map[uint32]chan<- reply // guarded by mu
}

type reply struct {
	file *os.File
	err  error
}

// ExitOrphan is the exit code of a child whose parent went away or broke the protocol.
const ExitOrphan = 10

// Inherit takes over the control descriptor (ControlFD) of this process and starts to serve it.
// exit is called, with ExitOrphan, when the parent's end is gone; it is os.Exit, which ends
// the process even while other threads are in C code that never returns. fd itself stays the
// descriptor in use.
func Inherit(fd uintptr, exit func(code int)) (*Child, error) {
	unix.CloseOnExec(int(fd))
	if err := unix.SetNonblock(int(fd), true); err != nil {
		return nil, fmt.Errorf("take over control pair: %w", err)
	}
	s, err := newSocket(os.NewFile(fd, "control"))
	if err != nil {
		return nil, err
	}
	c := &Child{s: s, exit: exit, start: make(chan Start, 1), stopped: make(chan struct{}), waiting: map[uint32]chan<- reply{}}
	go c.serve()
	return c, nil
}

// serve runs for the life of the process: whoever outlives the pair must not.
func (c *Child) serve() {
	defer c.exit(ExitOrphan)
	started, stopped := false, false
	for {
		m, fd, err := c.receive()
		if err != nil {
			return
		}
		switch {
		case m.Start != nil && !started:
			started = true
			c.start <- *m.Start
		case m.Watch != nil:
			c.watch.Store(m.Watch.Tiles)
		case m.Stop != nil && !stopped:
			stopped = true
			close(c.stopped)
		case m.Answer != nil:
			c.answer(*m.Answer, fd)
		default:
			return
		}
	}
}

func (c *Child) receive() (ToChild, int, error) {
	c.s.readMu.Lock()
	defer c.s.readMu.Unlock()
	b, oob, err := c.s.receive(make([]byte, unix.CmsgSpace(4)))
	if err != nil {
		return ToChild{}, -1, err
	}
	fds, err := rightsOf(oob)
	if err != nil {
		return ToChild{}, -1, err
	}
	m, err := decode(b, (*ToChild).Validate)
	if err == nil && len(fds) > 0 && (m.Answer == nil || m.Answer.Error != "" || len(fds) > 1) {
		err = fmt.Errorf("%w: %d descriptors that nobody asked for", ErrBroken, len(fds))
	}
	if err != nil || len(fds) == 0 {
		closeRights(oob)
		return m, -1, err
	}
	return m, fds[0], nil
}

func (c *Child) answer(a Answer, fd int) {
	c.mu.Lock()
	to := c.waiting[a.ID]
	delete(c.waiting, a.ID)
	c.mu.Unlock()
	r := reply{}
	switch {
	case a.Error != "":
		r.err = errors.New(a.Error)
	case fd < 0:
		r.err = fmt.Errorf("%w: answer without a socket", ErrBroken)
	default:
		r.file = os.NewFile(uintptr(fd), "socket")
	}
	if to == nil { // whoever asked has given up
		if r.file != nil {
			r.file.Close()
		}
		return
	}
	to <- r
}

// Start returns what the parent wants done. It is called once.
func (c *Child) Start(ctx context.Context) (Start, error) {
	select {
	case s := <-c.start:
		return s, nil
	case <-ctx.Done():
		return Start{}, fmt.Errorf("wait for the start message: %w", context.Cause(ctx))
	}
}

// Stopped is closed when the parent asks the child to end in good order.
func (c *Child) Stopped() <-chan struct{} { return c.stopped }

// Watching reports whether tiles are wanted.
func (c *Child) Watching() bool { return c.watch.Load() }

// Dial asks the parent for a connection to the camera. Its signature is the one of a
// net.Dialer's DialContext.
func (c *Child) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	f, err := c.ask(ctx, func(id uint32) ToParent { return ToParent{Dial: &Dial{id, network, address}} })
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	defer f.Close() // FileConn works on a copy
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("dial %s: use the socket: %w", address, err)
	}
	return conn, nil
}

// ListenPacket asks the parent for a bound UDP socket.
func (c *Child) ListenPacket(network, address string) (net.PacketConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	f, err := c.ask(ctx, func(id uint32) ToParent { return ToParent{Listen: &Dial{id, network, address}} })
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	defer f.Close()
	conn, err := net.FilePacketConn(f)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: use the socket: %w", address, err)
	}
	return conn, nil
}

func (c *Child) ask(ctx context.Context, question func(id uint32) ToParent) (*os.File, error) {
	got := make(chan reply, 1)
	c.mu.Lock()
	c.lastID++
	id := c.lastID
	c.waiting[id] = got
	c.mu.Unlock()
	forget := func() {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
	}
	if err := c.Send(question(id)); err != nil {
		forget()
		return nil, err
	}
	select {
	case r := <-got:
		return r.file, r.err
	case <-ctx.Done():
		forget()
		select { // the answer came in the meantime
		case r := <-got:
			return r.file, r.err
		default:
			return nil, context.Cause(ctx)
		}
	}
}

// Send sends one message to the parent.
func (c *Child) Send(m ToParent) error {
	b, err := encode(&m)
	if err != nil {
		return err
	}
	return c.s.send(b, -1)
}
