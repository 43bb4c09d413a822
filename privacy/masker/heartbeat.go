package masker

import (
	"sync/atomic"
	"time"
)

// A heartbeat says what the pipeline is doing, for the parent's watchdog. The pipeline writes it,
// the control goroutine reads it, so that it still tells the truth while the pipeline is stuck in
// C code.
type heartbeat struct {
	now      func() time.Duration
	pictures atomic.Uint64 // pictures that came out of the decoder
	since    atomic.Int64  // monotonic time at which the codec was entered; 0: waiting for packets
}

func (h *heartbeat) enter()   { h.since.Store(int64(h.now())) }
func (h *heartbeat) leave()   { h.since.Store(0) }
func (h *heartbeat) picture() { h.pictures.Add(1); h.since.Store(int64(h.now())) }

// inCodec is when the codec was entered with the picture it is busy with, 0 if it is not.
func (h *heartbeat) inCodec() time.Duration { return time.Duration(h.since.Load()) }
