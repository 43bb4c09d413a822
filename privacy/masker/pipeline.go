package masker

import (
	"errors"
	"fmt"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/camera"
	"custody-nvr/privacy/codec"
	"custody-nvr/privacy/mask"
)

// decoder is what the pipeline needs of codec.Decoder; tests put one in that spins or crashes.
type decoder interface {
	Decode(au [][]byte, pts time.Duration, show func(codec.Decoded) error) error
	Lost()
	Close()
}

// A pipeline turns access units into masked frames. It lives in one goroutine; only the heartbeat
// is read by another.
//
// Whatever happens to a unit, exactly one of these follows: a picture masked by the plan, or the
// whole picture obscured with a cause, or nothing at all. There is no way from a unit to the pipe
// that does not lead through mask.Plan.
type pipeline struct {
	plan      *mask.Plan
	inspector *codec.Inspector
	decoder   decoder
	archive   *output
	tile      *output // nil where the archive stream is small enough for a tile
	wantTiles func() bool
	pin       *pin
	damage    *damage
	beat      *heartbeat
	tell      func(cause nvr.Cause, detail string) // the state that staff read on the tile
	first     [][]byte                             // parameter sets of the session description, for the first unit
	patient   bool                                 // the camera was connected anew a moment ago: do not do it again

	stamp lastPTS
}

// errDamaged ends a session whose stream stayed damaged: a new connection starts with a key
// picture, where waiting for one could take minutes.
type errDamaged struct{ lasted time.Duration }

func (e *errDamaged) Error() string {
	return fmt.Sprintf("no clean key picture for %.1f s after damage: it is connected anew", e.lasted.Seconds())
}

// damagedAtMost is how long a damaged stream is waited for before the camera is connected anew.
const damagedAtMost = 2 * time.Second

// take runs one access unit through to the pipe. An error ends the session.
func (p *pipeline) take(au camera.AccessUnit) error {
	if p.first != nil {
		au.NALs, p.first = append(p.first, au.NALs...), nil
	}
	info, err := p.inspector.Look(au.NALs)
	if err != nil && !errors.Is(err, codec.ErrDamaged) {
		return err
	}
	lost := au.Gap || err != nil
	if lost {
		p.decoder.Lost()
	}
	t := p.damage.look(info, au.PTS, au.Arrived, lost)
	if lasted := p.damage.lasting(au.Arrived); lasted > damagedAtMost && !p.patient {
		return &errDamaged{lasted}
	}
	shown := 0
	p.beat.enter()
	err = p.decoder.Decode(au.NALs, time.Duration(t), func(d codec.Decoded) error {
		shown++
		return p.show(d, au.Arrived)
	})
	p.beat.leave()
	if errors.Is(err, codec.ErrDamaged) {
		p.damage.doubt(au.Arrived)
		err = nil
	}
	// A unit without a picture ends none; but one that could not be read at all is taken for one.
	picture := info.Picture || info.Gap
	if err != nil || shown > 0 || !picture || !p.damage.blind() {
		return err
	}
	// The stream goes on while nothing can be trusted: no gap, no old picture.
	return p.obscureDamaged(unit{pts: au.PTS, arrived: au.Arrived, key: info.Key})
}

func (p *pipeline) obscureDamaged(u unit) error {
	p.tell(nvr.ObscuredDamaged, "damaged, or just begun: waiting for a clean key picture")
	return p.emit(nil, nvr.ObscuredDamaged, u)
}

// show takes one picture out of the decoder.
func (p *pipeline) show(d codec.Decoded, now time.Duration) error {
	p.beat.picture()
	u := p.damage.shown(ticket(d.PTS))
	if d.Damaged {
		p.damage.doubt(now)
		return p.obscureDamaged(u)
	}
	p.damage.believe()
	if !u.trusted {
		return p.obscureDamaged(u)
	}
	cause, detail, err := p.pin.judge(d.Geometry, p.stamp.since(u.pts))
	if err != nil {
		return err
	}
	if cause != nvr.Recorded {
		p.tell(cause, detail)
		return p.emit(nil, cause, u)
	}
	return p.emit(&d, nvr.Recorded, u)
}

// emit masks a picture, or obscures a whole one where d is nil, and writes it to the pipe.
func (p *pipeline) emit(d *codec.Decoded, cause nvr.Cause, u unit) error {
	pts, ok := p.stamp.next(u.pts)
	if !ok {
		return nil
	}
	if d != nil {
		if err := p.suit(d.Planes.FullRange); err != nil {
			return err
		}
	}
	var pic mask.Picture
	if d == nil {
		pic = p.plan.Obscure(cause, p.archive.canvas())
	} else {
		pic = p.plan.Apply(d.Planes, d.Geometry.AspectW, d.Geometry.AspectH, p.archive.canvas())
		p.tell(pic.Obscured(), "")
	}
	if err := p.archive.write(pic, pts, u); err != nil {
		return err
	}
	if p.tile == nil {
		return nil
	}
	if !p.wantTiles() {
		p.tile.pause()
		return nil
	}
	if p.tile.skips(pts) {
		return nil
	}
	return p.tile.write(pic.Shrink(p.tile.canvas()), pts, u)
}

// suit makes both encoders fit the range of the camera's samples.
func (p *pipeline) suit(fullRange bool) error {
	if err := p.archive.suit(fullRange); err != nil {
		return err
	}
	if p.tile == nil {
		return nil
	}
	return p.tile.suit(fullRange)
}

// lastPTS keeps media time going forward: from zero, strictly.
type lastPTS struct {
	first, last time.Duration
	any         bool
}

// next returns the media time of a picture since the first one. A picture that is not after the
// one before it cannot be shown any more.
func (l *lastPTS) next(pts time.Duration) (time.Duration, bool) {
	if !l.any {
		l.any, l.first, l.last = true, pts, pts
		return 0, true
	}
	if pts <= l.last {
		return 0, false
	}
	l.last = pts
	return pts - l.first, true
}

// since is what next would return.
func (l *lastPTS) since(pts time.Duration) time.Duration {
	if !l.any {
		return 0
	}
	return max(pts-l.first, 0)
}
