package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"custody-nvr/nvr"
)

// Retention of a demo: the oldest sealed segments go when they are older than Keep or all together
// are more than MaxBytes. It exists because a demo must not fill somebody's laptop. A real suite keeps
// a year and never sets these.

func (a *Archive) runDemoRetention(ctx context.Context) {
	t := time.NewTicker(10 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if a.index.dead.Load() {
			return // nothing is erased without an index
		}
		if err := a.eraseOld(); err != nil {
			a.log.Error("erase old footage of the demo", "err", err)
		}
	}
}

type doomed struct {
	cam nvr.CameraID
	row Row
}

// eraseOld erases what is due, in an order that any crash leaves finishable: row doomed, file gone,
// folder synced, row gone.
func (a *Archive) eraseOld() error {
	var due []doomed
	now := a.cfg.Clock.Wall()
	err := a.index.db.Update(func(tx *bolt.Tx) error {
		all, total, err := a.sealed(tx)
		if err != nil {
			return err
		}
		slices.SortFunc(all, func(p, q doomed) int { return p.row.End.Compare(q.row.End) })
		for _, d := range all {
			old := a.cfg.Keep > 0 && now.Sub(d.row.End) > a.cfg.Keep
			much := a.cfg.MaxBytes > 0 && total > a.cfg.MaxBytes
			if !old && !much {
				break
			}
			total -= d.row.Bytes
			d.row.State = StateDoomed
			if err := a.index.putRow(tx, d.cam, &d.row); err != nil {
				return err
			}
			due = append(due, d)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	return a.erase(due)
}

// sealed lists the closed segments and counts the bytes of all.
func (a *Archive) sealed(tx *bolt.Tx) (list []doomed, total int64, err error) {
	_, heads, order, err := decodeHeads(tx.Bucket(bMeta).Get(kHeads))
	if err != nil {
		return nil, 0, err
	}
	for _, cam := range order {
		if s := heads[cam].seg; s != nil {
			total += s.Bytes
		}
		err := rows(tx, cam, time.Unix(0, 0), time.Unix(0, 1<<62), func(r Row) error {
			total += r.Bytes
			list = append(list, doomed{cam, r})
			return nil
		})
		if err != nil {
			return nil, 0, err
		}
	}
	return list, total, nil
}

func (a *Archive) erase(due []doomed) error {
	for _, d := range due {
		v := a.volume(d.row.Volume)
		if v == nil {
			return fmt.Errorf("erase segment %s: its volume %x is not here", d.row.ID, d.row.Volume)
		}
		if err := v.disk.Remove(d.row.Name(d.cam)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("erase segment %s: %w", d.row.ID, err)
		}
	}
	err := a.index.db.Update(func(tx *bolt.Tx) error {
		for _, d := range due {
			m := tx.Bucket(bSegments).Bucket([]byte(d.cam)).Bucket([]byte(d.row.Start.Format("2006-01")))
			if err := m.Delete(d.row.ID[:]); err != nil {
				return err
			}
			b := tx.Bucket(bSince)
			if old := b.Get([]byte(d.cam)); len(old) == 8 && !nanos(old).Before(d.row.End) {
				continue
			}
			if err := b.Put([]byte(d.cam), be.AppendUint64(nil, uint64(d.row.End.UnixNano()))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("drop rows of erased segments: %w", err)
	}
	return nil
}

// finishErasing carries to its end what a crash interrupted.
func (a *Archive) finishErasing() error {
	var due []doomed
	err := a.index.db.View(func(tx *bolt.Tx) error {
		all, _, err := a.sealed(tx)
		for _, d := range all {
			if d.row.State == StateDoomed {
				due = append(due, d)
			}
		}
		return err
	})
	if err != nil || len(due) == 0 {
		return err
	}
	return a.erase(due)
}

func (a *Archive) volume(id [16]byte) *volume {
	for _, v := range a.volumes {
		if v.id == id {
			return v
		}
	}
	return nil
}
