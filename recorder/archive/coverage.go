package archive

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"custody-nvr/nvr"
)

// Cameras are all cameras that the archive has heard of.
func (a *Archive) Cameras() (list []nvr.CameraID, err error) {
	err = a.index.db.View(func(tx *bolt.Tx) error {
		list, err = a.index.cameras(tx)
		return err
	})
	return list, err
}

// Segments returns the segments of a camera that overlap [from, to), oldest first, the open one last.
func (a *Archive) Segments(cam nvr.CameraID, from, to time.Time) (list []Row, err error) {
	err = a.index.db.View(func(tx *bolt.Tx) error {
		list, err = segmentsIn(tx, cam, from, to)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("segments of camera %s: %w", cam, err)
	}
	return list, nil
}

func segmentsIn(tx *bolt.Tx, cam nvr.CameraID, from, to time.Time) (list []Row, err error) {
	err = rows(tx, cam, from, to, func(r Row) error {
		if r.State != StateDoomed {
			list = append(list, r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	_, heads, _, err := decodeHeads(tx.Bucket(bMeta).Get(kHeads))
	if err != nil {
		return nil, err
	}
	if h := heads[cam]; h != nil && h.seg != nil && h.seg.Start.Before(to) && h.seg.End.After(from) {
		list = append(list, *h.seg)
	}
	return list, nil
}

// Coverage says what was the case with a camera in each instant of [from, to), without hole or
// overlap. It ends at what is durable, about two seconds ago on a camera that records, so the last
// span may end before to. Before the first picture, and before what was erased, a camera was
// NotInService.
func (a *Archive) Coverage(cam nvr.CameraID, from, to time.Time) (list []Span, err error) {
	from, to = from.UTC(), to.UTC()
	a.mu.Lock()
	gone := slices.Clone(a.gone[cam])
	a.mu.Unlock()
	err = a.index.db.View(func(tx *bolt.Tx) error {
		list, err = coverage(tx, cam, from, to, gone...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("coverage of camera %s: %w", cam, err)
	}
	return list, nil
}

func coverage(tx *bolt.Tx, cam nvr.CameraID, from, to time.Time, gone ...Span) ([]Span, error) {
	known, heads, _, err := decodeHeads(tx.Bucket(bMeta).Get(kHeads))
	if err != nil {
		return nil, err
	}
	segs, err := segmentsIn(tx, cam, from, to)
	if err != nil {
		return nil, err
	}
	all, err := spans(tx, cam, from, to)
	if err != nil {
		return nil, err
	}
	all = append(all, gone...)
	for _, r := range segs {
		all = append(all, Span{From: r.Start, To: r.End})
	}
	first, end := known, known
	if h := heads[cam]; h != nil {
		end = h.edge
		if h.obsc != nil {
			all = append(all, *h.obsc)
		}
		if h.gap != nil {
			g := *h.gap
			g.To = later(known, g.From)
			end = g.To
			all = append(all, g)
		}
		if first, err = firstKnown(tx, cam, h); err != nil {
			return nil, err
		}
	}
	if to.After(end) {
		to = end
	}
	if first.After(from) {
		all = append(all, Span{From: from, To: first, Cause: nvr.NotInService, Detail: "before the first footage that is kept"})
	}
	return sweep(all, from, to), nil
}

// firstKnown is when the coverage of a camera begins.
func firstKnown(tx *bolt.Tx, cam nvr.CameraID, h *head) (time.Time, error) {
	if b := tx.Bucket(bSince).Get([]byte(cam)); len(b) == 8 {
		return nanos(b), nil
	}
	first := h.edge
	if h.seg != nil && h.seg.Start.Before(first) {
		first = h.seg.Start
	}
	if h.gap != nil && h.gap.From.Before(first) {
		first = h.gap.From
	}
	for _, kind := range [][]byte{bSegments, bSpans} {
		b := tx.Bucket(kind).Bucket([]byte(cam))
		if b == nil {
			continue
		}
		k, _ := b.Cursor().First()
		if k == nil {
			continue
		}
		if k, _ = b.Bucket(k).Cursor().First(); len(k) >= 8 && nanos(k).Before(first) {
			first = nanos(k)
		}
	}
	return first, nil
}

// rank says which of several claims on one instant holds. Pictures beat gaps, because after the clock
// was set back one hour may have both; what fills the picture beats the picture.
func rank(c nvr.Cause) int {
	switch {
	case c == nvr.FileDamaged: // what a row says does not hold
		return 4
	case c.IsObscured():
		return 3
	case c == nvr.Recorded:
		return 2
	case c == nvr.NotInService:
		return 0
	}
	return 1
}

// unknownTime is what coverage says where it has no claim at all. That never happens in a sound index.
const unknownTime = "nothing is known of this time"

// sweep cuts [from, to) into spans, each with the claim that holds there.
func sweep(all []Span, from, to time.Time) (list []Span) {
	if !to.After(from) {
		return nil
	}
	slices.SortStableFunc(all, func(p, q Span) int { return p.From.Compare(q.From) })
	var edges []time.Time
	edges = append(edges, from, to)
	for _, s := range all {
		for _, t := range []time.Time{s.From, s.To} {
			if t.After(from) && t.Before(to) {
				edges = append(edges, t)
			}
		}
	}
	slices.SortFunc(edges, time.Time.Compare)
	edges = slices.CompactFunc(edges, time.Time.Equal)
	var active []Span
	next := 0
	for i, at := range edges[:len(edges)-1] {
		for next < len(all) && !all[next].From.After(at) {
			active = append(active, all[next])
			next++
		}
		active = slices.DeleteFunc(active, func(s Span) bool { return !s.To.After(at) })
		best := Span{Cause: nvr.RecorderStopped, Detail: unknownTime}
		if len(active) > 0 {
			best = slices.MaxFunc(active, func(p, q Span) int { return cmp.Compare(rank(p.Cause), rank(q.Cause)) })
		}
		best.From, best.To = at, edges[i+1]
		if n := len(list); n > 0 && list[n-1].Cause == best.Cause && list[n-1].Detail == best.Detail {
			list[n-1].To = best.To
			continue
		}
		list = append(list, best)
	}
	return list
}
