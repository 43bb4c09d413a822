package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// setLimits bounds memory and descriptors, and forbids core dumps.
func setLimits(w Walls) error {
	if w.DataLimit == 0 {
		w.DataLimit = DefaultDataLimit
	}
	for _, l := range []struct {
		name  string
		which int
		value uint64
	}{
		{"RLIMIT_CORE", unix.RLIMIT_CORE, 0},
		{"RLIMIT_DATA", unix.RLIMIT_DATA, w.DataLimit}, // RLIMIT_AS would kill the Go runtime
		{"RLIMIT_NOFILE", unix.RLIMIT_NOFILE, maxDescriptors},
	} {
		if err := unix.Setrlimit(l.which, &unix.Rlimit{Cur: l.value, Max: l.value}); err != nil {
			return fmt.Errorf("set %s to %d: %w", l.name, l.value, err)
		}
	}
	return nil
}

// closeOthers closes every descriptor but 0, 1, 2, the ones to keep, and the two that the Go
// runtime's poller owns, and fails if another one is still there afterwards.
func closeOthers(keep []int) (closed []string, err error) {
	if keep == nil {
		keep = []int{3, 4}
	}
	others, err := otherDescriptors(keep)
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		if err := unix.Close(o.fd); err != nil && !errors.Is(err, unix.EBADF) {
			return nil, fmt.Errorf("close descriptor %d (%s): %w", o.fd, o.target, err)
		}
		closed = append(closed, o.target)
	}
	others, err = otherDescriptors(keep)
	if err != nil {
		return nil, err
	}
	if len(others) > 0 {
		return nil, fmt.Errorf("descriptor %d (%s) is open and nobody may have it", others[0].fd, others[0].target)
	}
	return closed, nil
}

type descriptor struct {
	fd     int
	target string
}

func otherDescriptors(keep []int) ([]descriptor, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, fmt.Errorf("list descriptors: %w", err)
	}
	var others []descriptor
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			return nil, fmt.Errorf("list descriptors: %w", err)
		}
		if fd <= 2 || slices.Contains(keep, fd) {
			continue
		}
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // the listing's own
		}
		if err != nil {
			return nil, fmt.Errorf("list descriptors: %w", err)
		}
		if target == "anon_inode:[eventpoll]" || target == "anon_inode:[eventfd]" {
			continue
		}
		others = append(others, descriptor{fd, target})
	}
	return others, nil
}

// swapPossible reports whether memory of this process may be written to a disk: a swap device is
// active, and no cgroup of the process forbids it. What cannot be read counts as possible.
func swapPossible(root fs.FS) (possible bool, why string) {
	swaps, err := fs.ReadFile(root, "proc/swaps")
	if errors.Is(err, fs.ErrNotExist) {
		return false, "" // a kernel without swap
	}
	if err != nil {
		return true, fmt.Sprintf("no swap: cannot be told (%v)", err)
	}
	devices := strings.Split(strings.TrimSpace(string(swaps)), "\n")[1:]
	if len(devices) == 0 {
		return false, ""
	}
	why = fmt.Sprintf("no swap: %s is active (swapoff, or MemorySwapMax=0 in the unit)", strings.Fields(devices[0])[0])
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return true, why
	}
	for line := range strings.Lines(string(groups)) {
		own, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/")
		if !ok {
			continue
		}
		for dir := own; ; dir = path.Dir(dir) { // a limit of any group above holds too
			limit, err := fs.ReadFile(root, path.Join("sys/fs/cgroup", dir, "memory.swap.max"))
			if err == nil && strings.TrimSpace(string(limit)) == "0" {
				return false, ""
			}
			if dir == "." || dir == "/" || dir == "" {
				break
			}
		}
	}
	return true, why
}
