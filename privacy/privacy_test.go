package privacy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/wire"

	"golang.org/x/sys/unix"
)

// enough is how long a test waits for what must happen.
const enough = 20 * time.Second

// running starts a Masker whose children follow the script, and stops it with the test.
func running(t *testing.T, cfg Config, script ...string) *Masker {
	t.Helper()
	if cfg.Camera.ID == "" {
		cfg.Camera = testCamera("rtsp://127.0.0.1:9/")
	}
	cfg.Exec = append([]string{"/proc/self/exe", "fake"}, script...)
	m := New(cfg)
	m.patience = patience{start: 2 * time.Second, report: time.Second, first: 3 * time.Second, stall: time.Second, lost: 2 * time.Second, stop: 300 * time.Millisecond}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); group.Wait() })
	return m
}

// until reads until the condition holds.
func until(t *testing.T, m *Masker, what string, ok func(nvr.Frame, *nvr.Outage) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	for {
		f, err := m.Next(ctx)
		out, isOutage := nvr.AsOutage(err)
		if err != nil && !isOutage {
			t.Fatalf("no %s: %v; state %+v", what, err, m.State())
		}
		if ok(f, out) {
			return
		}
	}
}

func untilOutage(t *testing.T, m *Masker, cause nvr.Cause, words string) {
	t.Helper()
	var seen []string
	defer func() {
		if t.Failed() {
			t.Logf("outages: %q", seen)
		}
	}()
	until(t, m, "outage "+words, func(_ nvr.Frame, out *nvr.Outage) bool {
		if out != nil {
			seen = append(seen, out.Error())
		}
		return out != nil && out.Cause == cause && strings.Contains(out.Detail, words)
	})
}

func untilFrames(t *testing.T, m *Masker, n int) {
	t.Helper()
	until(t, m, "frames", func(f nvr.Frame, out *nvr.Outage) bool {
		if out == nil {
			n--
		}
		return n <= 0
	})
}

func TestFramesComeThrough(t *testing.T) {
	t.Parallel()
	m := running(t, Config{}, "happy")
	want := uint64(0)
	until(t, m, "30 frames", func(f nvr.Frame, out *nvr.Outage) bool {
		if out != nil {
			return false
		}
		if f.Seq != want || f.Stream != nvr.Archive {
			t.Fatalf("frame %d where %d must come", f.Seq, want)
		}
		want++
		return want == 30
	})
	s := m.State()
	if s.Phase != Running || s.Outage != nil || s.Starts != 1 || s.Walls.Landlock != 7 || s.Fingerprint != "camera one" || s.Differs {
		t.Errorf("state %+v", s)
	}
}

func TestChildThatBreaksARuleIsKilled(t *testing.T) {
	cases := []struct {
		script string
		cause  nvr.Cause
		words  string
	}{
		{"garbage", nvr.MaskerFault, "no frame starts here"},
		{"4 GiB", nvr.MaskerFault, "frame of 4294967295 bytes"},
		{"wrong digest", nvr.MaskerFault, "is not the approved one"},
		{"exit 3", nvr.MaskerFault, "exit code 3"},
		{"crash", nvr.MaskerFault, "SIGKILL"},
		{"silent", nvr.MaskerFault, "no sign of life for 2 s"},
		{"stopped", nvr.MaskerFault, "no sign of life for 2 s"},
		{"spin", nvr.MaskerFault, "Picture 7 is in the codec for 2 s"},
		{"spin and lie", nvr.MaskerFault, "Picture 7 is in the codec for 2 s"},
		{"ignore control", nvr.MaskerFault, "did not start within 2s"},
		{"no walls", nvr.MaskerFault, "before it reported its walls"},
		{"no report", nvr.MaskerFault, "before it reported what the camera sends"},
		{"missing wall", nvr.MaskerFault, `sandbox is not complete: see INSTALL, or give the reason. Missing: ["no swap"]`},
		{"flood of control", nvr.MaskerFault, "control messages a second"},
		{"old frames", nvr.Overload, "11s late"},
		{"frames of the future", nvr.MaskerFault, "from the future"},
		{"other camera", nvr.MaskerFault, "not the approved one"},
		{"swapped while running", nvr.MaskerFault, "not the approved one"},
		{"ask 65 times", nvr.MaskerFault, "more than 64 sockets"},
		{"stall", nvr.CameraLost, "no picture from the camera for 1s"},
		{"stall", nvr.CameraLost, "no picture from the camera for 2s"},
		{"no picture", nvr.CameraLost, "no picture within 3s of connecting"},
	}
	maskers := make([]*Masker, len(cases)) // all at once, for most of them take seconds
	for i, c := range cases {
		maskers[i] = running(t, Config{}, c.script)
	}
	for i, c := range cases {
		t.Run(c.script, func(t *testing.T) { untilOutage(t, maskers[i], c.cause, c.words) })
	}
}

// A machine that is itself held up may take longer once; the rule is broken if it always does.
func TestHangInTheCodecEndsWithinTwoSeconds(t *testing.T) {
	var took time.Duration
	for range 3 {
		took = hang(t)
		if took < time.Second {
			t.Fatalf("the spinning child lived %v: it was not given its time", took)
		}
		if took <= 2*time.Second {
			return
		}
		t.Logf("the spinning child lived %v", took)
	}
	t.Errorf("the spinning child lived %v, three times more than 2 s", took)
}

func hang(t *testing.T) time.Duration {
	t.Helper()
	pipe := filepath.Join(t.TempDir(), "told")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	running(t, Config{}, "spin", pipe)
	return lifetime(t, pipe, func() {})
}

// lifetime waits until the process behind the named pipe has told that it spins, calls then, and
// returns how long the process lived on.
func lifetime(t *testing.T, pipe string, then func()) time.Duration {
	t.Helper()
	r, err := os.Open(pipe) // waits for the writer
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	lines := bufio.NewReader(r)
	if line, err := lines.ReadString('\n'); err != nil || line != "spinning\n" {
		t.Fatalf("%q, %v", line, err)
	}
	start := time.Now()
	then()
	ended := make(chan error, 1)
	go func() {
		_, err := lines.ReadByte()
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != io.EOF {
			t.Fatal(err)
		}
	case <-time.After(enough):
		t.Fatal("the child lives on")
	}
	return time.Since(start)
}

func TestChildDiesWithItsParent(t *testing.T) {
	for _, script := range []string{"orphan", "stopped orphan"} {
		t.Run(script, func(t *testing.T) { diesWithItsParent(t, script) })
	}
}

func diesWithItsParent(t *testing.T, script string) {
	t.Helper()
	pipe := filepath.Join(t.TempDir(), "told")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	parent := exec.Command("/proc/self/exe", "doomed", script, pipe)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	took := lifetime(t, pipe, func() {
		if err := parent.Process.Kill(); err != nil {
			t.Error(err)
		}
	})
	_ = parent.Wait() // killed, as was asked
	if took > time.Second {
		t.Errorf("it lived on for %v", took)
	}
}

// The same by the control pair alone, without the kernel's help for a dead parent.
func TestEndOfControlPairEndsAChildThatSpins(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "told")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	parent, control, err := wire.Pair()
	if err != nil {
		t.Fatal(err)
	}
	frames, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer frames.Close()
	cmd := fakeCommand("orphan", pipe)
	cmd.ExtraFiles = []*os.File{write, control}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	control.Close()
	if err := parent.Send(wire.ToChild{Start: &wire.Start{}}, nil); err != nil {
		t.Fatal(err)
	}
	took := lifetime(t, pipe, func() { parent.Close() })
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != wire.ExitOrphan || took > time.Second {
		t.Errorf("%v after %v", err, took)
	}
}

func TestNoMaskNoChild(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*Camera)
		cause  nvr.Cause
		words  string
		phase  Phase
	}{
		{"no mask", func(c *Camera) { c.Mask = nil }, nvr.NoApprovedMask, "draw a mask", Unapproved},
		{"mask without area", func(c *Camera) { c.Mask = &nvr.MaskSpec{Picture: nvr.Size{Width: 64, Height: 64}, Version: 1} }, nvr.NoApprovedMask, "nobody declared", Unapproved},
		{"udp without reason", func(c *Camera) { c.Transport = "udp" }, nvr.CameraLost, "UDP needs a reason", Refused},
		{"password in the URL", func(c *Camera) { c.URL = "rtsp://op:hunter2@192.0.2.1/" }, nvr.CameraLost, "must not hold user", Refused},
		{"no URL", func(c *Camera) { c.URL = "http://192.0.2.1/" }, nvr.CameraLost, "must start with rtsp", Refused},
		{"unreadable URL", func(c *Camera) { c.URL = "rtsp://hunter2\x7f" }, nvr.CameraLost, "cannot be read", Refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			cam := testCamera("rtsp://127.0.0.1/")
			c.change(&cam)
			m := running(t, Config{Camera: cam}, "happy")
			untilOutage(t, m, c.cause, c.words)
			if s := m.State(); s.Starts != 0 || s.Phase != c.phase {
				t.Errorf("state %+v", s)
			}
		})
	}
}

// listener is a camera that only counts who comes.
func listener(t *testing.T) (address string, got <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 100)
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer conn.Close()
				b := make([]byte, 7)
				n, _ := io.ReadFull(conn, b)
				said <- string(b[:n])
			})
		}
	})
	t.Cleanup(func() { l.Close(); group.Wait() })
	return l.Addr().String(), said
}

func TestDialLeadsToTheCamera(t *testing.T) {
	t.Parallel()
	address, said := listener(t)
	m := running(t, Config{Camera: testCamera("rtsp://" + address + "/stream")}, "dial", address)
	untilFrames(t, m, 1)
	select {
	case got := <-said:
		if got != "OPTIONS" {
			t.Errorf("the camera heard %q", got)
		}
	case <-time.After(enough):
		t.Error("nobody came")
	}
}

func TestParentKeepsNoCopyOfASocket(t *testing.T) {
	t.Parallel()
	address, said := listener(t)
	running(t, Config{Camera: testCamera("rtsp://" + address + "/stream")}, "hang up", address)
	select {
	case got := <-said:
		if got != "" {
			t.Errorf("the camera heard %q", got)
		}
	case <-time.After(enough):
		t.Error("the connection is still open after the child closed it")
	}
}

func TestDialToAnotherAddressIsRefused(t *testing.T) {
	t.Parallel()
	address, _ := listener(t)
	other, said := listener(t)
	m := running(t, Config{Camera: testCamera("rtsp://" + address + "/stream")}, "dial", other)
	untilOutage(t, m, nvr.CameraLost, other+" is not this camera's address "+address)
	if len(said) != 0 {
		t.Error("the other address was reached")
	}
}

func TestFifthSocketIsRefused(t *testing.T) {
	t.Parallel()
	address, _ := listener(t)
	m := running(t, Config{Camera: testCamera("rtsp://" + address + "/stream")}, "five sockets", address)
	untilOutage(t, m, nvr.CameraLost, "the fifth was refused")
}

func TestNoSocketBeforeTheWalls(t *testing.T) {
	t.Parallel()
	address, _ := listener(t)
	m := running(t, Config{Camera: testCamera("rtsp://" + address + "/stream")}, "dial unwalled", address)
	untilFrames(t, m, 1)
}

func TestUDPOnlyWhereAllowed(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cam := testCamera("rtsp://127.0.0.1:9/")
	m := running(t, Config{Camera: cam}, "udp", conn.LocalAddr().String())
	untilOutage(t, m, nvr.CameraLost, "UDP is not allowed")
	cam.Transport, cam.UDPReason = "udp", "old camera"
	m = running(t, Config{Camera: cam}, "udp", conn.LocalAddr().String())
	untilFrames(t, m, 1)
	conn.SetReadDeadline(time.Now().Add(enough))
	b := make([]byte, 10)
	if n, _, err := conn.ReadFrom(b); err != nil || string(b[:n]) != "hello" {
		t.Errorf("%q, %v", b[:n], err)
	}
	if s := m.State(); len(s.Weaker) != 1 || !strings.Contains(s.Weaker[0], "old camera") {
		t.Errorf("weaker walls %q", s.Weaker)
	}
}

func TestMissingWallNeedsAReason(t *testing.T) {
	t.Parallel()
	m := running(t, Config{SandboxDisabled: "kernel 5.4"}, "missing wall")
	deadline := time.Now().Add(enough)
	for len(m.State().Walls.Missing) == 0 {
		if time.Now().After(deadline) {
			t.Fatalf("state %+v", m.State())
		}
		<-time.After(10 * time.Millisecond)
	}
	if s := m.State(); s.Faults != 0 || len(s.Weaker) != 1 {
		t.Errorf("state %+v", s)
	}
}

func TestFirstFingerprintIsKept(t *testing.T) {
	t.Parallel()
	cam := testCamera("rtsp://127.0.0.1:9/")
	cam.Pin = ""
	var kept []string
	m := running(t, Config{Camera: cam, OnPin: func(f string) error { kept = append(kept, f); return nil }}, "happy")
	untilFrames(t, m, 3)
	if s := m.State(); s.Pin != "camera one" || len(kept) != 1 || kept[0] != "camera one" {
		t.Errorf("kept %q, state %+v", kept, s)
	}
}

func TestFingerprintThatCannotBeKeptStopsTheCamera(t *testing.T) {
	t.Parallel()
	cam := testCamera("rtsp://127.0.0.1:9/")
	cam.Pin = ""
	m := running(t, Config{Camera: cam, OnPin: func(string) error { return errors.New("disk full") }}, "happy")
	until(t, m, "outage", func(f nvr.Frame, out *nvr.Outage) bool {
		if out == nil {
			t.Fatal("a frame came")
		}
		return strings.Contains(out.Detail, "cannot be stored: disk full")
	})
}

func TestOtherCameraIsShownObscured(t *testing.T) {
	t.Parallel()
	m := running(t, Config{}, "other camera, obscured")
	untilFrames(t, m, 5)
	if s := m.State(); !s.Differs || s.Fingerprint != "camera two" || s.Pin != "camera one" || s.Phase != Running {
		t.Errorf("state %+v", s)
	}
}

// A camera that never sent a picture that fits its mask has nothing to be pinned by, and staff must
// be told that it does not fit, not that the masker is at fault.
func TestObscuredFramesNeedNoReport(t *testing.T) {
	t.Parallel()
	m := running(t, Config{}, "obscured, nothing to report")
	untilFrames(t, m, 150) // longer than a report is waited for
	if s := m.State(); s.Faults != 0 || s.Phase != Running || s.Fingerprint != "" {
		t.Errorf("state %+v", s)
	}
}

// A camera that is switched off costs connections and no children, and its first connection is used.
func TestUnreachableCameraStartsNoChildren(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	m := running(t, Config{Camera: testCamera("rtsp://" + address + "/stream")}, "dial", address)
	untilOutage(t, m, nvr.CameraLost, "(connection refused): check the camera's power and cable")
	if s := m.State(); s.Starts != 1 {
		t.Errorf("%d children for a camera that is not there, want 1", s.Starts)
	}
	if l, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	untilFrames(t, m, 1)
	l.(*net.TCPListener).SetDeadline(time.Now().Add(enough))
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(enough))
	b := make([]byte, 7)
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "OPTIONS" {
		t.Errorf("the first connection says %q, %v", b, err)
	}
	if s := m.State(); s.Starts != 2 {
		t.Errorf("%d children, want 2", s.Starts)
	}
}

func TestTilesComeWhileSomebodyWatches(t *testing.T) {
	t.Parallel()
	m := running(t, Config{}, "tiles")
	untilFrames(t, m, 5)
	m.Watch(true)
	until(t, m, "tile", func(f nvr.Frame, _ *nvr.Outage) bool { return f.Stream == nvr.Tile })
	m.Watch(false)
	archive := 0
	until(t, m, "end of tiles", func(f nvr.Frame, _ *nvr.Outage) bool {
		if archive++; f.Stream == nvr.Tile {
			archive = 0
		}
		return archive == 20
	})
}

func TestRefusedLogInIsNotTriedAgainSoon(t *testing.T) {
	t.Parallel()
	m := running(t, Config{}, "refused")
	untilOutage(t, m, nvr.CameraLost, "wrong password ***[31m")
	s := m.State()
	if wait := s.Retry - monotonic(); s.Phase != Waiting || wait < 55*time.Second {
		t.Errorf("next attempt in %v, state %+v", wait, s)
	}
}

func TestChangedSSRCReconnectsWithinASecond(t *testing.T) {
	t.Parallel()
	m := running(t, Config{}, "new ssrc")
	var ended time.Duration
	until(t, m, "second run", func(_ nvr.Frame, out *nvr.Outage) bool {
		if out != nil && out.Detail == "SSRC changed" {
			ended = monotonic()
		}
		return out == nil && ended != 0
	})
	if took := monotonic() - ended; took > time.Second {
		t.Errorf("reconnected after %v", took)
	}
	untilOutage(t, m, nvr.CameraLost, "camera changes SSRC")
}

func TestForkStormIsBounded(t *testing.T) {
	t.Parallel()
	m := running(t, Config{}, "exit 3")
	start := monotonic()
	deadline := time.Now().Add(enough)
	for monotonic()-start < 2*time.Second {
		if time.Now().After(deadline) {
			t.Fatal("no clock")
		}
		<-time.After(50 * time.Millisecond)
	}
	if n := m.State().Starts; n < 2 || n > 4 {
		t.Errorf("%d children in two seconds", n)
	}
}

func TestProgramThatIsNotThereIsAFault(t *testing.T) {
	t.Parallel()
	m := New(Config{Camera: testCamera("rtsp://127.0.0.1/"), Exec: []string{"/nonexistent/masker"}})
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { _ = m.Run(ctx) })
	untilOutage(t, m, nvr.MaskerFault, "start a masker")
	cancel()
	group.Wait()
	untilOutage(t, m, nvr.RecorderStopped, "")
}

func TestSlowReaderLosesFramesAndIsToldOnce(t *testing.T) {
	t.Parallel()
	m := running(t, Config{}, "burst")
	deadline := time.Now().Add(enough)
	for m.State().Dropped == 0 {
		if time.Now().After(deadline) {
			t.Fatal("nothing was dropped")
		}
		<-time.After(5 * time.Millisecond)
	}
	overloads, broken := 0, false
	var last nvr.Frame
	until(t, m, "frames after the gap", func(f nvr.Frame, out *nvr.Outage) bool {
		switch {
		case out != nil && out.Cause == nvr.Overload:
			overloads++
		case out == nil:
			if last.NALs != nil && f.Seq != last.Seq+1 {
				broken = true
				if !f.Key || overloads != 1 {
					t.Errorf("after frame %d came %d, key %t, with %d outages", last.Seq, f.Seq, f.Key, overloads)
				}
			}
			last = f
		}
		return broken
	})
	if overloads != 1 {
		t.Errorf("%d overloads said", overloads)
	}
}

func TestWhatAChildSaysIsCleanedAndBounded(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var text bytes.Buffer
	m := running(t, Config{Log: slog.New(slog.NewTextHandler(writer(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return text.Write(b)
	}), nil))}, "talk")
	untilFrames(t, m, 50)
	mu.Lock()
	defer mu.Unlock()
	got := text.String()
	if strings.Contains(got, "hunter2") || strings.Contains(got, "\x1b") || !strings.Contains(got, "password ***") {
		t.Errorf("log: %.300s", got)
	}
	if n := strings.Count(got, "\n"); n > linesPerTurn+10 {
		t.Errorf("%d lines", n)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func TestSecretIsNotInStateOrConfigPrints(t *testing.T) {
	t.Parallel()
	m := running(t, Config{}, "refused")
	untilOutage(t, m, nvr.CameraLost, "wrong password")
	if s := fmt.Sprintf("%+v", m.State()); strings.Contains(s, "hunter2") {
		t.Errorf("state %s", s)
	}
}
