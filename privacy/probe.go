package privacy

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/wire"
)

// Probe looks at a camera's stream for d and says what it is. A sandboxed child does the looking;
// no picture leaves it. cfg.Camera.Mask is not needed: nothing is shown. The error is an
// *nvr.Outage, which says what the camera or the network did, or ctx's.
func Probe(ctx context.Context, cfg Config, d time.Duration) (wire.Probed, error) {
	// A mask over everything: should a frame come all the same, there would be nothing in it.
	cfg.Camera.Mask = &nvr.MaskSpec{
		Picture: nvr.Size{Width: 16, Height: 16}, Version: 1,
		Areas: [][]nvr.Point{{{X: 0, Y: 0}, {X: 1, Y: 0}, {X: 1, Y: 1}, {X: 0, Y: 1}}},
	}
	m := New(cfg)
	if m.wrong != nil {
		return wire.Probed{}, m.wrong
	}
	m.probe = d
	m.patience.first, m.patience.lost = d+20*time.Second, d+20*time.Second
	m.patience.stall = d + 20*time.Second
	runtime.LockOSThread() // see Run
	defer runtime.UnlockOSThread()
	end := m.runOnce(ctx)
	if ctx.Err() != nil {
		return wire.Probed{}, ctx.Err()
	}
	if m.probed == nil {
		return wire.Probed{}, fmt.Errorf("probe camera %s: %w", cfg.Camera.ID, &end.outage)
	}
	return *m.probed, nil
}

// onProbed keeps the answer of a look, with its texts cleaned.
func (c *child) onProbed(p wire.Probed) {
	if c.m.probe == 0 {
		c.fail(nvr.MaskerFault, "masker answered a question that nobody asked")
		return
	}
	word := func(s string) string { return clean(s, c.m.cfg.Camera.Password, maxDetail) }
	p.Track, p.Geometry, p.Certificate = word(p.Track), word(p.Geometry), word(p.Certificate)
	p.Fingerprint = clean(p.Fingerprint, c.m.cfg.Camera.Password, 1024)
	p.Medias = p.Medias[:min(len(p.Medias), 64)]
	for i := range p.Medias {
		p.Medias[i] = word(p.Medias[i])
	}
	c.m.mu.Lock()
	c.m.probed = &p
	c.m.mu.Unlock()
}
