package sandbox

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"custody-nvr/privacy/hangtest"
	"custody-nvr/privacy/wire"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The tests run this test binary again as a child, which raises walls for good.
const childEnv = "CUSTODY_SANDBOX_TEST"

// order is what a child is asked to do; answer is what came of it.
type order struct {
	Do    string
	Walls Walls
}

type answer struct {
	Report  Report
	Enforce string // the error
	Missing []string
	Probe   string // the error
	Gave    []string
	Work    string
	Data    string
}

func TestMain(m *testing.M) {
	if o := os.Getenv(childEnv); o != "" {
		child(o)
		return
	}
	goleak.VerifyTestMain(m)
}

func child(text string) {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		panic(err)
	}
	var control *wire.Child
	if o.Do == "work" {
		var err error
		if control, err = wire.Inherit(wire.ControlFD, os.Exit); err != nil {
			panic(err)
		}
	}
	started := make(chan struct{})
	for range 4 { // threads that are there before the walls
		go func() {
			runtime.LockOSThread()
			started <- struct{}{}
			select {}
		}()
		<-started
	}
	var a answer
	if o.Do != "control" {
		rep, err := Enforce(o.Walls)
		a.Report = rep
		if err != nil {
			a.Enforce = err.Error()
		}
		if m, ok := errors.AsType[*Missing](err); ok {
			a.Missing = m.Walls
		}
	}
	switch o.Do {
	case "probe", "control":
		if err := Probe(os.Getppid()); err != nil {
			a.Probe = err.Error()
		}
		for _, p := range probes {
			for _, err := range p.try(os.Getppid()) {
				if !refused(err) {
					a.Gave = append(a.Gave, p.name)
					break
				}
			}
		}
	case "exec":
		err := unix.Exec("/bin/sh", []string{"sh", "-c", "echo escaped"}, nil)
		a.Work = err.Error()
	case "status":
		lists, err := filepath.Glob("/proc/self/task/*/status")
		if err != nil {
			panic(err)
		}
		for _, list := range append(lists, "/proc/self/oom_score_adj") {
			b, err := os.ReadFile(list)
			if err != nil {
				panic(err)
			}
			a.Work += string(b)
		}
	case "work":
		if err := work(control); err != nil {
			a.Work = err.Error()
		}
	}
	out, err := json.Marshal(a)
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(out)
	os.Exit(0)
}

// work does what a masker does: garbage collection, timers, goroutines, threads of Go and of C,
// TLS over a socket that was handed over.
func work(control *wire.Child) error {
	conn, err := control.Dial(context.Background(), "tcp", "camera")
	if err != nil {
		return err
	}
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // the wall is tested, not the certificate
	if _, err := io.WriteString(secure, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return err
	}
	body, err := io.ReadAll(secure)
	if err != nil || !strings.HasSuffix(string(body), "hello") {
		return fmt.Errorf("answer %q, %v", body, err)
	}
	secure.Close()
	var group sync.WaitGroup
	var mu sync.Mutex
	good := 0
	for range 12 {
		group.Go(func() {
			runtime.LockOSThread() // and end with the thread locked, so that it dies
			garbage := [][]byte{}
			for range 64 {
				garbage = append(garbage, make([]byte, 64<<10))
			}
			runtime.GC()
			<-time.After(time.Millisecond)
			n := hangtest.Threads(4)
			mu.Lock()
			good += n + len(garbage)
			mu.Unlock()
		})
	}
	group.Wait()
	if good != 12*(64+4) {
		return fmt.Errorf("%d of %d threads worked", good, 12*(64+4))
	}
	return control.Send(wire.ToParent{Status: &wire.Status{}})
}

// run starts a child and returns its answer.
func run(t *testing.T, o order, extra ...*os.File) (answer, string) {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = []string{childEnv + "=" + string(text), "GODEBUG=containermaxprocs=0,updatemaxprocs=0"}
	cmd.ExtraFiles = extra
	var talk strings.Builder
	cmd.Stderr = &talk
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("child: %v\n%s", err, talk.String())
	}
	var a answer
	if err := json.Unmarshal(out, &a); err != nil {
		return answer{}, string(out)
	}
	return a, string(out)
}

func kernelLandlock() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

func needLandlock(t *testing.T, level int) {
	t.Helper()
	if got := kernelLandlock(); got < level {
		t.Skipf("this kernel has Landlock level %d, the test needs %d", got, level)
	}
}

// Also as root, no thread keeps a capability, and the kernel takes a masker before the recorder.
func TestNoThreadKeepsACapability(t *testing.T) {
	a, _ := run(t, order{Do: "status", Walls: Walls{NoSeccomp: true, NoLandlock: true, Keep: []int{}}})
	threads := 0
	for line := range strings.Lines(a.Work) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "CapInh", "CapPrm", "CapEff", "CapAmb":
			threads++
			if strings.Trim(value, " \t0") != "" {
				t.Errorf("a thread has %s", line)
			}
		case "CapBnd":
			if os.Getuid() == 0 && strings.Trim(value, " \t0") != "" {
				t.Errorf("a thread has %s", line)
			}
		}
	}
	if threads < 4*5 || !strings.HasSuffix(a.Work, "\n800\n") {
		t.Errorf("%d lines of capabilities, the last of all is %q", threads, a.Work[max(0, len(a.Work)-8):])
	}
}

func TestTwelveEscapesAreRefused(t *testing.T) {
	for _, abi := range []int{0, 2, 7} {
		t.Run(fmt.Sprintf("landlock %d", abi), func(t *testing.T) {
			needLandlock(t, abi)
			a, _ := run(t, order{Do: "probe", Walls: Walls{LandlockABI: abi, Keep: []int{}}})
			if a.Enforce != "" || a.Probe != "" || len(a.Gave) > 0 {
				t.Errorf("enforce %q, probe %q, gave %v", a.Enforce, a.Probe, a.Gave)
			}
			if !a.Report.Seccomp || a.Report.Landlock != abi {
				t.Errorf("report %+v", a.Report)
			}
		})
	}
	if len(probes) != 12 {
		t.Errorf("%d probes", len(probes))
	}
}

func TestFileEscapesAreRefusedByLandlockAlone(t *testing.T) {
	for _, abi := range []int{2, 7} {
		t.Run(fmt.Sprintf("landlock %d", abi), func(t *testing.T) {
			needLandlock(t, abi)
			a, _ := run(t, order{Do: "probe", Walls: Walls{LandlockABI: abi, NoSeccomp: true, Keep: []int{}}})
			if a.Enforce != "" || slices.Contains(a.Gave, "read") || slices.Contains(a.Gave, "write") {
				t.Errorf("enforce %q, probe %q", a.Enforce, a.Probe)
			}
			if !slices.Contains(a.Gave, "socket") {
				t.Error("sockets are refused too: seccomp was not left out")
			}
		})
	}
}

// Without walls the probes must get through, or their refusal would mean nothing.
func TestProbesGetThroughWithoutWalls(t *testing.T) {
	a, _ := run(t, order{Do: "control"})
	for _, p := range probes {
		byRootOnly := p.name == "bpf and io_uring"
		if !slices.Contains(a.Gave, p.name) && !(byRootOnly && os.Getuid() != 0) {
			t.Errorf("%s is refused without walls", p.name)
		}
	}
	if a.Probe == "" {
		t.Error("Probe found nothing")
	}
}

func TestNoOtherProgramRuns(t *testing.T) {
	if a, _ := run(t, order{Do: "exec", Walls: Walls{LandlockABI: 0, Keep: []int{}}}); a.Work != unix.EPERM.Error() {
		t.Errorf("exec: %q", a.Work)
	}
	if _, out := run(t, order{Do: "exec", Walls: Walls{NoSeccomp: true, Keep: []int{}}}); out != "escaped\n" {
		t.Errorf("without walls: %q", out)
	}
}

func TestMaskersWorkGoesOnInside(t *testing.T) {
	for _, w := range []Walls{{LandlockABI: -1}, {LandlockABI: 0}, {LandlockABI: -1, UDP: true}} {
		t.Run(fmt.Sprintf("%+v", w), func(t *testing.T) {
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
			defer server.Close()
			parent, end, err := wire.Pair()
			if err != nil {
				t.Fatal(err)
			}
			nothing, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			defer nothing.Close()
			served := make(chan error, 1)
			go func() { served <- handOver(parent, server.Listener.Addr().String()) }()
			a, _ := run(t, order{Do: "work", Walls: w}, nothing, end)
			end.Close()
			parent.Close()
			if err := <-served; err != nil || a.Work != "" || a.Enforce != "" {
				t.Errorf("parent %v, enforce %q, child %q", err, a.Enforce, a.Work)
			}
		})
	}
}

// handOver answers one dial and waits for the status that ends the child's work.
func handOver(parent *wire.Parent, address string) error {
	m, err := parent.Receive()
	if err != nil || m.Dial == nil {
		return fmt.Errorf("%+v, %v", m, err)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := parent.Send(wire.ToChild{Answer: &wire.Answer{ID: m.Dial.ID}}, conn.(*net.TCPConn)); err != nil {
		return err
	}
	conn.Close()
	if m, err = parent.Receive(); err != nil || m.Status == nil {
		return fmt.Errorf("%+v, %v", m, err)
	}
	return nil
}

func TestOtherDescriptorsAreClosed(t *testing.T) {
	secret, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	a, _ := run(t, order{Do: "probe", Walls: Walls{Keep: []int{3}}}, secret, secret, secret)
	// Whatever started the tests may have left more open; that is closed too.
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	closed := slices.DeleteFunc(a.Report.Closed, func(s string) bool { return s != self })
	if len(closed) != 2 || a.Enforce != "" {
		t.Errorf("closed %v, enforce %q", a.Report.Closed, a.Enforce)
	}
}

func TestMissingLandlockIsSaid(t *testing.T) {
	a, _ := run(t, order{Do: "probe", Walls: Walls{LandlockABI: kernelLandlock() + 1, Keep: []int{}}})
	if len(a.Missing) != 1 || !strings.Contains(a.Missing[0], "landlock") || !a.Report.Seccomp || a.Probe != "" {
		t.Errorf("%+v", a)
	}
}

func TestPossibleSwapIsAMissingWall(t *testing.T) {
	const head = "Filename\tType\tSize\tUsed\tPriority\n"
	const active = head + "/dev/sda2 partition 1 0 -2\n"
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for _, c := range []struct {
		name string
		root fstest.MapFS
		want bool
	}{
		{"kernel without swap", fstest.MapFS{}, false},
		{"none active", fstest.MapFS{"proc/swaps": file(head)}, false},
		{"active", fstest.MapFS{"proc/swaps": file(active)}, true},
		{"active, cgroup unknown", fstest.MapFS{"proc/swaps": file(active), "proc/self/cgroup": file("0::/a/b\n")}, true},
		{"active, cgroup allows", fstest.MapFS{"proc/swaps": file(active), "proc/self/cgroup": file("0::/a\n"), "sys/fs/cgroup/a/memory.swap.max": file("max\n")}, true},
		{"active, own cgroup forbids", fstest.MapFS{"proc/swaps": file(active), "proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/b/memory.swap.max": file("0\n")}, false},
		{"active, group above forbids", fstest.MapFS{"proc/swaps": file(active), "proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/memory.swap.max": file("0\n")}, false},
		{"active, old cgroups", fstest.MapFS{"proc/swaps": file(active), "proc/self/cgroup": file("4:memory:/a\n")}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, why := swapPossible(c.root)
			if got != c.want || got == (why == "") {
				t.Errorf("%t %q, want %t", got, why, c.want)
			}
		})
	}
}
