package masker

import (
	"fmt"
	"io"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/codec"
	"custody-nvr/privacy/mask"
	"custody-nvr/privacy/wire"
)

// keyEvery is the media time between key pictures: one fragment on disk, one second that can be
// proven alone.
const keyEvery = time.Second

// tileEvery is the least media time between two tiles: a camera of more than 16 pictures a second
// gives every second one.
const tileEvery = time.Second / 16

// An output is one of the two masked streams of a camera: encoder, key picture rhythm, sequence.
type output struct {
	stream  nvr.Stream
	run     nvr.RunID
	config  codec.EncoderConfig
	encoder *codec.Encoder
	pipe    io.Writer
	every   time.Duration // least media time between frames; 0: every frame

	seq   uint64
	begun bool
	key   time.Duration // media time of the last key picture
	last  time.Duration
	cause nvr.Cause
}

func (o *output) canvas() *mask.Canvas { return o.encoder.Canvas() }

// suit opens the encoder anew where the camera's samples use another range than before: which one
// it is stands in the stream's parameter sets.
func (o *output) suit(fullRange bool) error {
	if o.config.FullRange == fullRange {
		return nil
	}
	c := o.config
	c.FullRange = fullRange
	e, err := codec.NewEncoder(c)
	if err != nil {
		return fmt.Errorf("open %s encoder anew: %w", o.stream, err)
	}
	o.encoder.Close()
	o.encoder, o.config, o.begun = e, c, false
	return nil
}

// pause ends the stream for now: the next frame is a key picture.
func (o *output) pause() { o.begun = false }

// skips thins the tile stream: a tile needs no more than half of a fast camera's pictures.
func (o *output) skips(pts time.Duration) bool { return o.begun && pts-o.last < o.every }

// write encodes one masked picture and sends it to the parent. A new key picture comes every
// second, at the start, and where the picture begins or ceases to be obscured, so that every
// fragment on disk is of one kind.
func (o *output) write(pic mask.Picture, pts time.Duration, u unit) error {
	key := !o.begun || pts-o.key >= keyEvery || pic.Obscured() != o.cause
	p, err := o.encoder.Encode(pic, pts, key)
	if err != nil {
		return fmt.Errorf("encode %s picture %d: %w", o.stream, o.seq, err)
	}
	if key {
		o.key = pts
	}
	o.begun, o.cause, o.last = true, pic.Obscured(), pts
	f := nvr.Frame{
		Stream: o.stream, Run: o.run, Seq: o.seq,
		Key: p.Key, SourceKey: u.key,
		PTS: pts, Arrived: u.arrived,
		Mask: pic.Digest(), Obscured: pic.Obscured(), Size: o.config.Size, Figures: pic.Figures(),
		SPS: p.SPS, PPS: p.PPS, NALs: p.NALs,
	}
	o.seq++
	if err := wire.WriteFrame(o.pipe, &f); err != nil {
		return fmt.Errorf("hand %s picture %d to the recorder: %w", o.stream, f.Seq, err)
	}
	return nil
}
