package archive

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"custody-nvr/nvr/durable"
)

// disk is what a volume needs of its file system; tests put faults and counters into it.
type disk interface {
	// Create makes a new file and its folder. Neither is durable before Sync.
	Create(name string) (file, error)
	// Sync makes all that was written to these files, and their names, durable.
	Sync(files []file) error
	// Remove takes a file away for good.
	Remove(name string) error
}

type file interface {
	Name() string
	WriteAt(b []byte, off int64) (int, error)
	Close() error
	// Unlinked reports whether the file has no name any more: somebody removed it.
	Unlinked() (bool, error)
}

// osDisk is the real one.
type osDisk struct {
	root *os.Root
	dir  *os.File
	// own: the volume is a file system of its own, so one syncfs makes everything durable and waits
	// for nobody else's data.
	own     bool
	folders map[string]bool // known to be there and durable; owned by the volume's goroutine
	news    map[string]bool // folders with names that are not yet durable
}

type osFile struct {
	*os.File
	name string
}

func (f *osFile) Name() string { return f.name }

func (f *osFile) Unlinked() (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false, err
	}
	return st.Nlink == 0, nil
}

func (d *osDisk) Create(name string) (file, error) {
	dir := path.Dir(name)
	if !d.folders[dir] {
		if err := durable.MkdirAll(d.root, dir); err != nil {
			return nil, err
		}
		if len(d.folders) > 1000 {
			clear(d.folders)
		}
		d.folders[dir] = true
	}
	f, err := durable.CreateLater(d.root, name)
	if err != nil {
		delete(d.folders, dir) // it may have been taken away
		return nil, err
	}
	d.news[dir] = true
	return &osFile{f, name}, nil
}

func (d *osDisk) Sync(files []file) error {
	defer clear(d.news)
	if d.own {
		return durable.SyncFS(d.dir)
	}
	var errs error
	for _, f := range files {
		of, ok := f.(*osFile)
		if !ok {
			return fmt.Errorf("sync %s: not a file of this volume", f.Name())
		}
		errs = errors.Join(errs, durable.SyncData(of.File))
	}
	for dir := range d.news {
		errs = errors.Join(errs, durable.SyncDir(d.root, dir))
	}
	return errs
}

func (d *osDisk) Remove(name string) error { return durable.Remove(d.root, name) }
