package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
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

// TestDemoEndsWithItsCameras: people find the maskers by name, as the demo tells them, and a demo whose
// cameras have died says so and ends.
func TestDemoEndsWithItsCameras(t *testing.T) {
	t.Parallel()
	p := startDemo(t, 1)
	var cams []int
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(20 * time.Millisecond) {
		cams = p.children("democamera")
		if maskers := p.children("masker"); len(cams) == 1 && len(maskers) == 1 {
			for _, pid := range append(maskers, cams...) {
				if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err != nil || !strings.HasPrefix(string(line), "custody-nvr\x00") {
					t.Errorf("a child is called %q, %v", line, err)
				}
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no camera process and masker within 20 s\n%s", p.talk)
		}
	}
	if said := p.talk.String(); !strings.Contains(said, "1 cell,") || !strings.Contains(said, "Drawing 1 cell ...") {
		t.Errorf("one cell is called\n%s", said)
	}
	if err := syscall.Kill(cams[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	const want = "the demo's camera process ended by itself"
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(p.talk.String(), want); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the demo goes on without its cameras\n%s", p.talk)
		}
	}
}

// TestDemoOfAClipSpeaksOfNoToilet: where nothing is drawn, nothing lies under a grey block.
func TestDemoOfAClipSpeaksOfNoToilet(t *testing.T) {
	var out strings.Builder
	d := demo{clip: "x.mp4", stdout: &out}
	d.welcome("127.0.0.1:1", "/d", []demoCell{{ID: "cell-01"}})
	if s := out.String(); strings.Contains(s, "WC") || strings.Contains(s, "grey") {
		t.Errorf("the demo says\n%s", s)
	}
}

// TestSecondDemoInOneFolderTouchesNothing: the folder is taken, and the address looked at, before
// anything is drawn or written.
func TestSecondDemoInOneFolderTouchesNothing(t *testing.T) {
	dir := t.TempDir()
	first := demo{dir: dir, stderr: io.Discard}
	_, done, err := first.folder()
	if err != nil {
		t.Fatal(err)
	}
	suite := filepath.Join(dir, "suite.yaml")
	if err := os.WriteFile(suite, []byte("the first one's"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ listen, says string }{
		{"127.0.0.1:0", "another recorder is using it"},
		{"0.0.0.0:8080", "--listen"},
		{"127.0.0.1", "--listen"},
		{"127.0.0.1:99999", "--listen"},
	} {
		code, _, talk := command(t, "demo", "--cells", "1", "--dir", dir, "--listen", c.listen)
		if code == exitFine || !strings.Contains(talk, c.says) || strings.Contains(talk, "Drawing") {
			t.Errorf("--listen %s: exit %d, %q, want %q", c.listen, code, talk, c.says)
		}
	}
	if b, err := os.ReadFile(suite); string(b) != "the first one's" {
		t.Errorf("suite.yaml is now %.40q, %v", b, err)
	}
	done()
	if _, done, err = first.folder(); err != nil {
		t.Fatalf("the folder is not free again: %v", err)
	}
	done()
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
