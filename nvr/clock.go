package nvr

import "time"

// A Clock gives the two times a recorder needs. The zero value is not usable; SystemClock is the
// real one, tests make their own.
type Clock struct {
	// Wall is UTC by the system clock. It may step.
	Wall func() time.Time
	// Mono is CLOCK_MONOTONIC: never steps, shared by all processes of one boot. All time-outs,
	// ages, rates and orders use it.
	Mono func() time.Duration
}
