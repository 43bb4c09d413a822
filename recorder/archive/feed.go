package archive

import (
	"slices"
	"sync"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/recorder/segment"
)

// The queue of one camera, from the recorder to the disk: whichever is less.
const (
	maxQueueBytes = 16 << 20
	maxQueueTime  = 30 * time.Second
	maxQueueMarks = 1024 // gaps and steps: a camera that changes cause faster than that is coalesced
)

// A Piece is about a second of pictures on its way to the disk. Base, Prev and the order of segments
// are the archive's business.
type Piece struct {
	Fragment    segment.Fragment
	MaskVersion uint32
	Size        nvr.Size
	SPS, PPS    []byte
	// Fresh: this piece cannot stand in one segment with those before it.
	Fresh bool
}

func (p *Piece) bytes() (n int) {
	for i := range p.Fragment.Samples {
		n += len(p.Fragment.Samples[i].Data)
	}
	return n
}

// fits reports whether p may follow q in one file.
func (p *Piece) fits(q *Piece) bool {
	return !p.Fresh && p.Fragment.Run == q.Fragment.Run && p.Fragment.Mask == q.Fragment.Mask && p.Size == q.Size &&
		slices.Equal(p.SPS, q.SPS) && slices.Equal(p.PPS, q.PPS) && p.Fragment.Start.Equal(q.Fragment.End)
}

// A Feed is how one camera reaches the archive. Its methods only queue: none waits for the disk. They
// are called by one goroutine, in the order of time.
type Feed struct {
	cam    nvr.CameraID
	fault  func() (nvr.Cause, string) // what is the matter with the volume
	tooOld time.Time

	mu      sync.Mutex
	items   []item // guarded by mu: waiting
	bytes   int    // of waiting ones and those at the disk
	seconds time.Duration
	marks   int
	fail    string // what the last tick of the volume says, "" for nothing
	refused string // why Write last lost a piece
	settled int    // ticks that reached the disk since then
}

// What keeps pictures from the disk is told to staff after so long a queue, and until so many ticks in
// order after the last piece that was lost.
const (
	longQueue  = 10 * time.Second
	calmAgain  = 3
	noticeTime = 30 * time.Second
)

// Trouble says in words why pictures of this camera do not reach the disk, "" where they do.
func (f *Feed) Trouble() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.fail != "":
		return f.fail
	case f.refused != "":
		return f.refused
	case f.seconds > longQueue:
		return nvr.Overload.String() + ": the recording disk is too slow: call ICT"
	}
	return ""
}

func (f *Feed) setFail(words string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = words
}

func (f *Feed) refuse(out *nvr.Outage) error {
	f.refused, f.settled = out.Error(), 0
	return out
}

// item is a piece, a gap or a step.
type item struct {
	piece *Piece
	ev    event // where piece is nil
}

// Write queues a piece. Where the queue is full it returns an *nvr.Outage that says why; the piece is
// lost, and the caller declares the gap.
func (f *Feed) Write(p *Piece) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := p.Fragment.Validate(); err != nil {
		return f.refuse(&nvr.Outage{Cause: nvr.MaskerFault, Detail: "a picture could not be recorded: " + err.Error()})
	}
	n, d := p.bytes(), p.Fragment.End.Sub(p.Fragment.Start)
	if f.bytes+n > maxQueueBytes || f.seconds+d > maxQueueTime {
		cause, detail := f.fault()
		return f.refuse(&nvr.Outage{Cause: cause, Detail: detail})
	}
	f.bytes += n
	f.seconds += d
	f.items = append(f.items, item{piece: p})
	return nil
}

// Gap declares that there are no pictures from from on, and why, until the next piece or Gap.
func (f *Feed) Gap(from time.Time, cause nvr.Cause, detail string) {
	f.mark(event{cam: f.cam, kind: evGap, from: from, cause: cause, detail: detail})
}

// Step declares that the system clock was set by by and now says at.
func (f *Feed) Step(at time.Time, by time.Duration) {
	f.mark(event{cam: f.cam, kind: evStep, from: at, by: by, cause: nvr.ClockStep, detail: "system clock was set by " + by.Round(time.Millisecond).String()})
}

func (f *Feed) mark(ev event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.items); n > 0 && f.marks >= maxQueueMarks && f.items[n-1].piece == nil && ev.kind == evGap && f.items[n-1].ev.kind == evGap {
		return // the disk has stood for long and the causes take turns: the first one stands
	}
	f.marks++
	f.items = append(f.items, item{ev: ev})
}

// After is the end of what the archive already holds of this camera; zero for nothing. It does not
// change: it is what was known at the start.
func (f *Feed) After() time.Time { return f.tooOld }

// take hands over all that waits. It still counts until done.
func (f *Feed) take() []item {
	f.mu.Lock()
	defer f.mu.Unlock()
	it := f.items
	f.items = nil
	return it
}

// done takes off the count what is on disk, or given up.
func (f *Feed) done(items []item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.settled++; f.settled >= calmAgain {
		f.refused = ""
	}
	for _, it := range items {
		if it.piece == nil {
			f.marks--
			continue
		}
		f.bytes -= it.piece.bytes()
		f.seconds -= it.piece.Fragment.End.Sub(it.piece.Fragment.Start)
	}
}

// putBack returns items that did not reach the disk to the front. They go to a new file.
func (f *Feed) putBack(items []item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.items = append(slices.Clone(items), f.items...)
}
