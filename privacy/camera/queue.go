package camera

import "sync"

// Limits of the queue between gortsplib's reading goroutine and Next: about two seconds of a
// camera.
const (
	queueUnits = 64
	queueBytes = 32 << 20
)

// queue hands units over without ever blocking the reader. When the consumer is too slow the
// oldest whole units are dropped, and the one that follows them says so.
type queue struct {
	ready chan struct{} // holds a token while there may be units

	mu    sync.Mutex
	units []AccessUnit // guarded by mu
	bytes int          // guarded by mu
}

func newQueue() *queue { return &queue{ready: make(chan struct{}, 1)} }

func size(u AccessUnit) int {
	n := 0
	for _, nal := range u.NALs {
		n += len(nal)
	}
	return n
}

func (q *queue) push(u AccessUnit) {
	q.mu.Lock()
	q.units = append(q.units, u)
	q.bytes += size(u)
	for len(q.units) > 1 && (len(q.units) > queueUnits || q.bytes > queueBytes) {
		q.bytes -= size(q.units[0])
		q.units[0] = AccessUnit{}
		q.units = q.units[1:]
		q.units[0].Gap = true
	}
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

func (q *queue) pop() (AccessUnit, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.units) == 0 {
		return AccessUnit{}, false
	}
	u := q.units[0]
	q.units[0] = AccessUnit{}
	q.units = q.units[1:]
	q.bytes -= size(u)
	return u, true
}
