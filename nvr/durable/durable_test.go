package durable

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const childEnv = "CUSTODY_TEST_DURABLE_CHILD"

// TestMain lets the test binary be the process whose system calls are looked at.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := everything(dir); err != nil {
			println(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// everything calls each function once.
func everything(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := Create(root, "created")
	if err != nil {
		return err
	}
	defer f.Close()
	return errors.Join(SyncData(f), SyncFS(f), MkdirAll(root, "above/below"), WriteFile(root, "written", []byte("x")),
		Rename(root, "written", "above/renamed"), Remove(root, "above/renamed"))
}

// The comments in this package promise system calls; strace is the witness.
func TestSystemCallsAreThePromisedOnes(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed: the system calls are not looked at")
	}
	dir := t.TempDir()
	log := filepath.Join(t.TempDir(), "log")
	cmd := exec.Command(strace, "-f", "-y", "-o", log, "-e", "trace=openat,openat2,mkdirat,renameat,renameat2,unlinkat,fsync,fdatasync,syncfs", os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("strace does not work here (%v, %s): the system calls are not looked at", err, out)
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for l := range strings.Lines(string(b)) {
		_, call, _ := strings.Cut(strings.TrimSpace(l), " ")
		name, args, _ := strings.Cut(strings.TrimSpace(call), "(")
		if !strings.Contains(args, dir) || strings.HasPrefix(name, "openat") && !strings.Contains(args, "O_CREAT") || !done(args) && !strings.HasPrefix(name, "openat") {
			continue
		}
		what := args
		if i := strings.Index(args, "<"+dir); i >= 0 && !strings.Contains(args, `"`) {
			what = strings.TrimSuffix(strings.SplitN(args[i+1+len(dir):], ">", 2)[0], "/")
		} else if p := strings.SplitN(args, `"`, 3); len(p) == 3 {
			what = " " + p[1]
		}
		got = append(got, name+what)
	}
	want := []string{
		"openat created", "fsync", // Create
		"fdatasync/created", "syncfs/created",
		"mkdirat above", "fsync", "mkdirat below", "fsync/above", // MkdirAll
		"openat written.new", "fsync/written.new", "renameat written.new", "fsync", // WriteFile
		"renameat written", "fsync/above", "fsync", // Rename
		"unlinkat renamed", "fsync/above", // Remove
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("system calls are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// done reports whether a call succeeded, or was still running when another thread's came between.
func done(line string) bool {
	return strings.Contains(line, "= 0") || strings.HasSuffix(line, "<unfinished ...>")
}

func root(t *testing.T) *os.Root {
	t.Helper()
	r, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestCreateNeverOpensWhatIsThere(t *testing.T) {
	r := root(t)
	if err := WriteFile(r, "a", []byte("old")); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(r, "a"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("create: %v", err)
	}
}

func TestWriteFileReplacesInOneStep(t *testing.T) {
	r := root(t)
	for _, want := range []string{"old and long", "new"} {
		if err := WriteFile(r, "a", []byte(want)); err != nil {
			t.Fatal(err)
		}
		if b, err := r.ReadFile("a"); err != nil || string(b) != want {
			t.Errorf("file holds %q, %v", b, err)
		}
	}
	if _, err := r.Stat("a.new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("temporary file: %v", err)
	}
}

func TestNothingLeavesTheRoot(t *testing.T) {
	r := root(t)
	if err := r.Symlink("/tmp", "out"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../x", "/x", "out/x"} {
		if err := WriteFile(r, name, nil); err == nil {
			t.Errorf("wrote %s", name)
		}
		if err := MkdirAll(r, name+"/y"); err == nil {
			t.Errorf("made %s", name)
		}
	}
}

func TestLockIsExclusiveUntilClosed(t *testing.T) {
	r := root(t)
	l, err := Lock(r, "lock")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(r, "lock"); !errors.Is(err, ErrLocked) {
		t.Errorf("second lock: %v", err)
	}
	l.Close()
	if l, err = Lock(r, "lock"); err != nil {
		t.Errorf("lock after close: %v", err)
	}
	l.Close()
}
