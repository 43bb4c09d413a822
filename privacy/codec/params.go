package codec

import "custody-nvr/nvr"

// stream is what a sequence parameter set of either coding says about the pictures.
type stream struct {
	profile          int
	coded            nvr.Size
	crop             window
	chroma           int // chroma_format_idc
	separate         bool
	depth, depthC    int
	interlaced       bool // may hold fields
	aspectW, aspectH int
	fullRange        bool
	reorder          int // pictures that may come out of order; -1: not said
}

// window is the crop of a picture in luma samples.
type window struct{ left, right, top, bottom int }

func (s *stream) shown() nvr.Size {
	return nvr.Size{Width: s.coded.Width - s.crop.left - s.crop.right, Height: s.coded.Height - s.crop.top - s.crop.bottom}
}

// units of cropping by chroma_format_idc.
func cropUnits(chroma int, separate bool) (x, y int) {
	switch {
	case separate || chroma == 0 || chroma == 3:
		return 1, 1
	case chroma == 2:
		return 2, 1
	}
	return 2, 2
}

// aspects are the pixel aspects that VUI names by number (the same table in both codings).
var aspects = [...][2]int{{0, 0}, {1, 1}, {12, 11}, {10, 11}, {16, 11}, {40, 33}, {24, 11}, {20, 11}, {32, 11},
	{80, 33}, {18, 11}, {15, 11}, {64, 33}, {160, 99}, {4, 3}, {3, 2}, {2, 1}}

// vui reads the start of the VUI, which both codings share, up to the chroma location.
func (s *stream) vui(r *bitReader) {
	if r.flag() { // aspect_ratio_info_present_flag
		switch idc := r.u(8); {
		case idc == 255:
			s.aspectW, s.aspectH = r.u(16), r.u(16)
		case idc < len(aspects):
			s.aspectW, s.aspectH = aspects[idc][0], aspects[idc][1]
		}
	}
	if r.flag() { // overscan_info_present_flag
		r.skip(1)
	}
	if r.flag() { // video_signal_type_present_flag
		r.skip(3)
		s.fullRange = r.flag()
		if r.flag() {
			r.skip(24)
		}
	}
	if r.flag() { // chroma_loc_info_present_flag
		r.ue()
		r.ue()
	}
}

// maxSize is the largest width or height that a parameter set may state; it keeps the arithmetic
// below far from overflow. Limits.MaxPixels is checked by the decoder.
const maxSize = 1 << 15

func (s *stream) checkSize(r *bitReader) {
	sh := s.shown()
	if s.coded.Width < 1 || s.coded.Height < 1 || s.coded.Width > maxSize || s.coded.Height > maxSize ||
		sh.Width < 1 || sh.Height < 1 {
		r.bad = true
	}
}
