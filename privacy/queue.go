package privacy

import (
	"context"
	"sync"

	"custody-nvr/nvr"
)

// Limits of what waits for the recorder. The recorder has a queue of its own; this one only
// bridges a moment.
const (
	queueFrames = 256
	queueBytes  = 16 << 20
)

// An item is a frame or, where outage is set, news that there are none.
type item struct {
	frame  nvr.Frame
	outage *nvr.Outage
}

// A queue stands between the pipe and Next. Whoever puts never waits: what does not fit is
// dropped up to the next key frame, and said once.
type queue struct {
	wake chan struct{} // has an element where there may be an item

	mu       sync.Mutex
	items    []item              // guarded by mu, as all below
	frames   int                 // among items
	bytes    int                 // of these
	dropping map[nvr.Stream]bool // until the next key frame that fits
	said     nvr.Outage          // the last one put, zero after an archive frame
	dropped  uint64
}

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), dropping: map[nvr.Stream]bool{}}
}

func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// put takes a frame, or drops it.
func (q *queue) put(f nvr.Frame) {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.poke()
	n := f.Bytes()
	frames, bytes := queueFrames, queueBytes
	if q.dropping[f.Stream] { // begin again only with a key frame and room for what follows it
		frames, bytes = frames/2, bytes/2
	}
	if q.dropping[f.Stream] && !f.Key || q.frames+1 > frames || q.bytes+n > bytes {
		q.dropped++
		q.dropping[f.Stream] = true
		if f.Stream == nvr.Archive {
			q.addOutage(nvr.Outage{Cause: nvr.Overload, Detail: "frames are not taken in time: check the load and the disks of the recorder"})
		}
		return
	}
	q.dropping[f.Stream] = false
	if f.Stream == nvr.Archive {
		q.said = nvr.Outage{}
	}
	q.frames++
	q.bytes += n
	q.items = append(q.items, item{frame: f})
}

// outage says that there are no frames, after those that wait.
func (q *queue) outage(o nvr.Outage) {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.poke()
	q.addOutage(o)
}

// addOutage is called with mu held. Of outages in a row only the last is kept, so that they cannot
// pile up either.
func (q *queue) addOutage(o nvr.Outage) {
	if o == q.said {
		return
	}
	q.said = o
	if last := len(q.items) - 1; last >= 0 && q.items[last].outage != nil {
		q.items[last].outage = &o
		return
	}
	q.items = append(q.items, item{outage: &o})
}

// newRun forgets that frames were dropped: another run begins with its own key frame.
func (q *queue) newRun() {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(q.dropping)
}

func (q *queue) next(ctx context.Context) (nvr.Frame, error) {
	for {
		if it, ok := q.pop(); ok {
			if it.outage != nil {
				return nvr.Frame{}, it.outage
			}
			return it.frame, nil
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return nvr.Frame{}, ctx.Err()
		}
	}
}

func (q *queue) pop() (item, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		q.items = nil // lets go of the array
		return item{}, false
	}
	it := q.items[0]
	q.items[0] = item{}
	q.items = q.items[1:]
	if it.outage == nil {
		q.frames--
		q.bytes -= it.frame.Bytes()
	}
	return it, true
}

func (q *queue) lost() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}
