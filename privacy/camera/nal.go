package camera

import "bytes"

// class is what a NAL unit means to the grouping into access units.
type class uint8

const (
	other  class = iota // SEI, delimiters and the like
	vps                 // H.265 video parameter set
	sps                 // sequence parameter set
	pps                 // picture parameter set
	slice               // part of a picture
	banned              // not a NAL unit type that may occur in a stream
)

// classOf classifies a NAL unit without its start code.
func classOf(kind string, nal []byte) class {
	if len(nal) == 0 || nal[0]&0x80 != 0 { // forbidden_zero_bit
		return banned
	}
	if kind == H265 {
		if len(nal) < 2 || nal[1]&7 == 0 { // nuh_temporal_id_plus1 is never 0
			return banned
		}
		switch t := nal[0] >> 1; {
		case t < 32:
			return slice
		case t == 32:
			return vps
		case t == 33:
			return sps
		case t == 34:
			return pps
		case t >= 48: // 48 to 63 belong to RTP and others
			return banned
		}
		return other
	}
	switch t := nal[0] & 0x1f; {
	case t >= 1 && t <= 5:
		return slice
	case t == 7:
		return sps
	case t == 8:
		return pps
	case t == 0 || t >= 24:
		return banned
	}
	return other
}

// firstSlice reports whether a slice opens a picture: first_mb_in_slice is 0, or
// first_slice_segment_in_pic_flag is set. Both are the first bit after the header.
func firstSlice(kind string, nal []byte) bool {
	at := 1
	if kind == H265 {
		at = 2
	}
	return len(nal) > at && nal[at]&0x80 != 0
}

// splitAnnexB appends the NAL units of b, which may hold Annex B start codes (F-34), to list. A
// start code can not occur inside a NAL unit, whose last byte is never zero: so the zero bytes
// before a start code and at the end are no part of one. Without a start code b is one unit.
func splitAnnexB(list [][]byte, b []byte) [][]byte {
	for {
		i := bytes.Index(b, []byte{0, 0, 1})
		nal := b
		if i >= 0 {
			nal = b[:i]
		}
		if nal = bytes.TrimRight(nal, "\x00"); len(nal) > 0 {
			list = append(list, nal)
		}
		if i < 0 {
			return list
		}
		b = b[i+3:]
	}
}
