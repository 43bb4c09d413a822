package sandbox

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// oomScore makes the kernel take a masker, which is started anew, before the recorder.
const oomScore = "800"

// preferForOOM must come before the door to files closes.
func preferForOOM() error {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(oomScore), 0); err != nil {
		return fmt.Errorf("set oom_score_adj: %w", err)
	}
	return nil
}

// dropCapabilities empties the capability sets of all threads, those of C too. A process without
// CAP_SETPCAP keeps its bounding set, which no_new_privs makes worthless.
func dropCapabilities() error {
	for c := uintptr(0); c <= 63; c++ {
		_, _, errno := psx.Syscall3(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0)
		if errno == unix.EINVAL || errno == unix.EPERM { // past the last one; not ours to drop
			break
		}
		if errno != 0 {
			return fmt.Errorf("drop capability %d: %w", c, errno)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])), 0)
	runtime.KeepAlive(&header)
	runtime.KeepAlive(&none)
	if errno != 0 {
		return fmt.Errorf("drop all capabilities: %w", errno)
	}
	return nil
}
