package archive

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"custody-nvr/nvr"
)

// A suite that is given another name keeps its index, and with it the details of its gaps.
func TestAnotherNameOfTheSuiteKeepsTheIndex(t *testing.T) {
	s := newStore(t, nil)
	s.second("cell-01")
	c := s.cams["cell-01"]
	c.feed.Gap(c.at, nvr.CameraLost, "no answer from the camera")
	s.now += 2 * time.Second
	c.at = epoch.Add(s.now)
	s.second("cell-01")
	s.crash()
	for _, name := range []string{"Testford West", "Testford West", "test"} {
		s.cfg = func(c *Config) { c.Suite = name }
		s.open()
		found := false
		for _, sp := range s.coverage("cell-01") {
			found = found || strings.Contains(sp.Detail, "no answer")
		}
		if !found {
			t.Errorf("as %q: the detail of the gap is gone", name)
		}
		s.crash()
	}
	if m, _ := filepath.Glob(filepath.Join(s.dir, "state", indexName+".broken-*")); len(m) != 0 {
		t.Errorf("set aside: %v", m)
	}
	s.check()
}

// A file that is removed while it is open is replaced at once, and staff are told.
func TestRemovedOpenFileIsReplacedAndTold(t *testing.T) {
	s := newStore(t, nil)
	for range 3 {
		s.second("cell-01")
	}
	c := s.cams["cell-01"]
	if w := c.feed.Trouble(); w != "" {
		t.Fatalf("trouble at the start: %s", w)
	}
	old := s.files("v1")[0]
	if err := os.Remove(old); err != nil {
		t.Fatal(err)
	}
	s.second("cell-01")
	if w := c.feed.Trouble(); !strings.Contains(w, "removed") {
		t.Errorf("a second later: %q", w)
	}
	if got := causes(s.coverage("cell-01")); !strings.Contains(got, "footage damaged on disk:3, recorded:1") {
		t.Errorf("coverage is %s", got)
	}
	if f := s.files("v1"); len(f) != 1 || f[0] == old {
		t.Errorf("files %v", f)
	}
	for range 40 {
		s.second("cell-01")
	}
	if w := c.feed.Trouble(); w != "" {
		t.Errorf("40 s later: %q", w)
	}
	s.crash()
}

func TestLostIdentityOfTheVolumeIsTold(t *testing.T) {
	s := newStore(t, nil)
	s.second("cell-01")
	file := filepath.Join(s.dir, "v1", identityFile)
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		s.second("cell-01")
	}
	c := s.cams["cell-01"]
	if w := c.feed.Trouble(); !strings.Contains(w, "lost its name") {
		t.Errorf("10 s later: %q", w)
	}
	if err := os.Rename(file+".away", file); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		s.second("cell-01")
	}
	if w := c.feed.Trouble(); w != "" {
		t.Errorf("10 s after it is back: %q", w)
	}
	s.crash()
	s.check()
}

// full refuses all writes while it is on.
type full struct {
	disk
	on bool
}

func (d *full) Create(name string) (file, error) {
	f, err := d.disk.Create(name)
	if err != nil {
		return nil, err
	}
	return &fullFile{f.(*osFile), d}, nil
}

func (d *full) Sync(files []file) error {
	var l []file
	for _, f := range files {
		l = append(l, f.(*fullFile).osFile)
	}
	return d.disk.Sync(l)
}

type fullFile struct {
	*osFile
	d *full
}

func (f *fullFile) WriteAt(b []byte, off int64) (int, error) {
	if f.d.on {
		return 0, &os.PathError{Op: "write", Path: f.name, Err: unix.ENOSPC}
	}
	return f.osFile.WriteAt(b, off)
}

func TestFullDiskIsToldUntilPicturesReachItAgain(t *testing.T) {
	d := &full{}
	s := newStore(t, func(c *Config) { c.wrap = func(in disk) disk { d.disk = in; return d } })
	s.second("cell-01")
	c := s.cams["cell-01"]
	d.on = true
	lost := 0
	for i := range 40 {
		s.now += time.Second
		if c.feed.Write(c.piece()) != nil && lost == 0 {
			lost = i
			c.feed.Gap(c.at, nvr.DiskFault, "disk full")
		}
		s.tick()
		if w := c.feed.Trouble(); w != "disk fault: no space left on device" {
			t.Fatalf("after %d s: %q", i+1, w)
		}
	}
	if lost == 0 {
		t.Error("nothing was lost in 40 s")
	}
	d.on = false
	for range 5 {
		s.now += time.Second
		s.tick()
	}
	if w := c.feed.Trouble(); w != "" {
		t.Errorf("5 s after there is space: %q", w)
	}
	s.crash()
}

// A disk that hangs has no fault to tell, only a queue that grows.
func TestHangingDiskIsTold(t *testing.T) {
	s := newStore(t, nil)
	c := s.source("cell-01")
	for range 11 {
		if err := c.feed.Write(c.piece()); err != nil {
			t.Fatal(err)
		}
	}
	if w := c.feed.Trouble(); !strings.Contains(w, "too slow") {
		t.Errorf("11 s wait for the disk: %q", w)
	}
	s.tick()
	if w := c.feed.Trouble(); w != "" {
		t.Errorf("written: %q", w)
	}
	s.crash()
}

// rebuilt opens the archive with an index that is built from the files alone.
func (s *store) rebuilt(cam nvr.CameraID) string {
	s.t.Helper()
	if err := os.Remove(filepath.Join(s.dir, "state", indexName)); err != nil {
		s.t.Fatal(err)
	}
	s.open()
	defer s.crash()
	return causes(s.coverage(cam))
}

func TestDamagedAndRemovedFilesHaveTheirOwnCause(t *testing.T) {
	remove := func(t *testing.T, files ...string) {
		for _, f := range files {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	spoil := func(t *testing.T, file string, at int64) {
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte{1, 2, 3, 4, 5, 6}, at); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		harm    func(t *testing.T, files []string)
		rebuild string
		plain   string
	}{
		{"nothing", func(*testing.T, []string) {}, "recorded:40", "recorded:40"},
		{"six bytes in the middle", func(t *testing.T, f []string) { spoil(t, f[1], 12000) },
			"recorded:14, footage damaged on disk:1, recorded:25", "recorded:40"},
		{"a header", func(t *testing.T, f []string) { spoil(t, f[1], 100) },
			"recorded:10, footage damaged on disk:10, recorded:20", "recorded:40"},
		{"a file in the middle is gone", func(t *testing.T, f []string) { remove(t, f[1]) },
			"recorded:10, footage damaged on disk:10, recorded:20", "recorded:10, footage damaged on disk:10, recorded:20"},
		{"two files in the middle are gone", func(t *testing.T, f []string) { remove(t, f[1], f[2]) },
			"recorded:10, footage damaged on disk:20, recorded:10", "recorded:10, footage damaged on disk:20, recorded:10"},
		{"the end of a sealed file", func(t *testing.T, f []string) {
			st, err := os.Stat(f[1])
			if err != nil {
				t.Fatal(err)
			}
			spoil(t, f[1], st.Size()-200)
		}, "recorded:19, footage damaged on disk:1, recorded:20", "recorded:40"},
		{"a file is cut short", func(t *testing.T, f []string) {
			if err := os.Truncate(f[1], 12000); err != nil {
				t.Fatal(err)
			}
		}, "recorded:14, footage damaged on disk:6, recorded:20", "recorded:14, footage damaged on disk:6, recorded:20"},
		{"the file that was open is gone", func(t *testing.T, f []string) { remove(t, f[3]) },
			"recorded:30", "recorded:30, footage damaged on disk:10"},
		{"the first file is gone", func(t *testing.T, f []string) { remove(t, f[0]) },
			"footage damaged on disk:10, recorded:30", "footage damaged on disk:10, recorded:30"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t, func(c *Config) { c.Length = 10 * time.Second })
			cam := nvr.CameraID("cell-01")
			phase := int64(place(cam) % uint64(10*time.Second))
			s.now = time.Duration((int64(10*time.Second)-(epoch.UnixNano()+phase)%int64(10*time.Second))%int64(10*time.Second)) - time.Second
			for range 40 {
				s.second(cam)
			}
			files := s.files("v1")
			if len(files) != 4 {
				t.Fatalf("%d files", len(files))
			}
			s.crash()
			c.harm(t, files)
			s.open()
			if err := s.a.Check(); (err == nil) != (c.name == "nothing") {
				t.Errorf("check: %v", err)
			}
			tail := func(got string) string {
				_, got, _ = strings.Cut(got, ", ")
				got, _, _ = strings.Cut(got, ", recorder stopped")
				return got
			}
			if got := tail(causes(s.coverage(cam))); got != c.plain {
				t.Errorf("normal start: %s, want %s", got, c.plain)
			}
			s.crash()
			if got := tail(s.rebuilt(cam)); got != c.rebuild {
				t.Errorf("rebuilt: %s, want %s", got, c.rebuild)
			}
		})
	}
}

// One line at the start says what a rebuild found.
func TestRebuildSaysWhatItFound(t *testing.T) {
	var log bytes.Buffer
	s := newStore(t, func(c *Config) { c.Length = 4 * time.Second; c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	for range 20 {
		s.second("cell-01")
	}
	files := s.files("v1")
	s.crash()
	b, err := os.ReadFile(files[1])
	if err != nil {
		t.Fatal(err)
	}
	copy(b[4000:], "spoilt")
	if err := errors.Join(os.WriteFile(files[1], b, 0o600), os.Remove(files[3])); err != nil {
		t.Fatal(err)
	}
	s.open()
	s.crash()
	if !strings.Contains(log.String(), "footage on disk: 0 files damaged, 1 missing") {
		t.Errorf("normal start: %s", log.String())
	}
	s.rebuilt("cell-01")
	if want := fmt.Sprintf("index rebuilt from %d files, 1 damaged, 1 missing", len(files)-1); !strings.Contains(log.String(), want) {
		t.Errorf("rebuild: no %q in %s", want, log.String())
	}
}
