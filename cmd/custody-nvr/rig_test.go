package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"custody-nvr/configs"
	"custody-nvr/nvr"
	"custody-nvr/nvr/alonetest"
	"custody-nvr/privacy/wire"
	"custody-nvr/ui"
)

// product is the real binary, built once: maskers in these tests are its children, not test code.
var product = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "custody-nvr-e2e-")
	if err != nil {
		return "", err
	}
	builtIn = dir
	bin := filepath.Join(dir, "custody-nvr")
	out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
})

var builtIn string

// TestMain runs three tests at a time, whatever the number of processors: nearly all of them wait for
// cameras that send ten pictures a second.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "3"); err != nil {
		panic(err)
	}
	alonetest.Wait()
	code := m.Run()
	if builtIn != "" {
		os.RemoveAll(builtIn)
	}
	os.Exit(code)
}

func binary(t testing.TB) string {
	t.Helper()
	bin, err := product()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// commandOf is the real binary with arguments, ended with the test.
func commandOf(t testing.TB, bin string, args ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), bin, args...)
}

// A rigCamera is one camera of a rig's suite file.
type rigCamera struct {
	url  string
	mask *configs.Mask
	edit func(*configs.Camera)
}

// A rig is a whole recorder in this process: suite file, maskers of the real binary, archive, wall.
type rig struct {
	t    testing.TB
	main *Main
	dir  string
	log  *logBook
	stop func()
	once sync.Once
}

// startRig records until the test ends or halt is called.
func startRig(t testing.TB, cams ...rigCamera) *rig {
	t.Helper()
	return startRigIn(t, t.TempDir(), cams...)
}

func startRigIn(t testing.TB, dir string, cams ...rigCamera) *rig {
	t.Helper()
	return startPreparedRig(t, dir, func(*Main) {}, cams...)
}

// startPreparedRig lets prepare change the recorder before it opens.
func startPreparedRig(t testing.TB, dir string, prepare func(*Main), cams ...rigCamera) *rig {
	t.Helper()
	s := testSuite(dir, cams)
	suite, err := writeSuite(filepath.Join(dir, "suite.yaml"), s)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: dir, log: &logBook{t: t}}
	r.main = &Main{Suite: suite, Masker: []string{binary(t), "masker"}, Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	prepare(r.main)
	if err := r.main.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.main.Run(ctx) }()
	r.stop = func() {
		cancel()
		if err := errors.Join(<-done, r.main.Close()); err != nil {
			t.Errorf("the recorder ended with: %v", err)
		}
	}
	t.Cleanup(r.halt)
	return r
}

// halt ends the recorder in good order.
func (r *rig) halt() { r.once.Do(r.stop) }

// files are all segment files of a camera, in order.
func (r *rig) files(id nvr.CameraID) []string {
	r.t.Helper()
	var list []string
	err := filepath.WalkDir(filepath.Join(r.dir, "one", string(id)), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".mp4") {
			list = append(list, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.t.Fatal(err)
	}
	sort.Strings(list)
	return list
}

// waitState waits until the wall would show a camera with this cause, and returns the detail.
func (r *rig) waitState(id nvr.CameraID, cause nvr.Cause, within time.Duration) string {
	r.t.Helper()
	return r.waitFor(id, cause.String(), within, func(c nvr.Cause, _ string) bool { return c == cause })
}

func (r *rig) waitFor(id nvr.CameraID, what string, within time.Duration, ok func(nvr.Cause, string) bool) string {
	r.t.Helper()
	deadline := time.Now().Add(within)
	for {
		s := r.main.hub.State(id)
		if ok(s.Cause, s.Detail) {
			return s.Detail
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("camera %s is %q (%s) after %v, want %s\n%s", id, s.Cause, s.Detail, within, what, r.log.tail(30))
		}
		wait(20 * time.Millisecond)
	}
}

// wait lets wall time pass where a test watches a real process. Everything that waits goes on as
// soon as what it waits for is there.
func wait(d time.Duration) { <-time.After(d) }

// A logBook keeps the recorder's log, to show it when a test fails.
type logBook struct {
	t     testing.TB
	mu    sync.Mutex
	lines []string
}

func (l *logBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

func (l *logBook) tail(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines[max(0, len(l.lines)-n):], "\n")
}

func (l *logBook) contains(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, s) {
			return true
		}
	}
	return false
}

// A screen is one wall, read as the page reads it, without painting.
type screen struct {
	t    testing.TB
	conn *websocket.Conn

	mu       sync.Mutex
	pictures []ui.Picture    // guarded by mu
	received []time.Duration // guarded by mu; when each of pictures was here, by CLOCK_MONOTONIC
	texts    []string        // guarded by mu
	done     chan struct{}
}

// watch opens the wall's socket and keeps everything that comes over it.
func (r *rig) watch() *screen { return watchWall(r.t, r.main.Addr()) }

func watchWall(t testing.TB, addr string) *screen {
	t.Helper()
	s := &screen{t: t, done: make(chan struct{})}
	conn, _, err := websocket.Dial(t.Context(), "ws://"+addr+"/live", &websocket.DialOptions{HTTPHeader: map[string][]string{"Origin": {"http://" + addr}}})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(16 << 20)
	s.conn = conn
	go s.read()
	go s.ping()
	t.Cleanup(s.close)
	return s
}

func (s *screen) close() {
	s.conn.CloseNow()
	<-s.done
}

func (s *screen) read() {
	defer close(s.done)
	for {
		kind, b, err := s.conn.Read(context.Background())
		now := mono()
		if err != nil {
			return
		}
		s.mu.Lock()
		if kind == websocket.MessageText {
			s.texts = append(s.texts, string(b))
		} else if p, err := ui.ParsePicture(b); err == nil {
			s.pictures, s.received = append(s.pictures, p), append(s.received, now)
		} else {
			s.t.Errorf("the wall got a message that is no picture: %v", err)
		}
		s.mu.Unlock()
	}
}

// mono is CLOCK_MONOTONIC, which all processes of one boot share.
var mono = systemClock().Mono

// ping does what the page does: it says how far it has come, so that the server goes on sending.
func (s *screen) ping() {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		n := len(s.pictures)
		s.mu.Unlock()
		msg := fmt.Sprintf(`{"kind":"ping","echo":1,"got":%d}`, n)
		if s.conn.Write(context.Background(), websocket.MessageText, []byte(msg)) != nil {
			return
		}
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
	}
}

// enlarge asks for the archive-quality stream of one tile.
func (s *screen) enlarge(tile int) {
	s.t.Helper()
	if err := s.conn.Write(s.t.Context(), websocket.MessageText, fmt.Appendf(nil, `{"kind":"enlarge","tile":%d}`, tile)); err != nil {
		s.t.Fatal(err)
	}
}

// streams returns the pictures of one tile and stream so far as Annex B, cut into runs that each
// begin with a key picture and have no hole.
func (s *screen) runs(tile int, kind nvr.Stream) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var runs [][]byte
	var last uint32
	open := false
	for _, p := range s.pictures {
		if p.Tile != tile || p.View != kind {
			continue
		}
		if p.Key && (!open || p.Seq != last+1) {
			runs, open = append(runs, nil), true
		}
		if !open || (!p.Key && p.Seq != last+1) {
			open = false
			continue
		}
		runs[len(runs)-1] = append(runs[len(runs)-1], p.AnnexB...)
		last = p.Seq
	}
	return runs
}

// count is the number of pictures of one tile and stream so far, and how many were clear.
func (s *screen) count(tile int, kind nvr.Stream) (all, clear int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pictures {
		if p.Tile == tile && p.View == kind {
			all++
			if p.Obscured == nvr.Recorded {
				clear++
			}
		}
	}
	return all, clear
}

// killMasker ends a camera's masker as a crash would.
func (r *rig) killMasker(id nvr.CameraID) {
	r.t.Helper()
	pid := r.main.maskers[id].State().PID
	if pid <= 0 {
		r.t.Fatalf("camera %s has no masker to kill", id)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		r.t.Fatal(err)
	}
}

// tileOf is the tile's size, and whether there is a tile stream at all.
func tileOf(size nvr.Size) (nvr.Size, bool) { return wire.TileSize(size) }
