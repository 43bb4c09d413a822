package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"testing"

	"custody-nvr/nvr"
)

// A picture is one decoded 8-bit 4:2:0 picture, decoded by ffmpeg and never by our own decoder.
type picture struct {
	size    nvr.Size
	y, u, v []byte
}

// needFFmpeg skips where the oracle is not installed.
func needFFmpeg(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("ffmpeg, the independent decoder that judges leaks, is not installed")
	}
}

// decodeAll decodes every picture of a file (or of raw Annex B bytes on stdin, where file is "-")
// with ffmpeg.
func decodeAll(t testing.TB, format, file string, stdin []byte, size nvr.Size) []picture {
	t.Helper()
	args := []string{"-v", "error", "-threads", "1"}
	if format != "" {
		args = append(args, "-f", format)
	}
	args = append(args, "-i", file, "-vsync", "passthrough",
		// full range samples are compared as they are, not converted
		"-vf", "setparams=range=tv,format=yuv420p", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-")
	cmd := exec.CommandContext(t.Context(), "ffmpeg", args...)
	var out, talk bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &talk
	if err := cmd.Run(); err != nil {
		t.Fatalf("ffmpeg %v: %v\n%s", args, err, talk.String())
	}
	return cutPictures(t, out.Bytes(), size)
}

// decodeLive decodes a live stream of a camera of that size. H.264 alone cannot say an odd
// size: the last row or column stands twice. (A segment file says the true one.)
func decodeLive(t testing.TB, format, file string, stdin []byte, size nvr.Size) []picture {
	t.Helper()
	return decodeAll(t, format, file, stdin, nvr.Size{Width: (size.Width + 1) &^ 1, Height: (size.Height + 1) &^ 1})
}

func cutPictures(t testing.TB, raw []byte, size nvr.Size) []picture {
	t.Helper()
	cw, ch := (size.Width+1)/2, (size.Height+1)/2
	luma, chroma := size.Width*size.Height, cw*ch
	n := luma + 2*chroma
	if len(raw)%n != 0 {
		t.Fatalf("decoded %d bytes are no whole number of %v pictures of %d bytes", len(raw), size, n)
	}
	var ps []picture
	for ; len(raw) > 0; raw = raw[n:] {
		ps = append(ps, picture{size, raw[:luma], raw[luma : luma+chroma], raw[luma+chroma : n]})
	}
	return ps
}

// A rect is a rectangle of whole pixels, right and bottom exclusive.
type rect struct{ x0, y0, x1, y1 int }

func (r rect) inset(n int) rect { return rect{r.x0 + n, r.y0 + n, r.x1 - n, r.y1 - n} }

// worst is the largest distance of any sample of any plane inside r from the fill colour.
func (p picture) worst(r rect, fillY, fillU, fillV byte) (worst int, where string) {
	look := func(name string, plane []byte, stride int, r rect, fill byte) {
		for y := r.y0; y < r.y1; y++ {
			for x := r.x0; x < r.x1; x++ {
				d := int(plane[y*stride+x]) - int(fill)
				if d = max(d, -d); d > worst {
					worst, where = d, fmt.Sprintf("%s sample %d,%d is %d, fill is %d", name, x, y, plane[y*stride+x], fill)
				}
			}
		}
	}
	cw := (p.size.Width + 1) / 2
	c := rect{(r.x0 + 1) / 2, (r.y0 + 1) / 2, r.x1 / 2, r.y1 / 2}
	look("Y", p.y, p.size.Width, r, fillY)
	look("U", p.u, cw, c, fillU)
	look("V", p.v, cw, c, fillV)
	return worst, where
}

// whole is the rectangle of the whole picture.
func (p picture) whole() rect { return rect{0, 0, p.size.Width, p.size.Height} }

// ssim is the structural similarity of the luma of two pictures over 8x8 windows that do not
// touch any of the excluded rectangles (Wang et al. 2004, C1 = (0.01*255)^2, C2 = (0.03*255)^2).
func ssim(a, b picture, exclude ...rect) float64 {
	const win = 8
	const c1, c2 = 6.5025, 58.5225
	var sum float64
	var n int
	for y := 0; y+win <= a.size.Height; y += win / 2 {
	next:
		for x := 0; x+win <= a.size.Width; x += win / 2 {
			for _, r := range exclude {
				if x < r.x1 && x+win > r.x0 && y < r.y1 && y+win > r.y0 {
					continue next
				}
			}
			var sa, sb, saa, sbb, sab float64
			for j := range win {
				ra := a.y[(y+j)*a.size.Width+x:][:win]
				rb := b.y[(y+j)*b.size.Width+x:][:win]
				for i := range win {
					fa, fb := float64(ra[i]), float64(rb[i])
					sa, sb = sa+fa, sb+fb
					saa, sbb, sab = saa+fa*fa, sbb+fb*fb, sab+fa*fb
				}
			}
			const k = win * win
			ma, mb := sa/k, sb/k
			va, vb, cov := saa/k-ma*ma, sbb/k-mb*mb, sab/k-ma*mb
			sum += (2*ma*mb + c1) * (2*cov + c2) / ((ma*ma + mb*mb + c1) * (va + vb + c2))
			n++
		}
	}
	return sum / float64(n)
}
