package ui

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"custody-nvr/nvr"
)

// The rule for a picture that nobody may take for live (REQ-LIVE-1).
const (
	saidDelayedBy = 1500*time.Millisecond + 100*time.Millisecond // one look of the wall later
	takenAwayBy   = 3000 * time.Millisecond
)

func TestSixteenTilesPlayTogether(t *testing.T) {
	const rate = 10
	s := startSuite(t, 16, 0, rate)
	openWall(t, s)
	p := s.nextReport(t, Painted{}) // holds the start of the page
	// A machine that is busy with something else skips pictures, so any of five reports will do.
	for range 5 {
		p = s.nextReport(t, p)
		if slowest, fastest := rates(p); p.Visible && p.Sound == "on" && slowest >= 0.9*rate && fastest <= 1.1*rate {
			t.Logf("painted in %s: %v", p.Over, p.Tiles)
			return
		}
	}
	t.Errorf("not %d pictures a second on every tile: %+v", rate, p)
}

// rates returns how many pictures a second the slowest and the fastest tile painted.
func rates(p Painted) (slowest, fastest float64) {
	slowest = math.Inf(1)
	for _, n := range p.Tiles {
		fps := float64(n) / p.Over.Seconds()
		slowest, fastest = min(slowest, fps), max(fastest, fps)
	}
	return slowest, fastest
}

// nextReport waits for a screen's report after the given one.
func (s *suite) nextReport(t *testing.T, after Painted) Painted {
	t.Helper()
	n := len(s.reports())
	if after.Screen == "" {
		n = 0
	}
	deadline := time.After(15 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for len(s.reports()) <= n {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the page did not report what it painted")
		}
	}
	return s.reports()[n]
}

// stateOf is a script that is true when a cell's tile is in a state.
func stateOf(cell nvr.CellID, state string) string {
	return `document.querySelector('[data-cell="` + string(cell) + `"]').dataset.state === '` + state + `'`
}

// tileText is what a tile says in words.
func tileText(t *testing.T, ctx context.Context, cell nvr.CellID) string {
	return evaluate[string](t, ctx, `document.querySelector('[data-cell="`+string(cell)+`"]').innerText.replace(/\s+/g, ' ')`)
}

// findChange returns when the cell first changed to the state.
func findChange(t *testing.T, ctx context.Context, cell nvr.CellID, state string) change {
	t.Helper()
	for _, c := range evaluate[[]change](t, ctx, `window.changes`) {
		if c.Cell == cell && c.State == state {
			return c
		}
	}
	t.Fatalf("%s never was %s", cell, state)
	return change{}
}

func TestFrozenCameraIsNeverTakenForLive(t *testing.T) {
	s := startSuite(t, 6, 1, 10)
	ctx := openWall(t, s)
	evaluate[bool](t, ctx, record)
	frozen := cellID(1)
	s.set(frozen, State{Cause: nvr.CameraLost, Detail: "no packets from the camera; check its cable"})
	last := s.freeze(frozen, true)
	until(t, ctx, 5*time.Second, stateOf(frozen, "notlive"))

	if d := findChange(t, ctx, frozen, "delayed"); d.after(last) > saidDelayedBy || d.after(last) < 1200*time.Millisecond {
		t.Errorf("DELAYED came %s after the last picture", d.after(last))
	}
	gone := findChange(t, ctx, frozen, "notlive")
	if gone.after(last) > takenAwayBy || !gone.Black {
		t.Errorf("NOT LIVE came %s after the last picture; canvas black: %v", gone.after(last), gone.Black)
	}
	t.Logf("NOT LIVE %s after the last picture", gone.after(last))
	if text := tileText(t, ctx, frozen); !strings.Contains(text, "NOT LIVE camera lost: no packets from the camera; check its cable") {
		t.Errorf("the tile says %q", text)
	}
	if text := evaluate[string](t, ctx, `document.getElementById('spoken').textContent`); text != "Cell 2 NOT LIVE" {
		t.Errorf("a screen reader hears %q", text)
	}
	for _, c := range evaluate[[]change](t, ctx, `window.changes`) {
		if c.Cell != frozen {
			t.Errorf("%s changed to %s, too", c.Cell, c.State)
		}
	}
	s.set(frozen, State{})
	s.freeze(frozen, false)
	until(t, ctx, 3*time.Second, stateOf(frozen, "live"))
	if text := evaluate[string](t, ctx, `document.getElementById('spoken').textContent`); text != "All cells are back." {
		t.Errorf("a screen reader hears %q", text)
	}
}

func TestWallClockStepsDoNotTouchAges(t *testing.T) {
	s := startSuite(t, 2, 0, 10)
	ctx := openWall(t, s)
	evaluate[bool](t, ctx, record)
	s.clock.stepBy(-time.Hour)
	want := s.fakeWall.clock.Wall().In(s.server.london).Format("15:04:")
	until(t, ctx, 3*time.Second, `document.querySelector('.tile .time').textContent.startsWith('`+want+`')`)
	last := s.freeze(cellID(0), true)
	until(t, ctx, 5*time.Second, stateOf(cellID(0), "notlive"))
	if gone := findChange(t, ctx, cellID(0), "notlive"); gone.after(last) > takenAwayBy {
		t.Errorf("NOT LIVE came %s after the last picture", gone.after(last))
	}
	for _, c := range evaluate[[]change](t, ctx, `window.changes`) {
		if c.Cell != cellID(0) {
			t.Errorf("the step made %s %s", c.Cell, c.State)
		}
	}
}

func TestLiveMeansFreshAndVisible(t *testing.T) {
	s := startSuite(t, 3, 1, 10)
	ctx := openWall(t, s)
	evaluate[bool](t, ctx, record)
	covered, still := cellID(0), cellID(1)

	t.Run("whole picture obscured", func(t *testing.T) {
		s.obscure(covered, nvr.ObscuredWrongSize)
		until(t, ctx, 2*time.Second, stateOf(covered, "blind"))
		if !findChange(t, ctx, covered, "blind").Black {
			t.Error("the picture stands")
		}
		if text := tileText(t, ctx, covered); !strings.Contains(text, "CANNOT SEE - CHECK THE CELL obscured: picture does not fit the mask") {
			t.Errorf("the tile says %q", text)
		}
		s.obscure(covered, nvr.Recorded)
		until(t, ctx, 2*time.Second, stateOf(covered, "live"))
	})
	t.Run("obscured by the recorder's word alone", func(t *testing.T) {
		s.set(covered, State{Cause: nvr.ObscuredMaskProof, Detail: "tell ICT"})
		until(t, ctx, 2*time.Second, stateOf(covered, "blind"))
		if text := tileText(t, ctx, covered); !strings.Contains(text, "mask could not be proven: tell ICT") {
			t.Errorf("the tile says %q", text)
		}
		s.set(covered, State{})
		until(t, ctx, 2*time.Second, stateOf(covered, "live"))
	})
	t.Run("picture not changing", func(t *testing.T) {
		s.set(still, State{NotChanging: true})
		until(t, ctx, 2*time.Second, stateOf(still, "still"))
		if text := tileText(t, ctx, still); !strings.Contains(text, "PICTURE NOT CHANGING - CHECK THE CELL") {
			t.Errorf("the tile says %q", text)
		}
		if findChange(t, ctx, still, "still").Black {
			t.Error("the picture is gone")
		}
		s.set(still, State{})
		until(t, ctx, 2*time.Second, stateOf(still, "live"))
	})
	t.Run("not recording", func(t *testing.T) {
		s.set(still, State{NotRecording: "the disk is full; tell ICT"})
		until(t, ctx, 2*time.Second, stateOf(still, "norec")+` && document.body.dataset.faults === '1' && document.getElementById('count').textContent === '1 CELL TO CHECK'`)
		if text := tileText(t, ctx, still); !strings.Contains(text, "NOT RECORDING the disk is full; tell ICT Cell 2 NOT RECORDING") {
			t.Errorf("the tile says %q", text)
		}
		if text := evaluate[string](t, ctx, `document.getElementById('spoken').textContent`); text != "Cell 2 NOT RECORDING" {
			t.Errorf("a screen reader hears %q", text)
		}
		if findChange(t, ctx, still, "norec").Black {
			t.Error("the picture is gone")
		}
		photograph(t, ctx, "not-recording")
		s.set(still, State{NotChanging: true, NotRecording: "the disk is full; tell ICT"}) // neither fault hides the other
		until(t, ctx, 2*time.Second, stateOf(still, "still")+` && document.body.dataset.faults === '2' && document.getElementById('count').textContent === '1 CELL TO CHECK'`)
		if text := tileText(t, ctx, still); !strings.Contains(text, "NOT RECORDING: the disk is full") {
			t.Errorf("the tile says %q", text)
		}
		s.set(still, State{})
		until(t, ctx, 2*time.Second, stateOf(still, "live")+` && document.body.dataset.faults === '0'`)
	})
	t.Run("no camera", func(t *testing.T) {
		if text := tileText(t, ctx, cellID(3)); !strings.Contains(text, "NO CCTV physical checks only") {
			t.Errorf("the tile says %q", text)
		}
	})
}

func TestAlarmCanBeSilencedButNotForANewFault(t *testing.T) {
	s := startSuite(t, 3, 0, 10)
	ctx := openWall(t, s)
	// Every tone that the page starts is noted with its length.
	evaluate[bool](t, ctx, `window.tones = []; {
		const stop = OscillatorNode.prototype.stop;
		OscillatorNode.prototype.stop = function (at) { window.tones.push(performance.now()); return stop.call(this, at); };
	} true`)
	s.obscure(cellID(0), nvr.ObscuredDamaged)
	until(t, ctx, 6*time.Second, `window.tones.length >= 2`) // the new fault, and again
	do(t, ctx, chromedp.Click("#silence"))
	until(t, ctx, time.Second, `document.body.dataset.sound === 'silenced' && /sounds again in 1[12]\d s/.test(document.getElementById('silence').textContent)`)
	n := evaluate[int](t, ctx, `window.tones.length`)
	<-time.After(3500 * time.Millisecond) // the rule is about time: longer than from one alarm to the next
	if now := evaluate[int](t, ctx, `window.tones.length`); now != n {
		t.Errorf("%d tones while silenced", now-n)
	}
	s.obscure(cellID(1), nvr.ObscuredDamaged)
	until(t, ctx, 2*time.Second, `window.tones.length > `+string(rune('0'+n))+` && document.body.dataset.sound === 'on'`)
	if text := evaluate[string](t, ctx, `document.getElementById('count').textContent`); text != "2 CELLS TO CHECK" {
		t.Errorf("the strip says %q", text)
	}
}

func TestWallSaysWhenNobodyWouldHearIt(t *testing.T) {
	s := startSuite(t, 1, 0, 10)
	ctx := openWall(t, s, chromedp.Flag("autoplay-policy", "document-user-activation-required"))
	until(t, ctx, 3*time.Second, `!document.getElementById('soundoff').hidden`)
	do(t, ctx, chromedp.KeyEvent(" "))
	until(t, ctx, 3*time.Second, `document.getElementById('soundoff').hidden && document.body.dataset.sound === 'on'`)
}

// TestDeadDecodersBringTheWallBack takes the output of every decoder away, as a browser whose video
// process has died: the wall must come back by itself.
func TestDeadDecodersBringTheWallBack(t *testing.T) {
	s := startSuite(t, 2, 0, 10)
	ctx := openWall(t, s)
	evaluate[bool](t, ctx, `VideoDecoder.prototype.decode = () => {}; window.broken = true`)
	until(t, ctx, 5*time.Second, stateOf(cellID(0), "notlive"))
	until(t, ctx, 40*time.Second, `window.broken === undefined && [...document.querySelectorAll('a.tile')].every(e => e.dataset.state === 'live')`)
}

func TestOneCellOpensFullSizeByMouseAndKeys(t *testing.T) {
	s := startSuite(t, 4, 1, 10)
	ctx := openWall(t, s)
	big := func(name string) string {
		return `document.body.classList.contains('enlarged') && document.getElementById('onename').textContent === '` + name +
			`' && document.getElementById('one').dataset.state === 'live' && document.getElementById('onecanvas').width === 1280`
	}
	const small = `!document.body.classList.contains('enlarged') && document.getElementById('one').hidden`
	focused := func(cell nvr.CellID) string { return `document.activeElement.dataset.cell === '` + string(cell) + `'` }

	do(t, ctx, chromedp.Click(`[data-cell="cell-02"]`))
	until(t, ctx, 4*time.Second, big("Cell 2"))
	s.obscure(cellID(2), nvr.ObscuredDamaged) // a fault elsewhere stays in sight
	until(t, ctx, 2*time.Second, `document.querySelector('#faults a')?.offsetParent !== null && document.querySelector('#faults a')?.textContent === 'Cell 3 CANNOT SEE'`)
	s.obscure(cellID(2), nvr.Recorded)
	do(t, ctx, chromedp.KeyEvent(kb.Escape))
	until(t, ctx, 2*time.Second, small+` && `+focused(cellID(1)))

	do(t, ctx, chromedp.KeyEvent(kb.ArrowRight))
	until(t, ctx, time.Second, focused(cellID(2)))
	do(t, ctx, chromedp.KeyEvent(kb.Enter))
	until(t, ctx, 4*time.Second, big("Cell 3"))
	evaluate[bool](t, ctx, `history.back(); true`)
	until(t, ctx, 2*time.Second, small)

	do(t, ctx, chromedp.Navigate(s.url+"/#cell-04"), chromedp.Reload())
	until(t, ctx, 8*time.Second, big("Cell 4"))
	p := s.nextReport(t, s.nextReport(t, Painted{Screen: "any"}))
	if p.Enlarged != "cell-04" || p.EnlargedFrames < 30 {
		t.Errorf("report says %q painted %d times", p.Enlarged, p.EnlargedFrames)
	}
}

func TestWallComesBackAfterARestart(t *testing.T) {
	s := startSuite(t, 4, 0, 10)
	ctx := openWall(t, s)
	evaluate[bool](t, ctx, `window.sameLoad = true`)
	addr := strings.TrimPrefix(s.url, "http://")
	s.stop()
	until(t, ctx, 4*time.Second, `!document.getElementById('nolink').hidden`)
	until(t, ctx, 4*time.Second, stateOf(cellID(0), "notlive"))
	s.serve(t, addr, "test")
	allLive := `[...document.querySelectorAll('a.tile')].every(e => e.dataset.state === 'live') && document.getElementById('nolink')?.hidden === true`
	until(t, ctx, 6*time.Second, allLive+` && window.sameLoad`)
	if text := evaluate[string](t, ctx, `document.getElementById('spoken').textContent`); text != "All cells are back." {
		t.Errorf("a screen reader hears %q", text)
	}
	s.stop()
	s.serve(t, addr, "another version")
	until(t, ctx, 12*time.Second, allLive+` && !window.sameLoad`) // a new page
}

func TestHiddenTabShowsNothingOldWhenItComesBack(t *testing.T) {
	s := startSuite(t, 4, 0, 10)
	ctx := openWall(t, s)
	no := false
	front, err := chromedp.CallBrowser(ctx, target.CreateTarget, target.CreateTargetParams{URL: s.url + "/help", NewWindow: &no, Background: &no})
	if err != nil {
		t.Fatal(err)
	}
	until(t, ctx, 5*time.Second, `document.hidden`) // a new tab stands in front of the wall
	// What stood there when the tab was hidden is gone, although nothing is wrong with the cells.
	const black = `[...document.querySelectorAll('canvas')].every(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.every((v, i) => i % 4 === 3 || v === 0))`
	until(t, ctx, 2*time.Second, black+` && document.body.dataset.faults === '0'`)
	last := s.freeze(cellID(0), true)
	evaluate[bool](t, ctx, record)
	until(t, ctx, 5*time.Second, stateOf(cellID(0), "notlive")) // it judges all the same
	if gone := findChange(t, ctx, cellID(0), "notlive"); gone.after(last) > takenAwayBy {
		t.Errorf("NOT LIVE came %s after the last picture", gone.after(last))
	}
	if _, err := chromedp.CallBrowser(ctx, target.CloseTarget, target.CloseTargetParams(front)); err != nil {
		t.Fatal(err)
	}
	until(t, ctx, 5*time.Second, `!document.hidden`)
	until(t, ctx, 2*time.Second, stateOf(cellID(1), "live")+` && `+stateOf(cellID(0), "notlive"))
	for _, p := range s.reports() {
		if !p.Visible {
			return
		}
	}
	p := s.nextReport(t, Painted{Screen: "any"})
	if p.Visible {
		t.Error("the report does not say that the page was hidden")
	}
}

func TestBrowserWithoutWebCodecsSaysSo(t *testing.T) {
	s := startSuite(t, 1, 0, 10)
	ctx := openBrowser(t)
	do(t, ctx, chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `delete window.VideoDecoder`})
		return err
	}), chromedp.Navigate(s.url))
	until(t, ctx, 4*time.Second, `document.body.innerText.includes('THIS BROWSER CANNOT SHOW LIVE PICTURES - CHECK THE CELLS')`)
}
