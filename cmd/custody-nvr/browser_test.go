package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"custody-nvr/nvr"
	"custody-nvr/privacy/camera/fakecamera"
)

var (
	wallRounds  = flag.Int("wall.rounds", 3, "how often each way to lose the picture is played")
	wallPicture = flag.String("wall.picture", "", "make the picture of the wall for the README at this `path`, e.g. ../../ui/wall.png")
)

// A browser shows the wall of a recorder, as a person would see it.
type browser struct {
	t   testing.TB
	ctx context.Context
}

// openBrowser opens the wall in a headless Chromium with a profile of its own, and waits until all
// cells are live.
func openBrowser(t testing.TB, addr string) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed: the wall cannot be played (apt-get install chromium)")
	}
	profile, err := os.MkdirTemp("", "wall-profile-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(profile) }) // t.TempDir would fail on files that Chromium still writes
	alloc, cancelAlloc := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path), chromedp.Flag("headless", "new"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
		chromedp.WindowSize(1920, 1080), chromedp.Flag("hide-scrollbars", true), chromedp.UserDataDir(profile))
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(func() { cancel(); cancelAlloc() })
	b := &browser{t, ctx}
	b.do(chromedp.EmulateViewport(1920, 1080), chromedp.Navigate("http://"+addr+"/"))
	b.until(time.Minute, allLive)
	return b
}

const allLive = `[...document.querySelectorAll('a.tile')].every(e => e.dataset.state === 'live')`

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

func ask[T any](b *browser, script string) T {
	b.t.Helper()
	out, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](script))
	if err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
	return out
}

func (b *browser) until(within time.Duration, script string) {
	b.t.Helper()
	for deadline := time.Now().Add(within); !ask[bool](b, script); wait(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("not within %s: %s\n%s", within, script, ask[string](b, `document.body.innerText`))
		}
	}
}

// photograph takes the page as it stands.
func (b *browser) photograph() []byte {
	b.t.Helper()
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	return png
}

// record makes the page note when a tile changes its state, whether its canvas was black then, and
// each picture that is painted.
const record = `
	window.changes = [];
	window.painted = {};
	new MutationObserver((all) => {
		for (const m of all) {
			const e = m.target, c = e.querySelector('canvas');
			const black = c ? c.getContext('2d').getImageData(0, 0, c.width, c.height).data.every((v, i) => i % 4 === 3 || v === 0) : true;
			window.changes.push({cell: e.dataset.cell ?? e.id, state: e.dataset.state, at: performance.timeOrigin + performance.now(), black});
		}
	}).observe(document.body, {subtree: true, attributes: true, attributeFilter: ['data-state']});
	{
		const draw = CanvasRenderingContext2D.prototype.drawImage;
		CanvasRenderingContext2D.prototype.drawImage = function (...a) {
			const cell = this.canvas.closest('[data-cell]')?.dataset.cell ?? this.canvas.id;
			window.painted[cell] = (window.painted[cell] ?? 0) + 1;
			return draw.apply(this, a);
		};
	}
	true`

// A change is one line of what record notes.
type change struct {
	Cell  nvr.CellID `json:"cell"`
	State string     `json:"state"`
	At    float64    `json:"at"` // ms since 1970
	Black bool       `json:"black"`
}

// TestSixteenRealTilesPlayTogether counts what the page paints of a demo of sixteen cells. A test
// machine may be busy with other things: one stretch of five seconds in which all is well proves
// that nothing is in the way.
func TestSixteenRealTilesPlayTogether(t *testing.T) {
	const cells, rate = 16, 10
	p := startDemo(t, cells)
	b := openBrowser(t, p.addr)
	ask[bool](b, record)
	var least, most float64
	for range 6 {
		began := ask[float64](b, `window.painted = {}, performance.now()`)
		wait(5 * time.Second)
		painted := ask[map[string]float64](b, `({...window.painted, now: performance.now()})`)
		seconds := (painted["now"] - began) / 1000
		delete(painted, "now")
		least, most = rate*10, 0
		for i := range cells {
			fps := painted[fmt.Sprintf("cell-%02d", i+1)] / seconds
			least, most = min(least, fps), max(most, fps)
		}
		t.Logf("each of %d tiles painted %.1f to %.1f pictures a second of %d", cells, least, most, rate)
		if least >= 0.9*rate && most <= 1.1*rate {
			return
		}
	}
	t.Errorf("sixteen tiles do not play: %.1f to %.1f pictures a second of %d", least, most, rate)
}

// A rule is the time at which no picture may stand any more, since it was taken.
const goneBy = 3 * time.Second

// TestOldPicturesAreTakenAwayInTime plays each way to lose the picture several times, with the real
// recorder as a process. The clock runs from when the last picture that left the recorder came from
// the camera, to the tile's NOT LIVE with its canvas black.
func TestOldPicturesAreTakenAwayInTime(t *testing.T) {
	sc := scene{size: nvr.Size{Width: 480, Height: 270}, wc: rect{200, 100, 300, 200}, kind: "h264"}
	play := script(t, sc.file(t, "camera"))
	lost := fakecamera.Start(t, play)
	cams := []rigCamera{{url: lost.URL(), mask: sc.masked()}, {url: fakecamera.Start(t, play).URL(), mask: sc.masked()}}
	// A camera that has gone is tried for more and more seldom, so each round stops another one.
	var stopped []*fakecamera.Camera
	for range min(*wallRounds, 5) {
		cam := fakecamera.Start(t, play)
		stopped, cams = append(stopped, cam), append(cams, rigCamera{url: cam.URL(), mask: sc.masked()})
	}
	p := startRun(t, t.TempDir(), "", cams...)
	b := openBrowser(t, p.addr)
	ask[bool](b, record)
	nth := func(round int) int { return round % len(stopped) }
	for _, c := range []struct {
		name       string
		lose, back func(round int)
		tiles      func(round int) []int
	}{
		{"camera freezes",
			func(int) { lost.Freeze() }, func(int) { lost.Thaw() },
			func(int) []int { return []int{0} }},
		{"camera stops",
			func(round int) { stopped[nth(round)].Stop() }, func(round int) { stopped[nth(round)].StartAgain() },
			func(round int) []int { return []int{2 + nth(round)} }},
		{"recorder stands still, its socket open",
			func(int) { p.signal(syscall.SIGSTOP) }, func(int) { p.signal(syscall.SIGCONT) },
			func(int) []int { return []int{0, 1, 2} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var worst time.Duration
			for round := range *wallRounds {
				s := watchWall(t, p.addr)
				waitPictures(t, s, 2, nvr.Tile, 10*time.Second)
				wait(time.Duration(round*130) * time.Millisecond) // another phase of every clock
				ask[bool](b, `window.changes = [], true`)
				c.lose(round)
				tiles := c.tiles(round)
				for _, tile := range tiles {
					took := b.notLive(s, tile)
					worst = max(worst, took)
					if took > goneBy {
						t.Errorf("round %d: the picture of tile %d stood %v after it was taken", round+1, tile, took)
					}
				}
				if len(tiles) == 1 {
					b.mustBeLive("cell-02")
				}
				c.back(round)
				b.until(time.Minute, allLive)
				s.close()
			}
			t.Logf("%d rounds, NOT LIVE at most %.2f s after the last picture was taken", *wallRounds, worst.Seconds())
		})
	}
}

// notLive waits until a tile says NOT LIVE with nothing on its canvas, and returns how old the last
// picture was by then.
func (b *browser) notLive(s *screen, tile int) time.Duration {
	b.t.Helper()
	cell := fmt.Sprintf("cell-%02d", tile+1)
	b.until(10*time.Second, `document.querySelector('[data-cell="`+cell+`"]').dataset.state === 'notlive'`)
	for _, c := range ask[[]change](b, `window.changes`) {
		if c.Cell != nvr.CellID(cell) || c.State != "notlive" {
			continue
		}
		if !c.Black {
			b.t.Errorf("%s says NOT LIVE over its old picture", cell)
		}
		at := time.UnixMicro(int64(c.At * 1000))
		return mono() - time.Since(at) - s.newest(tile)
	}
	b.t.Fatalf("%s is not live, and nobody noted when that began", cell)
	return 0
}

// mustBeLive: what happens to one camera is not seen on another's tile.
func (b *browser) mustBeLive(cell string) {
	b.t.Helper()
	for _, c := range ask[[]change](b, `window.changes`) {
		if c.Cell == nvr.CellID(cell) && c.State == "notlive" {
			b.t.Errorf("%s became %s, too", cell, c.State)
		}
	}
}

// newest is when the camera sent the newest picture of a tile that left the recorder.
func (s *screen) newest(tile int) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var at time.Duration
	for _, p := range s.pictures {
		if p.Tile == tile {
			at = max(at, p.Arrived)
		}
	}
	return at
}

// TestWallComesBackWithoutAPerson kills the recorder as a power cut does, and starts it again.
func TestWallComesBackWithoutAPerson(t *testing.T) {
	sc := scene{size: nvr.Size{Width: 640, Height: 360}, wc: rect{400, 160, 500, 280}, kind: "h264"}
	cam := fakecamera.Start(t, script(t, sc.file(t, "camera")))
	dir, one := t.TempDir(), rigCamera{url: cam.URL(), mask: sc.masked()}
	p := startRun(t, dir, "", one)
	b := openBrowser(t, p.addr)
	ask[bool](b, `window.sameLoad = true`)
	p.kill()
	b.until(5*time.Second, `!document.getElementById('nolink').hidden && document.querySelector('a.tile').dataset.state === 'notlive'`)
	again := time.Now()
	startRun(t, dir, p.addr, one)
	b.until(30*time.Second, allLive+` && window.sameLoad && document.getElementById('nolink').hidden`)
	t.Logf("live again %.1f s after the recorder was started", time.Since(again).Seconds())
}

// TestClickShowsTheArchiveStream opens one cell of a real recorder.
func TestClickShowsTheArchiveStream(t *testing.T) {
	p := startDemo(t, 2)
	b := openBrowser(t, p.addr)
	ask[bool](b, record)
	b.do(chromedp.Click(`[data-cell="cell-02"]`))
	b.until(10*time.Second, `document.getElementById('one').dataset.state === 'live' && window.painted.onecanvas > 20`)
	if got := ask[string](b, `(c => c.width + 'x' + c.height)(document.getElementById('onecanvas'))`); got != "1280x720" {
		t.Errorf("one cell is shown with %s pixels, not 1280x720", got)
	}
	if got := ask[string](b, `(c => c.width + 'x' + c.height)(document.querySelector('[data-cell="cell-02"] canvas'))`); got == "1280x720" {
		t.Errorf("the tile beside it is full size, too: %s", got)
	}
}

// TestWallPicture makes the README's picture of the wall, where -wall.picture says; without it the
// picture is only tried.
//
//	go test ./cmd/custody-nvr -run TestWallPicture -wall.picture ../../ui/wall.png
func TestWallPicture(t *testing.T) {
	needFFmpeg(t)
	if *wallPicture == "" {
		*wallPicture = filepath.Join(t.TempDir(), "wall.png")
	}
	p := startDemo(t, 6)
	b := openBrowser(t, p.addr)
	wait(6 * time.Second) // somebody walks into the picture
	b.until(10*time.Second, allLive)
	shot := filepath.Join(t.TempDir(), "wall.png")
	if err := os.WriteFile(shot, b.photograph(), 0o600); err != nil {
		t.Fatal(err)
	}
	const small = "scale=1280:-1:flags=lanczos,split[a][b];[a]palettegen=stats_mode=full[p];[b][p]paletteuse=dither=none"
	out, err := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-y", "-i", shot, "-vf", small, *wallPicture).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	st, err := os.Stat(*wallPicture)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s has %d bytes", *wallPicture, st.Size())
	if st.Size() > 300<<10 {
		t.Errorf("the picture has %d bytes, which is too much for a README", st.Size())
	}
}
