package masker

import (
	"fmt"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/codec"
)

// A pin holds a camera to the picture its mask was drawn on and to the stream that was approved
// with it (FAULTS F-36, F-49). A camera that was swapped, turned or set differently shows another
// piece of the cell under the old mask, so its whole picture is obscured until somebody with the
// right has looked.
type pin struct {
	spec     nvr.MaskSpec
	approved string // fingerprint; empty until the first fitting picture of a new camera
	source   string // what the camera calls its session
	// report tells the parent of the first stream and of every change of it, before the frame at
	// media time from goes out.
	report func(fingerprint string, g codec.Geometry, from time.Duration) error
	seen   string // fingerprint of the picture before
}

// judge says whether a picture of this geometry may be seen: Recorded, or the cause to obscure it.
// The plan looks at the size once more when it is applied; this is where people are told why. A
// new camera's stream is reported, and so pinned, only when it fits the mask.
func (p *pin) judge(g codec.Geometry, at time.Duration) (nvr.Cause, string, error) {
	misfit := p.misfit(g)
	if misfit != "" && p.approved == "" {
		return nvr.ObscuredWrongSize, misfit, nil
	}
	f := fingerprint(g, p.source)
	if f != p.seen {
		p.seen = f
		if err := p.report(f, g, at); err != nil {
			return nvr.MaskerFault, "", err
		}
	}
	if p.approved == "" {
		p.approved = f
	}
	switch {
	case misfit != "":
		return nvr.ObscuredWrongSize, misfit, nil
	case f != p.approved:
		return nvr.ObscuredViewMoved, fmt.Sprintf("another camera, or set differently: look at it, then accept it. It is %s, approved is %s", f, p.approved), nil
	}
	return nvr.Recorded, "", nil
}

// misfit says what of the picture is not as the mask was drawn, "" if nothing.
func (p *pin) misfit(g codec.Geometry) string {
	aw, ah := p.spec.PixelAspect()
	switch {
	case g.Rotation != 0:
		return fmt.Sprintf("the camera's picture is turned by %d degrees: set its rotation to 0", g.Rotation)
	case g.Shown != p.spec.Picture:
		return fmt.Sprintf("camera sends %v, the mask was drawn on %v: set it back, or draw a new mask", g.Shown, p.spec.Picture)
	case g.AspectW*ah != g.AspectH*aw:
		return fmt.Sprintf("the camera's pixel aspect is %d:%d: set it back, or draw the mask anew. The mask was drawn on %d:%d", g.AspectW, g.AspectH, aw, ah)
	}
	return ""
}

// fingerprint names a stream by its geometry and by what the camera calls its session.
func fingerprint(g codec.Geometry, source string) string {
	if source == "" {
		return g.Fingerprint()
	}
	return g.Fingerprint() + fmt.Sprintf(" from %q", source)
}
