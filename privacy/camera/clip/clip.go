// Package clip reads the access units of a clip file.
//
// The demonstration camera and tests call it to stream real footage. It never opens a camera,
// never decodes a picture, and reads Annex B streams and plain MP4 files only.
package clip

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"
)

// maxSize bounds a clip; it is held in memory.
const maxSize = 1 << 30

// A Clip is a stream in decoding order.
type Clip struct {
	Kind  string     // "h264" or "h265"
	Units [][][]byte // access units of NAL units without start codes
	// PTS is the presentation time of each unit; nil where the file has none (Annex B).
	PTS []time.Duration
	// Length is the time after which the clip may begin again; 0 where the file has no times.
	Length time.Duration
}

// Read reads a .h264, .h265 or .mp4 file.
func Read(path string) (Clip, error) {
	f, err := os.Open(path)
	if err != nil {
		return Clip{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return Clip{}, fmt.Errorf("read clip %s: %w", path, err)
	}
	if len(b) > maxSize {
		return Clip{}, fmt.Errorf("clip %s is larger than %d MiB", path, maxSize>>20)
	}
	var c Clip
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".h264", ".264":
		c = Clip{Kind: "h264", Units: units("h264", split(b))}
	case ".h265", ".265", ".hevc":
		c = Clip{Kind: "h265", Units: units("h265", split(b))}
	case ".mp4", ".m4v", ".mov":
		c, err = readMP4(b)
	default:
		return Clip{}, fmt.Errorf("clip %s: %q is not .h264, .h265 or .mp4", path, ext)
	}
	if err != nil {
		return Clip{}, fmt.Errorf("read clip %s: %w", path, err)
	}
	if len(c.Units) == 0 {
		return Clip{}, fmt.Errorf("clip %s has no pictures", path)
	}
	return c, nil
}

// split cuts an Annex B stream at its start codes; zero bytes before one belong to none.
func split(b []byte) [][]byte {
	var nals [][]byte
	for len(b) > 0 {
		i := bytes.Index(b, []byte{0, 0, 1})
		nal := b
		if i >= 0 {
			nal, b = b[:i], b[i+3:]
		} else {
			b = nil
		}
		if nal = bytes.TrimRight(nal, "\x00"); len(nal) > 0 {
			nals = append(nals, nal)
		}
	}
	return nals
}

// units groups NAL units (H.264 7.4.1.2.3, H.265 7.4.2.4.4): after a slice, a unit ends before the
// next first slice and before anything that may only stand at the beginning of one.
func units(kind string, nals [][]byte) [][][]byte {
	var list [][][]byte
	var unit [][]byte
	picture := false
	for _, nal := range nals {
		isSlice, first := opens(kind, nal)
		if picture && first {
			list = append(list, unit)
			unit, picture = nil, false
		}
		unit = append(unit, nal)
		picture = picture || isSlice
	}
	if picture {
		list = append(list, unit)
	}
	return list
}

// opens says whether nal is a slice, and whether it begins an access unit when one is under way.
func opens(kind string, nal []byte) (isSlice, first bool) {
	if kind == "h265" {
		if len(nal) < 3 {
			return false, false
		}
		t := nal[0] >> 1 & 0x3f
		if t < 32 {
			return true, nal[2]&0x80 != 0
		}
		return false, t >= 32 && t <= 35 || t == 39 || t >= 41 && t <= 44 || t >= 48 && t <= 55
	}
	if len(nal) < 2 {
		return false, false
	}
	t := nal[0] & 0x1f
	if t >= 1 && t <= 5 {
		return true, nal[1]&0x80 != 0
	}
	return false, t >= 6 && t <= 9 || t >= 14 && t <= 18
}

func readMP4(b []byte) (Clip, error) {
	f, err := mp4.DecodeFile(bytes.NewReader(b))
	if err != nil {
		return Clip{}, err
	}
	if f.Moov == nil {
		return Clip{}, errors.New("no moov box")
	}
	for _, trak := range f.Moov.Traks {
		if trak.Mdia == nil || trak.Mdia.Minf == nil || trak.Mdia.Minf.Stbl == nil || trak.Mdia.Mdhd == nil || trak.Mdia.Mdhd.Timescale == 0 {
			continue
		}
		stsd := trak.Mdia.Minf.Stbl.Stsd
		if stsd == nil {
			continue
		}
		c := Clip{}
		var parameters [][]byte
		switch {
		case stsd.AvcX != nil && stsd.AvcX.AvcC != nil:
			c.Kind = "h264"
			parameters = append(parameters, stsd.AvcX.AvcC.SPSnalus...)
			parameters = append(parameters, stsd.AvcX.AvcC.PPSnalus...)
		case stsd.HvcX != nil && stsd.HvcX.HvcC != nil:
			c.Kind = "h265"
			for _, a := range stsd.HvcX.HvcC.NaluArrays {
				parameters = append(parameters, a.Nalus...)
			}
		default:
			continue
		}
		return c, c.samples(trak, b, parameters)
	}
	return Clip{}, errors.New("no H.264 or H.265 track")
}

// samples reads the samples of a progressive file. Parameter sets stand in the header of an MP4
// file; on the wire they go before each key picture.
func (c *Clip) samples(trak *mp4.TrakBox, file []byte, parameters [][]byte) error {
	stbl := trak.Mdia.Minf.Stbl
	if stbl.Stsz == nil || stbl.Stts == nil || stbl.Stsc == nil {
		return errors.New("not a progressive file: sample tables are missing")
	}
	scale := time.Duration(trak.Mdia.Mdhd.Timescale)
	count := trak.GetNrSamples()
	for n := uint32(1); n <= count; n++ {
		ranges, err := trak.GetRangesForSampleInterval(n, n)
		if err != nil {
			return fmt.Errorf("sample %d: %w", n, err)
		}
		var data []byte
		for _, r := range ranges {
			if r.Offset+r.Size > uint64(len(file)) {
				return fmt.Errorf("sample %d lies outside the file", n)
			}
			data = append(data, file[r.Offset:r.Offset+r.Size]...)
		}
		unit, err := lengths(data)
		if err != nil {
			return fmt.Errorf("sample %d: %w", n, err)
		}
		if stbl.Stss == nil || stbl.Stss.IsSyncSample(n) {
			unit = append(append([][]byte(nil), parameters...), unit...)
		}
		at, step := stbl.Stts.GetDecodeTime(n)
		offset := int64(0)
		if stbl.Ctts != nil {
			offset = int64(stbl.Ctts.GetCompositionTimeOffset(n))
		}
		c.Units = append(c.Units, unit)
		c.PTS = append(c.PTS, time.Duration(int64(at)+offset)*time.Second/scale)
		c.Length = time.Duration(at+uint64(step)) * time.Second / scale
	}
	return nil
}

// lengths cuts a sample at its four-byte lengths.
func lengths(b []byte) ([][]byte, error) {
	var nals [][]byte
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, errors.New("ends within a length")
		}
		n := int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3])
		if n > len(b)-4 {
			return nil, errors.New("ends within a NAL unit")
		}
		nals, b = append(nals, b[4:4+n]), b[4+n:]
	}
	return nals, nil
}
