package archive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"custody-nvr/nvr"
	"custody-nvr/recorder/segment"
)

// Check verifies every promise of the store and returns all that are broken, each with camera, time
// and file: rows against files, digests, seals, and the coverage. It reads everything, so it is for
// tests and small archives.
func (a *Archive) Check() error {
	var errs []error
	fault := func(format string, v ...any) { errs = append(errs, fmt.Errorf(format, v...)) }
	known := map[string]bool{} // volume and file
	err := a.index.db.View(func(tx *bolt.Tx) error {
		cams, err := a.index.cameras(tx)
		if err != nil {
			return err
		}
		for _, cam := range cams {
			list, err := segmentsIn(tx, cam, time.Unix(0, 0), time.Unix(0, 1<<62))
			if err != nil {
				return err
			}
			for i := range list {
				known[string(list[i].Volume[:])+list[i].Name(cam)] = true
				if err := a.checkFile(cam, &list[i]); err != nil {
					fault("camera %s, %s: file %s: %w", cam, list[i].Start.Format(time.RFC3339), list[i].Name(cam), err)
				}
			}
			if err := checkCoverage(tx, cam, list); err != nil {
				fault("camera %s: %w", cam, err)
			}
		}
		return nil
	})
	if err != nil {
		fault("index: %w", err)
	}
	for i, v := range a.volumes {
		err := fs.WalkDir(a.roots[i].FS(), ".", func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && path.Base(p) == identityDir {
				return fs.SkipDir
			}
			cam, _, _ := strings.Cut(p, "/")
			if !d.Type().IsRegular() || known[string(v.id[:])+p] {
				return nil
			}
			// Only footage needs a row: what a crash left without one whole fragment has none.
			if fd, err := readFound(a.roots[i], p, nvr.CameraID(cam), v.id, nil); err == nil && fd != nil {
				fault("volume %s: file %s has no row", v.path, p)
			}
			return nil
		})
		if err != nil {
			fault("volume %s: %w", v.path, err)
		}
	}
	return errors.Join(errs...)
}

// checkFile reads a segment's file and compares it with its row.
func (a *Archive) checkFile(cam nvr.CameraID, row *Row) error {
	r, done, err := a.OpenSegment(cam, *row)
	if err != nil {
		return err
	}
	defer done()
	h := r.Header()
	if h.ID != row.ID || h.Camera != cam || h.Run != row.Run || h.Mask != row.Mask || h.Clock != row.Clock || h.Number != row.Number {
		return errors.New("header and row differ")
	}
	var ticks uint64
	var n uint32
	end := h.Start
	var holes []error
	for {
		f, _, err := r.Next()
		if err == io.EOF {
			break
		}
		if errors.Is(err, segment.ErrTorn) {
			if from, to, ok := r.Resume(); ok {
				holes = append(holes, fmt.Errorf("is damaged: %s to %s is lost", from.Format(time.RFC3339), to.Format(time.RFC3339)))
				end = to
				continue
			}
		}
		if err != nil {
			return err
		}
		if !f.Start.Equal(end) {
			return fmt.Errorf("fragment %d does not begin where the one before it ends", f.Seq)
		}
		end = f.End
		n++
		ticks += f.Ticks()
	}
	if holes != nil {
		return errors.Join(holes...)
	}
	media, wall := segment.Duration(ticks), end.Sub(h.Start)
	switch {
	case n != row.Fragments || ticks != row.Ticks || r.Last() != row.Last || !end.Equal(row.End):
		return fmt.Errorf("file has %d fragments to %s, row %d to %s", n, end, row.Fragments, row.End)
	case row.State == StateSealed && (r.Seal() == nil || r.Seal().Root != row.Root):
		return errors.New("seal and row differ")
	case media-wall > time.Second || wall-media > time.Second:
		return fmt.Errorf("plays %s, but covers %s", media, wall)
	}
	return nil
}

// OpenSegment returns a reader over the durable part of a segment, and what closes it. Of a file that is
// shorter or damaged it reads what there is, see Reader.Resume.
func (a *Archive) OpenSegment(cam nvr.CameraID, row Row) (*segment.Reader, func(), error) {
	for i, v := range a.volumes {
		if v.id != row.Volume {
			continue
		}
		f, err := a.roots[i].Open(row.Name(cam))
		if err != nil {
			return nil, nil, err
		}
		st, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, nil, err
		}
		r, err := segment.NewReader(f, min(row.Bytes, st.Size()))
		if err != nil {
			f.Close()
			return nil, nil, err
		}
		return r, func() { f.Close() }, nil
	}
	return nil, nil, fmt.Errorf("volume %x is not here", row.Volume)
}

// checkCoverage requires that claims do not overlap, except where the clock was set back, and that no
// instant is without one.
func checkCoverage(tx *bolt.Tx, cam nvr.CameraID, segs []Row) error {
	var errs []error
	back, err := steppedBack(tx, cam)
	if err != nil {
		return err
	}
	for i := 1; i < len(segs); i++ {
		if segs[i].Start.Before(segs[i-1].End) && !back {
			errs = append(errs, fmt.Errorf("segments %s and %s overlap", segs[i-1].ID, segs[i].ID))
		}
	}
	from, to := time.Unix(0, 0), time.Unix(0, 1<<62)
	list, err := spans(tx, cam, from, to)
	if err != nil {
		return err
	}
	for _, s := range list {
		inside := time.Duration(0)
		for _, r := range segs {
			if f, t := later(r.Start, s.From), earlier(r.End, s.To); t.After(f) {
				inside += t.Sub(f)
			}
		}
		if s.Cause.IsMissing() && s.Cause != nvr.FileDamaged && inside > 0 && !back {
			errs = append(errs, fmt.Errorf("%s from %s overlaps footage by %s", s.Cause, s.From, inside))
		}
	}
	cov, err := coverage(tx, cam, from, to)
	if err != nil {
		return err
	}
	at := from
	for _, s := range cov {
		if !s.From.Equal(at) || !s.To.After(s.From) {
			errs = append(errs, fmt.Errorf("coverage has a hole or overlap at %s", at))
		}
		if s.Detail == unknownTime {
			errs = append(errs, fmt.Errorf("nothing is known of %s to %s", s.From, s.To))
		}
		at = s.To
	}
	return errors.Join(errs...)
}

func steppedBack(tx *bolt.Tx, cam nvr.CameraID) (back bool, err error) {
	b := tx.Bucket(bSteps).Bucket([]byte(cam))
	if b == nil {
		return false, nil
	}
	err = b.ForEach(func(_, v []byte) error {
		if len(v) != 8 {
			return errFormat
		}
		back = back || int64(be.Uint64(v)) < 0
		return nil
	})
	return back, err
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
