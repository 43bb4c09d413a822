package nvr

import (
	"encoding/hex"
	"time"
)

// A Stream says for whom a frame was encoded.
type Stream uint8

const (
	// Archive is the full-size stream: what is recorded, and what one enlarged cell shows.
	Archive Stream = 1
	// Tile is the small stream of the live wall; it exists only while a wall is watching.
	Tile Stream = 2
)

func (s Stream) String() string {
	switch s {
	case Archive:
		return "archive"
	case Tile:
		return "tile"
	}
	return "unknown"
}

// A MaskDigest is the SHA-256 of a mask plan (see MaskSpec.Digest). Every frame, segment and
// exhibit carries it, so that anyone can say what was hidden in any second (REQ-MASK-7).
type MaskDigest [32]byte

func (d MaskDigest) String() string { return hex.EncodeToString(d[:]) }

// Figures are measured on the masked picture, never on what the mask hides.
type Figures struct {
	Luma   uint8  // mean luma of the visible part, 0 to 255
	Change uint16 // visible samples that differ by more than 8 from the picture before, in 1/10000
	Edges  uint16 // mean absolute horizontal luma step of the visible part, in 1/100 of a code value
	// Sum is a checksum (CRC-32C) over all luma samples of the masked picture. Two pictures with
	// equal sums are taken as identical: "picture not changing".
	Sum uint32
}

// A Frame is one masked, encoded picture (H.264 High, 8 bit 4:2:0, no B-frames). It is the only
// form in which a picture exists outside package privacy.
type Frame struct {
	Stream Stream
	Run    RunID
	// Seq counts the frames of this run and stream from 0 without holes.
	Seq uint64
	// Key marks an IDR frame: decoding can start here. SPS and PPS are set on it, and only on it.
	Key bool
	// SourceKey marks a picture that the camera itself coded as a key picture.
	SourceKey bool
	// PTS is media time by the camera's own RTP clock since the first picture of the run,
	// strictly increasing within a run and stream.
	PTS time.Duration
	// Arrived is when the last packet of the picture was there, by CLOCK_MONOTONIC, which all
	// processes of one boot share. Age on the wall is computed from it.
	Arrived time.Duration
	// Mask is the digest of the plan that this very picture was masked with.
	Mask MaskDigest
	// Obscured is Recorded where only the mask areas are filled, else why the whole picture is.
	Obscured Cause
	Size     Size // shown size of the encoded picture
	Figures  Figures
	SPS, PPS []byte   // NAL units without start code, on key frames
	NALs     [][]byte // the slices (types 1 and 5) without start codes, at least one
}

// Bytes is the size of all NAL units of the frame.
func (f *Frame) Bytes() int {
	n := len(f.SPS) + len(f.PPS)
	for _, u := range f.NALs {
		n += len(u)
	}
	return n
}
