package wire

import "custody-nvr/nvr"

// Tiles are pictures of at most tileSamples luma samples: small enough for sixteen on one screen to
// be decoded by a plain PC, large enough to see a hand move.
const tileSamples = 640 * 360

// TileSize is the picture size of the tile stream beside a picture of size src: its shape with at
// most 640x360 samples, in even numbers. ok is false where src itself is small enough: then there is
// no tile stream, and the archive stream serves as one. Both ends know it by this rule.
func TileSize(src nvr.Size) (size nvr.Size, ok bool) {
	if src.Width <= 0 || src.Height <= 0 || src.Width*src.Height <= tileSamples {
		return nvr.Size{}, false
	}
	w := 16
	for (w+2)*(w+2)*src.Height/src.Width <= tileSamples {
		w += 2
	}
	return nvr.Size{Width: w, Height: max(w*src.Height/src.Width&^1, 16)}, true
}
