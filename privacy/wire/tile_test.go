package wire

import (
	"testing"

	"custody-nvr/nvr"
)

func TestTileKeepsTheShapeOfThePicture(t *testing.T) {
	cases := []struct {
		src, want nvr.Size
		ok        bool
	}{
		{nvr.Size{Width: 1920, Height: 1080}, nvr.Size{Width: 640, Height: 360}, true},
		{nvr.Size{Width: 1280, Height: 720}, nvr.Size{Width: 640, Height: 360}, true},
		{nvr.Size{Width: 2048, Height: 1536}, nvr.Size{Width: 554, Height: 414}, true},
		{nvr.Size{Width: 640, Height: 360}, nvr.Size{}, false},
		{nvr.Size{Width: 320, Height: 240}, nvr.Size{}, false},
		{nvr.Size{}, nvr.Size{}, false},
	}
	for _, c := range cases {
		t.Run(c.src.String(), func(t *testing.T) {
			got, ok := TileSize(c.src)
			if ok != c.ok || got != c.want {
				t.Errorf("tile of %v is %v, %t; want %v, %t", c.src, got, ok, c.want, c.ok)
			}
		})
	}
}
