// Package alonetest lets the test programs that watch the clock run one after the other.
//
// Only tests import it, from TestMain. go test runs the tests of several packages at once; on two
// processor cores a browser, a whole recorder and a hanging child would then be late for each other,
// and tests of what happens within three seconds would say nothing about the product.
package alonetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// inherited tells a test program that its parent, another test program, holds the lock for it.
const inherited = "CUSTODY_TESTS_ALONE"

// Wait returns when no other test program of this user that called it is running. A fuzzing run does
// not wait: its workers are programs of their own.
func Wait() {
	for _, a := range os.Args[1:] {
		if strings.HasPrefix(a, "-test.fuzz") || strings.HasPrefix(a, "-test.list") {
			return
		}
	}
	if os.Getenv(inherited) != "" {
		return
	}
	path := filepath.Join(os.TempDir(), fmt.Sprintf("custody-nvr-tests-%d.lock", os.Getuid()))
	// A plain descriptor, which nothing closes: the lock is held until the process ends.
	fd, err := syscall.Open(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err == nil {
		err = syscall.Flock(fd, syscall.LOCK_EX)
	}
	if err == nil {
		err = os.Setenv(inherited, "1")
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "tests do not run alone: %v\n", err)
	}
}
