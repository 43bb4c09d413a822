package masker

import (
	"strings"
	"testing"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/codec"
)

var cell = nvr.MaskSpec{Picture: nvr.Size{Width: 1280, Height: 720}, NoToiletInView: "test", Version: 1}

func geometry(edit func(*codec.Geometry)) codec.Geometry {
	g := codec.Geometry{Kind: codec.H264, Profile: 100, Coded: cell.Picture, Shown: cell.Picture, AspectW: 1, AspectH: 1, Depth: 8, Chroma: "4:2:0"}
	if edit != nil {
		edit(&g)
	}
	return g
}

func TestOnlyTheApprovedStreamIsSeen(t *testing.T) {
	same := func(*codec.Geometry) {}
	cases := []struct {
		name string
		edit func(*codec.Geometry)
		want nvr.Cause
	}{
		{"same stream", same, nvr.Recorded},
		{"range alone is no other camera", func(g *codec.Geometry) { g.FullRange = true }, nvr.Recorded},
		{"other size", func(g *codec.Geometry) { g.Shown.Width = 640 }, nvr.ObscuredWrongSize},
		{"other pixel aspect", func(g *codec.Geometry) { g.AspectW = 4; g.AspectH = 3 }, nvr.ObscuredWrongSize},
		{"turned", func(g *codec.Geometry) { g.Rotation = 180 }, nvr.ObscuredWrongSize},
		{"crop moved", func(g *codec.Geometry) { g.CropTop = 8 }, nvr.ObscuredViewMoved},
		{"other profile", func(g *codec.Geometry) { g.Profile = 66 }, nvr.ObscuredViewMoved},
		{"other coding", func(g *codec.Geometry) { g.Kind = codec.H265 }, nvr.ObscuredViewMoved},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			reports := 0
			p := &pin{spec: cell, source: "Maker", report: func(string, codec.Geometry, time.Duration) error { reports++; return nil }}
			if got, why, err := p.judge(geometry(nil), 0); got != nvr.Recorded || err != nil {
				t.Fatalf("first use is %v (%s), %v", got, why, err)
			}
			if got, why, _ := p.judge(geometry(c.edit), time.Second); got != c.want {
				t.Errorf("judged %v (%s), want %v", got, why, c.want)
			}
			if got, _, _ := p.judge(geometry(nil), 2*time.Second); got != nvr.Recorded {
				t.Errorf("back to the approved stream is judged %v", got)
			}
		})
	}
}

func TestStreamThatDoesNotFitIsNotPinned(t *testing.T) {
	p := &pin{spec: cell, report: func(f string, _ codec.Geometry, _ time.Duration) error {
		t.Errorf("reported %s, though it does not fit the mask", f)
		return nil
	}}
	if got, _, _ := p.judge(geometry(func(g *codec.Geometry) { g.Shown.Width = 640 }), 0); got != nvr.ObscuredWrongSize || p.approved != "" {
		t.Errorf("judged %v, pinned %q", got, p.approved)
	}
}

func TestAnotherSourceIsAnotherCamera(t *testing.T) {
	p := &pin{spec: cell, approved: geometry(nil).Fingerprint() + ` from "Maker"`, source: "Other maker",
		report: func(string, codec.Geometry, time.Duration) error { return nil }}
	if got, _, _ := p.judge(geometry(nil), 0); got != nvr.ObscuredViewMoved {
		t.Errorf("a stream from another maker's camera is judged %v", got)
	}
}

// What staff read of another stream begins with what to do; the two fingerprints come after it.
func TestAnotherStreamSaysFirstWhatToDo(t *testing.T) {
	p := &pin{spec: cell, approved: "other", source: "Maker", report: func(string, codec.Geometry, time.Duration) error { return nil }}
	_, why, _ := p.judge(geometry(nil), 0)
	if want := "another camera, or set differently: look at it, then accept it. It is "; !strings.HasPrefix(why, want) || !strings.HasSuffix(why, ", approved is other") {
		t.Errorf("staff read %q, want it to begin with %q", why, want)
	}
}

// Every misfit begins with a short sentence on what to do.
func TestMisfitSaysShortlyWhatToDo(t *testing.T) {
	for _, edit := range []func(*codec.Geometry){
		func(g *codec.Geometry) { g.Shown = nvr.Size{Width: 3840, Height: 2160} },
		func(g *codec.Geometry) { g.AspectW, g.AspectH = 16, 11 },
		func(g *codec.Geometry) { g.Rotation = 180 },
	} {
		why := (&pin{spec: cell}).misfit(geometry(edit))
		if first, _, _ := strings.Cut(why, ". "); len(first) > 90 || !strings.Contains(first, ": ") {
			t.Errorf("staff read %q", why)
		}
	}
}
