package archive

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"custody-nvr/nvr"
	"custody-nvr/recorder/segment"
)

// The index is a cache of what the files say, and the only place that knows the words of a gap's
// detail. It can be rebuilt from the files; the files cannot be rebuilt from it.
//
//	meta      format -> version byte, suite -> name, heads -> see encodeHeads, volume/PATH -> identity
//	segments  CAMERA/YYYY-MM   id (16 bytes, sorts by time)     -> Row
//	spans     CAMERA/YYYY-MM   from (8) number (4)              -> Span: obscured and missing times
//	steps     CAMERA           at (8) number (4)                -> how far the clock was set, ns (8)
//	since     CAMERA -> time before which footage was erased (8)
var (
	bMeta     = []byte("meta")
	bSegments = []byte("segments")
	bSpans    = []byte("spans")
	bSteps    = []byte("steps")
	bSince    = []byte("since")

	kFormat = []byte("format")
	kHeads  = []byte("heads")
	kSuite  = []byte("suite")
)

const (
	indexName   = "index.db"
	indexFormat = 1
	// fill is how full pages are made by appending. bbolt does not store it, each transaction sets it.
	fill = 0.95
)

// An event is one durable change of one camera, in the order in which it happened.
type event struct {
	cam  nvr.CameraID
	kind eventKind
	row  Row       // fragment, sealed
	from time.Time // fragment, gap; for a step the time after it
	to   time.Time // fragment
	by   time.Duration
	// cause of the gap, or why the fragment is obscured
	cause  nvr.Cause
	detail string
}

type eventKind uint8

const (
	evFragment eventKind = iota // row as it is with this fragment, which spans [from, to)
	evSealed                    // row is closed
	evGap                       // no pictures from from on
	evStep                      // the clock was set by by, now it is from
	evDamage                    // what a row says of [from, to) does not hold: it is damaged
)

type index struct {
	db   *bolt.DB
	path string
	log  *slog.Logger

	mu     sync.Mutex
	events []event // guarded by mu: arrived, not committed

	// owned by the goroutine that calls commit
	heads  map[nvr.CameraID]*head
	order  []nvr.CameraID
	number uint32
	dead   atomic.Bool // bbolt panicked: its locks may be held, nobody writes any more
}

// brokenMark ends the name of the file that says that the index is to be set aside.
const brokenMark = ".broken"

// openIndex opens or makes the database. A database that cannot be read is an error; the caller sets
// it aside.
func openIndex(dir, suite string, log *slog.Logger) (x *index, err error) {
	defer func() {
		if p := recover(); p != nil { // bbolt panics on pages that make no sense
			x, err = nil, fmt.Errorf("open index: %v", p)
		}
	}()
	path := filepath.Join(dir, indexName)
	if _, err := os.Stat(path + brokenMark); err == nil {
		return nil, errors.New("open index: it broke while it was in use")
	}
	st, statErr := os.Stat(path)
	db, err := bolt.Open(path, 0o640, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	x = &index{db: db, path: path, log: log, heads: map[nvr.CameraID]*head{}}
	if statErr != nil {
		err = db.Update(func(tx *bolt.Tx) error { return initIndex(tx, suite) })
	} else {
		err = db.View(func(tx *bolt.Tx) error {
			if tx.Size() > st.Size() { // bbolt itself would find out when it writes, by a panic
				return fmt.Errorf("has %d bytes of %d", st.Size(), tx.Size())
			}
			return x.load(tx)
		})
	}
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("open index: %w", err)
	}
	return x, nil
}

func initIndex(tx *bolt.Tx, suite string) error {
	for _, name := range [][]byte{bMeta, bSegments, bSpans, bSteps, bSince} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	m := tx.Bucket(bMeta)
	if err := m.Put(kFormat, []byte{indexFormat}); err != nil {
		return err
	}
	if err := m.Put(kSuite, []byte(suite)); err != nil {
		return err
	}
	return m.Put(kHeads, encodeHeads(time.Unix(0, 0), nil, nil))
}

func (x *index) load(tx *bolt.Tx) error {
	for err := range tx.Check() {
		return err
	}
	for _, name := range [][]byte{bMeta, bSegments, bSpans, bSteps, bSince} {
		if tx.Bucket(name) == nil {
			return fmt.Errorf("no bucket %q", name)
		}
	}
	m := tx.Bucket(bMeta)
	if f := m.Get(kFormat); len(f) != 1 || f[0] != indexFormat {
		return fmt.Errorf("format %x, this program writes %d", f, indexFormat)
	}
	var err error
	_, x.heads, x.order, err = decodeHeads(m.Get(kHeads))
	return err
}

// rename brings the name of the suite up to date. A suite that is called otherwise has the same cameras
// and the same disks, so what is known of them stays.
func (x *index) rename(suite string) error {
	was := ""
	err := x.db.Update(func(tx *bolt.Tx) error {
		m := tx.Bucket(bMeta)
		was = string(m.Get(kSuite))
		return m.Put(kSuite, []byte(suite))
	})
	if err == nil && was != suite {
		x.log.Warn("the suite has another name now, its index is kept", "was", was, "is", suite)
	}
	return err
}

// add takes durable changes; it never waits for the disk.
func (x *index) add(ev ...event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.events = append(x.events, ev...)
}

// commit writes what has arrived. known is the time up to which nothing is outstanding. After an
// error everything stays for the next time: the files hold it all.
//
// Where bbolt panics, or its memory map faults, the database is beyond use: its locks may be held. Then
// nothing more goes to it, a mark tells the next start to set it aside, and the footage goes on into
// files that describe themselves.
func (x *index) commit(known time.Time) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			x.dead.Store(true)
			err = fmt.Errorf("commit index: %v", p)
			if e := os.WriteFile(x.path+brokenMark, nil, 0o640); e != nil {
				err = errors.Join(err, e)
			}
		}
	}()
	x.mu.Lock()
	events := x.events
	x.events = nil
	x.mu.Unlock()
	if x.dead.Load() {
		return errors.New("commit index: it broke, the next start rebuilds it from the files")
	}

	before := x.snapshot()
	err = x.db.Update(func(tx *bolt.Tx) error {
		for i := range events {
			if err := x.apply(tx, &events[i]); err != nil {
				return err
			}
		}
		return tx.Bucket(bMeta).Put(kHeads, encodeHeads(known, x.heads, x.order))
	})
	if err != nil {
		x.heads = before
		x.order = x.order[:len(before)]
		x.mu.Lock()
		x.events = append(events, x.events...)
		x.mu.Unlock()
		return fmt.Errorf("commit index: %w", err)
	}
	return nil
}

func (x *index) snapshot() map[nvr.CameraID]*head {
	m := make(map[nvr.CameraID]*head, len(x.heads))
	for id, h := range x.heads {
		c := *h
		m[id] = &c
	}
	return m
}

// apply brings one change into the head of its camera, and what is over into the buckets. Values that
// heads point to are replaced, never changed, so that snapshots hold.
func (x *index) apply(tx *bolt.Tx, ev *event) error {
	h := x.heads[ev.cam]
	if h == nil {
		h = &head{edge: ev.from}
		x.heads[ev.cam] = h
		x.order = append(x.order, ev.cam)
	}
	switch ev.kind {
	case evGap:
		return x.gap(tx, h, ev)
	case evStep:
		return x.step(tx, h, ev)
	case evFragment:
		return x.fragment(tx, h, ev)
	case evSealed:
		h.seg = nil
		return x.putRow(tx, ev.cam, &ev.row)
	}
	if ev.kind == evDamage {
		return x.putSpan(tx, ev.cam, Span{ev.from, ev.to, ev.cause, ev.detail})
	}
	panic("unknown kind of event")
}

func (x *index) gap(tx *bolt.Tx, h *head, ev *event) error {
	if err := x.endObscured(tx, ev.cam, h); err != nil {
		return err
	}
	from := h.edge // pictures ended there: nothing may lie between
	if h.gap != nil {
		if h.gap.Cause == ev.cause && h.gap.Detail == ev.detail {
			return nil
		}
		from = later(ev.from, h.gap.From)
		if err := x.putSpan(tx, ev.cam, Span{h.gap.From, from, h.gap.Cause, h.gap.Detail}); err != nil {
			return err
		}
	}
	h.gap = &Span{From: from, Cause: ev.cause, Detail: ev.detail}
	h.edge = from
	return nil
}

// step declares that the clock was set. Where it was set forward the time that never was has its own
// cause; where it was set back, the times after it occur for the second time.
func (x *index) step(tx *bolt.Tx, h *head, ev *event) error {
	if err := x.endObscured(tx, ev.cam, h); err != nil {
		return err
	}
	old := ev.from.Add(-ev.by) // what the clock said when it was set
	if h.gap != nil {
		end := later(old, h.gap.From)
		if err := x.putSpan(tx, ev.cam, Span{h.gap.From, end, h.gap.Cause, h.gap.Detail}); err != nil {
			return err
		}
		h.gap = &Span{From: ev.from, Cause: h.gap.Cause, Detail: h.gap.Detail}
		h.edge = end
	}
	if ev.by > 0 {
		s := Span{h.edge, ev.from, nvr.ClockStep, ev.detail}
		if err := x.putSpan(tx, ev.cam, s); err != nil {
			return err
		}
	}
	h.edge = ev.from
	b, err := tx.Bucket(bSteps).CreateBucketIfNotExists([]byte(ev.cam))
	if err != nil {
		return err
	}
	return b.Put(x.key(ev.from), be.AppendUint64(nil, uint64(ev.by)))
}

func (x *index) fragment(tx *bolt.Tx, h *head, ev *event) error {
	row := ev.row
	if h.seg == nil || h.seg.ID != row.ID {
		gap := h.gap
		if gap == nil && ev.from.After(h.edge) {
			// Whoever feeds the archive declares each gap; this one was forgotten, yet no second may
			// be without a cause.
			gap = &Span{From: h.edge, Cause: nvr.Overload, Detail: "no cause was given"}
		}
		if gap != nil {
			if err := x.putSpan(tx, ev.cam, Span{gap.From, ev.from, gap.Cause, gap.Detail}); err != nil {
				return err
			}
		}
		h.gap = nil
	}
	h.seg, h.edge, h.last = &row, ev.to, row.Last
	if h.obsc != nil && (h.obsc.Cause != ev.cause || !h.obsc.To.Equal(ev.from)) {
		if err := x.endObscured(tx, ev.cam, h); err != nil {
			return err
		}
	}
	switch {
	case ev.cause == nvr.Recorded:
	case h.obsc == nil:
		h.obsc = &Span{From: ev.from, To: ev.to, Cause: ev.cause}
	default:
		h.obsc = &Span{From: h.obsc.From, To: ev.to, Cause: ev.cause}
	}
	return nil
}

func (x *index) endObscured(tx *bolt.Tx, cam nvr.CameraID, h *head) error {
	if h.obsc == nil {
		return nil
	}
	s := *h.obsc
	h.obsc = nil
	return x.putSpan(tx, cam, s)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// key makes spans that begin together distinct.
func (x *index) key(t time.Time) []byte {
	x.number++
	return be.AppendUint32(be.AppendUint64(nil, uint64(t.UnixNano())), x.number)
}

func (x *index) putSpan(tx *bolt.Tx, cam nvr.CameraID, s Span) error {
	if !s.To.After(s.From) {
		return nil
	}
	b, err := month(tx, bSpans, cam, s.From)
	if err != nil {
		return err
	}
	k := x.key(s.From)
	for b.Get(k) != nil { // numbers start over with each process
		k = x.key(s.From)
	}
	return b.Put(k, s.encode(nil))
}

func (x *index) putRow(tx *bolt.Tx, cam nvr.CameraID, r *Row) error {
	b, err := month(tx, bSegments, cam, r.Start)
	if err != nil {
		return err
	}
	return b.Put(r.ID[:], r.encode(nil))
}

// month is the bucket for things of cam that begin at t, made if need be.
func month(tx *bolt.Tx, kind []byte, cam nvr.CameraID, t time.Time) (*bolt.Bucket, error) {
	b, err := tx.Bucket(kind).CreateBucketIfNotExists([]byte(cam))
	if err != nil {
		return nil, err
	}
	if b, err = b.CreateBucketIfNotExists([]byte(t.Format("2006-01"))); err != nil {
		return nil, err
	}
	b.FillPercent = fill
	return b, nil
}

// longest is more than any segment or stored span that is looked for by its start. Spans that are
// longer are split by nobody, so they are found by walking the months from the first.
const longest = time.Hour

// rows calls do with the closed rows of cam that overlap [from, to), oldest first.
func rows(tx *bolt.Tx, cam nvr.CameraID, from, to time.Time, do func(Row) error) error {
	b := tx.Bucket(bSegments).Bucket([]byte(cam))
	if b == nil {
		return nil
	}
	seek := from.Add(-longest)
	c := b.Cursor()
	for k, _ := c.Seek([]byte(seek.Format("2006-01"))); k != nil && string(k) <= to.Format("2006-01"); k, _ = c.Next() {
		m := b.Bucket(k).Cursor()
		start := be.AppendUint64(nil, uint64(max(seek.UnixNano(), 0)))
		for k, v := m.Seek(start); k != nil; k, v = m.Next() {
			r, err := decodeRow(segment.ID(k), v)
			if err != nil {
				return err
			}
			if !r.Start.Before(to) {
				break
			}
			if r.End.After(from) {
				if err := do(r); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// spans returns the stored spans of cam that overlap [from, to). A gap may be months long, so the walk
// begins with the last one that starts before from.
func spans(tx *bolt.Tx, cam nvr.CameraID, from, to time.Time) (list []Span, err error) {
	b := tx.Bucket(bSpans).Bucket([]byte(cam))
	if b == nil {
		return nil, nil
	}
	c := b.Cursor()
	for k, _ := c.First(); k != nil && string(k) <= to.Format("2006-01"); k, _ = c.Next() {
		m := b.Bucket(k).Cursor()
		for k, v := m.First(); k != nil; k, v = m.Next() {
			s, err := decodeSpan(k, v)
			if err != nil {
				return nil, err
			}
			if !s.From.Before(to) {
				break
			}
			if s.To.After(from) {
				list = append(list, s)
			}
		}
	}
	return list, nil
}

// cameras are all that the index has heard of.
func (x *index) cameras(tx *bolt.Tx) ([]nvr.CameraID, error) {
	_, _, order, err := decodeHeads(tx.Bucket(bMeta).Get(kHeads))
	slices.Sort(order)
	return order, err
}
