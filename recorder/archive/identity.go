package archive

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	bolt "go.etcd.io/bbolt"

	"custody-nvr/nvr"
	"custody-nvr/nvr/durable"
)

// A volume knows itself by .custody/volume: one line "custody-nvr volume 1 UUID". It is written once,
// into an empty folder that the index has never seen. So a disk that is not mounted, or is another
// one, is refused before a byte goes to the wrong place.
const (
	identityDir  = ".custody"
	identityFile = ".custody/volume"
	identityLock = ".custody/lock"
	identityHead = "custody-nvr volume 1 "
)

// hex16 scans with %x.
type hex16 [16]byte

func (h *hex16) Scan(s fmt.ScanState, _ rune) error {
	t, err := s.Token(true, nil)
	if err != nil {
		return err
	}
	b, err := hex.DecodeString(string(t))
	if err != nil || len(b) != 16 {
		return errors.New("not 16 bytes in hex")
	}
	copy(h[:], b)
	return nil
}

func (a *Archive) openVolume(path string) error {
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	a.roots = append(a.roots, root)
	id, fresh, err := identity(root)
	if err != nil {
		return err
	}
	own, err := ownFileSystem(root)
	if err != nil {
		return err
	}
	if fresh {
		if err := a.refuseVanished(path); err != nil {
			return err
		}
		if id, err = initialise(root); err != nil {
			return fmt.Errorf("initialise: %w", err)
		}
		a.log.Info("new volume", "volume", path, "id", hex.EncodeToString(id[:]))
	}
	l, err := durable.Lock(root, identityLock)
	if err != nil {
		return err
	}
	a.locks = append(a.locks, l)
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	a.locks = append(a.locks, dir)
	var d disk = &osDisk{root: root, dir: dir, own: own, folders: map[string]bool{}, news: map[string]bool{}}
	if a.cfg.wrap != nil {
		d = a.cfg.wrap(d)
	}
	a.volumes = append(a.volumes, &volume{path: path, id: id, suite: a.cfg.Suite, boot: bootID(), length: a.cfg.Length, disk: d,
		log: a.log, mono: a.cfg.Clock.Mono, acked: a.cfg.Durable, lanes: map[nvr.CameraID]*lane{},
		lose: a.lose,
		who: func() ([16]byte, error) {
			id, fresh, err := identity(root)
			if fresh {
				err = fs.ErrNotExist
			}
			return id, err
		}})
	if !own {
		a.log.Info("volume shares its file system, each file is synced by itself", "volume", path)
	}
	return nil
}

// identity reads who the volume is; fresh where it is empty.
func identity(root *os.Root) (id [16]byte, fresh bool, err error) {
	b, err := root.ReadFile(identityFile)
	if err == nil {
		s, ok := strings.CutPrefix(strings.TrimSuffix(string(b), "\n"), identityHead)
		raw, err := hex.DecodeString(s)
		if !ok || err != nil || len(raw) != 16 {
			return id, false, fmt.Errorf("%s is not readable; put it back from a copy, or ask for help", identityFile)
		}
		return [16]byte(raw), false, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return id, false, err
	}
	list, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return id, false, err
	}
	for _, e := range list {
		if e.Name() == "lost+found" {
			continue
		}
		return id, false, fmt.Errorf("holds %q but no %s: this is not a volume of this recorder; mount the right disk, or give an empty folder", e.Name(), identityFile)
	}
	return id, true, nil
}

func initialise(root *os.Root) (id [16]byte, err error) {
	rand.Read(id[:]) // never fails, see crypto/rand
	if err := durable.MkdirAll(root, identityDir); err != nil {
		return id, err
	}
	return id, durable.WriteFile(root, identityFile, []byte(identityHead+hex.EncodeToString(id[:])+"\n"))
}

// refuseVanished refuses an empty folder where the index knows a volume: its disk is not mounted. The
// index is only looked at; what is wrong with it is found later.
func (a *Archive) refuseVanished(path string) error {
	if _, err := a.state.Stat(indexName); err != nil {
		return nil
	}
	x, err := openIndex(a.cfg.State, a.cfg.Suite, a.log)
	if err != nil {
		return fmt.Errorf("is empty while the index cannot be read (%w): mount the disk, or move %s away", err, indexName)
	}
	defer x.db.Close()
	return x.db.View(func(tx *bolt.Tx) error {
		if id := tx.Bucket(bMeta).Get(volumeKey(path)); id != nil {
			return fmt.Errorf("is empty, but was volume %x: its disk is not mounted", id)
		}
		return nil
	})
}

func volumeKey(path string) []byte { return []byte("volume/" + path) }

// pinVolumes stores which volume is where, and refuses another one in its place.
func (a *Archive) pinVolumes() error {
	return a.index.db.Update(func(tx *bolt.Tx) error {
		for _, v := range a.volumes {
			m := tx.Bucket(bMeta)
			if id := m.Get(volumeKey(v.path)); id != nil && string(id) != string(v.id[:]) {
				return fmt.Errorf("volume %s is %x, but was %x: another disk is mounted there", v.path, v.id, id)
			}
			if err := m.Put(volumeKey(v.path), v.id[:]); err != nil {
				return err
			}
		}
		return nil
	})
}
