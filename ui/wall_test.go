package ui

import (
	"testing"
	"time"
)

func TestSixteenTilesPlayTogether(t *testing.T) {
	const rate = 10
	s := startSuite(t, 16, 0, rate)
	openWall(t, s)
	deadline := time.After(25 * time.Second)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for len(s.reports()) < 2 { // the first report holds the start of the page
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the page did not report what it painted")
		}
	}
	p := s.reports()[1]
	if !p.Visible || p.Sound != "on" {
		t.Errorf("page reports visible %v, sound %q", p.Visible, p.Sound)
	}
	for cell, n := range p.Tiles {
		if fps := float64(n) / p.Over.Seconds(); fps < 0.9*rate || fps > 1.1*rate {
			t.Errorf("%s painted %.1f pictures a second, not %d", cell, fps, rate)
		}
	}
	t.Logf("painted in %s: %v", p.Over, p.Tiles)
}
