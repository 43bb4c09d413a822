package wire

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Parent is the parent's end of a control pair. Send and Receive may run at the same time.
type Parent struct{ s *socket }

// Pair makes a control pair: the parent's end, and the child's end to be handed to the child
// process and then closed here.
func Pair() (*Parent, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make control pair: %w", err)
	}
	child := os.NewFile(uintptr(fds[1]), "control (child)")
	s, err := newSocket(os.NewFile(uintptr(fds[0]), "control (parent)"))
	if err != nil {
		unix.Close(fds[0])
		child.Close()
		return nil, nil, err
	}
	return &Parent{s}, child, nil
}

// Send sends one message. With a socket the child gets a copy of it; the caller closes its own.
func (p *Parent) Send(m ToChild, socket syscall.Conn) error {
	b, err := encode(&m)
	if err != nil {
		return err
	}
	if socket == nil {
		return p.s.send(b, -1)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return fmt.Errorf("hand over socket: %w", err)
	}
	var sent error
	if err := raw.Control(func(fd uintptr) { sent = p.s.send(b, int(fd)) }); err != nil {
		return fmt.Errorf("hand over socket: %w", err)
	}
	return sent
}

// Receive returns the next message of the child; io.EOF means that it is gone.
func (p *Parent) Receive() (ToParent, error) {
	p.s.readMu.Lock()
	defer p.s.readMu.Unlock()
	b, _, err := p.s.receive(nil)
	if err != nil {
		return ToParent{}, err
	}
	return decode(b, (*ToParent).Validate)
}

// SetReadDeadline bounds a Receive, also one that runs already.
func (p *Parent) SetReadDeadline(t time.Time) error { return p.s.file.SetReadDeadline(t) }

// Close ends the pair, and with it the child.
func (p *Parent) Close() error { return p.s.file.Close() }
