package sandbox

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A probe tries one way out of the sandbox, in a form that does no harm where it succeeds. Its
// result is what the kernel said.
type probe struct {
	name string
	try  func(parent int) []error
}

// probes are the twelve escapes of the threat list.
var probes = []probe{
	{"read", func(int) []error {
		return []error{open("/proc/self/exe", unix.O_RDONLY), open("/", unix.O_RDONLY|unix.O_DIRECTORY)}
	}},
	{"write", func(int) []error { return []error{open("/dev/null", unix.O_WRONLY), create("/tmp")} }},
	{"socket", func(int) []error {
		return []error{
			socket(unix.AF_INET, unix.SOCK_STREAM), socket(unix.AF_INET6, unix.SOCK_DGRAM),
			socket(unix.AF_UNIX, unix.SOCK_STREAM), socket(unix.AF_NETLINK, unix.SOCK_RAW),
		}
	}},
	// Calls with descriptor -1, no path or no memory: without a wall the kernel complains about
	// those, with one it does not come so far.
	{"connect", func(int) []error {
		return []error{
			unix.Connect(-1, &unix.SockaddrInet4{Port: 80, Addr: [4]byte{127, 0, 0, 1}}),
			unix.Bind(-1, &unix.SockaddrInet4{}), unix.Sendmsg(-1, []byte{0}, nil, nil, 0),
		}
	}},
	{"exec", func(int) []error {
		return []error{unix.Exec("/proc/self/no-such-program", []string{"x"}, nil), call(unix.SYS_CLONE, uintptr(unix.CLONE_NEWPID|unix.CLONE_SIGHAND))}
	}},
	{"memfd exec", func(int) []error {
		fd, err := unix.MemfdCreate("probe", unix.MFD_CLOEXEC)
		if err == nil {
			unix.Close(fd)
		}
		empty := [1]byte{}
		exec := call(unix.SYS_EXECVEAT, ^uintptr(0), uintptr(unsafe.Pointer(&empty)), 0, 0, unix.AT_EMPTY_PATH)
		return []error{err, exec, call(unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON, ^uintptr(0), 0)}
	}},
	{"ptrace", func(parent int) []error {
		return []error{call(unix.SYS_PTRACE, unix.PTRACE_PEEKDATA, uintptr(parent), 0, 0)}
	}},
	{"process_vm", func(parent int) []error {
		return []error{
			call(unix.SYS_PROCESS_VM_READV, uintptr(parent), 0, 0, 0, 0, 0),
			call(unix.SYS_PROCESS_VM_WRITEV, uintptr(parent), 0, 0, 0, 0, 0),
		}
	}},
	{"kill", func(parent int) []error {
		return []error{unix.Kill(parent, 0), call(unix.SYS_TKILL, uintptr(parent), 0), unix.Tgkill(parent, parent, 0)}
	}},
	{"unshare", func(int) []error { return []error{unix.Unshare(0), call(unix.SYS_SETNS, ^uintptr(0), 0)} }},
	{"mount", func(int) []error {
		return []error{unix.Mount("none", "/proc/self/no-such-place", "tmpfs", 0, ""), unix.Unmount("/proc/self/no-such-place", 0)}
	}},
	{"bpf and io_uring", func(int) []error {
		return []error{call(unix.SYS_BPF, ^uintptr(0)>>33, 0, 0), call(unix.SYS_IO_URING_SETUP, 0, 0)}
	}},
}

// Probe tries the twelve escapes on this process and its parent. It returns nil where all were
// refused, else an error that names each wall that gave.
func Probe(parent int) error {
	var gave []string
	for _, p := range probes {
		for i, err := range p.try(parent) {
			if !refused(err) {
				gave = append(gave, fmt.Sprintf("%s (%d: %v)", p.name, i+1, err))
				break
			}
		}
	}
	if len(gave) > 0 {
		return fmt.Errorf("sandbox gave way: %s", strings.Join(gave, ", "))
	}
	return nil
}

// refused: EPERM from seccomp, EACCES from Landlock. Anything else means that the kernel went
// about it.
func refused(err error) bool { return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) }

func open(path string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// create tries a file of a name that nobody else has.
func create(dir string) error {
	path := fmt.Sprintf("%s/custody-nvr-probe-%d-%d", dir, unix.Getpid(), time.Now().UnixNano())
	err := open(path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY)
	if err == nil {
		unix.Unlink(path)
	}
	return err
}

func socket(family, kind int) error {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func call(nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	if _, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return errno
	}
	return nil
}
