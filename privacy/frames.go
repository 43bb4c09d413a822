package privacy

import (
	"errors"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/wire"
)

// readFrames passes frames on until the pipe ends or a rule is broken.
func (c *child) readFrames() {
	m := c.m
	r := wire.NewReader(c.frames, wire.Rules{
		Run: c.run, Masks: []nvr.MaskDigest{c.digest}, MaxPixels: m.cfg.Camera.MaxPixels, Mono: m.mono,
	})
	for {
		f, err := r.Next()
		if err != nil {
			if errors.Is(err, wire.ErrBroken) {
				c.fail(nvr.MaskerFault, "masker broke the frame protocol: %v", err)
			}
			return
		}
		if f.Obscured == nvr.Recorded && !c.waitForReport() {
			return
		}
		if !c.admit(&f) {
			return
		}
		m.queue.put(f)
	}
}

// waitForReport holds the first frame that shows anything until the report that must have been sent
// before it is dealt with: the two come on different ways. A stream that does not fit the mask is
// never reported, nor is one that is still damaged: their frames are obscured whole.
func (c *child) waitForReport() bool {
	select {
	case <-c.reported:
		return true
	default:
	}
	timer := time.NewTimer(c.m.patience.report)
	defer timer.Stop()
	select {
	case <-c.reported:
		return true
	case <-timer.C:
		c.fail(nvr.MaskerFault, "masker sent a frame before it reported what the camera sends")
	case <-c.failed:
	case <-c.over.Done():
	}
	return false
}

// admit checks what package wire cannot know: age and identity.
func (c *child) admit(f *nvr.Frame) bool {
	now := c.m.mono()
	switch {
	case f.Arrived > now:
		c.fail(nvr.MaskerFault, "masker sent a frame from the future (%v ahead)", f.Arrived-now)
		return false
	case f.Arrived <= now-maxAge:
		c.fail(nvr.Overload, "frames come %v late: the machine cannot keep up", (now - f.Arrived).Round(time.Second))
		return false
	}
	c.mu.Lock()
	noWalls := c.walls == nil
	differs := c.differsAt(f.PTS)
	c.mu.Unlock()
	switch {
	case noWalls:
		c.fail(nvr.MaskerFault, "masker sent a frame before it reported its walls")
		return false
	case differs && f.Obscured == nvr.Recorded:
		c.fail(nvr.MaskerFault, "masker sent a picture of a camera that is not the approved one")
		return false
	}
	if f.Stream != nvr.Archive {
		return true
	}
	c.mu.Lock()
	first, resumed := c.firstAt == 0, c.stalled
	if first {
		c.firstAt = now
	}
	c.lastAt, c.stalled = now, false
	c.mu.Unlock()
	if first || resumed {
		c.m.change(func(s *State) { s.Phase, s.Outage = Running, nil })
	}
	return true
}

// differsAt is called with mu held.
func (c *child) differsAt(pts time.Duration) bool {
	for i := len(c.pins) - 1; i >= 0; i-- {
		if c.pins[i].from <= pts || i == 0 {
			return c.pins[i].differs
		}
	}
	return true // no report: not approved
}
