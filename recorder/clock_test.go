package recorder

import (
	"testing"

	"golang.org/x/sys/unix"

	"custody-nvr/recorder/stamp"
)

// F-56: a clock that the kernel does not call synchronised is never trusted.
func TestClockIsTrustedOnlyWhenTheKernelSaysSo(t *testing.T) {
	for _, c := range []struct {
		name   string
		state  int
		status int32
		want   stamp.State
	}{
		{"steered", unix.TIME_OK, unix.STA_PLL, stamp.Synced},
		{"leap second due", unix.TIME_INS, unix.STA_PLL | unix.STA_INS, stamp.Synced},
		{"nobody steers", unix.TIME_ERROR, unix.STA_UNSYNC, stamp.Untrusted},
		{"error alone", unix.TIME_ERROR, 0, stamp.Untrusted},
		{"unsynchronised alone", unix.TIME_OK, unix.STA_UNSYNC, stamp.Untrusted},
	} {
		if got := clockState(c.state, c.status); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if s := KernelClock(); !s.Known() {
		t.Errorf("this machine's clock: %d", s)
	}
}
