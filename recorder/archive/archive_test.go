package archive

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"custody-nvr/nvr"
	"custody-nvr/nvr/durable"
	"custody-nvr/recorder/frametest"
	"custody-nvr/recorder/segment"
	"custody-nvr/recorder/stamp"
)

var epoch = time.Date(2026, 3, 28, 23, 50, 0, 0, time.UTC)

// store is an archive in a test, with a clock that the test moves and ticks that it calls.
type store struct {
	t    testing.TB
	dir  string
	now  time.Duration // since epoch, of both clocks
	a    *Archive
	cams map[nvr.CameraID]*source
	cfg  func(*Config)
}

// source makes the pieces of one camera.
type source struct {
	m    *frametest.Maker
	feed *Feed
	seq  uint64
	next nvr.Frame
	at   time.Time
}

func newStore(t testing.TB, cfg func(*Config)) *store {
	t.Helper()
	s := &store{t: t, dir: t.TempDir(), cfg: cfg}
	for _, d := range []string{"state", "v1", "v2"} {
		if err := os.Mkdir(filepath.Join(s.dir, d), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	s.open()
	return s
}

func (s *store) config() Config {
	c := Config{State: filepath.Join(s.dir, "state"), Volumes: []string{filepath.Join(s.dir, "v1")}, Suite: "test",
		Clock: nvr.Clock{Wall: func() time.Time { return epoch.Add(s.now) }, Mono: func() time.Duration { return s.now + time.Hour }},
		Log:   slog.New(slog.NewTextHandler(io.Discard, nil))}
	if s.cfg != nil {
		s.cfg(&c)
	}
	return c
}

func (s *store) open() {
	s.t.Helper()
	a, err := Open(s.config())
	if err != nil {
		s.t.Fatal(err)
	}
	s.a, s.cams = a, map[nvr.CameraID]*source{}
}

// crash lets go of everything as a dead process does: nothing more is written.
func (s *store) crash() {
	s.t.Helper()
	if err := s.a.release(); err != nil {
		s.t.Fatal(err)
	}
}

// check reopens the archive, which must be closed or crashed, and verifies everything; once more
// with an index rebuilt from the files alone, which must tell the same.
func (s *store) check() {
	s.t.Helper()
	s.open()
	want := s.recorded()
	if err := s.a.Check(); err != nil {
		s.t.Errorf("check: %v", err)
	}
	s.noSteps()
	s.crash()
	if err := os.Rename(filepath.Join(s.dir, "state", indexName), filepath.Join(s.dir, "state", "old.db")); err != nil {
		s.t.Fatal(err)
	}
	s.open()
	if err := s.a.Check(); err != nil {
		s.t.Errorf("check after a rebuild: %v", err)
	}
	s.noSteps()
	if got := s.recorded(); got != want {
		s.t.Errorf("after a rebuild there is\n%s\nbefore it was\n%s", got, want)
	}
	s.crash()
}

// noSteps requires that recovery took nothing for a clock that was set: under one, overlaps would pass.
func (s *store) noSteps() {
	s.t.Helper()
	err := s.a.index.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bSteps).ForEach(func(cam, _ []byte) error {
			return fmt.Errorf("camera %s has a clock step", cam)
		})
	})
	if err != nil {
		s.t.Error(err)
	}
}

// recorded tells what footage there is, without the causes of gaps.
func (s *store) recorded() string {
	s.t.Helper()
	cams, err := s.a.Cameras()
	if err != nil {
		s.t.Fatal(err)
	}
	var b strings.Builder
	for _, cam := range cams {
		for _, c := range s.coverage(cam) {
			if !c.Cause.IsMissing() {
				fmt.Fprintf(&b, "%s %s %s %s\n", cam, c.From.Format(time.RFC3339Nano), c.To.Format(time.RFC3339Nano), c.Cause)
			}
		}
	}
	return b.String()
}

func (s *store) coverage(cam nvr.CameraID) []Span {
	s.t.Helper()
	list, err := s.a.Coverage(cam, epoch.Add(-time.Hour), epoch.Add(1000*time.Hour))
	if err != nil {
		s.t.Fatal(err)
	}
	return list
}

func (s *store) source(cam nvr.CameraID) *source {
	s.t.Helper()
	c := s.cams[cam]
	if c != nil {
		return c
	}
	f, err := s.a.Feed(cam)
	if err != nil {
		s.t.Fatal(err)
	}
	c = &source{m: frametest.New(s.t), feed: f, at: epoch.Add(s.now)}
	c.next = c.m.Next(s.now)
	s.cams[cam] = c
	return c
}

// piece makes the next second of a camera.
func (c *source) piece() *Piece {
	fr := c.next
	p := &Piece{Size: fr.Size, SPS: fr.SPS, PPS: fr.PPS, MaskVersion: 1, Fragment: segment.Fragment{Run: fr.Run, Seq: c.seq, FirstFrame: fr.Seq,
		Clock: stamp.Synced, Obscured: fr.Obscured, Mask: fr.Mask, Start: c.at, End: c.at.Add(time.Second), Mono: fr.Arrived, Media: segment.Ticks(fr.PTS)}}
	for range frametest.Rate {
		p.Fragment.Samples = append(p.Fragment.Samples, segment.Sample{Duration: 18000, Key: c.next.Key, Data: segment.SampleData(c.next.NALs)})
		c.next = c.m.Next(c.next.Arrived + c.m.Spacing)
	}
	c.seq++
	c.at = p.Fragment.End
	return p
}

// second lets one second pass: every camera gives a piece, then every volume and the index tick.
func (s *store) second(cams ...nvr.CameraID) {
	s.t.Helper()
	s.now += time.Second
	for _, cam := range cams {
		if err := s.source(cam).feed.Write(s.source(cam).piece()); err != nil {
			s.t.Fatal(err)
		}
	}
	s.tick()
}

func (s *store) tick() {
	s.t.Helper()
	for _, v := range s.a.volumes {
		v.tick(false)
	}
	if err := s.a.index.commit(epoch.Add(s.now)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *store) files(volume string) (list []string) {
	s.t.Helper()
	root := filepath.Join(s.dir, volume)
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if strings.HasSuffix(p, ".mp4") {
			list = append(list, p)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return list
}

// causes writes coverage as "cause:seconds ...".
func causes(list []Span) string {
	var p []string
	for _, s := range list {
		p = append(p, fmt.Sprintf("%s:%g", s.Cause, s.To.Sub(s.From).Seconds()))
	}
	return strings.Join(p, ", ")
}

func TestEverySecondHasFootageOrACause(t *testing.T) {
	s := newStore(t, nil)
	cam := nvr.CameraID("cell-01")
	c := s.source(cam)
	c.feed.Gap(c.at, nvr.CameraLost, "waiting")
	s.now += 2 * time.Second
	c.at = epoch.Add(s.now)
	for range 3 {
		s.second(cam)
	}
	c.next.Obscured, c.m.Obscured = nvr.ObscuredDamaged, nvr.ObscuredDamaged
	s.second(cam)
	s.second(cam)
	c.next.Obscured, c.m.Obscured = nvr.Recorded, nvr.Recorded
	s.second(cam)
	c.feed.Gap(c.at, nvr.MaskerFault, "crashed")
	s.now += 4 * time.Second
	c.feed.Gap(epoch.Add(s.now), nvr.CameraLost, "no answer")
	s.now += time.Second
	c.at = epoch.Add(s.now)
	s.second(cam)
	got := causes(s.coverage(cam))
	want := "not in service:3600, camera lost:2, recorded:3, obscured: damaged picture:2, recorded:1, masker fault:4, camera lost:1, recorded:1"
	if got != want {
		t.Errorf("coverage is\n%s, want\n%s", got, want)
	}
	s.crash()
	s.now += 7 * time.Second
	s.open()
	s.source(cam).feed.Gap(epoch.Add(s.now), nvr.CameraLost, "waiting")
	s.now += time.Second
	s.tick()
	if got := causes(s.coverage(cam)); got != want+", recorder stopped:7, camera lost:1" {
		t.Errorf("after a crash coverage is %s", got)
	}
	s.crash()
	s.check()
}

// DESIGN section 3 step 9: forty cameras cost one write each and one sync a tick.
func TestFortyCamerasCostOneWriteEachAndOneSyncATick(t *testing.T) {
	n := &counter{}
	s := newStore(t, func(c *Config) { c.wrap = func(d disk) disk { n.disk = d; return n } })
	var cams []nvr.CameraID
	for i := range 40 {
		cams = append(cams, nvr.CameraID(fmt.Sprintf("cell-%02d", i)))
	}
	s.second(cams...)
	*n = counter{disk: n.disk}
	before := s.a.index.db.Stats()
	const ticks = 30
	for range ticks {
		s.second(cams...)
	}
	st := s.a.index.db.Stats()
	d := st.Sub(&before)
	writes := float64(n.writes+int(d.TxStats.GetWrite())) / (40 * ticks)
	syncs := float64(n.syncs+2*ticks) / (40 * ticks) // bbolt: one for the data, one for the meta page
	t.Logf("per camera and second: %.3f writes (%d to segments, %d pages of the index), %.3f flushes", writes, n.writes, d.TxStats.GetWrite(), syncs)
	if n.writes > 40*ticks+40 || writes > 1.15 || syncs > 0.15 {
		t.Error("too many")
	}
	s.crash()
	s.check()
}

// counter counts calls.
type counter struct {
	disk
	writes, syncs, creates int
}

func (c *counter) Create(name string) (file, error) {
	c.creates++
	f, err := c.disk.Create(name)
	if err != nil {
		return nil, err
	}
	return &countedFile{f.(*osFile), c}, nil
}

func (c *counter) Sync(files []file) error {
	c.syncs++
	var l []file
	for _, f := range files {
		l = append(l, f.(*countedFile).osFile)
	}
	return c.disk.Sync(l)
}

type countedFile struct {
	*osFile
	c *counter
}

func (f *countedFile) WriteAt(b []byte, off int64) (int, error) {
	f.c.writes++
	return f.osFile.WriteAt(b, off)
}

// faulty fails chosen calls, in one of three ways.
type faulty struct {
	disk
	fail  string // "create", "write" or "sync"
	at    int    // the at-th such call
	way   string // "not done", "half done" or "done"
	n     map[string]int
	given map[string]bool // files that had an error: any further write is a broken rule
	t     testing.TB
}

var errDisk = errors.New("injected: input/output error")

func (d *faulty) hit(call string) bool {
	d.n[call]++
	return d.fail == call && d.n[call] == d.at
}

func (d *faulty) Create(name string) (file, error) {
	if !d.hit("create") {
		f, err := d.disk.Create(name)
		if err != nil {
			return nil, err
		}
		return &faultyFile{f.(*osFile), d}, nil
	}
	if d.way != "not done" {
		f, err := d.disk.Create(name)
		if err == nil {
			f.Close()
		}
	}
	return nil, errDisk
}

func (d *faulty) Sync(files []file) error {
	hit := d.hit("sync")
	var l []file
	for _, f := range files {
		if d.given[f.Name()] {
			d.t.Errorf("%s is synced again after an error", f.Name())
		}
		if hit {
			d.given[f.Name()] = true
		}
		l = append(l, f.(*faultyFile).osFile)
	}
	if hit && d.way == "not done" {
		return errDisk
	}
	err := d.disk.Sync(l)
	if hit {
		return errDisk
	}
	return err
}

type faultyFile struct {
	*osFile
	d *faulty
}

func (f *faultyFile) WriteAt(b []byte, off int64) (int, error) {
	if f.d.given[f.name] {
		f.d.t.Errorf("%s is written again after an error", f.name)
	}
	if !f.d.hit("write") {
		return f.osFile.WriteAt(b, off)
	}
	f.d.given[f.name] = true
	n := map[string]int{"not done": 0, "half done": len(b) / 2, "done": len(b)}[f.d.way]
	if _, err := f.osFile.WriteAt(b[:n], off); err != nil {
		return 0, err
	}
	return n, errDisk
}

// F-05: after an error a file is never touched again, and no picture is lost.
func TestDiskErrorCostsTheFileButNoPicture(t *testing.T) {
	for _, fail := range []string{"create", "write", "sync"} {
		for _, way := range []string{"not done", "half done", "done"} {
			for _, at := range []int{1, 3, 6} {
				t.Run(fmt.Sprintf("%s %s %d", fail, way, at), func(t *testing.T) {
					t.Parallel()
					s := newStore(t, func(c *Config) {
						c.Length = 4 * time.Second // seals are in it
						c.wrap = func(d disk) disk {
							return &faulty{disk: d, fail: fail, at: at, way: way, n: map[string]int{}, given: map[string]bool{}, t: t}
						}
					})
					for range 12 {
						s.second("cell-01", "cell-02")
					}
					s.now += 3 * time.Second
					s.tick()
					for _, cam := range []nvr.CameraID{"cell-01", "cell-02"} {
						if got := causes(s.coverage(cam)); got != "not in service:3601, recorded:12" && got != "not in service:3600, recorded:12" {
							t.Errorf("%s: coverage is %s", cam, got)
						}
					}
					s.crash()
					s.cfg = func(c *Config) { c.Length = 4 * time.Second }
					s.check()
				})
			}
		}
	}
}

// F-17: a disk that stands still costs nobody else a picture, and its own camera none for 30 s.
func TestSlowDiskCostsNoOtherCamera(t *testing.T) {
	gate := make(chan struct{})
	slowFirst := true
	s := newStore(t, func(c *Config) {
		c.Volumes = append(c.Volumes, strings.Replace(c.Volumes[0], "v1", "v2", 1))
		c.wrap = func(d disk) disk {
			if slowFirst {
				slowFirst = false
				return &gated{d, gate}
			}
			return d
		}
	})
	var slow, fast nvr.CameraID
	for i := 0; slow == "" || fast == ""; i++ {
		cam := nvr.CameraID(fmt.Sprintf("cell-%02d", i))
		s.source(cam)
		if slices.Contains(s.a.volumes[0].feeds, s.cams[cam].feed) {
			slow = cam
		} else {
			fast = cam
		}
	}
	if err := s.cams[slow].feed.Write(s.cams[slow].piece()); err != nil {
		t.Fatal(err)
	}
	s.a.volumes[0].mono = func() time.Duration { return time.Hour } // the test moves the other clock meanwhile
	var wg sync.WaitGroup
	wg.Go(func() { s.a.volumes[0].tick(false) }) // stands in Sync until the gate opens
	lost := 0
	for i := range 40 {
		s.now += time.Second
		if err := s.cams[fast].feed.Write(s.cams[fast].piece()); err != nil {
			t.Fatal(err)
		}
		s.a.volumes[1].tick(false)
		if err := s.a.index.commit(epoch.Add(s.now)); err != nil {
			t.Fatal(err)
		}
		p := s.cams[slow].piece()
		err := s.cams[slow].feed.Write(p)
		if out, ok := nvr.AsOutage(err); err != nil && (!ok || out.Cause != nvr.Overload) {
			t.Fatalf("full queue: %v", err)
		}
		if err != nil {
			if lost++; lost == 1 && i < 28 {
				t.Errorf("queue is full after %d s", i)
			}
			if lost == 1 {
				s.cams[slow].feed.Gap(p.Fragment.Start, nvr.Overload, "disk too slow")
			}
		}
	}
	if lost < 10 {
		t.Errorf("queue took %d s", 40-lost)
	}
	if got := causes(s.coverage(fast)); got != "not in service:3600, recorded:40" {
		t.Errorf("the other camera: %s", got)
	}
	close(gate)
	wg.Wait()
	s.tick()
	if got := causes(s.coverage(slow)); !strings.HasPrefix(got, "not in service:3600, recorded:30, recorder overloaded:10") {
		t.Errorf("camera of the slow disk: %s", got)
	}
	s.crash()
	s.check()
}

type gated struct {
	disk
	gate chan struct{}
}

func (g *gated) Sync(f []file) error {
	<-g.gate
	return g.disk.Sync(f)
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	s := newStore(t, nil)
	c := s.source("cell-01")
	c.m.Pad = 1 << 20
	c.next = c.m.Next(0)
	for !c.next.Key {
		c.next = c.m.Next(0)
	}
	n := 0
	for ; n < 10 && c.feed.Write(c.piece()) == nil; n++ {
	}
	if n != 3 { // 5 MiB each
		t.Errorf("queue took %d pieces of 5 MiB", n)
	}
	s.crash()
}

// F-08: no space. Nothing is deleted, and recording goes on when there is space again.
func TestFullDiskIsNamedAndRecoversByItself(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root: a full disk is not tested")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Skipf("no small file system can be mounted here (%v): a full disk is not tested", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	s := newStore(t, func(c *Config) { c.Volumes = []string{dir} })
	if !s.a.volumes[0].disk.(*osDisk).own {
		t.Error("a mounted volume is not seen as a file system of its own")
	}
	cam := nvr.CameraID("cell-01")
	c := s.source(cam)
	filler := filepath.Join(dir, "filler")
	s.second(cam)
	if err := os.WriteFile(filler, make([]byte, 420<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	full := time.Time{}
	for range 70 {
		s.now += time.Second
		p := c.piece()
		if err := c.feed.Write(p); err != nil {
			if out, ok := nvr.AsOutage(err); !ok || out.Cause != nvr.DiskFault {
				t.Fatalf("full disk: %v", err)
			}
			if full.IsZero() {
				full = p.Fragment.Start
				c.feed.Gap(full, nvr.DiskFault, "disk full")
			}
		}
		s.tick()
	}
	if full.IsZero() {
		t.Fatal("disk did not fill")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	back := c.at
	for range 6 {
		s.now += time.Second
		if err := c.feed.Write(c.piece()); err != nil {
			back = c.at
		}
		s.tick()
	}
	if d := back.Sub(epoch.Add(s.now)); d > -time.Second {
		t.Errorf("records again only %s after there was space", 6*time.Second+d)
	}
	if got := causes(s.coverage(cam)); strings.Count(got, "disk fault") != 1 || strings.Count(got, "recorded") != 2 {
		t.Errorf("coverage is %s", got)
	}
	if err := s.a.Check(); err != nil {
		t.Error(err)
	}
	s.crash()
}

func TestVolumeIsRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(t *testing.T, v1 string)
		want string
	}{
		{"not mounted: the folder is empty", func(t *testing.T, v1 string) {
			if err := errors.Join(os.Rename(v1, v1+".away"), os.Mkdir(v1, 0o750)); err != nil {
				t.Fatal(err)
			}
		}, "not mounted"},
		{"swapped: another volume", func(t *testing.T, v1 string) {
			if err := os.WriteFile(filepath.Join(v1, identityFile), []byte(identityHead+strings.Repeat("ab", 16)+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "another disk"},
		{"not ours: somebody's files", func(t *testing.T, v1 string) {
			if err := os.RemoveAll(filepath.Join(v1, identityDir)); err != nil {
				t.Fatal(err)
			}
		}, "not a volume of this recorder"},
		{"identity unreadable", func(t *testing.T, v1 string) {
			if err := os.WriteFile(filepath.Join(v1, identityFile), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not readable"},
		{"missing", func(t *testing.T, v1 string) {
			if err := os.Rename(v1, v1+".away"); err != nil {
				t.Fatal(err)
			}
		}, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t, nil)
			s.second("cell-01")
			s.crash()
			c.do(t, filepath.Join(s.dir, "v1"))
			_, err := Open(s.config())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("open: %v, want %q", err, c.want)
			}
		})
	}
}

// F-19
func TestSecondRecorderIsRefused(t *testing.T) {
	s := newStore(t, nil)
	if _, err := Open(s.config()); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("same state: %v", err)
	}
	c := s.config()
	c.State = t.TempDir()
	if _, err := Open(c); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("same volume: %v", err)
	}
	s.crash()
	s.check()
}

// F-07, F-10: the index is expendable, and what is broken is kept for whoever wants to look.
func TestBrokenIndexIsSetAsideAndRebuilt(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"truncated":     func(b []byte) []byte { return b[:len(b)/2] },
		"empty":         func([]byte) []byte { return []byte("x") },
		"both metas":    func(b []byte) []byte { clear(b[:8192]); return b },
		"heads spoiled": func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("cell-01"), []byte("CELL-01")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, func(c *Config) { c.Length = 4 * time.Second })
			for range 9 {
				s.second("cell-01", "cell-02")
			}
			want := s.recorded()
			s.crash()
			path := filepath.Join(s.dir, "state", indexName)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, spoil(b), 0o600); err != nil {
				t.Fatal(err)
			}
			s.open()
			if got := s.recorded(); got != want {
				t.Errorf("rebuilt:\n%s, want\n%s", got, want)
			}
			if m, _ := filepath.Glob(path + ".broken-*"); len(m) != 1 {
				t.Errorf("set aside: %v", m)
			}
			s.crash()
			s.check()
		})
	}
}

// F-06: an index that breaks in use costs no footage and not the process.
func TestIndexThatBreaksInUseCostsNoFootage(t *testing.T) {
	s := newStore(t, nil)
	s.second("cell-01")
	db := s.a.index.db
	s.a.index.db = nil // the next commit panics, as bbolt does on a page that makes no sense
	path := db.Path()
	s.now += time.Second
	c := s.cams["cell-01"]
	for range 3 {
		if err := c.feed.Write(c.piece()); err != nil {
			t.Fatal(err)
		}
		s.a.volumes[0].tick(false)
		if err := s.a.index.commit(epoch.Add(s.now)); err == nil {
			t.Fatal("commit did not notice")
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s.crash()
	if _, err := os.Stat(path + brokenMark); err != nil {
		t.Error(err)
	}
	s.open()
	if got := causes(s.coverage("cell-01")); !strings.HasPrefix(got, "not in service:3601, recorded:4") {
		t.Errorf("coverage is %s", got)
	}
	s.crash()
	s.check()
}

func TestTornFileIsKeptUpToItsLastWholeFragment(t *testing.T) {
	s := newStore(t, nil)
	for range 5 {
		s.second("cell-01")
	}
	s.crash()
	name := s.files("v1")[0]
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	// A sixth fragment, synced half, that the index never heard of.
	if err := os.WriteFile(name, append(b, b[900:2000]...), 0o600); err != nil {
		t.Fatal(err)
	}
	s.open()
	if got := causes(s.coverage("cell-01")); !strings.HasPrefix(got, "not in service:3601, recorded:5") {
		t.Errorf("coverage is %s", got)
	}
	s.crash()
	s.check()
}

// F-12: what the archive does not know it leaves alone.
func TestForeignFilesAreLeftAlone(t *testing.T) {
	s := newStore(t, func(c *Config) { c.Keep, c.Length = time.Second, 2*time.Second })
	s.second("cell-01")
	s.crash()
	day := filepath.Dir(s.files("v1")[0])
	own, err := os.ReadFile(s.files("v1")[0])
	if err != nil {
		t.Fatal(err)
	}
	foreign := []string{filepath.Join(day, "holiday.mp4"), filepath.Join(day, "copy.mp4"), filepath.Join(s.dir, "v1", "notes.txt")}
	err = errors.Join(os.WriteFile(foreign[0], []byte("not footage"), 0o600), os.WriteFile(foreign[1], own, 0o600),
		os.WriteFile(foreign[2], []byte("hello"), 0o600), os.Mkdir(filepath.Join(day, "folder.mp4"), 0o700), os.Symlink("/etc/passwd", filepath.Join(day, "link.mp4")))
	if err != nil {
		t.Fatal(err)
	}
	s.open()
	for range 10 {
		s.second("cell-01")
	}
	if err := s.a.eraseOld(); err != nil {
		t.Fatal(err)
	}
	s.crash()
	for _, f := range foreign {
		if _, err := os.Stat(f); err != nil {
			t.Error(err)
		}
	}
}

func TestDemoKeepsOnlyTheNewest(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  func(*Config)
		want int // seconds left, about
	}{
		{"by age", func(c *Config) { c.Keep = 20 * time.Second }, 20},
		{"by bytes", func(c *Config) { c.MaxBytes = 60 << 10 }, 20},
		{"not at all", func(c *Config) {}, 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t, func(cfg *Config) { cfg.Length = 4 * time.Second; c.cfg(cfg) })
			for range 60 {
				s.second("cell-01")
			}
			if err := s.a.eraseOld(); err != nil {
				t.Fatal(err)
			}
			left := 0.0
			for _, sp := range s.coverage("cell-01") {
				if sp.Cause == nvr.Recorded {
					left += sp.To.Sub(sp.From).Seconds()
				}
			}
			if int(left) < c.want-5 || int(left) > c.want+5 {
				t.Errorf("%g s are left, want about %d: %s", left, c.want, causes(s.coverage("cell-01")))
			}
			if err := s.a.Check(); err != nil {
				t.Error(err)
			}
			s.crash()
			s.check()
		})
	}
}

func TestErasingIsFinishedAfterACrash(t *testing.T) {
	for _, step := range []string{"row marked", "file gone"} {
		t.Run(step, func(t *testing.T) {
			s := newStore(t, func(c *Config) { c.Length = 4 * time.Second })
			for range 12 {
				s.second("cell-01")
			}
			rows, err := s.a.Segments("cell-01", epoch, epoch.Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			r := rows[0]
			r.State = StateDoomed
			if err := s.a.index.db.Update(func(tx *bolt.Tx) error { return s.a.index.putRow(tx, "cell-01", &r) }); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(s.dir, "v1", r.Name("cell-01"))
			if step == "file gone" {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
			s.crash()
			s.open()
			if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("file: %v", err)
			}
			if err := s.a.Check(); err != nil {
				t.Error(err)
			}
			s.crash()
			s.check()
		})
	}
}

func TestSegmentsAreCutAtTheirLengthAndStaggered(t *testing.T) {
	s := newStore(t, func(c *Config) { c.Length = 20 * time.Second })
	var cams []nvr.CameraID
	for i := range 8 {
		cams = append(cams, nvr.CameraID(fmt.Sprintf("cell-%02d", i)))
	}
	for range 65 {
		s.second(cams...)
	}
	starts := map[time.Time]int{}
	for _, cam := range cams {
		rows, err := s.a.Segments(cam, epoch, epoch.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) < 4 {
			t.Errorf("camera %s: %d segments in 65 s", cam, len(rows))
		}
		for i, r := range rows[1:] {
			starts[r.Start]++
			if d := r.Start.Sub(rows[i].Start); d > 20*time.Second || i > 0 && d != 20*time.Second {
				t.Errorf("camera %s: a segment of %s", cam, d)
			}
		}
	}
	for at, n := range starts {
		if n > 4 {
			t.Errorf("%d of 8 cameras begin a segment at %s", n, at)
		}
	}
	s.crash()
	s.check()
}

func TestClockStepsOverwriteNothing(t *testing.T) {
	for name, by := range map[string]time.Duration{"back 1 h": -time.Hour, "on 1 h": time.Hour, "on 1 year": 8760 * time.Hour, "back 3 s": -3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, nil)
			for range 5 {
				s.second("cell-01")
			}
			c := s.cams["cell-01"]
			c.at = c.at.Add(by)
			s.now += by
			c.feed.Step(c.at, by)
			for range 5 {
				s.second("cell-01")
			}
			rows, err := s.a.Segments("cell-01", epoch.Add(-2*time.Hour), epoch.Add(10000*time.Hour))
			if err != nil || len(rows) != 2 {
				t.Fatalf("%d segments, %v", len(rows), err)
			}
			n := 0
			for _, r := range rows {
				n += int(r.Fragments)
			}
			if n != 10 {
				t.Errorf("%d fragments are kept", n)
			}
			steps := 0
			for _, sp := range s.coverage("cell-01") {
				if sp.Cause == nvr.ClockStep {
					steps++
				}
			}
			if (steps == 1) != (by > 0) && by < 8000*time.Hour {
				t.Errorf("coverage is %s", causes(s.coverage("cell-01")))
			}
			if err := s.a.Check(); err != nil {
				t.Error(err)
			}
			s.crash()
		})
	}
}

func TestRunWritesWhatIsQueued(t *testing.T) {
	s := newStore(t, func(c *Config) {
		begin := time.Now()
		c.Clock = nvr.Clock{Wall: time.Now, Mono: func() time.Duration { return time.Since(begin) }}
	})
	acked := make(chan uint64, 10)
	s.a.volumes[0].acked = func(_ nvr.CameraID, _ nvr.RunID, seq uint64) { acked <- seq }
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { s.a.Run(ctx) })
	c := s.source("cell-01")
	if err := c.feed.Write(c.piece()); err != nil {
		t.Fatal(err)
	}
	<-acked
	if err := c.feed.Write(c.piece()); err != nil { // after the tick: Close has to write it
		t.Fatal(err)
	}
	stop()
	wg.Wait()
	if err := s.a.Close(); err != nil {
		t.Fatal(err)
	}
	s.open()
	rows, err := s.a.Segments("cell-01", epoch, epoch.Add(1000*time.Hour))
	if err != nil || len(rows) != 1 || rows[0].State != StateSealed || rows[0].Fragments != 2 {
		t.Errorf("rows %+v, %v", rows, err)
	}
	s.crash()
}

func FuzzHeads(f *testing.F) {
	r := Row{ID: segment.NewID(epoch), State: StateOpen, Start: epoch, End: epoch.Add(time.Second), Bytes: 7}
	f.Add(encodeHeads(epoch, nil, nil))
	f.Add(encodeHeads(epoch, map[nvr.CameraID]*head{"cell-01": {edge: epoch, seg: &r, obsc: &Span{From: epoch, To: epoch, Cause: nvr.ObscuredDamaged}}, "b": {edge: epoch, gap: &Span{From: epoch, Detail: "x", Cause: nvr.CameraLost}}}, []nvr.CameraID{"cell-01", "b"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		known, heads, order, err := decodeHeads(b)
		if err == nil && !bytes.Equal(encodeHeads(known, heads, order), b) {
			t.Fatal("heads that were read are written differently")
		}
	})
}

func FuzzRow(f *testing.F) {
	r := Row{ID: segment.NewID(epoch), State: StateSealed, Start: epoch, End: epoch.Add(time.Second), Bytes: 7}
	f.Add(r.ID[:], r.encode(nil))
	sp := Span{From: epoch, To: epoch.Add(time.Hour), Cause: nvr.Overload, Detail: "x"}
	f.Add(be.AppendUint32(be.AppendUint64(nil, uint64(epoch.UnixNano())), 1), sp.encode(nil))
	f.Fuzz(func(t *testing.T, k, b []byte) {
		if len(k) == 16 {
			if r, err := decodeRow(segment.ID(k), b); err == nil && !bytes.Equal(r.encode(nil), b) {
				t.Fatal("a row that was read is written differently")
			}
		}
		if s, err := decodeSpan(k, b); err == nil && !bytes.Equal(s.encode(nil), b) {
			t.Fatal("a span that was read is written differently")
		}
	})
}

// The values of the index are a persistent format.
func TestIndexFormatStaysAsItIs(t *testing.T) {
	var id segment.ID
	copy(id[:], be.AppendUint64(nil, uint64(epoch.UnixNano())))
	r := Row{ID: id, State: StateSealed, Clock: stamp.Synced, Volume: [16]byte{1}, Run: nvr.RunID{2}, Number: 3, Start: epoch, End: epoch.Add(time.Second),
		Bytes: 4, Fragments: 5, Ticks: 6, MaskVersion: 7, Mask: nvr.MaskDigest{8}, Last: segment.Digest{9}, Root: segment.Digest{10}}
	sp := Span{From: epoch, To: epoch.Add(time.Hour), Cause: nvr.Overload, Detail: "slow"}
	for name, v := range map[string][2]string{
		"row":  {hex.EncodeToString(r.encode(nil)), goldenRow},
		"span": {hex.EncodeToString(sp.encode(nil)), goldenSpan},
	} {
		if v[0] != v[1] {
			t.Errorf("%s is %s", name, v[0])
		}
	}
}

const (
	goldenRow  = "010201000100000000000000000000000000000002000000000000000000000318a126439d09900018a12643d8a45a00000000000000000400000005000000000000000600000007080000000000000000000000000000000000000000000000000000000000000009000000000000000000000000000000000000000000000000000000000000000a00000000000000000000000000000000000000000000000000000000000000"
	goldenSpan = "011318a12989cdc2300004736c6f77"
)
