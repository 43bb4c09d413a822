package main

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"custody-nvr/configs"
	"custody-nvr/nvr"
	"custody-nvr/privacy/camera/fakecamera"
	"custody-nvr/recorder/archive"
	"custody-nvr/recorder/live"
)

// A faultRow is one fault of a camera and how it must end. The rows of a table live in one recorder
// at the same time, each with a camera of its own, so that each is also a witness of what the others
// must not do to it.
type faultRow struct {
	name   string
	film   film
	script func(*fakecamera.Script) // how this camera is from the start
	camera func(*configs.Camera)    // how the suite file describes it
	// Broken: the fault stands from the start, so no plain picture comes before it is mended.
	broken bool

	// fault happens once all sound cameras are recorded. A row without says must not lose a frame
	// over it.
	fault func(*faultCase)
	says  nvr.Cause // what stands on the tile and in the coverage
	words string    // in the line for staff
	// within is the most that may pass from the last plain picture to the tile saying so; 0 is 3 s
	// (a tile is NOT LIVE by then).
	within time.Duration
	lasts  time.Duration // from the fault to mend, at least until it is said
	mend   func(*faultCase)
	back   time.Duration // most from mend to a plain picture; 0 is 5 s
	// check looks at what is special about the row, after all.
	check func(*faultCase)
}

// A faultCase is a row at work.
type faultCase struct {
	faultRow
	t     testing.TB
	rig   *rig
	book  *journal
	cam   *fakecamera.Camera
	id    nvr.CameraID
	spans []archive.Span

	hurt    time.Duration // CLOCK_MONOTONIC when the fault began
	mended  time.Duration
	outcome []string // what is wrong
	figures []string // for the log
}

func (c *faultCase) now() time.Duration { return c.rig.main.Clock.Mono() }

// errorf notes what is wrong.
func (c *faultCase) errorf(format string, args ...any) {
	c.outcome = append(c.outcome, fmt.Sprintf(format, args...))
}

// fatalf ends the row's goroutine, and no other's.
func (c *faultCase) fatalf(format string, args ...any) {
	c.errorf(format, args...)
	runtime.Goexit()
}

// figure is said in the log of the row.
func (c *faultCase) figure(format string, args ...any) {
	c.figures = append(c.figures, fmt.Sprintf(format, args...))
}

// until waits for something that the product must bring about; how soon is judged afterwards, by the
// product's own stamps.
func (c *faultCase) until(what string, within time.Duration, ok func() bool) {
	for deadline := time.Now().Add(c.book.allow(within)); !ok(); wait(pollEvery) {
		if time.Now().After(deadline) {
			c.fatalf("%s did not come within %v", what, within)
		}
	}
}

// plain waits for a plain picture that arrived after at.
func (c *faultCase) plain(at, within time.Duration) (first shot) {
	c.until("a plain picture", within+10*time.Second, func() (ok bool) {
		first, ok = c.book.firstAfter(c.id, at)
		return ok
	})
	return first
}

// tells waits until the tile says the cause with the words, after at.
func (c *faultCase) tells(at time.Duration, cause nvr.Cause, words string, within time.Duration) (m moment) {
	c.until(fmt.Sprintf("%q with %q on the tile", cause, words), within+10*time.Second, func() (ok bool) {
		m, ok = c.book.said(c.id, at, func(s live.State) bool { return s.Cause == cause && strings.Contains(s.Detail, words) })
		return ok
	})
	return m
}

// run plays the row through.
func (c *faultCase) run() {
	c.hurt = c.now()
	if c.fault != nil {
		c.fault(c)
	}
	if c.says == nvr.Recorded && c.mend == nil {
		for c.now() < c.hurt+c.lasts {
			wait(50 * time.Millisecond)
		}
		return
	}
	limit := c.within
	if limit == 0 {
		limit = 3 * time.Second
	}
	m := c.tells(c.hurt, c.says, c.words, limit)
	if !c.broken && c.says.IsMissing() {
		// The tile must be NOT LIVE in time, with whatever words; the words may follow.
		last, _ := c.book.lastBefore(c.id, m.at)
		first, _ := c.book.said(c.id, last.arrived, func(s live.State) bool { return s.Cause == c.says })
		took := max(first.Since-last.arrived, 0)
		c.figure("tile after %v", took.Round(time.Millisecond))
		if took > c.book.allow(limit) {
			c.errorf("the tile said %q %v after the last picture, at most %v", c.says, took, limit)
		}
	}
	for c.now() < c.hurt+c.lasts {
		wait(50 * time.Millisecond)
	}
	if c.mend == nil {
		return
	}
	c.mended = c.now()
	c.mend(c)
	limit = c.back
	if limit == 0 {
		limit = 5 * time.Second
	}
	first := c.plain(c.mended, limit)
	took := first.arrived - c.mended
	c.figure("back after %v", took.Round(time.Millisecond))
	if took > c.book.allow(limit) {
		c.errorf("the first plain picture came %v after the camera was well again, at most %v", took, limit)
	}
	c.plain(first.arrived+1500*time.Millisecond, 2*time.Second) // it stays
}

// judge looks at the coverage of the row's camera.
func (c *faultCase) judge(began time.Time) {
	to := c.rig.main.Clock.Wall().UTC()
	if s := c.book.of(c.id); c.says == nvr.Recorded || c.mended != 0 {
		to = s[len(s)-1].utc // plain at the end: everything that was seen must be on disk
	}
	var err error
	if c.spans, err = c.book.coverage(c.id, began, to); err != nil {
		c.errorf("%v", err)
		return
	}
	if wrong := c.book.sound(c.id, c.spans, time.Second); wrong != "" {
		c.errorf("coverage: %s", wrong)
	}
	if c.says == nvr.Recorded && c.mend == nil {
		if wrong := c.book.unbroken(c.id); wrong != "" {
			c.errorf("a camera that did nothing wrong lost pictures: %s", wrong)
		}
		if wrong := onlyRecorded(c.spans); wrong != "" {
			c.errorf("coverage of a camera that did nothing wrong: %s", wrong)
		}
		return
	}
	for _, s := range c.spans {
		if s.Cause == c.says && (c.says.IsObscured() || strings.Contains(s.Detail, c.words)) {
			return
		}
	}
	c.errorf("nowhere in the coverage stands %q with %q", c.says, c.words)
}

// onlyRecorded says what else a coverage holds once pictures have begun.
func onlyRecorded(list []archive.Span) string {
	begun := false
	for _, s := range list {
		if begun && s.Cause != nvr.Recorded {
			return fmt.Sprintf("%s for %v at %s (%s)", s.Cause, s.To.Sub(s.From), s.From.Format("15:04:05.000"), s.Detail)
		}
		begun = begun || s.Cause == nvr.Recorded
	}
	if !begun {
		return "nothing is recorded"
	}
	return ""
}

// starved is how late this process may be scheduled before a failure says nothing of the recorder: its
// watchdogs are right to act, and pictures are right to be missed, on a machine that does not run it.
const starved = 400 * time.Millisecond

// stage is shared by tables that are played for the first time; whoever plays again has it alone.
var stage sync.RWMutex

// runFaults plays a table in one recorder, beside two cameras that nothing is done to. A table that
// fails on a machine that was too busy to run it is played again, twice at most.
func runFaults(t *testing.T, rows []faultRow) {
	t.Helper()
	t.Parallel()
	rows = append([]faultRow{{name: "witness in H.264"}, {name: "witness in H.265", film: film{kind: "h265"}}}, rows...)
	var cases []*faultCase
	for attempt := 1; ; attempt++ {
		enter, leave := stage.RLock, stage.RUnlock
		if attempt > 1 {
			enter, leave = stage.Lock, stage.Unlock
		}
		func() {
			enter()
			defer leave()
			cases = playFaults(t, rows)
		}()
		late := cases[0].book.lateness()
		wrong := 0
		for _, c := range cases {
			wrong += len(c.outcome)
		}
		t.Logf("this process was scheduled up to %v late", late.Round(time.Millisecond))
		if wrong == 0 || late < starved || attempt == 3 {
			break
		}
		t.Logf("%d things went wrong on a machine that was too busy, playing all again", wrong)
		cases[0].rig.halt()
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if len(c.figures) > 0 {
				t.Log(strings.Join(c.figures, ", "))
			}
			for _, wrong := range c.outcome {
				t.Error(wrong)
			}
			if len(c.outcome) > 0 {
				t.Logf("tile and frames of %s:\n%scoverage:\n%s", c.id, c.book.history(c.id), spanText(c.spans))
			}
		})
	}
	if t.Failed() {
		t.Logf("the recorder said:\n%s", cases[0].rig.log.tail(150))
	}
}

// playFaults plays a table once.
func playFaults(t *testing.T, rows []faultRow) []*faultCase {
	t.Helper()
	cases := make([]*faultCase, len(rows))
	var cams []rigCamera
	for i, row := range rows {
		s := row.film.script(t)
		if row.script != nil {
			row.script(&s)
		}
		cases[i] = &faultCase{faultRow: row, t: t, cam: fakecamera.Start(t, s), id: nvr.CameraID(fmt.Sprintf("cell-%02d", i+1))}
		cams = append(cams, filmed(cases[i].cam.URL(), row.camera))
	}
	for _, c := range cases {
		if c.broken && c.fault != nil {
			c.fault(c) // before the recorder starts
			c.fault = nil
		}
	}
	r := startRig(t, cams...)
	book := r.follow()
	began := r.main.Clock.Wall().UTC()
	for _, c := range cases {
		c.rig, c.book = r, book
		if !c.broken {
			r.waitState(c.id, nvr.Recorded, 60*time.Second)
		}
	}
	wait(time.Second) // of plain pictures to lose
	each := func(do func(c *faultCase)) {
		var work sync.WaitGroup
		for _, c := range cases {
			work.Go(func() { do(c) })
		}
		work.Wait()
	}
	each((*faultCase).run)
	each(func(c *faultCase) { c.judge(began) })
	each(func(c *faultCase) {
		if c.check != nil && len(c.outcome) == 0 {
			c.check(c)
		}
	})
	return cases
}
