package nvr

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// A Point is a place in the shown picture in fractions of its width and height: 0,0 is the top
// left corner, 1,1 the bottom right one.
type Point struct{ X, Y float64 }

// Limits of a mask (REQ-MASK, issue "Masks under two-person control").
const (
	MaxAreas  = 16
	MaxPoints = 64
)

// A MaskSpec is one version of the mask of one camera: what is to be hidden, and of which picture.
// It says nothing about who approved it.
type MaskSpec struct {
	// Picture is the shown picture (after cropping) that the mask was drawn on. Any other size
	// makes the whole picture obscured (REQ-MASK-5).
	Picture Size
	// PixelAspect is width:height of one pixel; 0:0 means 1:1.
	PixelAspectW, PixelAspectH int
	// Areas are closed polygons of 3 to MaxPoints points, at most MaxAreas of them.
	Areas [][]Point
	// NoToiletInView is the signed declaration that nothing is to be hidden: who said so. It is
	// required where Areas is empty and forbidden where it is not.
	NoToiletInView string
	// Version counts the versions of this camera's mask from 1.
	Version int
}

// Validate reports the first thing that is wrong with the mask.
func (m *MaskSpec) Validate() error {
	switch {
	case m.Picture.Width < 16 || m.Picture.Height < 16 || m.Picture.Width > 8192 || m.Picture.Height > 8192:
		return fmt.Errorf("mask picture %s must be between 16x16 and 8192x8192", m.Picture)
	case m.PixelAspectW < 0 || m.PixelAspectH < 0 || (m.PixelAspectW == 0) != (m.PixelAspectH == 0):
		return fmt.Errorf("pixel aspect %d:%d is not a ratio", m.PixelAspectW, m.PixelAspectH)
	case m.Version < 1:
		return fmt.Errorf("mask version %d must be at least 1", m.Version)
	case len(m.Areas) == 0 && m.NoToiletInView == "":
		return errors.New("mask has no area, and nobody declared that no toilet is in view")
	case len(m.Areas) > 0 && m.NoToiletInView != "":
		return errors.New("mask has areas, yet somebody declared that no toilet is in view")
	case len(m.Areas) > MaxAreas:
		return fmt.Errorf("mask has %d areas, at most %d are possible", len(m.Areas), MaxAreas)
	}
	for i, a := range m.Areas {
		if len(a) < 3 || len(a) > MaxPoints {
			return fmt.Errorf("mask area %d has %d points, it needs 3 to %d", i+1, len(a), MaxPoints)
		}
		for _, p := range a {
			if !(p.X >= 0 && p.X <= 1 && p.Y >= 0 && p.Y <= 1) { // also refuses NaN
				return fmt.Errorf("mask area %d has the point %v,%v outside the picture (0 to 1)", i+1, p.X, p.Y)
			}
		}
	}
	return nil
}

// Digest is the SHA-256 of the canonical form of the mask: the ASCII text "custody-nvr mask 1\n",
// then width, height, aspect width and height, version and number of areas as big-endian 32-bit
// numbers, each area as its number of points and the points as big-endian IEEE 754 doubles, then
// the declaration as its byte length and bytes. FORMAT.md has the diagram.
func (m *MaskSpec) Digest() MaskDigest {
	b := []byte("custody-nvr mask 1\n")
	u32 := func(n int) { b = binary.BigEndian.AppendUint32(b, uint32(n)) }
	u32(m.Picture.Width)
	u32(m.Picture.Height)
	aw, ah := m.PixelAspect()
	u32(aw)
	u32(ah)
	u32(m.Version)
	u32(len(m.Areas))
	for _, a := range m.Areas {
		u32(len(a))
		for _, p := range a {
			b = binary.BigEndian.AppendUint64(b, math.Float64bits(p.X))
			b = binary.BigEndian.AppendUint64(b, math.Float64bits(p.Y))
		}
	}
	u32(len(m.NoToiletInView))
	b = append(b, m.NoToiletInView...)
	return sha256.Sum256(b)
}

// PixelAspect returns the pixel aspect in lowest terms, 1:1 where none is set.
func (m *MaskSpec) PixelAspect() (w, h int) {
	if m.PixelAspectW == 0 || m.PixelAspectH == 0 {
		return 1, 1
	}
	a, b := m.PixelAspectW, m.PixelAspectH
	for b != 0 {
		a, b = b, a%b
	}
	return m.PixelAspectW / a, m.PixelAspectH / a
}
