// Package frametest makes real frames for tests of the recorder wing.
//
// Only tests import it. Its pictures are a drawn test card, encoded once: 96x64, 5 pictures a second, a
// key picture a second, four seconds, repeated for ever with running times.
package frametest

import (
	"bytes"
	_ "embed"
	"hash/crc32"
	"testing"
	"time"

	"custody-nvr/nvr"
)

// Made with: ffmpeg -f lavfi -i testsrc2=size=96x64:rate=5:duration=4 -c:v libx264 -profile:v high
// -bf 0 -x264-params keyint=5:scenecut=0:slices=1:aud=1 -crf 34 -pix_fmt yuv420p tiny.h264
//
//go:embed tiny.h264
var tiny []byte

// Rate and Size of the pictures.
const (
	Rate    = 5
	Spacing = time.Second / Rate
)

var Size = nvr.Size{Width: 96, Height: 64}

// Mask is the digest that the frames carry.
var Mask = nvr.MaskDigest{1, 2, 3}

// A Maker makes the frames of one run after the other. Change its fields between frames at will.
type Maker struct {
	Run      nvr.RunID
	Seq      uint64
	PTS      time.Duration
	Spacing  time.Duration
	Mask     nvr.MaskDigest
	Obscured nvr.Cause
	NoKeys   bool // only the first frame is a key frame
	Pad      int  // bytes of filler added to each slice: trailing zero words, which decoders skip

	units    []unit
	sps, pps []byte
}

type unit struct {
	nals [][]byte
	key  bool
}

// New begins a run.
func New(t testing.TB) *Maker {
	t.Helper()
	m := &Maker{Run: nvr.NewRunID(), Spacing: Spacing, Mask: Mask}
	for _, n := range split(tiny) {
		switch n[0] & 31 {
		case 7:
			m.sps = n
		case 8:
			m.pps = n
		case 1, 5:
			m.units = append(m.units, unit{[][]byte{n}, n[0]&31 == 5})
		}
	}
	if len(m.units) != 4*Rate || m.sps == nil || m.pps == nil {
		t.Fatalf("embedded clip has %d pictures", len(m.units))
	}
	return m
}

// split cuts Annex B bytes into NAL units.
func split(b []byte) (nals [][]byte) {
	start := []byte{0, 0, 1}
	for {
		i := bytes.Index(b, start)
		if i < 0 {
			return nals
		}
		b = b[i+3:]
		end := bytes.Index(b, start)
		if end < 0 {
			end = len(b)
		}
		if n := bytes.TrimRight(b[:end], "\x00"); len(n) > 0 {
			nals = append(nals, n)
		}
	}
}

// NewRun begins another run: its times and numbers start over.
func (m *Maker) NewRun() {
	m.Run, m.Seq, m.PTS = nvr.NewRunID(), 0, 0
}

// Next returns the next frame; it arrived at the given monotonic time.
func (m *Maker) Next(arrived time.Duration) nvr.Frame {
	u := m.units[m.Seq%uint64(len(m.units))]
	if m.NoKeys && m.Seq > 0 {
		u = m.units[1]
	}
	f := nvr.Frame{Stream: nvr.Archive, Run: m.Run, Seq: m.Seq, Key: u.key, SourceKey: u.key, PTS: m.PTS, Arrived: arrived,
		Mask: m.Mask, Obscured: m.Obscured, Size: Size, NALs: u.nals}
	f.Figures.Sum = crc32.ChecksumIEEE(u.nals[0])
	if m.Pad > 0 {
		f.NALs = [][]byte{append(append([]byte{}, u.nals[0]...), make([]byte, m.Pad)...)}
	}
	if u.key {
		f.SPS, f.PPS = m.sps, m.pps
	}
	m.Seq++
	m.PTS += m.Spacing
	return f
}
