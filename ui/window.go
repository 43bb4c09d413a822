package ui

import (
	"sync"
	"time"
)

// Bounds of a window.
const (
	behindAfter = time.Second            // the oldest picture on its way is this old: send no more
	caughtUp    = 300 * time.Millisecond // send again once the oldest is younger than this
	maxOnTheWay = 8192
)

// A window knows which pictures are still on their way to a screen, from the count of pictures
// that each ping acknowledges. Without it, pictures for a screen that is a little too slow pile up
// in buffers that nobody sees, and the wall falls further and further behind (F-59).
type window struct {
	mu    sync.Mutex
	times []time.Duration // guarded by mu; when each picture on its way was sent, oldest first
	acked uint64          // guarded by mu; pictures that reached the screen
	full  bool            // guarded by mu; waiting to be caughtUp
}

func (w *window) sent(now time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.times = append(w.times, now)
}

func (w *window) acknowledged(got uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if got <= w.acked {
		return
	}
	n := min(got-w.acked, uint64(len(w.times)))
	w.times = w.times[n:]
	w.acked += n
}

func (w *window) behind(now time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	limit := behindAfter
	if w.full {
		limit = caughtUp
	}
	w.full = len(w.times) > maxOnTheWay || len(w.times) > 0 && now-w.times[0] > limit
	return w.full
}
