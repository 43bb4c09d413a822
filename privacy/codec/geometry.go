package codec

import (
	"fmt"

	"custody-nvr/nvr"
)

// Geometry says how the shown picture lies in what the camera coded.
type Geometry struct {
	Kind              Kind
	Profile           int // profile_idc
	Coded             nvr.Size
	CropLeft, CropTop int
	Shown             nvr.Size
	AspectW, AspectH  int // of a pixel, in lowest terms; 1:1 where the stream does not say
	// Rotation is what the stream asks a display to do: degrees anticlockwise, 0 to 359, plus 360
	// for a flip left to right, plus 720 for one upside down. Pictures are handed over unturned.
	Rotation   int
	Interlaced bool // may hold fields
	FullRange  bool
	Depth      int    // bits of a luma sample as coded; what is handed over has 8
	Chroma     string // as coded: "4:0:0", "4:2:0", "4:2:2", "4:4:4"
}

var chromaNames = [...]string{"4:0:0", "4:2:0", "4:2:2", "4:4:4"}

// Fingerprint is a stable short text of everything that another camera, or another setting of the
// picture's geometry, would change. Range, timing and quantisers are left out: cameras change them
// without meaning.
func (g Geometry) Fingerprint() string {
	scan := "p"
	if g.Interlaced {
		scan = "i"
	}
	return fmt.Sprintf("%s profile %d coded %s%s at %d,%d shown %s pixel %d:%d turn %d depth %d chroma %s",
		g.Kind, g.Profile, g.Coded, scan, g.CropLeft, g.CropTop, g.Shown, g.AspectW, g.AspectH, g.Rotation, g.Depth, g.Chroma)
}

func (s *stream) geometry(kind Kind, rotation int) Geometry {
	w, h := s.aspectW, s.aspectH
	if w <= 0 || h <= 0 {
		w, h = 1, 1
	}
	for a, b := w, h; ; a, b = b, a%b {
		if b == 0 {
			w, h = w/a, h/a
			break
		}
	}
	return Geometry{
		Kind: kind, Profile: s.profile, Coded: s.coded, CropLeft: s.crop.left, CropTop: s.crop.top, Shown: s.shown(),
		AspectW: w, AspectH: h, Rotation: rotation, Interlaced: s.interlaced, FullRange: s.fullRange,
		Depth: s.depth, Chroma: chromaNames[s.chroma],
	}
}
