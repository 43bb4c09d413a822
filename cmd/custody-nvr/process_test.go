package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"custody-nvr/configs"
	"custody-nvr/nvr"
)

// A process is the recorder as people start it: the real binary, in a process of its own.
type process struct {
	t    testing.TB
	addr string // of the wall
	cmd  *exec.Cmd
	talk *spoken
	end  func()
}

// startDemo runs a whole demo until the test ends.
func startDemo(t testing.TB, cells int) *process {
	t.Helper()
	return start(t, "demo", "--cells", strconv.Itoa(cells), "--listen", "127.0.0.1:0", "--dir", t.TempDir())
}

// startRun runs a suite until the test ends, or until stop or SIGKILL; the same dir and addr start
// it again. addr "" is any free port.
func startRun(t testing.TB, dir, addr string, cams ...rigCamera) *process {
	t.Helper()
	if addr == "" {
		addr = "127.0.0.1:" + freePort(t)
	}
	s := testSuite(dir, cams)
	s.Network = configs.Network{Listen: addr}
	path := filepath.Join(dir, "suite.yaml")
	if _, err := writeSuite(path, s); err != nil {
		t.Fatal(err)
	}
	return start(t, "run", "--config", path)
}

// testSuite is a suite file with one cell for each camera.
func testSuite(dir string, cams []rigCamera) *configs.Suite {
	s := &configs.Suite{
		Name: "Test suite", State: filepath.Join(dir, "state"),
		Network: configs.Network{Listen: "127.0.0.1:0"},
		Volumes: []configs.Volume{{ID: "one", Path: filepath.Join(dir, "one")}},
	}
	for i, c := range cams {
		id := fmt.Sprintf("cell-%02d", i+1)
		s.Cells = append(s.Cells, configs.Cell{ID: nvr.CellID(id), Name: fmt.Sprintf("Cell %d", i+1)})
		cam := configs.Camera{ID: nvr.CameraID(id), Cell: nvr.CellID(id), URL: c.url, Mask: c.mask}
		if c.edit != nil {
			c.edit(&cam)
		}
		s.Cameras = append(s.Cameras, cam)
	}
	return s
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func start(t testing.TB, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary(t), args...), talk: newSpoken()}
	p.cmd.Stdout, p.cmd.Stderr = p.talk, p.talk
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- p.cmd.Wait() }()
	p.end = sync.OnceFunc(func() {
		p.signal(syscall.SIGCONT)
		p.signal(syscall.SIGTERM)
		select {
		case <-gone:
		case <-time.After(20 * time.Second):
			p.signal(syscall.SIGKILL)
			t.Errorf("%q did not end within 20 s of SIGTERM\n%s", p.cmd.Args, p.talk)
		}
	})
	t.Cleanup(p.end)
	select {
	case p.addr = <-p.talk.wall:
	case err := <-gone:
		gone <- err
		t.Fatalf("%q ended: %v\n%s", p.cmd.Args, err, p.talk)
	case <-time.After(time.Minute):
		t.Fatalf("%q names no wall within a minute\n%s", p.cmd.Args, p.talk)
	}
	return p
}

// signal is sent to the recorder alone, not to its maskers. One that is gone does not mind.
func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// kill is what a power cut is to a process.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	p.end()
}

func (p *process) watch() *screen { return watchWall(p.t, p.addr) }

// A spoken keeps what a process says, and finds the address of the wall in it.
type spoken struct {
	wall chan string

	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
	told bool         // guarded by mu
}

func newSpoken() *spoken { return &spoken{wall: make(chan string, 1)} }

func (s *spoken) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(b)
	if s.told {
		return len(b), nil
	}
	if _, after, ok := strings.Cut(s.text.String(), "http://"); ok {
		if addr, _, ok := strings.Cut(after, "/"); ok {
			s.told = true
			s.wall <- addr
		}
	}
	return len(b), nil
}

func (s *spoken) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.text.Bytes()
	return string(b[max(0, len(b)-4000):])
}

// children are the processes that a process started, by what their command line ends in.
func (p *process) children(command string) []int {
	p.t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	var pids []int
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue // a thread that has ended
		}
		for _, f := range strings.Fields(string(b)) {
			line, err := os.ReadFile("/proc/" + f + "/cmdline")
			words := strings.Split(string(line), "\x00")
			if err != nil || len(words) < 2 || words[1] != command {
				continue
			}
			pid, err := strconv.Atoi(f)
			if err != nil {
				p.t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// resident is how much memory a process has now, and the most that it had, in MiB (proc(5)).
func resident(t testing.TB, pid int) (now, most float64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	field := func(name string) float64 {
		_, after, _ := strings.Cut(string(b), name+":")
		var kib float64
		if _, err := fmt.Sscan(after, &kib); err != nil {
			t.Fatalf("process %d has no %s: %v", pid, name, err)
		}
		return kib / 1024
	}
	return field("VmRSS"), field("VmHWM")
}

// processorTime is the user and system time of a process so far, of all its threads (proc(5)).
func processorTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), ") ") // the name may hold spaces
	f := strings.Fields(after)
	var ticks int64
	for _, i := range []int{11, 12} { // utime, stime
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100 // USER_HZ is 100 on every Linux
}
