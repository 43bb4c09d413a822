package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/recorder/archive"
	"custody-nvr/recorder/live"
)

// A shot is what a journal keeps of one archive frame.
type shot struct {
	run      nvr.RunID
	seq      uint64
	arrived  time.Duration // CLOCK_MONOTONIC, as stamped by the masker
	utc      time.Time     // as stamped by the recorder
	obscured nvr.Cause
	luma     uint8
	restart  bool // the hub left frames out before this one, because the journal was slow
}

// A moment is a state of a tile and the time since which it stood.
type moment struct {
	at time.Duration // when the journal saw it
	live.State
}

// A journal follows every camera of a rig inside the product: each archive frame with the product's
// own stamps, and each state of its tile. Time limits are judged by it, so that a test that is
// scheduled late does not judge late.
type journal struct {
	rig *rig

	mu     sync.Mutex
	shots  map[nvr.CameraID][]shot   // guarded by mu, as all below
	states map[nvr.CameraID][]moment // changes only
	memory map[nvr.CameraID]int      // most that a masker of the camera had resident, KiB
	late   time.Duration             // most that this process was scheduled late
}

// follow begins a journal. It ends with the rig.
func (r *rig) follow() *journal {
	r.t.Helper()
	j := &journal{rig: r, shots: map[nvr.CameraID][]shot{}, states: map[nvr.CameraID][]moment{}, memory: map[nvr.CameraID]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	for id := range r.main.maskers {
		sub := r.main.hub.Subscribe(live.Want{Camera: id, Stream: nvr.Archive})
		work.Go(func() {
			defer sub.Close()
			j.frames(ctx, id, sub)
		})
	}
	work.Go(func() { j.poll(ctx) })
	r.t.Cleanup(func() {
		cancel()
		work.Wait()
	})
	return j
}

func (j *journal) frames(ctx context.Context, id nvr.CameraID, sub *live.Subscriber) {
	for first := true; ; first = false {
		f, err := sub.Next(ctx)
		if err != nil {
			return
		}
		s := shot{run: f.Run, seq: f.Seq, arrived: f.Arrived, utc: f.UTC, obscured: f.Obscured, luma: f.Figures.Luma, restart: f.Restart && !first}
		j.mu.Lock()
		j.shots[id] = append(j.shots[id], s)
		j.mu.Unlock()
	}
}

const pollEvery = 10 * time.Millisecond

func (j *journal) poll(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	mono := j.rig.main.Clock.Mono
	last := mono()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		states := j.rig.main.hub.States()
		now := mono()
		j.mu.Lock()
		j.late = max(j.late, now-last-2*pollEvery)
		last = now
		for id, s := range states {
			list := j.states[id]
			if n := len(list); n == 0 || list[n-1].State != s {
				j.states[id] = append(list, moment{now, s})
			}
		}
		j.mu.Unlock()
		if i%5 == 0 {
			j.weigh()
		}
	}
}

// weigh notes what the maskers have resident.
func (j *journal) weigh() {
	for id, m := range j.rig.main.maskers {
		kib := peakMemory(m.State().PID)
		j.mu.Lock()
		j.memory[id] = max(j.memory[id], kib)
		j.mu.Unlock()
	}
}

// peakMemory is the most that a process had resident, in KiB; 0 where it is gone.
func peakMemory(pid int) int {
	if pid <= 0 {
		return 0
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	kib, _ := strconv.Atoi(strings.Fields(rest + " 0")[0])
	return kib
}

// allow adds to a limit what the machine itself was late, which is no fault of the recorder: the
// test process, in which the parent runs, was not scheduled for so long.
func (j *journal) allow(d time.Duration) time.Duration {
	return d + 2*j.lateness()
}

// lateness is the most that this process was scheduled late.
func (j *journal) lateness() time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.late
}

func (j *journal) peak(id nvr.CameraID) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.memory[id]
}

// of returns the frames of a camera so far.
func (j *journal) of(id nvr.CameraID) []shot {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.shots[id][:len(j.shots[id]):len(j.shots[id])]
}

// moments returns the states of a camera's tile so far.
func (j *journal) moments(id nvr.CameraID) []moment {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.states[id][:len(j.states[id]):len(j.states[id])]
}

// lastBefore is the last plain frame that arrived before at.
func (j *journal) lastBefore(id nvr.CameraID, at time.Duration) (s shot, ok bool) {
	for _, f := range j.of(id) {
		if f.arrived <= at && f.obscured == nvr.Recorded {
			s, ok = f, true
		}
	}
	return s, ok
}

// firstAfter is the first plain frame that arrived after at.
func (j *journal) firstAfter(id nvr.CameraID, at time.Duration) (shot, bool) {
	for _, f := range j.of(id) {
		if f.arrived > at && f.obscured == nvr.Recorded {
			return f, true
		}
	}
	return shot{}, false
}

// said is the first state after at that ok accepts.
func (j *journal) said(id nvr.CameraID, at time.Duration, ok func(live.State) bool) (moment, bool) {
	list := j.moments(id)
	for i, m := range list {
		over := i+1 < len(list) && list[i+1].at <= at
		if !over && ok(m.State) {
			return m, true
		}
	}
	return moment{}, false
}

// history is for the log of a test that fails.
func (j *journal) history(id nvr.CameraID) string {
	var b strings.Builder
	list := j.moments(id)
	for _, m := range list {
		fmt.Fprintf(&b, "  %8.3f %s: %s", (m.at - list[0].at).Seconds(), m.Cause, m.Detail)
		if m.NotChanging {
			b.WriteString(" NOT CHANGING")
		}
		b.WriteString("\n")
	}
	shots := j.of(id)
	for i, s := range shots {
		if i == 0 || s.obscured != shots[i-1].obscured || s.run != shots[i-1].run || i == len(shots)-1 {
			fmt.Fprintf(&b, "  %8.3f frame %d of run %s: %s\n", (s.arrived - list[0].at).Seconds(), s.seq, s.run, s.obscured)
		}
	}
	return b.String()
}

// unbroken says what is missing between the first and the last of the plain frames of a camera that
// nothing was done to; "" if nothing is.
func (j *journal) unbroken(id nvr.CameraID) string {
	var last shot
	n := 0
	for _, s := range j.of(id) {
		if n == 0 && s.obscured != nvr.Recorded {
			continue // a stream starts obscured until its first key picture
		}
		switch {
		case n == 0:
		case s.obscured != nvr.Recorded:
			return fmt.Sprintf("frame %d is %s", s.seq, s.obscured)
		case s.run != last.run:
			return fmt.Sprintf("after frame %d of run %s comes run %s", last.seq, last.run, s.run)
		case s.seq != last.seq+1 && !s.restart:
			return fmt.Sprintf("after frame %d comes frame %d", last.seq, s.seq)
		case s.arrived < last.arrived:
			return fmt.Sprintf("frame %d arrived before the one in front of it", s.seq)
		}
		last = s
		n++
	}
	if n == 0 {
		return "there is no frame at all"
	}
	return ""
}

// coverage waits until everything up to at is durable, and returns what the archive says of the
// camera from the beginning of the rig on.
func (j *journal) coverage(id nvr.CameraID, began, at time.Time) ([]archive.Span, error) {
	// A gap that has just ended is said to last until the first pictures after it are durable: those of
	// a new run wait two seconds for that, and a tick.
	for j.rig.main.Clock.Wall().Before(at.Add(4 * time.Second)) {
		wait(50 * time.Millisecond)
	}
	for deadline := time.Now().Add(15 * time.Second); ; wait(100 * time.Millisecond) {
		list, err := j.rig.main.archive.Coverage(id, began, at)
		if err != nil {
			return nil, err
		}
		if n := len(list); n > 0 && !list[n-1].To.Before(at) {
			return list, nil
		}
		if time.Now().After(deadline) {
			return list, fmt.Errorf("the coverage of camera %s ends %v too early: %v", id, at, list)
		}
	}
}

// sound says what is wrong with a coverage: a hole, an overlap, a time of which nothing is known, or
// that it says otherwise than the frames did, by more than slack.
func (j *journal) sound(id nvr.CameraID, list []archive.Span, slack time.Duration) string {
	for i, s := range list {
		switch {
		case i > 0 && !s.From.Equal(list[i-1].To):
			return fmt.Sprintf("between %v and %v nothing is said", list[i-1].To, s.From)
		case !s.To.After(s.From):
			return fmt.Sprintf("a span at %v is empty", s.From)
		case strings.Contains(s.Detail, "nothing is known"):
			return fmt.Sprintf("from %v to %v nothing is known", s.From, s.To)
		case s.Cause.IsMissing() && s.Detail == "":
			return fmt.Sprintf("from %v to %v it is %s without a word why", s.From, s.To, s.Cause)
		}
	}
	near := func(at time.Time, cause nvr.Cause) bool {
		for _, s := range list {
			if s.Cause == cause && at.After(s.From.Add(-slack)) && at.Before(s.To.Add(slack)) {
				return true
			}
		}
		return false
	}
	shots := j.of(id)
	for i, f := range shots {
		if f.utc.Before(list[0].From) || f.utc.After(list[len(list)-1].To.Add(-slack)) {
			continue
		}
		if !near(f.utc, f.obscured) {
			return fmt.Sprintf("frame %d of run %s at %v was %s, the coverage says otherwise", f.seq, f.run, f.utc, f.obscured)
		}
		if i == 0 || f.utc.Sub(shots[i-1].utc) <= 2*slack {
			continue
		}
		from, to := shots[i-1].utc.Add(slack), f.utc.Add(-slack)
		for _, s := range list {
			if !s.Cause.IsMissing() && s.From.Before(to) && s.To.After(from) {
				return fmt.Sprintf("from %v to %v no frame came, the coverage says %s from %v to %v", from, to, s.Cause, s.From, s.To)
			}
		}
	}
	return ""
}

// spanText is a coverage for the log.
func spanText(list []archive.Span) string {
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, "  %s for %v: %s: %s\n", s.From.Format("15:04:05.000"), s.To.Sub(s.From).Round(time.Millisecond), s.Cause, s.Detail)
	}
	return b.String()
}

// forget drops what is older, so that a journal of days stays small.
func (j *journal) forget(before time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for id, list := range j.shots {
		i := 0
		for i < len(list) && list[i].arrived < before {
			i++
		}
		j.shots[id] = append([]shot(nil), list[i:]...)
	}
	for id, list := range j.states {
		i := 0
		for i+1 < len(list) && list[i+1].at < before {
			i++
		}
		j.states[id] = append([]moment(nil), list[i:]...)
	}
}
