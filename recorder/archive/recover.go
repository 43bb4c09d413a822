package archive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"custody-nvr/nvr"
	"custody-nvr/nvr/durable"
	"custody-nvr/recorder/segment"
)

// openIndex opens the index, or sets a broken one aside and rebuilds it, and then takes in what the
// last run wrote after its last commit.
func (a *Archive) openIndex() error {
	_, statErr := a.state.Stat(indexName)
	x, err := openIndex(a.cfg.State, a.cfg.Suite, a.log)
	if err != nil {
		aside := indexName + ".broken-" + a.cfg.Clock.Wall().UTC().Format("20060102T150405Z")
		a.log.Error("index is set aside and rebuilt from the files", "err", err, "aside", aside)
		if err := durable.Rename(a.state, indexName, aside); err != nil {
			return fmt.Errorf("set broken index aside: %w", err)
		}
		if err := durable.Remove(a.state, indexName+brokenMark); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set broken index aside: %w", err)
		}
		if x, err = openIndex(a.cfg.State, a.cfg.Suite, a.log); err != nil {
			return err
		}
		statErr = fs.ErrNotExist
	}
	a.index = x
	for _, v := range a.volumes {
		v.sink = x.add
	}
	if err := a.pinVolumes(); err != nil {
		return err
	}
	if err := x.rename(a.cfg.Suite); err != nil {
		return fmt.Errorf("name of the suite: %w", err)
	}
	if err := a.finishErasing(); err != nil {
		return err
	}
	if err := a.takeIn(statErr != nil); err != nil {
		return fmt.Errorf("take in what is on disk: %w", err)
	}
	return durable.SyncDir(a.state, ".")
}

// A found is a file that the index does not know, or knows as open.
type found struct {
	row   Row
	head  segment.Header
	parts []part
	next  uint64 // first sequence number that a later file of the run has as well
}

type part struct {
	seq      uint64
	from, to time.Time
	cause    nvr.Cause
	digest   segment.Digest
	end      int64 // offset behind it
	ticks    uint64
}

// takeIn walks the files that may hold more than the index says: with all set every file, else the
// open ones and those of the days since the last commit. Then every camera is in the state
// "recorder stopped" from its last picture on.
func (a *Archive) takeIn(all bool) error {
	byCam := map[nvr.CameraID][]*found{}
	known := map[segment.ID]bool{}
	var since time.Time
	err := a.index.db.View(func(tx *bolt.Tx) error {
		var err error
		since, _, _, err = decodeHeads(tx.Bucket(bMeta).Get(kHeads))
		return err
	})
	if err != nil {
		return err
	}
	for cam, h := range a.index.heads {
		if h.seg != nil { // go back to before it: its file is read again
			h.edge, h.seg = h.seg.Start, nil
			if h.obsc != nil && h.obsc.To.After(h.edge) {
				h.obsc = &Span{From: h.obsc.From, To: h.edge, Cause: h.obsc.Cause}
				if !h.obsc.To.After(h.obsc.From) {
					h.obsc = nil
				}
			}
		}
		err := a.index.db.View(func(tx *bolt.Tx) error {
			return rows(tx, cam, since.Add(-72*time.Hour), time.Unix(0, 1<<62), func(r Row) error {
				known[r.ID] = true
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	for i, v := range a.volumes {
		if err := a.walk(a.roots[i], v, all, since, known, byCam); err != nil {
			return fmt.Errorf("volume %s: %w", v.path, err)
		}
	}
	for cam, files := range byCam {
		if err := a.replay(cam, files); err != nil {
			return err
		}
	}
	now := a.cfg.Clock.Wall().UTC()
	for _, cam := range slices.Clone(a.index.order) {
		h := a.index.heads[cam]
		if h.gap != nil && h.gap.Cause != nvr.RecorderStopped {
			// It was without pictures when the recorder stopped: that was known until the last commit.
			a.index.add(event{cam: cam, kind: evGap, from: later(since, h.gap.From), cause: nvr.RecorderStopped, detail: "the recorder was not running"})
			continue
		}
		a.index.add(event{cam: cam, kind: evGap, from: h.edge, cause: nvr.RecorderStopped, detail: "the recorder was not running"})
	}
	if err := a.index.commit(now); err != nil {
		return err
	}
	for cam, h := range a.index.heads {
		a.ends[cam] = h.edge
	}
	for _, v := range a.volumes {
		for cam, h := range a.index.heads {
			l := &lane{last: h.last}
			if h.gap != nil {
				l.gaps = []segment.Gap{{From: h.gap.From, Cause: h.gap.Cause}}
			}
			v.lanes[cam] = l
		}
	}
	return nil
}

// walk collects the files of one volume that are to be taken in.
func (a *Archive) walk(root *os.Root, v *volume, all bool, since time.Time, known map[segment.ID]bool, byCam map[nvr.CameraID][]*found) error {
	cams, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	oldest := since.Add(-48 * time.Hour).Format("2006-01-02")
	for _, c := range cams {
		cam := nvr.CameraID(c.Name())
		if !c.IsDir() || nvr.ValidID(c.Name()) != nil {
			continue
		}
		days, err := fs.ReadDir(root.FS(), c.Name())
		if err != nil {
			return err
		}
		for _, d := range days {
			if !d.IsDir() || !all && d.Name() < oldest {
				continue
			}
			files, err := fs.ReadDir(root.FS(), path.Join(c.Name(), d.Name()))
			if err != nil {
				return err
			}
			for _, f := range files {
				name := path.Join(c.Name(), d.Name(), f.Name())
				if !f.Type().IsRegular() || !strings.HasSuffix(name, ".mp4") {
					continue
				}
				fd, err := readFound(root, name, cam, v.id, known)
				if err != nil {
					a.log.Warn("a file is left alone", "file", path.Join(v.path, name), "err", err)
				} else if fd != nil {
					byCam[cam] = append(byCam[cam], fd)
				}
			}
		}
	}
	return nil
}

// readFound verifies one file; nil where its segment is known, an error where it is no footage of this
// camera and volume.
func readFound(root *os.Root, name string, cam nvr.CameraID, volume [16]byte, known map[segment.ID]bool) (*found, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	r, err := segment.NewReader(f, st.Size())
	if err != nil {
		return nil, err
	}
	h := r.Header()
	if known[h.ID] {
		return nil, nil
	}
	if h.Camera != cam || h.Volume != volume {
		return nil, fmt.Errorf("it belongs to camera %s on volume %x", h.Camera, h.Volume)
	}
	fd := &found{head: h, next: 1 << 63, row: Row{ID: h.ID, State: StateTorn, Clock: h.Clock, Volume: h.Volume, Run: h.Run, Number: h.Number,
		Start: h.Start, End: h.Start, Bytes: r.Offset(), MaskVersion: h.MaskVersion, Mask: h.Mask, Last: r.HeaderDigest()}}
	if fd.row.Name(cam) != name {
		return nil, fmt.Errorf("it is a copy of %s", fd.row.Name(cam))
	}
	for {
		fr, d, err := r.Next()
		if err == io.EOF || errors.Is(err, segment.ErrTorn) {
			break
		}
		if err != nil {
			return nil, err
		}
		fd.parts = append(fd.parts, part{fr.Seq, fr.Start, fr.End, fr.Obscured, d, r.Offset(), fr.Ticks()})
	}
	if s := r.Seal(); s != nil {
		fd.row.State, fd.row.Root = StateSealed, s.Root
		fd.parts[len(fd.parts)-1].end = r.Offset()
	}
	if len(fd.parts) == 0 {
		return nil, errors.New("it holds no whole fragment")
	}
	return fd, nil
}

// replay turns files into the events that they came from.
func (a *Archive) replay(cam nvr.CameraID, files []*found) error {
	slices.SortFunc(files, func(p, q *found) int {
		if c := p.row.Start.Compare(q.row.Start); c != 0 {
			return c
		}
		return int(p.row.Number) - int(q.row.Number)
	})
	// A file that was given up may hold pictures that were written again into the next one.
	for i, p := range files {
		for _, q := range files[i+1:] {
			if q.row.Run == p.row.Run && q.row.Number > p.row.Number {
				p.next = min(p.next, q.parts[0].seq)
			}
		}
	}
	edge := time.Time{}
	if h := a.index.heads[cam]; h != nil {
		edge = h.edge
	}
	for _, p := range files {
		if p.parts[0].seq >= p.next {
			continue
		}
		if !edge.IsZero() && p.row.Start.Before(edge) {
			a.index.add(event{cam: cam, kind: evStep, from: p.row.Start, by: p.row.Start.Sub(edge), detail: "the files overlap: the system clock was set back"})
			edge = p.row.Start
		}
		if len(p.head.Gaps) == 0 && !edge.IsZero() && p.row.Start.After(edge) {
			a.index.add(event{cam: cam, kind: evGap, from: edge, cause: nvr.RecorderStopped, detail: "not known: the index was rebuilt"})
		}
		for _, g := range p.head.Gaps {
			a.index.add(event{cam: cam, kind: evGap, from: g.From, cause: g.Cause, detail: "detail lost: the index was rebuilt"})
		}
		row := p.row
		state := row.State
		row.State = StateOpen
		for _, q := range p.parts {
			if q.seq >= p.next {
				state = StateTorn
				break
			}
			row.Bytes, row.End, row.Last = q.end, q.to, q.digest
			row.Fragments++
			row.Ticks += q.ticks
			a.index.add(event{cam: cam, kind: evFragment, row: row, from: q.from, to: q.to, cause: q.cause})
		}
		row.State = state
		if state == StateTorn {
			row.Root = segment.Digest{}
		}
		a.index.add(event{cam: cam, kind: evSealed, row: row, from: row.End})
		edge = row.End
	}
	if err := a.index.commit(a.cfg.Clock.Wall()); err != nil {
		return err
	}
	return nil
}
