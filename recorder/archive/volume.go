package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"custody-nvr/nvr"
	"custody-nvr/recorder/segment"
)

const (
	tickEvery  = time.Second
	retryAfter = 2 * time.Second  // after a disk fault, a new file is tried this often
	lookEvery  = 10 * time.Second // at the volume's identity
)

// A volume is one directory, best on its own file system, with one goroutine that writes to it. What
// stands still here stands still for the cameras of this volume only.
type volume struct {
	path   string
	id     [16]byte
	suite  string
	boot   [16]byte
	length time.Duration
	disk   disk
	log    *slog.Logger
	mono   func() time.Duration
	sink   func(...event)                                    // the index
	acked  func(cam nvr.CameraID, run nvr.RunID, seq uint64) // may be nil
	lose   func(nvr.CameraID, Span)                          // notes footage that is gone; may be nil
	who    func() ([16]byte, error)                          // reads the volume's identity

	mu    sync.Mutex
	feeds []*Feed // guarded by mu
	fault error   // guarded by mu: of the last tick

	// owned by the goroutine that calls tick
	lanes map[nvr.CameraID]*lane
	retry time.Duration // no try before
	look  time.Duration // no look at the identity before
	alien string        // what is wrong with the identity, in words
	buf   []byte
}

// lane is what the volume knows of one camera.
type lane struct {
	open    *openSegment
	last    segment.Digest // last fragment that is durable
	gaps    []segment.Gap  // since the last segment
	run     nvr.RunID
	numbers uint32        // segments begun in run
	removed time.Duration // when the open file was found to be gone; 0 for never
}

// openSegment is the file that a camera's pictures go to.
type openSegment struct {
	f      file
	row    Row // as written; durable is the row as synced
	last   *Piece
	leaves []segment.Digest
	wrote  int64

	durable Row
	synced  bool // durable is set
}

// job is one camera's share of a tick.
type job struct {
	feed    *Feed
	lane    *lane // a copy: becomes the lane when all is durable
	items   []item
	events  []event
	touched []*openSegment
	acks    []ack
	err     error
}

type ack struct {
	run nvr.RunID
	seq uint64
}

// run ticks until ctx ends. The last of what was queued is written by finish.
func (v *volume) run(ctx context.Context) {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			v.tick(false)
		}
	}
}

// why says what to write as the cause when a queue of this volume is full.
func (v *volume) why() (nvr.Cause, string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fault != nil {
		return nvr.DiskFault, "the recording disk refuses to write: call ICT"
	}
	return nvr.Overload, "the recording disk is too slow: call ICT"
}

// tick writes everything that waits, syncs once, and hands on what is durable. With end set it seals
// all files too.
func (v *volume) tick(end bool) {
	if !end && v.mono() < v.retry {
		return
	}
	v.lookAtIdentity()
	v.mu.Lock()
	feeds := v.feeds[:len(v.feeds):len(v.feeds)]
	v.mu.Unlock()
	var jobs []*job
	var files []file
	for _, f := range feeds {
		j := v.begin(f)
		j.err = v.write(j, end)
		jobs = append(jobs, j)
		if j.err != nil {
			continue // its files are given up, so nobody syncs them
		}
		for _, s := range j.touched {
			files = append(files, s.f)
		}
	}
	var syncErr error
	if len(files) > 0 {
		syncErr = v.disk.Sync(files)
	}
	var fault error
	for _, j := range jobs {
		if j.err == nil && len(j.touched) > 0 {
			j.err = syncErr
		}
		if j.err != nil {
			fault = errors.Join(fault, fmt.Errorf("camera %s: %w", j.feed.cam, j.err))
			v.giveUp(j)
			continue
		}
		v.settle(j)
	}
	v.tellFeeds(feeds, fault)
	v.mu.Lock()
	was := v.fault
	v.fault = fault
	v.mu.Unlock()
	switch {
	case fault != nil:
		v.retry = v.mono() + retryAfter
		v.log.Error("volume refuses to write", "volume", v.path, "err", fault)
	case was != nil:
		v.log.Info("volume writes again", "volume", v.path)
	}
}

// lookAtIdentity notices that the folder is not the volume any more. What is written goes on: the files
// that are open are where they were.
func (v *volume) lookAtIdentity() {
	if v.who == nil || v.mono() < v.look {
		return
	}
	v.look = v.mono() + lookEvery
	was := v.alien
	v.alien = ""
	id, err := v.who()
	switch {
	case err != nil:
		v.alien = "the recording disk has lost its name (" + identityFile + "): call ICT"
	case id != v.id:
		v.alien = "the recording disk is another one: call ICT"
	}
	if v.alien != was && v.alien != "" {
		v.log.Error(v.alien, "volume", v.path, "err", err)
	} else if v.alien != was {
		v.log.Info("recording disk has its name again", "volume", v.path)
	}
}

// tellFeeds says to every camera what keeps its pictures from the disk.
func (v *volume) tellFeeds(feeds []*Feed, fault error) {
	for _, f := range feeds {
		l := v.lanes[f.cam]
		words := ""
		switch {
		case fault != nil:
			words = faultWords(fault)
		case l != nil && l.removed != 0 && v.mono()-l.removed < noticeTime:
			words = nvr.DiskFault.String() + ": a file was removed while pictures went to it: call ICT"
		case v.alien != "":
			words = nvr.DiskFault.String() + ": " + v.alien
		}
		f.setFail(words)
	}
}

// faultWords says in a few words what a disk refuses.
func faultWords(err error) string {
	if no, ok := errors.AsType[unix.Errno](err); ok {
		return nvr.DiskFault.String() + ": " + no.Error()
	}
	return nvr.DiskFault.String() + ": the recording disk refuses to write: call ICT"
}

// begin takes the items of one feed, with a copy of the camera's lane to work on.
func (v *volume) begin(f *Feed) *job {
	l := v.lanes[f.cam]
	if l == nil {
		l = &lane{}
		v.lanes[f.cam] = l
	}
	c := *l
	c.gaps = append([]segment.Gap(nil), l.gaps...)
	return &job{feed: f, lane: &c, items: f.take()}
}

// write does the items of one job, with one write call a file.
func (v *volume) write(j *job, end bool) error {
	v.buf = v.buf[:0]
	if err := v.replaceRemoved(j); err != nil {
		return err
	}
	for i := range j.items {
		it := &j.items[i]
		if it.piece == nil {
			if err := v.mark(j, &it.ev); err != nil {
				return err
			}
			continue
		}
		if err := v.piece(j, it.piece); err != nil {
			return err
		}
	}
	if end && j.lane.open != nil {
		return v.seal(j)
	}
	return v.flush(j)
}

// replaceRemoved closes an open file that somebody removed; the next piece begins another one.
func (v *volume) replaceRemoved(j *job) error {
	s := j.lane.open
	if s == nil {
		return nil
	}
	gone, err := s.f.Unlinked()
	if err != nil || !gone {
		return err
	}
	v.log.Error("a file was removed while pictures went to it", "camera", j.feed.cam, "segment", s.row.ID, "file", s.f.Name())
	j.lane.removed = v.mono()
	v.lanes[j.feed.cam].removed = j.lane.removed // also where this job fails
	if v.lose != nil {
		v.lose(j.feed.cam, Span{From: s.row.Start, To: s.row.End, Cause: nvr.FileDamaged, Detail: goneFile})
	}
	return v.seal(j)
}

// mark passes a gap or a step on, after closing the file: a segment has no hole.
func (v *volume) mark(j *job, ev *event) error {
	if j.lane.open != nil {
		if err := v.seal(j); err != nil {
			return err
		}
	}
	if ev.kind == evGap {
		j.lane.gaps = append(j.lane.gaps, segment.Gap{From: ev.from, Cause: ev.cause})
		if n := len(j.lane.gaps); n > segment.MaxGaps {
			j.lane.gaps = j.lane.gaps[n-segment.MaxGaps:]
		}
	}
	j.events = append(j.events, *ev)
	return nil
}

func (v *volume) piece(j *job, p *Piece) error {
	if s := j.lane.open; s != nil && (!p.fits(s.last) || v.slot(j.feed.cam, p.Fragment.Start) != v.slot(j.feed.cam, s.row.Start)) {
		if err := v.seal(j); err != nil {
			return err
		}
	}
	if j.lane.open == nil {
		if err := v.create(j, p); err != nil {
			return err
		}
	}
	s := j.lane.open
	fr := p.Fragment // Base and Prev are set on a copy: the piece may be written again elsewhere
	fr.Base, fr.Prev = s.row.Ticks, s.row.Last
	before := len(v.buf)
	b, d, err := segment.EncodeFragment(v.buf, &fr)
	if err != nil {
		return err
	}
	v.buf = b
	s.last = p
	s.leaves = append(s.leaves, d)
	s.row.Bytes += int64(len(b) - before)
	s.row.Fragments++
	s.row.Ticks += fr.Ticks()
	s.row.End, s.row.Last = fr.End, d
	j.events = append(j.events, event{cam: j.feed.cam, kind: evFragment, row: s.row, from: fr.Start, to: fr.End, cause: fr.Obscured})
	j.acks = append(j.acks, ack{fr.Run, fr.Seq})
	return nil
}

// slot is which of the segment lengths since the epoch t is in. Each camera has its own phase, so that
// the forty files of a suite do not begin at once.
func (v *volume) slot(cam nvr.CameraID, t time.Time) int64 {
	return (t.UnixNano() + int64(place(cam)%uint64(v.length))) / int64(v.length)
}

// place is a number that stays the same for a camera and spreads cameras evenly, however alike their
// names are.
func place(cam nvr.CameraID) uint64 {
	d := sha256.Sum256([]byte(cam))
	return be.Uint64(d[:8])
}

func (v *volume) create(j *job, p *Piece) error {
	l, fr := j.lane, &p.Fragment
	if l.run != fr.Run {
		l.run, l.numbers = fr.Run, 0
	}
	h := segment.Header{ID: segment.NewID(fr.Start), Volume: v.id, Boot: v.boot, Suite: v.suite, Camera: j.feed.cam,
		Run: fr.Run, Number: l.numbers, Start: fr.Start, Mono: fr.Mono, Clock: fr.Clock, MaskVersion: p.MaskVersion, Mask: fr.Mask,
		Prev: l.last, Gaps: l.gaps, Size: p.Size, SPS: p.SPS, PPS: p.PPS}
	b, d, err := segment.EncodeHeader(&h)
	if err != nil {
		return err
	}
	row := Row{ID: h.ID, State: StateOpen, Clock: h.Clock, Volume: v.id, Run: h.Run, Number: h.Number, Start: h.Start, End: h.Start,
		Bytes: int64(len(b)), MaskVersion: h.MaskVersion, Mask: h.Mask, Last: d}
	f, err := v.disk.Create(row.Name(j.feed.cam))
	l.numbers++ // also of a file that could not be made: its name may be taken now
	if err != nil {
		if !errors.Is(err, fs.ErrExist) {
			v.discard(row.Name(j.feed.cam)) // it may have been made all the same
		}
		return fmt.Errorf("segment %s: %w", h.ID, err)
	}
	l.open = &openSegment{f: f, row: row, leaves: []segment.Digest{d}}
	l.gaps = nil
	j.touched = append(j.touched, l.open)
	v.buf = append(v.buf, b...)
	return nil
}

// flush writes what was encoded for the open file.
func (v *volume) flush(j *job) error {
	if len(v.buf) == 0 {
		return nil
	}
	s := j.lane.open
	if n := len(j.touched); n == 0 || j.touched[n-1] != s {
		j.touched = append(j.touched, s)
	}
	n, err := s.f.WriteAt(v.buf, s.wrote)
	if err != nil {
		return fmt.Errorf("write segment %s: %w", s.row.ID, err)
	}
	s.wrote += int64(n)
	v.buf = v.buf[:0]
	return nil
}

// seal ends the open file.
func (v *volume) seal(j *job) error {
	s := j.lane.open
	end := segment.Seal{Fragments: s.row.Fragments, Ticks: s.row.Ticks, End: s.row.End, Last: s.row.Last, Root: segment.Root(s.leaves)}
	b := segment.EncodeSeal(&end)
	v.buf = append(v.buf, b...)
	s.row.Bytes += int64(len(b))
	s.row.Root = end.Root
	s.row.State = StateSealed
	if err := v.flush(j); err != nil {
		return err
	}
	j.events = append(j.events, event{cam: j.feed.cam, kind: evSealed, row: s.row, from: s.row.End})
	j.lane.open = nil
	return nil
}

// settle makes a job's outcome the truth: all of it is durable.
func (v *volume) settle(j *job) {
	for _, s := range j.touched {
		s.durable, s.synced = s.row, true
		j.lane.last = s.row.Last
		if s != j.lane.open {
			if err := s.f.Close(); err != nil {
				v.log.Warn("close segment", "segment", s.row.ID, "err", err) // its content is durable
			}
		}
	}
	v.lanes[j.feed.cam] = j.lane
	j.feed.done(j.items)
	v.sink(j.events...)
	if v.acked != nil {
		for _, a := range j.acks {
			v.acked(j.feed.cam, a.run, a.seq)
		}
	}
}

// discard takes away a file that this tick began and that holds nothing durable.
func (v *volume) discard(name string) {
	if err := v.disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		v.log.Warn("a file without footage stays", "file", name, "err", err)
	}
}

// giveUp closes all files of a job that failed: none is ever written again. What was durable of them
// stays and counts; the pictures go back to the queue and from there to a new file.
func (v *volume) giveUp(j *job) {
	old := v.lanes[j.feed.cam]
	if s := old.open; s != nil && len(j.touched) == 0 {
		j.touched = append(j.touched, s)
	}
	for _, s := range j.touched {
		s.f.Close() // its error adds nothing: the file is given up already
		if s.synced {
			r := s.durable
			r.State = StateTorn
			v.sink(event{cam: j.feed.cam, kind: evSealed, row: r, from: r.End})
			continue
		}
		v.discard(s.f.Name())
	}
	old.open = nil
	if old.run == j.lane.run || j.lane.numbers > 0 {
		old.run, old.numbers = j.lane.run, j.lane.numbers
	}
	j.feed.putBack(j.items)
}
