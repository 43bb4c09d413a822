package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/nvr/cliptest"
)

// demoRig runs the demo's cameras as a process and records them.
func demoRig(t *testing.T, args ...string) (*demoCameras, *rig) {
	t.Helper()
	cams, err := startDemoCameras(t.Context(), append([]string{binary(t), "democamera"}, args...), &logBook{t: t})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cams.Close(); err != nil {
			t.Errorf("the demo's cameras ended with: %v", err)
		}
	})
	var rc []rigCamera
	for _, c := range cams.Cells {
		rc = append(rc, rigCamera{url: "rtsp://" + cams.Address + c.Path, mask: demoMask(c)})
	}
	return cams, startRig(t, rc...)
}

// TestDemoHidesItsToilets has ffmpeg read the demo's own cameras, where every WC shows, and what the
// recorder makes of them, where none does.
func TestDemoHidesItsToilets(t *testing.T) {
	t.Parallel()
	needFFmpeg(t)
	cams, r := demoRig(t, "--cells", "2")
	s := r.watch()
	s.enlarge(0)
	r.waitState("cell-01", nvr.Recorded, 30*time.Second)
	size := cams.Cells[0].Size
	wc := boundsOf(cams.Cells[0].WC, size)

	out, err := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-rtsp_transport", "tcp", "-i", "rtsp://"+cams.Address+cams.Cells[0].Path,
		"-frames:v", "5", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-").Output()
	if err != nil {
		t.Fatalf("ffmpeg as the client of the demo's camera: %v", err)
	}
	own := cutPictures(t, out, size)
	if len(own) != 5 {
		t.Fatalf("ffmpeg read %d pictures from the demo's camera, want 5", len(own))
	}
	for plane, least := range []int{100, 60, 60} {
		if c := own[4].contrast(wc, plane); c < least {
			t.Errorf("the demo's own camera does not show its WC in plane %d: contrast %d", plane, c)
		}
	}
	r.waitClear(s, 20)
	r.halt()
	r.requireNoToilet(s, size, wc, 20)
}

// boundsOf is the rectangle around a polygon, a little inside of it.
func boundsOf(area [][2]float64, size nvr.Size) rect {
	b := rect{size.Width, size.Height, 0, 0}
	for _, p := range area {
		x, y := int(p[0]*float64(size.Width)), int(p[1]*float64(size.Height))
		b = rect{min(b.x0, x), min(b.y0, y), max(b.x1, x), max(b.y1, y)}
	}
	return b.inset(2)
}

// TestDemoPlaysRealClips streams each shared clip through the demo's camera process.
func TestDemoPlaysRealClips(t *testing.T) {
	for _, c := range []struct{ file, size string }{
		{"intel_one-by-one-person.mp4", "768x432"},
		{"person_768x432_3slice_gop20.h265", "768x432"},
		{"cros_test-25fps.h264", "320x240"},
		{"cros_test-25fps.h265", "320x240"},
		{"wilson_640x480.h265", "640x480"},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			needFFmpeg(t)
			_, r := demoRig(t, "--cells", "1", "--clip", cliptest.File(t, c.file))
			r.waitState("cell-01", nvr.Recorded, 30*time.Second)
			s := r.watch()
			s.enlarge(0)
			r.waitClear(s, 10)
			r.halt()
			files := r.files("cell-01")
			out, err := exec.Command("ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width,height", "-of", "csv=p=0", files[0]).Output()
			if err != nil {
				t.Fatal(err)
			}
			want := "h264," + strings.Replace(c.size, "x", ",", 1)
			if got := strings.TrimSpace(string(out)); got != want {
				t.Errorf("%s holds %q, want %q", filepath.Base(files[0]), got, want)
			}
		})
	}
}
