package main

import (
	"bytes"
	"os/exec"
	"testing"
	"time"

	"custody-nvr/configs"
	"custody-nvr/nvr"
	"custody-nvr/privacy/camera/fakecamera"
)

// TestWhatLiesUnderTheMaskChangesNoByte records two cameras whose pictures, coded without loss,
// differ only under the mask: the recorded streams must be the same to the byte. So nothing that
// goes on there can be read from sizes, quantisers or motion either (PERFORMANCE section 10).
func TestWhatLiesUnderTheMaskChangesNoByte(t *testing.T) {
	t.Parallel()
	loud := scene{size: nvr.Size{Width: 480, Height: 272}, wc: rect{208, 96, 304, 208}, kind: "h264", extra: []string{"-crf", "0"}}
	quiet := loud
	quiet.calm = true
	a, b := recordOnce(t, loud), recordOnce(t, quiet)
	n := min(len(a), len(b))
	if n < 20_000 {
		t.Fatalf("only %d and %d bytes were recorded", len(a), len(b))
	}
	if i := firstDifference(a[:n], b[:n]); i >= 0 {
		t.Errorf("the recorded streams differ from byte %d of %d on", i, n)
	}
	t.Logf("%d bytes are the same", n)

	// The control: the same two scenes under a mask that lies elsewhere do differ.
	beside := maskOver(loud.size, rect{0, 0, 64, 64})
	c, d := recordMasked(t, loud, beside), recordMasked(t, quiet, beside)
	if n := min(len(c), len(d)); firstDifference(c[:n], d[:n]) < 0 {
		t.Error("two different scenes give the same bytes: the test proves nothing")
	}
}

func recordOnce(t *testing.T, sc scene) []byte { return recordMasked(t, sc, sc.masked()) }

// recordMasked records a scene once from its first picture and returns the coded pictures.
func recordMasked(t *testing.T, sc scene, mask *configs.Mask) []byte {
	t.Helper()
	s := script(t, sc.file(t, "camera"))
	s.Loop = false
	cam := fakecamera.Start(t, s)
	r := startRig(t, rigCamera{url: cam.URL(), mask: mask})
	r.waitState("cell-01", nvr.Recorded, 15*time.Second)
	r.waitState("cell-01", nvr.CameraLost, 20*time.Second)
	r.halt()
	files := r.files("cell-01")
	if len(files) == 0 {
		t.Fatal("nothing was recorded")
	}
	out, err := exec.Command("ffmpeg", "-v", "error", "-i", files[0], "-c", "copy", "-bsf:v", "h264_mp4toannexb", "-f", "h264", "-").Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func firstDifference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// TestUDPIsMaskedLikeTCP takes the weaker wall, with its reason.
func TestUDPIsMaskedLikeTCP(t *testing.T) {
	t.Parallel()
	sc := scene{size: nvr.Size{Width: 480, Height: 270}, wc: rect{200, 100, 300, 200}, kind: "h264"}
	cam := fakecamera.Start(t, script(t, sc.file(t, "camera")))
	r := startRig(t, rigCamera{url: cam.URL(), mask: sc.masked(), edit: func(c *configs.Camera) {
		c.Transport, c.UDPReason = "udp", "the test's camera knows nothing else"
	}})
	s := r.watch()
	s.enlarge(0)
	r.waitState("cell-01", nvr.Recorded, 15*time.Second)
	r.waitClear(s, 20)
	if w := r.main.maskers["cell-01"].State().Weaker; len(w) != 1 {
		t.Errorf("the weaker wall is not declared: %q", w)
	}
	if !r.log.contains("weaker wall") {
		t.Error("the weaker wall is not in the log")
	}
	r.halt()
	r.requireNoToilet(s, sc.size, sc.wc, 20)
}

// TestNonSquarePixelsKeepTheirShape records an anamorphic camera: refused under a mask drawn for
// square pixels, and played back in its own shape under the right one.
func TestNonSquarePixelsKeepTheirShape(t *testing.T) {
	t.Parallel()
	sc := scene{size: nvr.Size{Width: 352, Height: 288}, wc: rect{200, 100, 300, 200}, kind: "h264", extra: []string{"-aspect", "4:3"}}
	path := sc.file(t, "camera")
	square := fakecamera.Start(t, script(t, path))
	right := fakecamera.Start(t, script(t, path))
	mask := sc.masked()
	mask.PixelAspect = "12:11"
	r := startRig(t, rigCamera{url: square.URL(), mask: sc.masked()}, rigCamera{url: right.URL(), mask: mask})
	r.waitState("cell-01", nvr.ObscuredWrongSize, 15*time.Second)
	r.waitState("cell-02", nvr.Recorded, 15*time.Second)
	wait(2500 * time.Millisecond)
	r.halt()
	out, err := exec.Command("ffprobe", "-v", "error", "-show_entries", "stream=sample_aspect_ratio", "-of", "csv=p=0", r.files("cell-02")[0]).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := string(bytes.TrimSpace(out)); got != "12:11" {
		t.Errorf("recorded pixel aspect is %q, want 12:11", got)
	}
}
