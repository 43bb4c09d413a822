package wire

import (
	"fmt"

	"custody-nvr/nvr"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
)

// checkSPS requires the parameter set that our own encoder writes: progressive 8 bit 4:2:0 of
// exactly the size that the frame claims, with no more cropped away than padding needs (a crop
// can be undone by a player, so nothing may hide behind it).
func checkSPS(unit []byte, size nvr.Size) (err error) {
	var sps h264.SPS
	// The parser is not ours and the bytes are hostile.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: parser gave up: %v", ErrBroken, r)
		}
	}()
	if err := sps.Unmarshal(unit); err != nil {
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	switch {
	case sps.ProfileIdc != 66 && sps.ProfileIdc != 77 && sps.ProfileIdc != 100:
		return fmt.Errorf("%w: H.264 profile %d, it must be Baseline, Main or High", ErrBroken, sps.ProfileIdc)
	case sps.ChromaFormatIdc != 1 || sps.SeparateColourPlaneFlag:
		return fmt.Errorf("%w: chroma format %d, it must be 4:2:0", ErrBroken, sps.ChromaFormatIdc)
	case sps.BitDepthLumaMinus8 != 0 || sps.BitDepthChromaMinus8 != 0:
		return fmt.Errorf("%w: bit depth %d and %d, it must be 8", ErrBroken, 8+sps.BitDepthLumaMinus8, 8+sps.BitDepthChromaMinus8)
	case sps.ID != 0:
		return fmt.Errorf("%w: parameter set id %d, it must be 0", ErrBroken, sps.ID)
	case !sps.FrameMbsOnlyFlag:
		return fmt.Errorf("%w: interlaced", ErrBroken)
	case sps.PicWidthInMbsMinus1 >= MaxSide/16 || sps.PicHeightInMapUnitsMinus1 >= MaxSide/16:
		return fmt.Errorf("%w: picture of %dx%d macroblocks", ErrBroken, uint64(sps.PicWidthInMbsMinus1)+1, uint64(sps.PicHeightInMapUnitsMinus1)+1)
	}
	if c := sps.FrameCropping; c != nil && (c.LeftOffset != 0 || c.TopOffset != 0 || c.RightOffset > 7 || c.BottomOffset > 7) {
		return fmt.Errorf("%w: crop of left %d, right %d, top %d, bottom %d chroma samples is more than padding needs",
			ErrBroken, c.LeftOffset, c.RightOffset, c.TopOffset, c.BottomOffset)
	}
	even := nvr.Size{Width: (size.Width + 1) &^ 1, Height: (size.Height + 1) &^ 1}
	if got := (nvr.Size{Width: sps.Width(), Height: sps.Height()}); got != even {
		return fmt.Errorf("%w: it says %s, the frame says %s", ErrBroken, got, size)
	}
	return nil
}

// checkSlice requires an I or P slice that refers to parameter set 0; a key frame holds I only.
func checkSlice(unit []byte, key bool) error {
	b := bits{b: unit[1:]}
	b.ue() // first_mb_in_slice
	kind := b.ue() % 5
	pps := b.ue()
	switch {
	case b.over:
		return fmt.Errorf("%w: slice header ends early", ErrBroken)
	case kind != 0 && kind != 2 || key && kind != 2:
		return fmt.Errorf("%w: slice type %d in a frame with key=%t, only I and P may pass", ErrBroken, kind, key)
	case pps != 0:
		return fmt.Errorf("%w: slice refers to parameter set %d, it must be 0", ErrBroken, pps)
	}
	return nil
}

// bits reads Exp-Golomb codes past the emulation prevention bytes.
type bits struct {
	b    []byte
	n    uint // bits used of b[0]
	zero int  // zero bytes in a row that were used up
	over bool
}

func (r *bits) bit() uint32 {
	if len(r.b) == 0 {
		r.over = true
		return 0
	}
	v := uint32(r.b[0]>>(7-r.n)) & 1
	if r.n++; r.n == 8 {
		if r.b[0] == 0 {
			r.zero++
		} else {
			r.zero = 0
		}
		r.b, r.n = r.b[1:], 0
		if r.zero >= 2 && len(r.b) > 0 && r.b[0] == 3 {
			r.b, r.zero = r.b[1:], 0
		}
	}
	return v
}

func (r *bits) ue() uint32 {
	n := 0
	for r.bit() == 0 {
		if n++; n > 31 || r.over {
			r.over = true
			return 0
		}
	}
	v := uint32(1)
	for range n {
		v = v<<1 | r.bit()
	}
	return v - 1
}
