// Package sandbox takes files, sockets, programs and signals away from its own process.
//
// A masker child (package privacy/masker) calls Enforce once, after its codecs are open and before
// the first byte of a camera reaches it, then Probe, and ends if a wall gives. It runs in the
// child only. It never falls back in silence: what cannot be enforced is reported by name.
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Walls says what to enforce. The zero value is not what a child wants: LandlockABI must be -1
// there, zero means no Landlock.
type Walls struct {
	// LandlockABI is the ABI level to enforce, -1 for the best that the kernel has, 0 for none.
	LandlockABI int
	// NoSeccomp and NoLandlock leave a layer out. Only tests set them.
	NoSeccomp, NoLandlock bool
	// UDP leaves sendto with a destination, for cameras that somebody allowed UDP for. It is the
	// declared weaker wall: a datagram socket can send anywhere.
	UDP bool
	// DataLimit is RLIMIT_DATA in bytes, 0 for DefaultDataLimit.
	DataLimit uint64
	// GoMemory is the soft limit of the Go heap in bytes, 0 for DefaultGoMemory.
	GoMemory int64
	// Keep are the descriptors that stay open besides 0, 1 and 2; nil means 3 and 4.
	Keep []int
}

// Defaults of Walls. RLIMIT_DATA counts address space, not use: 8 MiB for each thread's stack and
// 64 MiB for each step of the Go heap, so it is far above what a child has resident.
const (
	DefaultDataLimit = 1 << 30
	DefaultGoMemory  = 96 << 20
	maxDescriptors   = 64
)

// A Report says which walls stand after Enforce.
type Report struct {
	Seccomp      bool
	Landlock     int  // ABI level, 0 = none
	UDP          bool // the socket wall is the weaker one
	SwapPossible bool // memory of this process can reach a disk
	Closed       []string
}

// Missing is the error of Enforce when everything that can stand does, and this does not. A child
// goes on only where the suite file says why.
type Missing struct{ Walls []string }

func (m *Missing) Error() string { return "walls missing: " + strings.Join(m.Walls, "; ") }

// Enforce raises the walls for all threads of this process, for good. The Report is true also
// where the error is a *Missing; after any other error the process is in no known state and must
// end.
func Enforce(w Walls) (Report, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var rep Report
	var missing []string

	// What has to be read is read before the door to files closes.
	swap, why := swapPossible(os.DirFS("/"))
	if rep.SwapPossible = swap; swap {
		missing = append(missing, why)
	}
	closed, err := closeOthers(w.Keep)
	if err != nil {
		return rep, err
	}
	rep.Closed = closed
	if err := setLimits(w); err != nil {
		return rep, err
	}
	if err := preferForOOM(); err != nil {
		return rep, err
	}
	if err := dropCapabilities(); err != nil {
		return rep, err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return rep, fmt.Errorf("set no_new_privs: %w", err)
	}
	if !w.NoLandlock && w.LandlockABI != 0 {
		switch rep.Landlock, err = enforceLandlock(w); {
		case errors.Is(err, errNoLandlock):
			missing = append(missing, err.Error())
		case err != nil:
			return rep, err
		}
	}
	// After Landlock: /proc/self belongs to root once the process is not dumpable, and go-landlock
	// lists its threads there.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return rep, fmt.Errorf("set not dumpable: %w", err)
	}
	if !w.NoSeccomp {
		switch err := enforceSeccomp(w); {
		case errors.Is(err, errNoSeccomp):
			missing = append(missing, err.Error())
		case err != nil:
			return rep, err
		default:
			rep.Seccomp = true
			rep.UDP = w.UDP
		}
	}
	if w.GoMemory == 0 {
		w.GoMemory = DefaultGoMemory
	}
	debug.SetMemoryLimit(w.GoMemory)
	if len(missing) > 0 {
		return rep, &Missing{missing}
	}
	return rep, nil
}

var (
	errNoLandlock = errors.New("landlock")
	errNoSeccomp  = errors.New("seccomp")
)

// landlockLevels are the ABI levels that can be asked for; the index is the level.
var landlockLevels = []landlock.Config{
	{}, landlock.V1, landlock.V2, landlock.V3, landlock.V4, landlock.V5, landlock.V6,
	landlock.V7, landlock.V8, landlock.V9, landlock.V10, landlock.V11,
}

// enforceLandlock allows nothing at all at the level asked for, and returns that level. The
// library's BestEffort is not used: it would take a kernel without Landlock for success.
func enforceLandlock(w Walls) (int, error) {
	kernel, err := llsys.LandlockGetABIVersion()
	if err != nil || kernel < 1 {
		return 0, fmt.Errorf("%w is not in this kernel or switched off (%v)", errNoLandlock, err)
	}
	level := w.LandlockABI
	switch top := min(kernel, len(landlockLevels)-1); {
	case level < 0:
		level = top
	case level > top:
		return 0, fmt.Errorf("%w level %d was asked for, this kernel has %d", errNoLandlock, level, kernel)
	}
	config := landlockLevels[level]
	if w.UDP && level >= 10 {
		config.HandledAccessNet = landlock.V9.HandledAccessNet
	}
	if err := config.Restrict(); err != nil {
		return 0, fmt.Errorf("enforce landlock level %d: %w", level, err)
	}
	return level, nil
}
