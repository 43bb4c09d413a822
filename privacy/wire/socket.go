package wire

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket is one end of the control pair. It is used with plain system calls on one descriptor,
// never duplicated: the child's sandbox lists its descriptors, and write(2) and recvmsg(2) are all
// that its seccomp filter leaves of socket calls that can carry a message.
type socket struct {
	file *os.File
	raw  syscall.RawConn

	readMu sync.Mutex
	buf    []byte // guarded by readMu

	writeMu sync.Mutex
}

func newSocket(f *os.File) (*socket, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("open control pair: %w", err)
	}
	return &socket{file: f, raw: raw, buf: make([]byte, MaxMessage+1)}, nil
}

// send sends one message, with one descriptor where fd >= 0.
func (s *socket) send(b []byte, fd int) error {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	if fd < 0 {
		if _, err := s.file.Write(b); err != nil {
			return fmt.Errorf("send control message: %w", err)
		}
		return nil
	}
	var sent error
	if err := s.raw.Write(func(to uintptr) bool {
		sent = unix.Sendmsg(int(to), b, unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL)
		return !errors.Is(sent, unix.EAGAIN)
	}); err != nil {
		return fmt.Errorf("send control message: %w", err)
	}
	if sent != nil {
		return fmt.Errorf("send control message: %w", sent)
	}
	return nil
}

// receive returns the next message; it is valid until the next call. With a nil oob descriptors
// are never taken in: the kernel drops them, and that is an error.
func (s *socket) receive(oob []byte) (b, rights []byte, err error) {
	var n, oobn, flags int
	var got error
	if err := s.raw.Read(func(from uintptr) bool {
		for {
			n, oobn, flags, _, got = unix.Recvmsg(int(from), s.buf, oob, unix.MSG_CMSG_CLOEXEC)
			if !errors.Is(got, unix.EINTR) {
				return !errors.Is(got, unix.EAGAIN)
			}
		}
	}); err != nil {
		return nil, nil, fmt.Errorf("receive control message: %w", err)
	}
	switch {
	case errors.Is(got, unix.ECONNRESET): // the other end died with messages unread
		return nil, nil, io.EOF
	case got != nil:
		return nil, nil, fmt.Errorf("receive control message: %w", got)
	case n == 0 && oobn == 0:
		return nil, nil, io.EOF
	case flags&unix.MSG_TRUNC != 0 || n > MaxMessage:
		closeRights(oob[:oobn])
		return nil, nil, fmt.Errorf("%w: control message above %d bytes", ErrBroken, MaxMessage)
	case flags&unix.MSG_CTRUNC != 0:
		closeRights(oob[:oobn])
		return nil, nil, fmt.Errorf("%w: control message with descriptors that nobody asked for", ErrBroken)
	}
	return s.buf[:n], oob[:oobn], nil
}

// rightsOf returns the descriptors that came with a message.
func rightsOf(oob []byte) ([]int, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("descriptors of control message: %w", err)
	}
	var all []int
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return all, fmt.Errorf("descriptors of control message: %w", err)
		}
		all = append(all, fds...)
	}
	return all, nil
}

func closeRights(oob []byte) {
	fds, _ := rightsOf(oob) // whatever could be parsed is closed; the message is refused anyhow
	for _, fd := range fds {
		unix.Close(fd)
	}
}
