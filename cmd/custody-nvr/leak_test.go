package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"custody-nvr/configs"
	"custody-nvr/nvr"
	"custody-nvr/nvr/cliptest"
	"custody-nvr/privacy/camera/clip"
	"custody-nvr/privacy/camera/fakecamera"
	"custody-nvr/privacy/mask"
)

// A scene is a camera's stream made by ffmpeg: a moving test picture with a toilet in it, drawn as a
// loud checker of two colours that alternates, so that it is unmistakable in all three planes.
type scene struct {
	size  nvr.Size
	wc    rect
	kind  string // h264 or h265
	extra []string
	pix   string // "" is yuv420p
	n     int    // pictures; 0 is 50
	calm  bool   // nothing happens in the toilet
}

// file makes the stream once for each test and returns its path.
func (s scene) file(t testing.TB, name string) string {
	t.Helper()
	needFFmpeg(t)
	if s.n == 0 {
		s.n = 50
	}
	pix := s.pix
	if pix == "" {
		pix = "yuv420p"
	}
	path := filepath.Join(t.TempDir(), name+"."+s.kind)
	w, h := s.wc.x1-s.wc.x0, s.wc.y1-s.wc.y0
	checker := fmt.Sprintf("nullsrc=s=%dx%d:r=10,geq=lum='if(mod(floor(X/8)+floor(Y/8)+N,2),225,25)':cb='if(mod(floor(X/8)+floor(Y/8)+N,2),30,220)':cr='if(mod(floor(X/8)+floor(Y/8)+N,2),220,30)'", w, h)
	if s.calm {
		checker = fmt.Sprintf("color=c=0x306030:s=%dx%d:r=10", w, h)
	}
	args := []string{"-v", "error", "-y",
		"-f", "lavfi", "-i", fmt.Sprintf("testsrc2=s=%dx%d:r=10", s.size.Width+s.size.Width&1, s.size.Height+s.size.Height&1),
		"-f", "lavfi", "-i", checker,
		"-filter_complex", fmt.Sprintf("[0]format=yuv444p,crop=%d:%d:0:0:exact=1[odd];[odd][1]overlay=%d:%d:format=yuv444,format=%s", s.size.Width, s.size.Height, s.wc.x0, s.wc.y0, pix),
		"-frames:v", fmt.Sprint(s.n)}
	encoder := map[string][]string{
		"h264": {"-c:v", "libx264", "-preset", "superfast", "-g", "10", "-bf", "0", "-crf", "18"},
		"h265": {"-c:v", "libx265", "-preset", "superfast", "-x265-params", "log-level=error:keyint=10:bframes=0:crf=18"},
	}[s.kind]
	args = append(append(append(args, encoder...), s.extra...), "-f", map[string]string{"h264": "h264", "h265": "hevc"}[s.kind], path)
	if out, err := exec.Command("ffmpeg", args...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg %q: %v\n%s", args, err, out)
	}
	return path
}

// masked is the mask over the toilet of a scene.
func (s scene) masked() *configs.Mask { return maskOver(s.size, s.wc) }

func maskOver(size nvr.Size, r rect) *configs.Mask {
	w, h := float64(size.Width), float64(size.Height)
	x0, y0, x1, y1 := float64(r.x0)/w, float64(r.y0)/h, float64(r.x1)/w, float64(r.y1)/h
	return &configs.Mask{Version: 1, Picture: size.String(), Areas: [][]configs.Point{{{x0, y0}, {x1, y0}, {x1, y1}, {x0, y1}}}}
}

// script plays a file in a loop at ten pictures a second.
func script(t testing.TB, path string) fakecamera.Script {
	t.Helper()
	c, err := clip.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	return fakecamera.Script{Kind: c.Kind, Units: c.Units, FPS: 10, Loop: true}
}

// A verdict is what the oracle saw of one camera's masked streams.
type verdict struct {
	frames int
	worst  int
	where  string
}

func (v *verdict) add(p picture, r rect, name string, i int) {
	v.frames++
	if w, where := p.worst(r, mask.FillY, mask.FillU, mask.FillV); w > v.worst {
		v.worst, v.where = w, fmt.Sprintf("%s picture %d: %s", name, i, where)
	}
}

// The largest distance from the fill colour that coding may leave inside of the mask, 4 samples
// from its edge: of the archive, whose mask lies on whole blocks, and of the scaled tile.
const (
	codingNoise     = 3
	tileCodingNoise = 8
)

// judge decodes with ffmpeg every file and every live stream of camera 0 and looks for the toilet.
func (r *rig) judge(s *screen, size nvr.Size, wc rect) (disk, live, tile verdict) {
	r.t.Helper()
	inside := wc.inset(4)
	for _, f := range r.files("cell-01") {
		for i, p := range decodeAll(r.t, "", f, nil, size) {
			disk.add(p, inside, filepath.Base(f), i)
		}
	}
	for k, run := range s.runs(0, nvr.Archive) {
		for i, p := range decodeLive(r.t, "h264", "-", run, size) {
			live.add(p, inside, fmt.Sprintf("live run %d", k), i)
		}
	}
	tileSize, small := tileOf(size)
	if !small {
		tileSize = size
	}
	in := rect{
		wc.x0*tileSize.Width/size.Width + 4, wc.y0*tileSize.Height/size.Height + 4,
		wc.x1*tileSize.Width/size.Width - 4, wc.y1*tileSize.Height/size.Height - 4,
	}
	for k, run := range s.runs(0, nvr.Tile) {
		for i, p := range decodeLive(r.t, "h264", "-", run, tileSize) {
			tile.add(p, in, fmt.Sprintf("tile run %d", k), i)
		}
	}
	return disk, live, tile
}

// TestNoToiletLeavesTheMasker is the heart: every picture on disk, in the live stream and in the
// tiles, decoded by ffmpeg, in all three planes, while cameras do what cameras do.
func TestNoToiletLeavesTheMasker(t *testing.T) {
	hd := nvr.Size{Width: 1280, Height: 720}
	wc := rect{800, 320, 1000, 560}
	plain := scene{size: hd, wc: wc, kind: "h264"}
	cases := []struct {
		name  string
		scene scene
		do    func(t *testing.T, r *rig, cam *fakecamera.Camera)
		clear int // clear pictures that must be on disk at least
	}{
		{"h264", plain, nil, 40},
		{"h264 four slices, B-frames", scene{size: hd, wc: wc, kind: "h264", extra: []string{"-bf", "2", "-x264-params", "slices=4:bframes=2"}}, nil, 40},
		{"h264 full range", scene{size: hd, wc: wc, kind: "h264", pix: "yuvj420p"}, nil, 40},
		{"h264 interlaced", scene{size: hd, wc: wc, kind: "h264", extra: []string{"-flags", "+ilme+ildct"}}, nil, 40},
		{"h264 4:2:2", scene{size: hd, wc: wc, kind: "h264", pix: "yuv422p"}, nil, 40},
		{"h264 10 bit", scene{size: hd, wc: wc, kind: "h264", pix: "yuv420p10le"}, nil, 40},
		{"h265", scene{size: hd, wc: wc, kind: "h265"}, nil, 40},
		{"cropped 1080 lines of 1088", scene{size: nvr.Size{Width: 480, Height: 270}, wc: rect{200, 100, 300, 200}, kind: "h264"}, nil, 40},
		{"odd size h265", scene{size: nvr.Size{Width: 497, Height: 283}, wc: rect{201, 101, 301, 201}, kind: "h265", pix: "yuv444p"}, nil, 40},
		{"toilet at the edge of the picture", scene{size: nvr.Size{Width: 500, Height: 282}, wc: rect{396, 182, 500, 282}, kind: "h264"}, nil, 40},
		{"camera restart", plain, func(t *testing.T, r *rig, cam *fakecamera.Camera) {
			cam.Stop()
			r.waitState("cell-01", nvr.CameraLost, 5*time.Second)
			cam.StartAgain()
			r.waitState("cell-01", nvr.Recorded, 10*time.Second)
		}, 30},
		{"masker killed", plain, func(t *testing.T, r *rig, cam *fakecamera.Camera) {
			r.killMasker("cell-01")
			r.waitState("cell-01", nvr.MaskerFault, 3*time.Second)
			r.waitState("cell-01", nvr.Recorded, 10*time.Second)
		}, 30},
		{"garbage between the packets", plain, func(t *testing.T, r *rig, cam *fakecamera.Camera) {
			cam.Garbage(500)
			wait(2 * time.Second)
			r.waitState("cell-01", nvr.Recorded, 10*time.Second)
		}, 20},
		{"a tenth of the packets lost", plain, func(t *testing.T, r *rig, cam *fakecamera.Camera) {
			cam.Drop(10)
			wait(4 * time.Second)
			cam.Drop(0)
			r.waitState("cell-01", nvr.Recorded, 15*time.Second)
		}, 10},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := c.scene.file(t, "camera")
			c.scene.mustShowToilet(t, path)
			cam := fakecamera.Start(t, script(t, path))
			r := startRig(t, rigCamera{url: cam.URL(), mask: c.scene.masked()})
			s := r.watch()
			s.enlarge(0)
			r.waitState("cell-01", nvr.Recorded, 15*time.Second)
			if c.do != nil {
				c.do(t, r, cam)
			}
			r.waitClear(s, c.clear)
			r.halt()
			r.requireNoToilet(s, c.scene.size, c.scene.wc, c.clear)
		})
	}
}

// waitClear waits until so many clear archive pictures have reached the screen.
func (r *rig) waitClear(s *screen, n int) {
	r.t.Helper()
	deadline := time.Now().Add(45 * time.Second)
	for {
		if _, clear := s.count(0, nvr.Archive); clear >= n+15 {
			return
		} else if time.Now().After(deadline) {
			r.t.Fatalf("%d clear pictures after 45 s, want %d\n%s", clear, n+15, r.log.tail(30))
		}
		wait(50 * time.Millisecond)
	}
}

func (r *rig) requireNoToilet(s *screen, size nvr.Size, wc rect, clear int) {
	r.t.Helper()
	disk, live, tile := r.judge(s, size, wc)
	r.t.Logf("%d pictures on disk (worst %d), %d live (worst %d), %d tiles (worst %d)",
		disk.frames, disk.worst, live.frames, live.worst, tile.frames, tile.worst)
	for _, v := range []struct {
		what  string
		got   verdict
		limit int
	}{{"on disk", disk, codingNoise}, {"live", live, codingNoise}, {"as tiles", tile, tileCodingNoise}} {
		if v.got.frames < clear {
			r.t.Errorf("only %d pictures %s, want %d", v.got.frames, v.what, clear)
		}
		if v.got.worst > v.limit {
			r.t.Errorf("THE TOILET CAN BE SEEN %s: %s (%d from the fill, at most %d)", v.what, v.got.where, v.got.worst, v.limit)
		}
	}
}

// mustShowToilet is the control: the camera's own stream does show the toilet, in all planes.
func (s scene) mustShowToilet(t testing.TB, path string) {
	t.Helper()
	for i, p := range decodeAll(t, "", path, nil, s.size) {
		in := s.wc.inset(8)
		for _, plane := range [][2]int{{0, 0}, {1, 1}, {2, 2}} {
			if p.contrast(in, plane[0]) < 100 {
				t.Fatalf("picture %d of the camera's own stream does not show the toilet in plane %d: the test would prove nothing", i, plane[0])
			}
		}
	}
}

// contrast is the difference of the brightest and the darkest sample of one plane inside r.
func (p picture) contrast(r rect, plane int) int {
	samples, stride := p.y, p.size.Width
	if plane > 0 {
		samples, stride = [][]byte{p.u, p.v}[plane-1], (p.size.Width+1)/2
		r = rect{(r.x0 + 1) / 2, (r.y0 + 1) / 2, r.x1 / 2, r.y1 / 2}
	}
	lo, hi := 255, 0
	for y := r.y0; y < r.y1; y++ {
		for _, v := range samples[y*stride+r.x0 : y*stride+r.x1] {
			lo, hi = min(lo, int(v)), max(hi, int(v))
		}
	}
	return hi - lo
}

// TestLeakOracleHasTeeth draws the mask beside the toilet: the same oracle must cry.
func TestLeakOracleHasTeeth(t *testing.T) {
	t.Parallel()
	size := nvr.Size{Width: 480, Height: 270}
	sc := scene{size: size, wc: rect{200, 100, 300, 200}, kind: "h264"}
	cam := fakecamera.Start(t, script(t, sc.file(t, "camera")))
	r := startRig(t, rigCamera{url: cam.URL(), mask: maskOver(size, rect{0, 0, 64, 64})})
	s := r.watch()
	s.enlarge(0)
	r.waitState("cell-01", nvr.Recorded, 15*time.Second)
	r.waitClear(s, 20)
	r.halt()
	disk, live, tile := r.judge(s, size, sc.wc)
	for what, v := range map[string]verdict{"on disk": disk, "live": live, "as tiles": tile} {
		if v.worst < 80 {
			t.Errorf("the oracle does not see an unmasked toilet %s: worst %d over %d pictures", what, v.worst, v.frames)
		}
	}
}

// TestSizeChangeObscuresWholePicture changes the camera's picture in mid-stream (F-36).
func TestSizeChangeObscuresWholePicture(t *testing.T) {
	t.Parallel()
	a := scene{size: nvr.Size{Width: 480, Height: 270}, wc: rect{200, 100, 300, 200}, kind: "h264"}
	b := scene{size: nvr.Size{Width: 640, Height: 360}, wc: rect{260, 130, 400, 260}, kind: "h264"}
	cam := fakecamera.Start(t, script(t, a.file(t, "a")))
	r := startRig(t, rigCamera{url: cam.URL(), mask: a.masked()})
	s := r.watch()
	s.enlarge(0)
	r.waitState("cell-01", nvr.Recorded, 15*time.Second)
	r.waitClear(s, 5)
	other := script(t, b.file(t, "b"))
	cam.SwitchTo(other.Kind, other.Units)
	r.waitFor("cell-01", "obscured, naming the size that the camera sends", 5*time.Second, func(c nvr.Cause, detail string) bool {
		return c == nvr.ObscuredWrongSize && strings.Contains(detail, "640x360")
	})
	wait(2 * time.Second)
	r.halt()
	r.requireNoToilet(s, a.size, a.wc, 20)
	// After the change every sample of every picture is the fill.
	whole := verdict{}
	for _, f := range r.files("cell-01") {
		for i, p := range decodeAll(t, "", f, nil, a.size) {
			if p.contrast(p.whole(), 0) < 60 {
				whole.add(p, p.whole(), filepath.Base(f), i)
			}
		}
	}
	if whole.frames < 10 || whole.worst > codingNoise {
		t.Errorf("%d pictures obscured whole, worst %d (%s); want at least 10 within %d", whole.frames, whole.worst, whole.where, codingNoise)
	}
}

// TestVisiblePartStaysClose measures the pictures outside of the mask against the decoded source.
func TestVisiblePartStaysClose(t *testing.T) {
	cases := []struct {
		file string
		size nvr.Size
		fps  float64
	}{
		{"intel_one-by-one-person.mp4", nvr.Size{Width: 768, Height: 432}, 10},
		{"person_768x432_3slice_gop20.h265", nvr.Size{Width: 768, Height: 432}, 10},
		{"cros_test-25fps.h264", nvr.Size{Width: 320, Height: 240}, 25},
		{"cros_test-25fps.h265", nvr.Size{Width: 320, Height: 240}, 25},
		{"wilson_640x480.h265", nvr.Size{Width: 640, Height: 480}, 25},
	}
	for _, c := range cases {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			needFFmpeg(t)
			path := cliptest.File(t, c.file)
			source := decodeAll(t, "", path, nil, c.size)
			source = source[:min(len(source), 80)]
			cl, err := clip.Read(path)
			if err != nil {
				t.Fatal(err)
			}
			n := min(len(cl.Units), 80)
			sc := fakecamera.Script{Kind: cl.Kind, Units: cl.Units[:n], FPS: c.fps}
			if cl.PTS != nil {
				sc.PTS = cl.PTS[:n]
			}
			hidden := rect{c.size.Width / 2 &^ 15, c.size.Height / 2 &^ 15, c.size.Width/2&^15 + 64, c.size.Height/2&^15 + 64}
			cam := fakecamera.Start(t, sc)
			r := startRig(t, rigCamera{url: cam.URL(), mask: maskOver(c.size, hidden)})
			r.waitState("cell-01", nvr.Recorded, 15*time.Second)
			r.waitState("cell-01", nvr.CameraLost, 30*time.Second) // the clip is over
			r.halt()
			var got []picture
			for _, f := range r.files("cell-01") {
				got = append(got, decodeAll(t, "", f, nil, c.size)...)
			}
			mean, compared := meanSSIM(got, source, hidden)
			t.Logf("SSIM %.4f over %d of %d pictures", mean, compared, len(source))
			if mean < 0.97 || compared < len(source)*8/10 {
				t.Errorf("SSIM outside of the mask is %.4f over %d of %d pictures, want at least 0.97", mean, compared, len(source))
			}
		})
	}
}

// meanSSIM finds where the recorded pictures begin in the source, then compares them one by one.
func meanSSIM(got, source []picture, hidden rect) (mean float64, n int) {
	if len(got) == 0 {
		return 0, 0
	}
	at, best := 0, -1.0
	for k := range min(len(source), 30) {
		sum, n := 0.0, 0
		for i := 0; i < len(got) && k+i < len(source); i += 8 {
			sum += ssim(got[i], source[k+i], hidden.inset(-16))
			n++
		}
		if sum/float64(n) > best {
			at, best = k, sum/float64(n)
		}
	}
	for i := 0; i < len(got) && at+i < len(source); i++ {
		mean += ssim(got[i], source[at+i], hidden.inset(-16))
		n++
	}
	return mean / float64(n), n
}

// TestOnlyTheVideoTrackIsTaken looks through everything that a run leaves on disk and wall for the marker texts of
// the tracks that were offered beside the video (REQ-MASK-11, T-26).
func TestOnlyTheVideoTrackIsTaken(t *testing.T) {
	t.Parallel()
	sc := scene{size: nvr.Size{Width: 480, Height: 270}, wc: rect{200, 100, 300, 200}, kind: "h264"}
	script := script(t, sc.file(t, "camera"))
	script.Audio, script.Metadata, script.BackChannel, script.Unasked = true, true, true, true
	cam := fakecamera.Start(t, script)
	r := startRig(t, rigCamera{url: cam.URL(), mask: sc.masked()})
	s := r.watch()
	s.enlarge(0)
	r.waitState("cell-01", nvr.Recorded, 15*time.Second)
	r.waitClear(s, 20)
	r.halt()
	markers := [][]byte{[]byte(fakecamera.AudioText[:24]), []byte(fakecamera.MetadataText[:24])}
	seen := 0
	look := func(where string, b []byte) {
		seen += len(b)
		for _, m := range markers {
			if bytes.Contains(b, m) {
				t.Errorf("%s holds %q, which the camera sent on a track that nobody asked for", where, m)
			}
		}
	}
	err := filepath.WalkDir(r.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		look(path, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	for _, p := range s.pictures {
		look("the wall's socket", p.AnnexB)
	}
	s.mu.Unlock()
	c := cam.Counters()
	t.Logf("%d bytes of disk and wall; SETUP requests by track: %v", seen, c.Setups)
	if seen == 0 {
		t.Error("nothing was looked at")
	}
	for track, n := range c.Setups {
		if track != "video" && n > 0 {
			t.Errorf("the %s track was set up %d times", track, n)
		}
	}
}
