package archive

import (
	"bytes"
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
	holes []Span         // times whose fragments do not verify
	first segment.Digest // of the header
	tail  bool           // bytes that do not verify stand at the end
	next  uint64         // first sequence number that a later file of the run has as well
}

type part struct {
	seq      uint64
	from, to time.Time
	cause    nvr.Cause
	digest   segment.Digest
	end      int64 // offset behind it
	ticks    uint64
	media    uint64 // since the run began
}

// A tally is what a start found on disk.
type tally struct {
	files, damaged, missing int
	broken                  map[nvr.CameraID][]time.Time // starts of files whose header does not read
}

// errHeader says that a file of footage cannot be read from its start.
var errHeader = errors.New("its header does not verify")

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
	count := &tally{broken: map[nvr.CameraID][]time.Time{}}
	open := map[nvr.CameraID]Row{}
	for cam, h := range a.index.heads {
		if h.seg != nil { // go back to before it: its file is read again
			open[cam] = *h.seg
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
		if err := a.walk(a.roots[i], v, all, since, known, byCam, count); err != nil {
			return fmt.Errorf("volume %s: %w", v.path, err)
		}
	}
	for cam, row := range open {
		// A file that was open and is gone, or does not read, keeps its row: what was in it is known.
		if !slices.ContainsFunc(byCam[cam], func(fd *found) bool { return fd.row.ID == row.ID }) {
			row.State = StateTorn
			a.index.heads[cam].edge, a.index.heads[cam].last = row.End, row.Last
			a.index.add(event{cam: cam, kind: evSealed, row: row, from: row.End})
		}
	}
	for cam, files := range byCam {
		if err := a.replay(cam, files, all, open[cam], count); err != nil {
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
	if err := a.lookAtFiles(count); err != nil {
		return err
	}
	if all && count.files > 0 {
		a.log.Warn(fmt.Sprintf("index rebuilt from %d files, %d damaged, %d missing", count.files, count.damaged, count.missing))
	} else if count.damaged+count.missing > 0 {
		a.log.Error(fmt.Sprintf("footage on disk: %d files damaged, %d missing", count.damaged, count.missing))
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
func (a *Archive) walk(root *os.Root, v *volume, all bool, since time.Time, known map[segment.ID]bool, byCam map[nvr.CameraID][]*found, count *tally) error {
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
				if err != nil || fd != nil {
					count.files++
				}
				if errors.Is(err, errHeader) {
					count.damaged++
					if at, err := time.Parse("20060102T150405.000Z", f.Name()[:min(20, len(f.Name()))]); err == nil {
						count.broken[cam] = append(count.broken[cam], at)
					}
				} else if fd != nil && len(fd.holes) > 0 {
					count.damaged++
					a.log.Error("a file of footage is damaged", "file", path.Join(v.path, name), "holes", len(fd.holes))
				}
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
		b := make([]byte, 256<<10) // a crash may leave half a header, but no fragment behind it
		if n, _ := f.ReadAt(b, 0); bytes.Contains(b[:n], []byte("moof")) {
			err = fmt.Errorf("%w: %w", errHeader, err)
		}
		return nil, err
	}
	h := r.Header()
	if known[h.ID] {
		return nil, nil
	}
	if h.Camera != cam || h.Volume != volume {
		return nil, fmt.Errorf("it belongs to camera %s on volume %x", h.Camera, h.Volume)
	}
	fd := &found{head: h, first: r.HeaderDigest(), next: 1 << 63, row: Row{ID: h.ID, State: StateTorn, Clock: h.Clock, Volume: h.Volume, Run: h.Run, Number: h.Number,
		Start: h.Start, End: h.Start, Bytes: r.Offset(), MaskVersion: h.MaskVersion, Mask: h.Mask, Last: r.HeaderDigest()}}
	if fd.row.Name(cam) != name {
		return nil, fmt.Errorf("it is a copy of %s", fd.row.Name(cam))
	}
	for {
		fr, d, err := r.Next()
		if err == io.EOF {
			break
		}
		if errors.Is(err, segment.ErrTorn) {
			from, to, ok := r.Resume()
			if !ok {
				fd.tail = true
				break
			}
			fd.holes = append(fd.holes, Span{From: from, To: to, Cause: nvr.FileDamaged, Detail: damagedFile})
			continue
		}
		if err != nil {
			return nil, err
		}
		fd.parts = append(fd.parts, part{fr.Seq, fr.Start, fr.End, fr.Obscured, d, r.Offset(), fr.Ticks(), fr.Media})
	}
	if s := r.Seal(); s != nil {
		fd.row.State, fd.row.Root = StateSealed, s.Root
		fd.parts[len(fd.parts)-1].end = r.Offset()
	}
	if len(fd.parts) == 0 && len(fd.holes) > 0 {
		return nil, fmt.Errorf("%w: no fragment verifies", errHeader)
	}
	if len(fd.parts) == 0 {
		return nil, errors.New("it holds no whole fragment")
	}
	return fd, nil
}

// What a hole says. The words end on pages, beside the cause.
const (
	damagedFile = "its file is damaged: keep the disk, call ICT"
	goneFile    = "the file is gone"
)

// lost says why footage between the files p and q is not there, "" where none is known to have been: the
// header of q names the fragment before it, and fragments of a run are numbered. p is nil where q is the
// first.
func (a *Archive) lost(cam nvr.CameraID, p, q *found, from, to time.Time, seen map[segment.Digest]bool, count *tally) string {
	if !to.After(from) {
		return ""
	}
	sameRun := p != nil && p.row.Run == q.row.Run
	last := uint64(0)
	if sameRun {
		last = p.parts[len(p.parts)-1].seq
	}
	skipped := sameRun && q.parts[0].seq > last+1 && len(q.head.Gaps) < segment.MaxGaps
	if p != nil && !skipped && (q.head.Prev == segment.Digest{} || seen[q.head.Prev]) {
		return ""
	}
	for _, at := range count.broken[cam] {
		if !at.Before(from.Add(-time.Second)) && at.Before(to) {
			return damagedFile
		}
	}
	n := 1
	if sameRun {
		n = int(q.row.Number) - int(p.row.Number) - 1
	}
	if n < 1 && p.tail {
		count.damaged++
		return damagedFile
	}
	count.missing += max(n, 1)
	return goneFile
}

// replay turns files into the events that they came from.
func (a *Archive) replay(cam nvr.CameraID, files []*found, all bool, open Row, count *tally) error {
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
	seen := map[segment.Digest]bool{}
	for _, p := range files {
		seen[p.first] = true
		for i := range p.parts {
			seen[p.parts[i].digest] = true
		}
	}
	var before *found
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
		to := p.row.Start
		if len(p.head.Gaps) > 0 {
			to = p.head.Gaps[0].From
		}
		if all && before != nil {
			if why := a.lost(cam, before, p, edge, to, seen, count); why != "" {
				a.index.add(event{cam: cam, kind: evGap, from: edge, cause: nvr.FileDamaged, detail: why})
				edge = to
			}
		} else if first := &p.parts[0]; all && edge.IsZero() && first.seq > 0 && first.media > 0 && a.cfg.Keep == 0 && a.cfg.MaxBytes == 0 {
			// The run began before the first file that is here, and nothing was erased by rule.
			from := first.from.Add(-segment.Duration(first.media))
			if why := a.lost(cam, nil, p, from, to, seen, count); why != "" {
				a.index.add(event{cam: cam, kind: evGap, from: from, cause: nvr.FileDamaged, detail: why})
				edge = to
			}
		}
		before = p
		if len(p.head.Gaps) == 0 && !edge.IsZero() && p.row.Start.After(edge) {
			a.index.add(event{cam: cam, kind: evGap, from: edge, cause: nvr.RecorderStopped, detail: "not known: the index was rebuilt"})
		}
		for _, g := range p.head.Gaps {
			a.index.add(event{cam: cam, kind: evGap, from: g.From, cause: g.Cause, detail: "detail lost: the index was rebuilt"})
		}
		row := p.row
		state := row.State
		row.State = StateOpen
		for i, q := range p.parts {
			if i == 0 {
				q.from = p.row.Start // a hole may stand before it
			}
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
		for _, s := range p.holes {
			if s.From.Before(row.End) {
				a.index.add(event{cam: cam, kind: evDamage, from: s.From, to: s.To, cause: s.Cause, detail: s.Detail})
			} else { // the last fragments: the seal says until when there were some
				a.index.add(event{cam: cam, kind: evGap, from: s.From, cause: s.Cause, detail: s.Detail})
				edge = s.To
			}
		}
		if open.ID == row.ID && open.End.After(edge) { // more of it was durable once
			count.damaged++
			a.index.add(event{cam: cam, kind: evGap, from: edge, cause: nvr.FileDamaged, detail: damagedFile})
			edge = open.End
		}
	}
	if !edge.IsZero() {
		a.index.add(event{cam: cam, kind: evGap, from: edge, cause: nvr.RecorderStopped, detail: "the recorder was not running"})
	}
	if err := a.index.commit(a.cfg.Clock.Wall()); err != nil {
		return err
	}
	return nil
}

// lookAtFiles looks whether the file of each row is there and as long as it was, and notes what is lost.
// It reads no file that is as it should be.
func (a *Archive) lookAtFiles(count *tally) error {
	return a.index.db.View(func(tx *bolt.Tx) error {
		cams, err := a.index.cameras(tx)
		if err != nil {
			return err
		}
		for _, cam := range cams {
			err := rows(tx, cam, time.Unix(0, 0), time.Unix(0, 1<<62), func(r Row) error {
				a.lookAtFile(cam, &r, count)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (a *Archive) lookAtFile(cam nvr.CameraID, row *Row, count *tally) {
	for i, v := range a.volumes {
		if v.id != row.Volume || row.State == StateDoomed {
			continue
		}
		st, err := a.roots[i].Stat(row.Name(cam))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			count.missing++
			a.lose(cam, Span{From: row.Start, To: row.End, Cause: nvr.FileDamaged, Detail: goneFile})
		case err != nil:
			count.damaged++
			a.lose(cam, Span{From: row.Start, To: row.End, Cause: nvr.FileDamaged, Detail: damagedFile})
		case st.Size() < row.Bytes:
			count.damaged++
			a.lose(cam, Span{From: a.soundUntil(cam, *row), To: row.End, Cause: nvr.FileDamaged, Detail: damagedFile})
		}
	}
}

// soundUntil reads how far a file that is too short verifies.
func (a *Archive) soundUntil(cam nvr.CameraID, row Row) time.Time {
	end := row.Start
	r, done, err := a.OpenSegment(cam, row)
	if err != nil {
		return end
	}
	defer done()
	for {
		f, _, err := r.Next()
		if err != nil {
			return end
		}
		end = f.End
	}
}

// lose notes that footage which has a row is not on disk. The row stays: the file may come back from a
// copy, and each start looks anew.
func (a *Archive) lose(cam nvr.CameraID, s Span) {
	if !s.To.After(s.From) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone[cam] = append(a.gone[cam], s)
}
