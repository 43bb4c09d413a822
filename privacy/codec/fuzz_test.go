package codec

import (
	"errors"
	"testing"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h265"

	"custody-nvr/nvr"
	"custody-nvr/nvr/cliptest"
)

// seeds gives the first access units of the shared clips, as Annex B.
func seeds(f *testing.F, kind Kind) [][]byte {
	f.Helper()
	names := map[Kind][]string{H264: {"cros_test-25fps.h264"}, H265: {"cros_test-25fps.h265", "wilson_640x480.h265"}}
	var all [][]byte
	for _, name := range names[kind] {
		b := read(f, cliptest.File(f, name))
		var head []byte
		for i, au := range units(f, kind, b) {
			for _, u := range au {
				if len(head) < 20000 {
					head = append(append(head, 0, 0, 1), u...)
				}
			}
			if i > 4 {
				break
			}
		}
		all = append(all, head)
	}
	return all
}

func fuzzKind(h265 bool) Kind {
	if h265 {
		return H265
	}
	return H264
}

func addSeeds(f *testing.F) {
	for _, kind := range []Kind{H264, H265} {
		for _, s := range seeds(f, kind) {
			f.Add(kind == H265, s)
		}
	}
	f.Add(false, append([]byte{0, 0, 1}, bigSPS(16384, 16384)...))
	f.Add(true, []byte{0, 0, 1, 0x42, 1, 1, 1, 0x60, 0, 0, 3, 0, 0x90})
}

// cut makes access units of a few NAL units each.
func cut(stream []byte) (aus [][][]byte) {
	var cur [][]byte
	for nal := range annexB(stream) {
		cur = append(cur, nal)
		if len(cur) == 3 {
			aus, cur = append(aus, cur), nil
		}
	}
	return append(aus, cur)
}

func FuzzInspector(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, is265 bool, stream []byte) {
		in := NewInspector(fuzzKind(is265))
		for _, au := range cut(stream) {
			info, err := in.Look(au)
			if err != nil && !info.Gap {
				t.Fatal("a unit that cannot be read is not called a gap")
			}
		}
		if len(in.sps264) > maxSPS264 || len(in.pps264) > maxPPS264 || len(in.sps265) > maxSPS265 || len(in.pps265) > maxPPS265 || len(in.held) > 64 {
			t.Fatal("the inspector holds more than a stream may have")
		}
		for _, s := range in.streams() {
			if sh := s.shown(); sh.Width < 1 || sh.Height < 1 || s.coded.Width > maxSize || s.coded.Height > maxSize {
				t.Fatalf("size %v of %v", sh, s.coded)
			}
		}
	})
}

// FuzzParametersAgree holds the size read here against another parser of the same bytes.
func FuzzParametersAgree(f *testing.F) {
	for _, kind := range []Kind{H264, H265} {
		for _, s := range seeds(f, kind) {
			for nal := range annexB(s) {
				f.Add(kind == H265, nal)
			}
		}
	}
	f.Fuzz(func(t *testing.T, is265 bool, nal []byte) {
		if len(nal) < 3 {
			return
		}
		mine, theirs, ok := sizes(is265, nal)
		if ok && mine != theirs {
			t.Fatalf("size %s here, %s there", mine, theirs)
		}
	})
}

// sizes reads one SPS twice; ok where both parsers took it.
func sizes(is265 bool, nal []byte) (mine, theirs nvr.Size, ok bool) {
	defer func() { _ = recover() }() // the other parser may panic
	if is265 {
		s, err := parseSPS265(nal)
		var o h265.SPS
		if err != nil || nal[0]>>1&63 != h265SPS || o.Unmarshal(nal) != nil {
			return mine, theirs, false
		}
		return s.shown(), nvr.Size{Width: o.Width(), Height: o.Height()}, true
	}
	s, err := parseSPS264(nal)
	var o h264.SPS
	if err != nil || nal[0]&31 != h264SPS || o.Unmarshal(nal) != nil || s.chroma != 1 {
		return mine, theirs, false
	}
	return s.shown(), nvr.Size{Width: o.Width(), Height: o.Height()}, true
}

func FuzzDecode(f *testing.F) {
	addSeeds(f)
	limits := Limits{MaxPixels: 1 << 20, MaxUnits: 64, MaxBytes: 1 << 16}
	f.Fuzz(func(t *testing.T, is265 bool, stream []byte) {
		d, err := NewDecoder(fuzzKind(is265), limits)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		show := func(p Decoded) error {
			w, h := p.Planes.Size.Width, p.Planes.Size.Height
			if w*h > limits.MaxPixels || p.Geometry.Shown != p.Planes.Size {
				t.Fatalf("a picture of %s beyond the limits", p.Planes.Size)
			}
			_ = i420(p.Planes) // panics where the planes are not there
			return nil
		}
		for i, au := range cut(stream) {
			err := d.Decode(au, time.Duration(i)*time.Millisecond, show)
			if _, refused := errors.AsType[*Refused](err); err != nil && !refused && !isDamage(err) {
				t.Fatal(err)
			}
		}
		if err := d.Flush(show); err != nil && !isDamage(err) {
			t.Fatal(err)
		}
	})
}
