package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/camera/clip"
	"custody-nvr/privacy/camera/fakecamera"
	"custody-nvr/recorder/segment"
)

// Officers' browsers get what our own encoder wrote and not a byte of what a camera sent: on the wall
// and on disk there are slices of one coding with one parameter set, and nothing else (T-12, T-11).
func TestBrowsersGetOnlyWhatOurEncoderWrote(t *testing.T) {
	t.Parallel()
	cams := []*fakecamera.Camera{
		// x264 writes SEI; so does the display orientation; the delimiters come on top.
		fakecamera.Start(t, film{extra: "-bf 2 -bsf:v h264_metadata=aud=insert"}.script(t)),
		fakecamera.Start(t, film{kind: "h265", extra: "-bsf:v hevc_metadata=aud=insert"}.script(t)),
	}
	r := startRig(t, filmed(cams[0].URL(), nil), filmed(cams[1].URL(), nil))
	screens := []*screen{r.watch(), r.watch()}
	for i, s := range screens {
		s.enlarge(i)
	}
	for i, s := range screens {
		for deadline := time.Now().Add(40 * time.Second); ; wait(50 * time.Millisecond) {
			_, full := s.count(i, nvr.Archive)
			_, tile := s.count(i, nvr.Tile)
			if full >= 30 && tile >= 20 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d pictures and %d tiles of camera %d\n%s", full, tile, i, r.log.tail(30))
			}
		}
	}
	for _, s := range screens {
		s.close()
	}
	r.halt()
	sets := map[string][]byte{}
	pictures := 0
	for i, s := range screens {
		for _, p := range s.pictures {
			pictures++
			feed := fmt.Sprintf("screen %d tile %d %s", i, p.Tile, p.View)
			if err := ours(p.AnnexB, p.Key, feed, sets); err != nil {
				t.Errorf("%s: %v", feed, err)
			}
		}
	}
	t.Logf("%d pictures of the wall looked through", pictures)
	for i := range cams {
		id := nvr.CameraID(fmt.Sprintf("cell-%02d", i+1))
		for _, f := range r.files(id) {
			n, err := oursOnDisk(f)
			if err != nil || n < 20 {
				t.Errorf("%s: %d pictures, %v", f, n, err)
			}
		}
	}
	// The control: the camera's own stream is not ours.
	for i, name := range []string{"h264", "h265"} {
		unit := film{kind: name, extra: []string{"-bf 2 -bsf:v h264_metadata=aud=insert", "-bsf:v hevc_metadata=aud=insert"}[i]}.clip(t).Units[0]
		var b []byte
		for _, nal := range unit {
			b = append(append(b, 0, 0, 0, 1), nal...)
		}
		if ours(b, true, name, map[string][]byte{}) == nil {
			t.Errorf("the %s stream of the camera passes for ours: the test proves nothing", name)
		}
	}
}

// ours says in what a picture differs from what our encoder writes: on a key picture SPS, PPS and IDR
// slices, else slices; the SPS of High profile, and always the same one.
func ours(b []byte, key bool, feed string, sets map[string][]byte) error {
	var types []byte
	for _, nal := range bytes.Split(b, []byte{0, 0, 0, 1})[1:] {
		typ := nalType(nal)
		switch {
		case typ == 7 && key && nal[1] == 100:
			if old, ok := sets[feed]; ok && !bytes.Equal(old, nal) {
				return fmt.Errorf("a second SPS %x beside %x", nal, old)
			}
			sets[feed] = nal
		case typ == 8 && key, typ == 5 && key, typ == 1 && !key:
		default:
			return fmt.Errorf("NAL unit of type %d (%.8x) in a picture with key=%t", typ, nal, key)
		}
		types = append(types, typ)
	}
	if key && !bytes.HasPrefix(types, []byte{7, 8, 5}) || len(types) == 0 {
		return fmt.Errorf("a picture of NAL units %v with key=%t", types, key)
	}
	return nil
}

// oursOnDisk looks at the samples of a segment file, and counts them.
func oursOnDisk(path string) (n int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	r, err := segment.NewReader(f, st.Size())
	if err != nil {
		return 0, err
	}
	for {
		frag, _, err := r.Next()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		for _, s := range frag.Samples {
			n++
			for b := s.Data; len(b) > 0; {
				if len(b) < 5 {
					return n, fmt.Errorf("sample %d ends in %d bytes", n, len(b))
				}
				size := int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3])
				if size < 1 || size > len(b)-4 {
					return n, fmt.Errorf("sample %d holds a unit of %d bytes in %d", n, size, len(b)-4)
				}
				if typ := nalType(b[4:]); typ != 5 && typ != 1 || (typ == 5) != s.Key {
					return n, fmt.Errorf("sample %d with key=%t holds NAL unit type %d", n, s.Key, typ)
				}
				b = b[4+size:]
			}
		}
	}
}

// Nothing of an unmasked picture stays anywhere: not its samples nor its coding on any disk of the
// recorder, and the process that has them in memory can not write a core, is closed to other
// processes, and has no file open (T-26).
func TestNothingOfAnUnmaskedPictureStays(t *testing.T) {
	t.Parallel()
	size := nvr.Size{Width: 320, Height: 180}
	wc := rect{160, 80, 224, 144}
	// Noise without loss: every row of it is a marker that exists once in the world.
	path := filepath.Join(t.TempDir(), "camera.h264")
	marked := film{source: "color=gray:s=320x180:r=10,noise=alls=60:allf=t", extra: "-profile:v high -qp 4", n: 20}
	writeAnnexB(t, path, marked.clip(t))
	var markers [][]byte
	for _, p := range decodeAll(t, "", path, nil, size)[:20] {
		for y := wc.y0 + 8; y < wc.y1-8; y += 12 {
			markers = append(markers, p.y[y*size.Width+wc.x0+16:][:24])
		}
	}
	for _, u := range marked.clip(t).Units {
		for _, nal := range u {
			for at := 64; at+24 < len(nal); at += 1500 {
				markers = append(markers, nal[at:][:24])
			}
		}
	}
	cam := fakecamera.Start(t, marked.script(t))
	r := startRig(t, filmed(cam.URL(), nil))
	s := r.watch()
	s.enlarge(0)
	r.waitState("cell-01", nvr.Recorded, 20*time.Second)
	r.waitClear(s, 30)

	pid := r.main.maskers["cell-01"].State().PID
	if err := closedProcess(pid); err != nil {
		t.Errorf("masker: %v", err)
	}
	r.killMasker("cell-01")
	r.waitState("cell-01", nvr.MaskerFault, 5*time.Second)
	r.waitState("cell-01", nvr.Recorded, 20*time.Second)
	s.close()
	r.halt()

	// The control: the search finds them where they are.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "core"), append(make([]byte, 4097), markers[3]...), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, _ := search(t, dir, markers); n != 1 {
		t.Fatalf("the search finds %d markers where there is one", n)
	}
	if n, _ := search(t, filepath.Dir(path), markers); n == 0 {
		t.Fatal("the search finds nothing in the camera's own stream")
	}
	found, looked := search(t, r.dir, markers)
	t.Logf("%d markers searched in %d bytes of state and volume", len(markers), looked)
	if found > 0 || looked < 10_000 {
		t.Errorf("%d remnants of unmasked pictures in %d bytes", found, looked)
	}
	for _, p := range s.pictures {
		for _, m := range markers {
			if bytes.Contains(p.AnnexB, m) {
				t.Fatal("the camera's own bytes are on the wall")
			}
		}
	}
}

// writeAnnexB writes a clip as a file that ffmpeg reads.
func writeAnnexB(t testing.TB, path string, c clip.Clip) {
	t.Helper()
	var b []byte
	for _, u := range c.Units {
		for _, nal := range u {
			b = append(append(b, 0, 0, 0, 1), nal...)
		}
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// search counts the markers in all files under a folder.
func search(t testing.TB, dir string, markers [][]byte) (found, looked int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		looked += len(b)
		for _, m := range markers {
			if bytes.Contains(b, m) {
				if found++; found == 1 {
					t.Logf("a marker in %s", filepath.Base(path))
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found, looked
}

// closedProcess says what is open about a process that must be shut.
func closedProcess(pid int) error {
	proc := func(name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }
	limits, err := os.ReadFile(proc("limits"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(limits)) {
		if rest, ok := strings.CutPrefix(line, "Max core file size"); ok {
			if f := strings.Fields(rest); len(f) < 2 || f[0] != "0" || f[1] != "0" {
				return fmt.Errorf("core files of %v bytes are allowed", f)
			}
		}
	}
	status, err := os.ReadFile(proc("status"))
	if err != nil {
		return err
	}
	for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CoreDumping:\t0"} {
		if !bytes.Contains(status, []byte(want)) {
			return fmt.Errorf("its status does not say %q", want)
		}
	}
	// A process that is not dumpable belongs to root in /proc; only where we are not root does that
	// show, and then its descriptors are closed to us as well.
	if os.Getuid() != 0 {
		if _, err := os.ReadDir(proc("fd")); !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("its descriptors can be read by its own user: %v", err)
		}
		return nil
	}
	entries, err := os.ReadDir(proc("fd"))
	if err != nil {
		return err
	}
	if len(entries) < 4 {
		return fmt.Errorf("only %d descriptors were seen", len(entries))
	}
	for _, e := range entries {
		to, err := os.Readlink(proc("fd/" + e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !strings.HasPrefix(to, "pipe:") && !strings.HasPrefix(to, "socket:") && !strings.HasPrefix(to, "anon_inode:") && to != "/dev/null" {
			return fmt.Errorf("descriptor %s is %s", e.Name(), to)
		}
	}
	return nil
}
