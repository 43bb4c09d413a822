package archive

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/recorder/segment"
)

var kills = flag.Int("kills", 10, "how often TestKilledRecorderKeepsWhatItAcknowledged kills")

const writerEnv = "CUSTODY_TEST_ARCHIVE_WRITER"

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	flag.Parse()
	if dir := os.Getenv(writerEnv); dir != "" {
		os.Exit(writeUntilKilled(dir))
	}
	os.Exit(m.Run())
}

// writeUntilKilled records four cameras as fast as the disk takes it and prints each fragment that is
// durable.
func writeUntilKilled(dir string) int {
	t := &lateT{}
	begin := time.Now()
	out := bufio.NewWriter(os.Stdout)
	s := &store{t: t, dir: dir, cams: map[nvr.CameraID]*source{}}
	round, err := strconv.Atoi(os.Getenv(writerEnv + "_ROUND"))
	if err != nil {
		t.Fatal(err)
	}
	s.now = time.Duration(round) * time.Hour // it writes faster than time passes
	s.cfg = func(c *Config) {
		c.Length = 7 * time.Second
		c.Clock.Mono = func() time.Duration { return time.Since(begin) }
		c.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
		c.Durable = func(cam nvr.CameraID, run nvr.RunID, seq uint64) { fmt.Fprintln(out, cam, run, seq) }
	}
	s.open()
	for {
		s.second("cell-01", "cell-02", "cell-03", "cell-04")
		out.Flush()
	}
}

// lateT is a testing.TB outside a test.
type lateT struct{ testing.TB }

func (*lateT) Helper() {}
func (*lateT) Fatal(v ...any) {
	fmt.Fprintln(os.Stderr, v...)
	os.Exit(1)
}
func (t *lateT) Fatalf(f string, v ...any) { t.Fatal(fmt.Sprintf(f, v...)) }

// F-01: SIGKILL at any moment loses nothing that was acknowledged.
func TestKilledRecorderKeepsWhatItAcknowledged(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"state", "v1"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	acked := map[string]bool{}
	for round := range *kills {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), writerEnv+"="+dir, fmt.Sprintf("%s_ROUND=%d", writerEnv, round))
		cmd.Stderr = os.Stderr
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// The moment is drawn in acknowledged fragments, plus a little time, so that it falls anywhere
		// between a write, a sync and a commit.
		n := 1 + rand.IntN(80)
		lines := bufio.NewScanner(pipe)
		for i := 0; lines.Scan(); i++ {
			acked[lines.Text()] = true
			if i == n {
				time.AfterFunc(time.Duration(rand.IntN(8000))*time.Microsecond, func() { cmd.Process.Kill() })
			}
		}
		cmd.Wait() // killed: its error says so
		if len(acked) < n {
			t.Fatal("the writer wrote nothing")
		}
	}
	s := &store{t: t, dir: dir, now: time.Duration(*kills) * time.Hour}
	s.cfg = func(c *Config) { c.Length = 7 * time.Second }
	s.open()
	for key := range fragments(t, s) {
		delete(acked, key)
	}
	if len(acked) > 0 {
		t.Errorf("%d acknowledged fragments are gone, such as %v", len(acked), acked)
	}
	s.crash()
	s.check()
}

// fragments reads all footage of the store.
func fragments(t *testing.T, s *store) map[string]bool {
	t.Helper()
	have := map[string]bool{}
	cams, err := s.a.Cameras()
	if err != nil {
		t.Fatal(err)
	}
	for _, cam := range cams {
		rows, err := s.a.Segments(cam, time.Unix(0, 0), time.Unix(0, 1<<62))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			rd, done, err := s.a.OpenSegment(cam, r)
			if err != nil {
				t.Fatal(err)
			}
			for {
				f, _, err := rd.Next()
				if err == io.EOF || errors.Is(err, segment.ErrTorn) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				have[fmt.Sprint(cam, " ", f.Run, " ", f.Seq)] = true
			}
			done()
		}
	}
	return have
}
