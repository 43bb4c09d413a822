package codec

import (
	"crypto/md5"
	"encoding/hex"
	"strings"
	"testing"

	"custody-nvr/nvr/cliptest"
	"custody-nvr/privacy/mask"
)

// nv12 lays the shown picture out as the clips' checksums want it.
func nv12(p mask.Planes) []byte {
	w, h := p.Size.Width, p.Size.Height
	out := make([]byte, 0, w*h*3/2)
	for y := range h {
		out = append(out, p.Y[y*p.YStride:][:w]...)
	}
	for y := range (h + 1) / 2 {
		for x := range (w + 1) / 2 {
			out = append(out, p.U[y*p.CStride+x], p.V[y*p.CStride+x])
		}
	}
	return out
}

func TestDecodedPicturesAreExactlyThoseOfTheClip(t *testing.T) {
	for _, name := range []string{"cros_test-25fps.h264", "cros_test-25fps.h265"} {
		t.Run(name, func(t *testing.T) {
			want := strings.Fields(string(read(t, cliptest.File(t, name+".md5"))))
			kind, aus := clip(t, name)
			var got []string
			damaged := 0
			decodeAll(t, kind, aus, func(p Decoded) {
				sum := md5.Sum(nv12(p.Planes))
				got = append(got, hex.EncodeToString(sum[:]))
				if p.Damaged {
					damaged++
				}
			})
			if len(got) != 250 || strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("%d pictures do not have the %d sums of the clip", len(got), len(want))
			}
			if damaged > 0 {
				t.Errorf("%d pictures of an undamaged clip are called damaged", damaged)
			}
		})
	}
}

func TestClipsDecodeWithoutDamage(t *testing.T) {
	for _, c := range []struct {
		name     string
		pictures int
		shown    string
	}{
		{"intel_one-by-one-person.mp4", 1394, "768x432"},
		{"person_768x432_3slice_gop20.h265", 300, "768x432"},
		{"wilson_640x480.h265", 276, "640x480"},
	} {
		t.Run(c.name, func(t *testing.T) {
			kind, aus := clip(t, c.name)
			n, damaged := 0, 0
			var g Geometry
			decodeAll(t, kind, aus, func(p Decoded) {
				n++
				if p.Damaged {
					damaged++
				}
				g = p.Geometry
			})
			t.Log(g.Fingerprint())
			if n != c.pictures || damaged != 0 || g.Shown.String() != c.shown {
				t.Errorf("%d pictures of %s, %d damaged; want %d of %s, none damaged", n, g.Shown, damaged, c.pictures, c.shown)
			}
		})
	}
}
