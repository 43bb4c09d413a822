package sandbox

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A rule says when one system call is allowed. Everything that has no rule is refused with EPERM.
type rule struct {
	nr   uintptr
	only []check // all must hold; none means always
}

// check compares one argument: arg&mask must equal one of want. The upper half of the argument
// must be zero where wide is set (flags and pids are 32 bits to the kernel, pointers are not).
type check struct {
	arg  int
	mask uint32
	want []uint32
	wide bool
}

func is(arg int, want ...uint32) check { return check{arg: arg, mask: ^uint32(0), want: want} }

const (
	threadFlags = unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND
	escapeFlags = unix.CLONE_VFORK | unix.CLONE_PTRACE | unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS |
		unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_PIDFD
	prSetVMA = 0x53564d41
)

// rules is the allow-list: what the Go runtime, glibc's malloc and threads, FFmpeg, x264 and a
// network client on sockets that were handed over need, and nothing else.
func rules(pid int, udp bool) []rule {
	always := []uintptr{
		// The pipe, the control pair, the camera's socket, standard error.
		unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_CLOSE, unix.SYS_FSTAT,
		unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_SHUTDOWN, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_GETSOCKOPT,
		// The runtime's poller.
		unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2, unix.SYS_PPOLL,
		// Memory; mmap and mprotect have rules below.
		unix.SYS_MUNMAP, unix.SYS_MREMAP, unix.SYS_MADVISE, unix.SYS_BRK, unix.SYS_MINCORE,
		// Threads.
		unix.SYS_FUTEX, unix.SYS_SET_ROBUST_LIST, unix.SYS_GET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_SET_TID_ADDRESS,
		unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_GETTID,
		// Time.
		unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES, unix.SYS_GETTIMEOFDAY,
		// Signals to itself.
		unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
		// Questions that tell nothing about others.
		unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID,
		unix.SYS_GETRANDOM, unix.SYS_GETRUSAGE, unix.SYS_UNAME, unix.SYS_SYSINFO, unix.SYS_GETCPU,
	}
	self := uint32(pid)
	list := []rule{
		// New code cannot be mapped.
		{unix.SYS_MMAP, []check{{arg: 2, mask: unix.PROT_EXEC, want: []uint32{0}}}},
		{unix.SYS_MPROTECT, []check{{arg: 2, mask: unix.PROT_EXEC, want: []uint32{0}}}},
		// Threads only, no process and no name space.
		{unix.SYS_CLONE, []check{
			{arg: 0, mask: threadFlags, want: []uint32{threadFlags}, wide: true},
			{arg: 0, mask: escapeFlags, want: []uint32{0}},
		}},
		{unix.SYS_TGKILL, []check{is(0, self)}},
		{unix.SYS_KILL, []check{is(0, self)}},
		{unix.SYS_PRCTL, []check{is(0, unix.PR_SET_NAME, unix.PR_GET_NAME, prSetVMA, unix.PR_GET_DUMPABLE, unix.PR_GET_NO_NEW_PRIVS)}},
		{unix.SYS_FCNTL, []check{is(1, unix.F_DUPFD_CLOEXEC, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_SETFL)}},
		// What net sets on a socket that was handed over. SO_ATTACH_FILTER and its like are not there.
		{unix.SYS_SETSOCKOPT, []check{is(1, unix.SOL_SOCKET), is(2, unix.SO_KEEPALIVE, unix.SO_RCVBUF, unix.SO_SNDBUF, unix.SO_LINGER)}},
		{unix.SYS_SETSOCKOPT, []check{is(1, unix.IPPROTO_TCP), is(2, unix.TCP_NODELAY, unix.TCP_KEEPIDLE, unix.TCP_KEEPINTVL, unix.TCP_KEEPCNT)}},
	}
	if udp {
		always = append(always, unix.SYS_SENDTO)
	} else { // without a destination it is a write
		list = append(list, rule{unix.SYS_SENDTO, []check{{arg: 4, mask: ^uint32(0), want: []uint32{0}, wide: true}}})
	}
	for _, nr := range append(always, archRules...) {
		list = append(list, rule{nr: nr})
	}
	return list
}

// Offsets in struct seccomp_data.
const (
	offsetNr   = 0
	offsetArch = 4
	offsetArgs = 16
)

const (
	retAllow = unix.SECCOMP_RET_ALLOW
	retEPERM = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	// glibc falls back to clone, whose flags a filter can see, only for ENOSYS.
	retENOSYS = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	retKill   = unix.SECCOMP_RET_KILL_PROCESS
)

func stmt(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }

func jump(code uint16, k uint32, jt, jf uint8) unix.SockFilter {
	return unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k}
}

const (
	ldw  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	and  = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	jeq  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jge  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	ret  = unix.BPF_RET | unix.BPF_K
	x32  = 0x40000000 // bit in the number of an x32 system call
	half = 4          // bytes from the low to the high half of an argument
)

// program compiles the allow-list. Each rule is a block that is skipped where the number is
// another one, allows where all checks hold, and falls through to the next block otherwise.
func program(list []rule) ([]unix.SockFilter, error) {
	p := []unix.SockFilter{
		stmt(ldw, offsetArch),
		jump(jeq, auditArch, 1, 0),
		stmt(ret, retKill),
		stmt(ldw, offsetNr),
		jump(jge, x32, 0, 1),
		stmt(ret, retEPERM),
		jump(jeq, unix.SYS_CLONE3, 0, 1),
		stmt(ret, retENOSYS),
	}
	for _, r := range list {
		body, err := block(r)
		if err != nil {
			return nil, err
		}
		p = append(p, body...)
	}
	return append(p, stmt(ret, retEPERM)), nil
}

// block is one rule. It starts and, where it falls through, ends with the number loaded.
func block(r rule) ([]unix.SockFilter, error) {
	if len(r.only) == 0 {
		return []unix.SockFilter{jump(jeq, uint32(r.nr), 0, 1), stmt(ret, retAllow)}, nil
	}
	// Built from its end: allow, then load the number again for the next block.
	tail := []unix.SockFilter{stmt(ret, retAllow), stmt(ldw, offsetNr)}
	for i := len(r.only) - 1; i >= 0; i-- {
		c := r.only[i]
		low := uint32(offsetArgs + 8*c.arg)
		head := []unix.SockFilter{stmt(ldw, low), stmt(and, c.mask)}
		for j, want := range c.want {
			last := j == len(c.want)-1
			over := len(c.want) - 1 - j // comparisons still to come
			miss := uint8(0)
			if last {
				miss = uint8(len(tail) - 1) // to the load of the number
			}
			head = append(head, jump(jeq, want, uint8(over), miss))
		}
		if c.wide {
			head = append([]unix.SockFilter{stmt(ldw, low+half), jump(jeq, 0, 0, uint8(len(head)+len(tail)-1))}, head...)
		}
		tail = append(head, tail...)
	}
	if len(tail) > 255 {
		return nil, fmt.Errorf("seccomp rule of call %d has %d instructions", r.nr, len(tail))
	}
	return append([]unix.SockFilter{jump(jeq, uint32(r.nr), 0, uint8(len(tail)))}, tail...), nil
}

// enforceSeccomp puts the filter on every thread of the process.
func enforceSeccomp(w Walls) error {
	if auditArch == 0 {
		return fmt.Errorf("%w: no system call list for this processor", errNoSeccomp)
	}
	filter, err := program(rules(os.Getpid(), w.UDP))
	if err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	switch {
	case errors.Is(errno, unix.ENOSYS) || errors.Is(errno, unix.EINVAL):
		return fmt.Errorf("%w is not in this kernel (%w)", errNoSeccomp, errno)
	case errno != 0:
		return fmt.Errorf("enforce seccomp: %w", errno)
	case thread != 0:
		return fmt.Errorf("enforce seccomp: thread %d does not take the filter", thread)
	}
	return nil
}
