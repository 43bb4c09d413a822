package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"custody-nvr/configs"
	"custody-nvr/nvr"
	"custody-nvr/privacy/camera/clip"
	"custody-nvr/privacy/camera/fakecamera"
)

// A film is the stream of a camera in the fault tests: small, so that a dozen cameras run beside each
// other, ten pictures a second, a key picture each second unless the encoder's options say otherwise.
type film struct {
	source string // of ffmpeg's lavfi; "" is moving
	kind   string // "" is h264
	extra  string // options of the encoder, and output
	n      int    // pictures; 0 is 50
}

// The picture of the fault tests, and what is hidden in it.
var (
	filmSize = nvr.Size{Width: 320, Height: 180}
	filmMask = rect{160, 80, 224, 144}
)

const (
	moving = "testsrc2=s=320x180:r=10"
	bright = "color=white:s=320x180:r=10,noise=alls=8:allf=t"
	// An empty cell by night: nothing moves but the noise of the sensor.
	quiet = "color=0x303030:s=320x180:r=10,noise=alls=6:allf=t"
)

var films struct {
	mu   sync.Mutex
	made map[film]clip.Clip // guarded by mu
}

// clip makes the film, once in a test run.
func (f film) clip(t testing.TB) clip.Clip {
	t.Helper()
	needFFmpeg(t)
	if f.source == "" {
		f.source = moving
	}
	if f.kind == "" {
		f.kind = "h264"
	}
	if f.n == 0 {
		f.n = 50
	}
	films.mu.Lock()
	defer films.mu.Unlock()
	if c, ok := films.made[f]; ok {
		return c
	}
	dir, err := os.MkdirTemp("", "custody-nvr-film-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "film."+f.kind)
	args := []string{"-v", "error", "-f", "lavfi", "-i", f.source, "-frames:v", fmt.Sprint(f.n), "-pix_fmt", "yuv420p"}
	args = append(args, map[string][]string{
		"h264": {"-c:v", "libx264", "-preset", "superfast", "-g", "10", "-bf", "0", "-crf", "20"},
		"h265": {"-c:v", "libx265", "-preset", "superfast", "-x265-params", "log-level=error:keyint=10:bframes=0:crf=20"},
	}[f.kind]...)
	args = append(append(args, strings.Fields(f.extra)...), "-f", map[string]string{"h264": "h264", "h265": "hevc"}[f.kind], path)
	if out, err := exec.Command("ffmpeg", args...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg %q: %v\n%s", args, err, out)
	}
	c, err := clip.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if films.made == nil {
		films.made = map[film]clip.Clip{}
	}
	films.made[f] = c
	return c
}

// script plays the film in a loop.
func (f film) script(t testing.TB) fakecamera.Script {
	t.Helper()
	c := f.clip(t)
	return fakecamera.Script{Kind: c.Kind, Units: c.Units, FPS: 10, Loop: true}
}

// switchTo goes on with another film in mid-stream.
func switchTo(t testing.TB, cam *fakecamera.Camera, f film) {
	t.Helper()
	c := f.clip(t)
	cam.SwitchTo(c.Kind, c.Units)
}

// filmed is a rig's camera with the mask of the fault tests.
func filmed(url string, edit func(*configs.Camera)) rigCamera {
	return rigCamera{url: url, mask: maskOver(filmSize, filmMask), edit: edit}
}

// nalType is the type of an H.264 NAL unit.
func nalType(nal []byte) byte { return nal[0] & 31 }

// lyingSPS is an H.264 parameter set, Baseline and otherwise as plain as can be, that claims a
// picture of so many macroblocks.
func lyingSPS(wide, high uint) []byte {
	w := bitWriter{b: []byte{0x67, 66, 0xc0, 62}}
	for _, v := range []uint{0, 0, 2, 1} { // number, log2_max_frame_num - 4, order count type, references
		w.ue(v)
	}
	w.put(0, 1) // no gaps in frame_num
	w.ue(wide - 1)
	w.ue(high - 1)
	w.put(0b1100, 4) // frames only, direct 8x8, no crop, no VUI
	w.put(1, 1)
	for w.n%8 != 0 {
		w.put(0, 1)
	}
	return w.b
}

// A bitWriter writes Exp-Golomb codes. What it writes here needs no emulation prevention.
type bitWriter struct {
	b []byte
	n int // bits of the last byte in use; 0: none is open
}

func (w *bitWriter) put(v uint, bits int) {
	for i := bits - 1; i >= 0; i-- {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[len(w.b)-1] |= byte(v>>i&1) << (7 - w.n%8)
		w.n++
	}
}

func (w *bitWriter) ue(v uint) {
	v++
	bits := 0
	for 1<<(bits+1) <= v {
		bits++
	}
	w.put(0, bits)
	w.put(v, bits+1)
}

// withSPS replaces the parameter set of each unit that has one.
func withSPS(units [][][]byte, sps []byte) [][][]byte {
	return mapNALs(units, func(nal []byte) []byte {
		if nalType(nal) == 7 {
			return sps
		}
		return nal
	})
}

// mapNALs changes each NAL unit; nil leaves it out.
func mapNALs(units [][][]byte, change func([]byte) []byte) [][][]byte {
	var out [][][]byte
	for _, u := range units {
		var nals [][]byte
		for _, nal := range u {
			if nal = change(nal); nal != nil {
				nals = append(nals, nal)
			}
		}
		if nals != nil {
			out = append(out, nals)
		}
	}
	return out
}
