package privacy

import (
	"errors"
	"os"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/wire"
)

// talkToChild sends the start message, what Watch wants, and at the end the stop message. A
// child that does not read holds up this goroutine only, until it is killed.
func (c *child) talkToChild() {
	m := c.m
	m.mu.Lock()
	pin := m.pin
	m.mu.Unlock()
	cam := m.cfg.Camera
	if err := c.parent.Send(wire.ToChild{Start: &wire.Start{
		Run: c.run, Mask: *cam.Mask, Pin: pin, TileWidth: m.cfg.TileWidth, SandboxDisabled: m.cfg.SandboxDisabled, Parent: os.Getpid(), Patient: c.patient, Probe: m.probe,
		Camera: wire.Camera{ID: cam.ID, URL: cam.URL, User: cam.User, Password: cam.Password, Transport: cam.Transport, TLSPin: cam.TLSPin},
		Limits: wire.Limits{MaxPixels: cam.MaxPixels, DataLimit: m.cfg.DataLimit},
	}}, nil); err != nil {
		return // it is gone; watchOver sees that
	}
	told := false
	for {
		m.mu.Lock()
		tiles := m.tiles
		m.mu.Unlock()
		if tiles != told {
			if err := c.parent.Send(wire.ToChild{Watch: &wire.Watch{Tiles: tiles}}, nil); err != nil {
				return
			}
			told = tiles
		}
		select {
		case <-c.poke:
		case <-c.over.Done():
			_ = c.parent.Send(wire.ToChild{Stop: &wire.Stop{}}, nil) // it may be gone, which is as well
			return
		}
	}
}

// pokeWatch is called with the Masker's mu held.
func (c *child) pokeWatch() {
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

// readControl deals with what the child says.
func (c *child) readControl() {
	for {
		m, err := c.parent.Receive()
		if err != nil {
			if errors.Is(err, wire.ErrBroken) {
				c.fail(nvr.MaskerFault, "masker broke the control protocol: %v", err)
			}
			return // else it is gone, or about to be
		}
		now := c.m.mono()
		if now-c.countedAt > time.Second {
			c.countedAt, c.counted = now, 0
		}
		if c.counted++; c.counted > maxControl {
			c.fail(nvr.MaskerFault, "masker sends more than %d control messages a second", maxControl)
			return
		}
		switch {
		case m.Walls != nil:
			c.onWalls(*m.Walls)
		case m.Dial != nil:
			c.onSocket(*m.Dial, c.dial)
		case m.Listen != nil:
			c.onSocket(*m.Listen, c.listen)
		case m.Report != nil:
			c.onReport(*m.Report)
		case m.Status != nil:
			c.onStatus(*m.Status, now)
		case m.Fault != nil:
			c.mu.Lock()
			if c.fault == nil {
				c.fault, c.faultAt = m.Fault, now
			}
			c.mu.Unlock()
		case m.Probed != nil:
			c.onProbed(*m.Probed)
		}
	}
}

// onWalls refuses a child that goes on with a wall missing when nobody allowed that.
func (c *child) onWalls(w wire.Walls) {
	if (len(w.Missing) > 0 || !w.Seccomp) && c.m.cfg.SandboxDisabled == "" {
		c.fail(nvr.MaskerFault, "the masker's sandbox is not complete: see INSTALL, or give the reason. Missing: %q", w.Missing)
		return
	}
	for i := range w.Missing {
		w.Missing[i] = clean(w.Missing[i], c.m.cfg.Camera.Password, maxDetail)
	}
	c.mu.Lock()
	first := c.walls == nil
	c.walls = &w
	c.mu.Unlock()
	if !first {
		c.fail(nvr.MaskerFault, "masker reported its walls twice")
		return
	}
	c.m.change(func(s *State) { s.Walls = w })
}

func (c *child) onStatus(s wire.Status, now time.Duration) {
	s.Detail = clean(s.Detail, c.m.cfg.Camera.Password, maxDetail)
	c.mu.Lock()
	// The child says since when, but it cannot push the moment past the one we first heard of it.
	if s.Busy && (!c.status.Busy || s.Picture != c.status.Picture || c.statusAt == 0) {
		c.busyAt = min(now, max(s.Since, c.statusAt))
	}
	c.status, c.statusAt = s, now
	c.mu.Unlock()
	c.m.mu.Lock()
	c.m.state.Status = s
	c.m.mu.Unlock()
}

// onReport compares the camera with the approved one, or approves the first one that comes.
func (c *child) onReport(r wire.Report) {
	m := c.m
	r.Geometry = clean(r.Geometry, m.cfg.Camera.Password, maxDetail)
	r.Track = clean(r.Track, m.cfg.Camera.Password, maxDetail)
	r.Certificate = clean(r.Certificate, m.cfg.Camera.Password, maxDetail)
	r.Medias = r.Medias[:min(len(r.Medias), 16)]
	for i := range r.Medias {
		r.Medias[i] = clean(r.Medias[i], m.cfg.Camera.Password, maxDetail)
	}
	if r.Fingerprint != clean(r.Fingerprint, "", 2*len(r.Fingerprint)) {
		c.fail(nvr.MaskerFault, "masker reported a fingerprint that is no line of text")
		return
	}
	m.mu.Lock()
	pin := m.pin
	m.mu.Unlock()
	if pin == "" {
		if m.cfg.OnPin != nil {
			if err := m.cfg.OnPin(r.Fingerprint); err != nil {
				c.fail(nvr.MaskerFault, "the camera's fingerprint cannot be stored: %v", err)
				return
			}
		}
		pin = r.Fingerprint
		m.mu.Lock()
		m.pin = pin
		m.mu.Unlock()
	}
	differs := r.Fingerprint != pin
	c.mu.Lock()
	first := len(c.pins) == 0
	if len(c.pins) == 64 { // the frames of the oldest have long passed
		c.pins = append(c.pins[:0], c.pins[32:]...)
	}
	c.pins = append(c.pins, pinned{r.From, differs})
	c.mu.Unlock()
	if first {
		close(c.reported)
	}
	m.change(func(s *State) { s.Report, s.Fingerprint, s.Differs = r, r.Fingerprint, differs })
}
