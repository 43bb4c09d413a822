package masker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"custody-nvr/privacy/camera"
	"custody-nvr/privacy/codec"
	"custody-nvr/privacy/wire"
)

// probe looks at the stream for a while and tells the parent what it is, instead of masking it.
// The pictures are decoded to learn their geometry, and go nowhere.
func (m *masker) probe(ctx context.Context, s *camera.Session) error {
	t := s.Track()
	w := &watcher{inspector: codec.NewInspector(codec.Kind(t.Kind)), decoder: m.decoders[t.Kind], beat: &m.beat, first: parameterSets(t)}
	until := m.now() + m.start.Probe
	for m.now() < until {
		au, err := s.Next(ctx)
		if err == nil {
			err = w.take(au)
		}
		if err != nil {
			return err
		}
	}
	if w.pictures == 0 {
		return &codec.Refused{What: fmt.Sprintf("no picture could be decoded within %v: set the camera's key interval to at most 4 s", m.start.Probe)}
	}
	p := w.result()
	p.Track = trackWords(t)
	p.Fingerprint = fingerprint(w.geometry, t.SessionName)
	p.Medias, p.Certificate = t.Medias, t.Certificate
	return m.control.Send(wire.ToParent{Probed: p})
}

// A watcher measures a stream.
type watcher struct {
	inspector *codec.Inspector
	decoder   decoder
	beat      *heartbeat
	first     [][]byte

	geometry    codec.Geometry
	pictures    int
	units, gaps int
	bytes       int
	key         keyInterval
	begin, last time.Duration // media time, of shown order
	reordered   bool
}

// A keyInterval is the longest time between key pictures. An interval that began before the look,
// or that has not ended yet, counts with what is known of it.
type keyInterval struct {
	keys    int
	every   time.Duration
	atLeast bool // the longest is one of those

	begun bool
	from  time.Duration // media time of the last key picture, or of the first unit
}

func (k *keyInterval) unit(at time.Duration, key bool) {
	if !k.begun {
		k.begun, k.from = true, at
	}
	switch d := at - k.from; {
	case d > k.every:
		k.every, k.atLeast = d, !key || k.keys == 0
	case d == k.every && key && k.keys > 0:
		k.atLeast = false
	}
	if key {
		k.keys++
		k.from = at
	}
}

func (w *watcher) take(au camera.AccessUnit) error {
	if w.first != nil {
		au.NALs, w.first = append(w.first, au.NALs...), nil
	}
	info, err := w.inspector.Look(au.NALs)
	if err != nil && !errors.Is(err, codec.ErrDamaged) {
		return err
	}
	if w.units == 0 {
		w.begin = au.PTS
	}
	w.units++
	if au.Gap {
		w.gaps++
	}
	for _, u := range au.NALs {
		w.bytes += len(u)
	}
	w.key.unit(au.PTS, info.Key)
	if au.PTS < w.last {
		w.reordered = true
	}
	w.last = max(w.last, au.PTS)
	w.beat.enter()
	err = w.decoder.Decode(au.NALs, au.PTS, func(d codec.Decoded) error {
		w.beat.picture()
		w.pictures++
		w.geometry = d.Geometry
		return nil
	})
	w.beat.leave()
	if errors.Is(err, codec.ErrDamaged) {
		return nil
	}
	return err
}

func (w *watcher) result() *wire.Probed {
	g := w.geometry
	p := &wire.Probed{
		Geometry: g.Fingerprint(), Size: g.Shown, AspectW: g.AspectW, AspectH: g.AspectH, Rotation: g.Rotation,
		Pictures: w.pictures, Keys: w.key.keys, KeyEvery: w.key.every, KeyAtLeast: w.key.atLeast, Gaps: w.gaps, Reordered: w.reordered,
	}
	if over := (w.last - w.begin).Seconds(); over > 0 {
		p.Rate = float64(w.units-1) / over
		p.Bits = float64(w.bytes) * 8 / over
	}
	return p
}
