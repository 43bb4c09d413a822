package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"custody-nvr/nvr"
)

// Limits of one frame on the pipe.
const (
	MaxFrameBytes = 8 << 20 // all NAL units of one frame, with their lengths
	MaxUnits      = 64      // slices of one frame
	MaxSide       = 8192    // pixels, width or height
)

const (
	magic      = "CNVF"
	version    = 1
	headerSize = 92

	flagKey       = 1
	flagSourceKey = 2
)

// H.264 NAL unit types that may pass.
const (
	nalSlice = 1
	nalIDR   = 5
	nalSPS   = 7
	nalPPS   = 8
)

// WriteFrame writes f to w with one call of Write. It refuses a frame that the reader would
// refuse for what is in it, so that a mistake shows on the side that made it.
func WriteFrame(w io.Writer, f *nvr.Frame) error {
	if err := checkFrame(f); err != nil {
		return fmt.Errorf("write %s frame %d: %w", f.Stream, f.Seq, err)
	}
	b, err := encodeFrame(f)
	if err != nil {
		return fmt.Errorf("write %s frame %d: %w", f.Stream, f.Seq, err)
	}
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("write %s frame %d: %w", f.Stream, f.Seq, err)
	}
	return nil
}

func encodeFrame(f *nvr.Frame) ([]byte, error) {
	units := f.NALs
	if f.Key {
		units = append([][]byte{f.SPS, f.PPS}, f.NALs...)
	}
	length := 0
	for _, u := range units {
		length += 4 + len(u)
	}
	if length > MaxFrameBytes {
		return nil, fmt.Errorf("%d bytes of NAL units, at most %d may pass", length, MaxFrameBytes)
	}
	var flags byte
	if f.Key {
		flags |= flagKey
	}
	if f.SourceKey {
		flags |= flagSourceKey
	}
	be := binary.BigEndian
	b := append(make([]byte, 0, headerSize+length), magic...)
	b = append(b, version, byte(f.Stream), flags, byte(f.Obscured))
	b = be.AppendUint32(b, uint32(length))
	b = append(b, f.Run[:]...)
	b = be.AppendUint64(b, f.Seq)
	b = be.AppendUint64(b, uint64(f.PTS))
	b = be.AppendUint64(b, uint64(f.Arrived))
	b = append(b, f.Mask[:]...)
	b = be.AppendUint16(b, uint16(f.Size.Width))
	b = be.AppendUint16(b, uint16(f.Size.Height))
	b = append(b, f.Figures.Luma, 0)
	b = be.AppendUint16(b, f.Figures.Change)
	b = be.AppendUint16(b, f.Figures.Edges)
	b = be.AppendUint16(b, uint16(len(units)))
	b = be.AppendUint32(b, f.Figures.Sum)
	for _, u := range units {
		b = be.AppendUint32(b, uint32(len(u)))
		b = append(b, u...)
	}
	return b, nil
}

// header is the fixed part as it stands on the pipe.
type header struct {
	frame  nvr.Frame // without its NAL units
	length int       // of the rest
	units  int
}

func parseHeader(b []byte) (header, error) {
	be := binary.BigEndian
	if string(b[:4]) != magic {
		return header{}, fmt.Errorf("%w: no frame starts here (magic %q)", ErrBroken, b[:4])
	}
	if b[4] != version {
		return header{}, fmt.Errorf("%w: frame version %d, this recorder reads version %d", ErrBroken, b[4], version)
	}
	if b[6]&^(flagKey|flagSourceKey) != 0 {
		return header{}, fmt.Errorf("%w: unknown frame flags %#x", ErrBroken, b[6])
	}
	if b[81] != 0 {
		return header{}, fmt.Errorf("%w: reserved byte is %#x", ErrBroken, b[81])
	}
	length := be.Uint32(b[8:])
	if length > MaxFrameBytes {
		return header{}, fmt.Errorf("%w: frame of %d bytes, at most %d may pass", ErrBroken, length, MaxFrameBytes)
	}
	h := header{length: int(length), units: int(be.Uint16(b[86:]))}
	f := &h.frame
	f.Stream = nvr.Stream(b[5])
	f.Key = b[6]&flagKey != 0
	f.SourceKey = b[6]&flagSourceKey != 0
	f.Obscured = nvr.Cause(b[7])
	copy(f.Run[:], b[12:])
	f.Seq = be.Uint64(b[20:])
	f.PTS = time.Duration(be.Uint64(b[28:]))
	f.Arrived = time.Duration(be.Uint64(b[36:]))
	copy(f.Mask[:], b[44:])
	f.Size = nvr.Size{Width: int(be.Uint16(b[76:])), Height: int(be.Uint16(b[78:]))}
	f.Figures = nvr.Figures{Luma: b[80], Change: be.Uint16(b[82:]), Edges: be.Uint16(b[84:]), Sum: be.Uint32(b[88:])}
	fixed := 0 // SPS and PPS
	if f.Key {
		fixed = 2
	}
	if h.units < fixed+1 || h.units > fixed+MaxUnits {
		return header{}, fmt.Errorf("%w: %d NAL units in a frame with key=%t, it needs %d to %d", ErrBroken, h.units, f.Key, fixed+1, fixed+MaxUnits)
	}
	if h.length < 5*h.units {
		return header{}, fmt.Errorf("%w: %d NAL units cannot be in %d bytes", ErrBroken, h.units, h.length)
	}
	return h, nil
}

// parseUnits cuts the rest of a frame into NAL units without copying.
func parseUnits(h *header, b []byte) error {
	units := make([][]byte, 0, h.units)
	for range h.units {
		if len(b) < 4 {
			return fmt.Errorf("%w: frame ends inside a NAL unit's length", ErrBroken)
		}
		n := binary.BigEndian.Uint32(b)
		b = b[4:]
		if uint64(n) > uint64(len(b)) {
			return fmt.Errorf("%w: NAL unit of %d bytes in a frame that has %d left", ErrBroken, n, len(b))
		}
		units = append(units, b[:n:n])
		b = b[n:]
	}
	if len(b) != 0 {
		return fmt.Errorf("%w: %d bytes after the last NAL unit", ErrBroken, len(b))
	}
	if h.frame.Key {
		h.frame.SPS, h.frame.PPS, units = units[0], units[1], units[2:]
	}
	h.frame.NALs = units
	return nil
}

// checkFrame holds the rules that one frame can break by itself.
func checkFrame(f *nvr.Frame) error {
	switch {
	case f.Stream != nvr.Archive && f.Stream != nvr.Tile:
		return fmt.Errorf("%w: unknown stream %d", ErrBroken, uint8(f.Stream))
	case f.Obscured != nvr.Recorded && !(f.Obscured.Known() && f.Obscured.IsObscured()):
		return fmt.Errorf("%w: a frame cannot have the cause %d (%s)", ErrBroken, uint8(f.Obscured), f.Obscured)
	case f.PTS < 0:
		return fmt.Errorf("%w: negative media time %d", ErrBroken, f.PTS)
	case f.Arrived < 0:
		return fmt.Errorf("%w: negative arrival time %d", ErrBroken, f.Arrived)
	case f.Size.Width < 16 || f.Size.Height < 16 || f.Size.Width > MaxSide || f.Size.Height > MaxSide:
		return fmt.Errorf("%w: picture size %s, it must be 16x16 to %dx%d", ErrBroken, f.Size, MaxSide, MaxSide)
	case f.Figures.Change > 10000:
		return fmt.Errorf("%w: change figure %d is above 10000", ErrBroken, f.Figures.Change)
	case len(f.NALs) == 0 || len(f.NALs) > MaxUnits:
		return fmt.Errorf("%w: %d slices, a frame has 1 to %d", ErrBroken, len(f.NALs), MaxUnits)
	case f.Key && (len(f.SPS) == 0 || len(f.PPS) == 0):
		return fmt.Errorf("%w: key frame without parameter sets (SPS %d, PPS %d bytes)", ErrBroken, len(f.SPS), len(f.PPS))
	case !f.Key && (len(f.SPS) != 0 || len(f.PPS) != 0):
		return fmt.Errorf("%w: parameter sets on a frame that is not a key frame", ErrBroken)
	}
	slice := nalSlice
	if f.Key {
		slice = nalIDR
		if err := checkUnit(f.SPS, nalSPS); err != nil {
			return fmt.Errorf("SPS: %w", err)
		}
		if err := checkSPS(f.SPS, f.Size); err != nil {
			return fmt.Errorf("SPS: %w", err)
		}
		if err := checkUnit(f.PPS, nalPPS); err != nil {
			return fmt.Errorf("PPS: %w", err)
		}
	}
	for i, u := range f.NALs {
		if err := checkUnit(u, slice); err != nil {
			return fmt.Errorf("slice %d: %w", i, err)
		}
		if err := checkSlice(u, f.Key); err != nil {
			return fmt.Errorf("slice %d: %w", i, err)
		}
	}
	return nil
}

var twoZeros = []byte{0, 0}

// checkUnit refuses a NAL unit that is not of the type its place asks for, or that would be taken
// for several units by a reader of start codes.
func checkUnit(u []byte, want int) error {
	if len(u) < 2 {
		return fmt.Errorf("%w: NAL unit of %d bytes", ErrBroken, len(u))
	}
	if u[0]&0x80 != 0 {
		return fmt.Errorf("%w: forbidden_zero_bit is set", ErrBroken)
	}
	if got := int(u[0] & 0x1f); got != want {
		return fmt.Errorf("%w: NAL unit type %d where only type %d may stand", ErrBroken, got, want)
	}
	for b := u; ; {
		i := bytes.Index(b, twoZeros)
		if i < 0 || i+2 >= len(b) {
			return nil
		}
		if b[i+2] < 3 {
			return fmt.Errorf("%w: start code inside a NAL unit", ErrBroken)
		}
		b = b[i+2:]
	}
}
