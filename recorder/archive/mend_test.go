package archive

import (
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
