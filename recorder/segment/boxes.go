package segment

import (
	"encoding/binary"

	"custody-nvr/nvr"
)

// The boxes that players read (ISO/IEC 14496-12 and -15), written by hand: a file on disk for a year
// must not change with the version of a library, and the reader accepts only what the writer writes.

var be = binary.BigEndian

// box appends one box whose content is appended by fill.
func box(b []byte, kind string, fill func([]byte) []byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = append(b, kind...)
	b = fill(b)
	be.PutUint32(b[at:], uint32(len(b)-at))
	return b
}

func u16(b []byte, v ...uint16) []byte {
	for _, n := range v {
		b = be.AppendUint16(b, n)
	}
	return b
}

func u32(b []byte, v ...uint32) []byte {
	for _, n := range v {
		b = be.AppendUint32(b, n)
	}
	return b
}

// words is a box of 32-bit numbers only.
func words(b []byte, kind string, v ...uint32) []byte {
	return box(b, kind, func(b []byte) []byte { return u32(b, v...) })
}

const trackID = 1

// appendMovie writes ftyp and moov: one H.264 track, no sample in it, all are in fragments.
func appendMovie(b []byte, size nvr.Size, sps, pps []byte) []byte {
	b = box(b, "ftyp", func(b []byte) []byte {
		b = append(b, "isom"...)
		b = u32(b, 0x200)
		return append(b, "isomiso5iso6avc1mp41"...)
	})
	return box(b, "moov", func(b []byte) []byte {
		b = box(b, "mvhd", func(b []byte) []byte {
			b = u32(b, 0, 0, 0, Timescale, 0, 0x10000)
			b = u16(b, 0x100, 0)
			b = u32(b, 0, 0)
			b = matrix(b)
			return u32(b, 0, 0, 0, 0, 0, 0, trackID+1)
		})
		b = box(b, "trak", func(b []byte) []byte {
			b = box(b, "tkhd", func(b []byte) []byte {
				b = u32(b, 3, 0, 0, trackID, 0, 0, 0, 0)
				b = u16(b, 0, 0, 0, 0)
				b = matrix(b)
				return u32(b, uint32(size.Width)<<16, uint32(size.Height)<<16)
			})
			return box(b, "mdia", func(b []byte) []byte {
				b = box(b, "mdhd", func(b []byte) []byte {
					b = u32(b, 0, 0, 0, Timescale, 0)
					return u16(b, 0x55c4, 0) // language "und"
				})
				b = box(b, "hdlr", func(b []byte) []byte {
					b = u32(b, 0, 0)
					b = append(b, "vide"...)
					b = u32(b, 0, 0, 0)
					return append(b, "masked video\x00"...)
				})
				return box(b, "minf", func(b []byte) []byte {
					b = words(b, "vmhd", 1, 0, 0)
					b = box(b, "dinf", func(b []byte) []byte {
						return box(b, "dref", func(b []byte) []byte {
							return words(u32(b, 0, 1), "url ", 1)
						})
					})
					return box(b, "stbl", func(b []byte) []byte {
						b = box(b, "stsd", func(b []byte) []byte {
							return appendAVC1(u32(b, 0, 1), size, sps, pps)
						})
						b = words(b, "stts", 0, 0)
						b = words(b, "stsc", 0, 0)
						b = words(b, "stsz", 0, 0, 0)
						return words(b, "stco", 0, 0)
					})
				})
			})
		})
		return box(b, "mvex", func(b []byte) []byte {
			return words(b, "trex", 0, trackID, 1, 0, 0, 0)
		})
	})
}

func matrix(b []byte) []byte { return u32(b, 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000) }

func appendAVC1(b []byte, size nvr.Size, sps, pps []byte) []byte {
	return box(b, "avc1", func(b []byte) []byte {
		b = u16(b, 0, 0, 0, 1) // reserved, data reference
		b = u32(b, 0, 0, 0, 0)
		b = u16(b, uint16(size.Width), uint16(size.Height))
		b = u32(b, 72<<16, 72<<16, 0)
		b = u16(b, 1)                      // frames a sample
		b = append(b, make([]byte, 32)...) // compressor name
		b = u16(b, 24, 0xffff)             // depth, pre-defined -1
		return box(b, "avcC", func(b []byte) []byte {
			b = append(b, 1, sps[1], sps[2], sps[3], 0xff, 0xe1)
			b = append(u16(b, uint16(len(sps))), sps...)
			b = append(b, 1)
			b = append(u16(b, uint16(len(pps))), pps...)
			switch sps[1] { // profiles with the extra fields of 14496-15 5.3.3.1.2: 4:2:0, 8 bit
			case 100, 110, 122, 144:
				b = append(b, 0xfd, 0xf8, 0xf8, 0)
			}
			return b
		})
	})
}

// Sample flags (14496-12 8.8.3.1).
const (
	flagsKey    = 0x02000000 // depends on no other
	flagsNonKey = 0x01010000 // depends on others, is not a sync sample
)

const (
	moofFixed = 8 + 16 + 8 + 16 + 20 + 20 // moof, mfhd, traf, tfhd, tfdt, trun without samples
	sampleRow = 12
)

func (f *Fragment) moofSize() int { return moofFixed + sampleRow*len(f.Samples) }

func (f *Fragment) mdatSize() int {
	n := 8
	for _, s := range f.Samples {
		n += len(s.Data)
	}
	return n
}

func (f *Fragment) appendMoof(b []byte) []byte {
	return box(b, "moof", func(b []byte) []byte {
		b = words(b, "mfhd", 0, uint32(f.Seq)+1)
		return box(b, "traf", func(b []byte) []byte {
			b = words(b, "tfhd", 0x020000, trackID) // default-base-is-moof
			b = words(b, "tfdt", 1<<24, uint32(f.Base>>32), uint32(f.Base))
			return box(b, "trun", func(b []byte) []byte {
				b = u32(b, 0x000701, uint32(len(f.Samples)), uint32(f.moofSize()+8))
				for _, s := range f.Samples {
					b = u32(b, s.Duration, uint32(len(s.Data)), sampleFlags(s.Key))
				}
				return b
			})
		})
	})
}

func sampleFlags(key bool) uint32 {
	if key {
		return flagsKey
	}
	return flagsNonKey
}

func (f *Fragment) appendMdat(b []byte) []byte {
	return box(b, "mdat", func(b []byte) []byte {
		for _, s := range f.Samples {
			b = append(b, s.Data...)
		}
		return b
	})
}
