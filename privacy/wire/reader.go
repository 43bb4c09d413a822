package wire

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"custody-nvr/nvr"
)

// MaxRate is how many frames of one stream may come within a second: twice the fastest camera.
const MaxRate = 480

// Rules is what a reader's owner knows about the run, and holds every frame to. The zero Rules
// let nothing pass.
type Rules struct {
	// Run is the run that the child was started with.
	Run nvr.RunID
	// Masks are the digests of the approved masks; a frame with any other is refused.
	Masks []nvr.MaskDigest
	// MaxPixels is the largest picture; zero means 8192x8192.
	MaxPixels int
	// Mono is CLOCK_MONOTONIC, for the flood limit; nil means the Go runtime's monotonic clock.
	Mono func() time.Duration
}

// A Reader reads masked frames from a pipe whose other end may be in the hands of an attacker.
// After an error it is of no further use.
type Reader struct {
	r       io.Reader
	rules   Rules
	streams map[nvr.Stream]*streamState
	head    [headerSize]byte
}

// streamState is what the frames so far allow the next one of a stream to be.
type streamState struct {
	seq     uint64 // of the next frame
	pts     time.Duration
	arrived time.Duration
	credit  float64 // frames that may come now
	at      time.Duration
}

// NewReader returns a reader that holds every frame to the rules.
func NewReader(r io.Reader, rules Rules) *Reader {
	if rules.Mono == nil {
		start := time.Now()
		rules.Mono = func() time.Duration { return time.Since(start) }
	}
	if rules.MaxPixels <= 0 {
		rules.MaxPixels = MaxSide * MaxSide
	}
	return &Reader{r: r, rules: rules, streams: map[nvr.Stream]*streamState{}}
}

// Next returns the next frame. Its NAL units share one buffer, which is the caller's. The error is
// io.EOF where the pipe ended between frames, and has ErrBroken in its chain where a rule was
// broken.
func (r *Reader) Next() (nvr.Frame, error) {
	if _, err := io.ReadFull(r.r, r.head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nvr.Frame{}, io.EOF
		}
		return nvr.Frame{}, fmt.Errorf("read frame header: %w", err)
	}
	h, err := parseHeader(r.head[:])
	if err != nil {
		return nvr.Frame{}, fmt.Errorf("read frame header: %w", err)
	}
	f := &h.frame
	if err := r.admit(f); err != nil {
		return nvr.Frame{}, fmt.Errorf("read %s frame %d: %w", f.Stream, f.Seq, err)
	}
	body := make([]byte, h.length)
	if _, err := io.ReadFull(r.r, body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // a whole frame was promised
		}
		return nvr.Frame{}, fmt.Errorf("read %s frame %d: %w", f.Stream, f.Seq, err)
	}
	if err := parseUnits(&h, body); err != nil {
		return nvr.Frame{}, fmt.Errorf("read %s frame %d: %w", f.Stream, f.Seq, err)
	}
	if err := checkFrame(f); err != nil {
		return nvr.Frame{}, fmt.Errorf("read %s frame %d: %w", f.Stream, f.Seq, err)
	}
	return *f, nil
}

// admit checks the header against the rules and the frames before, before anything is allocated.
func (r *Reader) admit(f *nvr.Frame) error {
	if f.Stream != nvr.Archive && f.Stream != nvr.Tile {
		return fmt.Errorf("%w: unknown stream %d", ErrBroken, uint8(f.Stream))
	}
	now := r.rules.Mono()
	s, seen := r.streams[f.Stream]
	if !seen {
		s = &streamState{credit: MaxRate, at: now}
	}
	s.credit = min(MaxRate, s.credit+MaxRate*(now-s.at).Seconds())
	s.at = now
	switch {
	case f.Run != r.rules.Run:
		return fmt.Errorf("%w: run %s, this child is run %s", ErrBroken, f.Run, r.rules.Run)
	case !slices.Contains(r.rules.Masks, f.Mask):
		return fmt.Errorf("%w: mask %s is not the approved one", ErrBroken, f.Mask)
	case f.Size.Width*f.Size.Height > r.rules.MaxPixels:
		return fmt.Errorf("%w: picture of %s is above the limit of %d pixels", ErrBroken, f.Size, r.rules.MaxPixels)
	case f.Seq != s.seq:
		return fmt.Errorf("%w: frame %d where frame %d must come", ErrBroken, f.Seq, s.seq)
	case !seen && !f.Key:
		return fmt.Errorf("%w: the first frame is not a key frame", ErrBroken)
	case seen && f.PTS <= s.pts:
		return fmt.Errorf("%w: media time %v after %v", ErrBroken, f.PTS, s.pts)
	case seen && f.Arrived < s.arrived:
		return fmt.Errorf("%w: arrival time %v after %v", ErrBroken, f.Arrived, s.arrived)
	case s.credit < 1:
		return fmt.Errorf("%w: more than %d frames a second", ErrBroken, MaxRate)
	}
	s.credit--
	s.seq, s.pts, s.arrived = f.Seq+1, f.PTS, f.Arrived
	r.streams[f.Stream] = s
	return nil
}
