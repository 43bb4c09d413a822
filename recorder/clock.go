package recorder

import (
	"golang.org/x/sys/unix"

	"custody-nvr/recorder/stamp"
)

// KernelClock is what the kernel says of the system clock: synchronised by whoever steers it, or not.
// It only reads. How far off the clock may be comes with the record of its quality.
func KernelClock() stamp.State {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return stamp.Untrusted
	}
	return clockState(state, t.Status)
}

func clockState(state int, status int32) stamp.State {
	if state == unix.TIME_ERROR || status&unix.STA_UNSYNC != 0 {
		return stamp.Untrusted
	}
	return stamp.Synced
}
