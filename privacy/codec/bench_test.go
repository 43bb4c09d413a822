package codec

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/nvr/cliptest"
	"custody-nvr/privacy/mask"
)

var (
	benchSeconds = flag.Int("seconds", 20, "seconds of the person clip that BenchmarkVersusFFmpeg uses")
	benchRuns    = flag.Int("runs", 5, "alternated runs of BenchmarkVersusFFmpeg")
)

// benchChild names the environment variable that makes this test binary mask one file to another:
// a process of its own, so that its time and memory are those of decoding, masking and encoding.
const benchChild = "CUSTODY_CODEC_BENCH"

func TestMain(m *testing.M) {
	if job := os.Getenv(benchChild); job != "" {
		from, to, _ := strings.Cut(job, "\n")
		if err := maskFile(from, to); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// The box of the benchmark lies on block borders, so that drawbox and the mask hide the same. The
// polygon stays one sample inside, for its border would take the neighbours too.
const benchBox = "drawbox=x=192:y=640:w=480:h=320:color=black:t=fill"

func benchPlan(size nvr.Size) (*mask.Plan, error) {
	x, y := func(v float64) float64 { return v / 1920 }, func(v float64) float64 { return v / 1080 }
	return mask.NewPlan(nvr.MaskSpec{Picture: size, Version: 1, Areas: [][]nvr.Point{{
		{X: x(193), Y: y(641)}, {X: x(671), Y: y(641)}, {X: x(671), Y: y(959)}, {X: x(193), Y: y(959)},
	}}})
}

// maskFile is the work of the masker child on a file: decode, mask, encode, a key picture a second.
func maskFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	d, err := NewDecoder(H264, Limits{})
	if err != nil {
		return err
	}
	defer d.Close()
	var e *Encoder
	var plan *mask.Plan
	n := 0
	show := func(p Decoded) error {
		if e == nil {
			if e, err = NewEncoder(EncoderConfig{Size: p.Geometry.Shown}); err != nil {
				return err
			}
			if plan, err = benchPlan(p.Geometry.Shown); err != nil {
				return err
			}
		}
		pkt, err := e.Encode(plan.Apply(p.Planes, p.Geometry.AspectW, p.Geometry.AspectH, e.Canvas()), p.PTS, n%25 == 0)
		if err != nil {
			return err
		}
		n++
		_, err = out.Write(annexBytes(pkt))
		return err
	}
	i := 0
	err = scanUnits(in, func(au [][]byte) error {
		i++
		return d.Decode(au, time.Duration(i)*40*time.Millisecond, show)
	})
	if err == nil {
		err = d.Flush(show)
	}
	if e != nil {
		e.Close()
	}
	return err
}

// scanUnits reads an H.264 file access unit by access unit.
func scanUnits(r io.Reader, each func([][]byte) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 1<<20), 8<<20)
	s.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		if i := bytes.Index(data, []byte{0, 0, 1}); i >= 0 {
			return i + 3, data[:i], nil
		} else if atEOF && len(data) > 0 {
			return len(data), data, nil
		}
		return 0, nil, nil
	})
	var cur [][]byte
	sliced := false
	for s.Scan() {
		nal := bytes.TrimRight(s.Bytes(), "\x00")
		if len(nal) == 0 {
			continue
		}
		slice, first := isSlice(H264, nal)
		if sliced && (!slice || first) {
			if err := each(cur); err != nil {
				return err
			}
			cur, sliced = nil, false
		}
		cur = append(cur, bytes.Clone(nal))
		sliced = sliced || slice
	}
	if sliced {
		return errors.Join(s.Err(), each(cur))
	}
	return s.Err()
}

// cost is what a process took.
type cost struct {
	cpu time.Duration
	rss int64 // MiB
}

func costOf(tb testing.TB, cmd *exec.Cmd) cost {
	tb.Helper()
	var talk bytes.Buffer
	cmd.Stderr = &talk
	if err := cmd.Run(); err != nil {
		tb.Fatalf("%q: %v\n%s", cmd.Args, err, talk.Bytes())
	}
	u := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return cost{cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), u.Maxrss / 1024}
}

// ssim compares a stream with its source outside of the box, by ffmpeg.
func ssim(tb testing.TB, path, source string) float64 {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), "ffmpeg", "-nostdin", "-hide_banner", "-r", "25", "-i", path, "-r", "25", "-i", source,
		"-lavfi", "[0:v]"+benchBox+"[a];[1:v]"+benchBox+"[b];[a][b]ssim", "-f", "null", "-")
	out, err := cmd.CombinedOutput()
	if err != nil {
		tb.Fatalf("%v\n%s", err, out)
	}
	_, after, _ := bytes.Cut(out, []byte("All:"))
	var v float64
	if _, err := fmt.Sscan(string(after), &v); err != nil {
		tb.Fatalf("no SSIM in\n%s", out)
	}
	return v
}

// BenchmarkVersusFFmpeg runs what the masker does beside the ffmpeg command that does the same, in
// turns, and reports the medians. It makes its input from the shared person clip.
func BenchmarkVersusFFmpeg(b *testing.B) {
	clip := cliptest.File(b, "intel_one-by-one-person.mp4")
	dir := b.TempDir()
	source, ours, theirs := filepath.Join(dir, "in.h264"), filepath.Join(dir, "ours.h264"), filepath.Join(dir, "theirs.h264")
	ffmpeg(b, nil, "-t", fmt.Sprint(*benchSeconds), "-i", clip, "-vf", "fps=25,scale=1920:1080", "-c:v", "libx264",
		"-profile:v", "baseline", "-b:v", "4M", "-x264-params", "slices=4", source)
	var cpu, bytesRatio []float64
	var rss int64
	var a, t cost
	for b.Loop() {
		for range *benchRuns {
			cmd := exec.CommandContext(b.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), benchChild+"="+source+"\n"+ours)
			a = costOf(b, cmd)
			t = costOf(b, exec.CommandContext(b.Context(), "ffmpeg", "-v", "error", "-nostdin", "-y", "-threads", "1", "-i", source,
				"-vf", benchBox, "-c:v", "libx264", "-threads", "1", "-preset", "superfast", "-crf", "23", theirs))
			cpu = append(cpu, a.cpu.Seconds()/t.cpu.Seconds())
			bytesRatio = append(bytesRatio, size(b, ours)/size(b, theirs))
			rss = max(rss, a.rss)
			b.Logf("ours %v %d MiB, ffmpeg %v %d MiB", a.cpu, a.rss, t.cpu, t.rss)
		}
	}
	frames := float64(*benchSeconds * 25)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(a.cpu.Seconds()*1000/frames, "cpu-ms/frame")
	b.ReportMetric(median(cpu), "cpu-ratio")
	b.ReportMetric(median(bytesRatio), "bytes-ratio")
	b.ReportMetric(size(b, ours)/size(b, source), "bytes-of-source")
	b.ReportMetric(ssim(b, ours, source), "ssim")
	b.ReportMetric(ssim(b, theirs, source), "ssim-ffmpeg")
	b.ReportMetric(float64(rss), "MiB-resident")
}

func size(tb testing.TB, path string) float64 {
	tb.Helper()
	st, err := os.Stat(path)
	if err != nil {
		tb.Fatal(err)
	}
	return float64(st.Size())
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
