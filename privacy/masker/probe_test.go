package masker

import (
	"testing"
	"time"
)

// The figure counts what is known of an interval that began before the look or outlasts it.
func TestKeyIntervalCountsWhatHasNotEnded(t *testing.T) {
	s := time.Second
	for _, c := range []struct {
		name    string
		keys    []time.Duration // within 7 s
		every   time.Duration
		atLeast bool
	}{
		{"none", nil, 7 * s, true},
		{"one late", []time.Duration{5 * s}, 5 * s, true},
		{"one early", []time.Duration{s}, 6 * s, true},
		{"each second", []time.Duration{0, s, 2 * s, 3 * s, 4 * s, 5 * s, 6 * s, 7 * s}, s, false},
		{"two far apart", []time.Duration{s, 5 * s}, 4 * s, false},
		{"the last is longer", []time.Duration{0, s, 2 * s}, 5 * s, true},
	} {
		var k keyInterval
		for at := time.Duration(0); at <= 7*s; at += s / 10 {
			key := false
			for _, k := range c.keys {
				key = key || k == at
			}
			k.unit(at, key)
		}
		if k.every != c.every || k.atLeast != c.atLeast || k.keys != len(c.keys) {
			t.Errorf("%s: %+v, want %v, at least %v", c.name, k, c.every, c.atLeast)
		}
	}
}
