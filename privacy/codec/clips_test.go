package codec

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"custody-nvr/nvr/cliptest"
)

// units cuts an Annex B stream into access units: a new one starts with the first slice of a
// picture, or with a parameter set, SEI or delimiter after a slice.
func units(tb testing.TB, kind Kind, stream []byte) [][][]byte {
	tb.Helper()
	var all [][][]byte
	var cur [][]byte
	sliced := false
	for nal := range annexB(stream) {
		slice, first := isSlice(kind, nal)
		if sliced && (!slice || first) {
			all, cur, sliced = append(all, cur), nil, false
		}
		cur = append(cur, nal)
		sliced = sliced || slice
	}
	if sliced {
		all = append(all, cur)
	}
	if len(all) == 0 {
		tb.Fatal("the stream holds no pictures")
	}
	return all
}

func isSlice(kind Kind, nal []byte) (slice, first bool) {
	if kind == H264 {
		t := nal[0] & 31
		return t == h264Slice || t == h264IDR, len(nal) > 1 && nal[1]&0x80 != 0
	}
	return nal[0]>>1&63 < h265VPS, len(nal) > 2 && nal[2]&0x80 != 0
}

// clip reads one of the shared clips as access units; out of MP4 with the help of ffmpeg.
func clip(tb testing.TB, name string) (Kind, [][][]byte) {
	tb.Helper()
	path := cliptest.File(tb, name)
	switch filepath.Ext(name) {
	case ".h264":
		return H264, units(tb, H264, read(tb, path))
	case ".h265":
		return H265, units(tb, H265, read(tb, path))
	}
	return H264, units(tb, H264, ffmpeg(tb, nil, "-i", path, "-c", "copy", "-bsf:v", "h264_mp4toannexb", "-f", "h264", "-"))
}

func read(tb testing.TB, path string) []byte {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// ffmpeg runs the ffmpeg command, which is the second opinion of these tests, and gives its output.
func ffmpeg(tb testing.TB, stdin []byte, args ...string) []byte {
	tb.Helper()
	path, err := exec.LookPath("ffmpeg")
	if err != nil {
		tb.Skip("the ffmpeg command is not installed")
	}
	cmd := exec.CommandContext(tb.Context(), path, append([]string{"-v", "error", "-nostdin", "-y"}, args...)...)
	if stdin != nil {
		cmd.Args = append([]string{path, "-v", "error", "-y"}, args...)
		cmd.Stdin = bytes.NewReader(stdin)
	}
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Run(); err != nil {
		tb.Fatalf("ffmpeg %q: %v\n%s", args, err, talk.Bytes())
	}
	return out.Bytes()
}

// decodeAll sends all units at 25 a second and calls show for each picture.
func decodeAll(tb testing.TB, kind Kind, aus [][][]byte, show func(Decoded)) {
	tb.Helper()
	d, err := NewDecoder(kind, Limits{})
	if err != nil {
		tb.Fatal(err)
	}
	defer d.Close()
	each := func(p Decoded) error { show(p); return nil }
	for i, au := range aus {
		if err := d.Decode(au, time.Duration(i)*40*time.Millisecond, each); err != nil {
			tb.Fatalf("access unit %d: %v", i, err)
		}
	}
	if err := d.Flush(each); err != nil {
		tb.Fatal(err)
	}
}
