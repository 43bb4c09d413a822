// Package durable makes changes to files that are on disk when the call returns.
//
// It stands to package os as a promise stands to a hope. The archive and every store under STATE
// call it, in the parent process; it never retries, never falls back to a weaker call and never
// leaves the *os.Root it was given.
//
// After a failed write or sync the content of a file is unknown and the kernel may have dropped
// the error together with the dirty pages (Rebello et al., "Can Applications Recover from fsync
// Failures?", USENIX ATC 2020). So callers never sync the same file twice after an error; they give
// the file up.
package durable

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// BUG(durable): a drive that answers a flush before its cache is on the medium cannot be noticed
// from here. The commissioning sheet asks for drives with power-loss protection.

// Create makes a new file and returns it open for reading and writing. The file must not exist.
//
//	openat(O_RDWR|O_CREAT|O_EXCL, 0640), openat(dir), fsync(dir)
func Create(root *os.Root, name string) (*os.File, error) {
	f, err := CreateLater(root, name)
	if err != nil {
		return nil, err
	}
	if err := SyncDir(root, path.Dir(name)); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// CreateLater is Create for callers that sync the directory, or the whole file system, themselves:
// the name is durable only after that.
//
//	openat(O_RDWR|O_CREAT|O_EXCL, 0640)
func CreateLater(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return nil, fmt.Errorf("create: %w", err)
	}
	return f, nil
}

// WriteFile puts data under name, replacing a file of that name in one step: whoever reads sees the
// old content or the new one, also after a power cut.
//
//	openat(name.new, O_TRUNC), write, fsync, renameat, openat(dir), fsync(dir)
func WriteFile(root *os.Root, name string, data []byte) error {
	tmp := name + ".new"
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return Rename(root, tmp, name)
}

// Rename moves a file whose content is already durable.
//
//	renameat, openat(dir), fsync(dir) of the new folder and, if another, of the old one
func Rename(root *os.Root, from, to string) error {
	if err := root.Rename(from, to); err != nil {
		return err
	}
	if err := SyncDir(root, path.Dir(to)); err != nil {
		return err
	}
	if path.Dir(from) == path.Dir(to) {
		return nil
	}
	return SyncDir(root, path.Dir(from))
}

// Remove takes a file away for good.
//
//	unlinkat, openat(dir), fsync(dir)
func Remove(root *os.Root, name string) error {
	if err := root.Remove(name); err != nil {
		return err
	}
	return SyncDir(root, path.Dir(name))
}

// MkdirAll makes a folder and those above it, each one durable in the folder that holds it.
//
//	for each missing level: mkdirat(0750), openat(parent), fsync(parent)
func MkdirAll(root *os.Root, name string) error {
	if name == "." {
		return nil
	}
	if !filepath.IsLocal(name) {
		return fmt.Errorf("make folder %q: leads out of its root", name)
	}
	if st, err := root.Lstat(name); err == nil && st.IsDir() {
		return nil
	}
	if err := MkdirAll(root, path.Dir(name)); err != nil {
		return err
	}
	if err := root.Mkdir(name, 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return SyncDir(root, path.Dir(name))
}

// SyncDir makes the names in a folder durable.
//
//	openat(dir), fsync
func SyncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	err = d.Sync()
	if err := errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}

// SyncData makes the content of one file durable, and its length.
//
//	fdatasync
func SyncData(f *os.File) error {
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return fmt.Errorf("fdatasync %s: %w", f.Name(), err)
	}
	return nil
}

// SyncFS makes everything on the file system that holds f durable, files and folders. Since Linux
// 5.8 it reports write-back errors of any file there.
//
//	syncfs
func SyncFS(f *os.File) error {
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("syncfs %s: %w", f.Name(), err)
	}
	return nil
}

// Lock takes the exclusive lock on a file that it creates if need be. It is held until the file is
// closed, so also until the process dies. Somebody else's lock is ErrLocked.
//
//	openat(O_CREAT), flock(LOCK_EX|LOCK_NB)
func Lock(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", name, ErrLocked)
		}
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}

// ErrLocked says that another process holds the lock.
var ErrLocked = errors.New("another recorder is using it")
