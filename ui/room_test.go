package ui

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"custody-nvr/nvr"
)

// longCause is as long as the recorder's words get.
var longCause = strings.Repeat("the stream is not the one that was approved (now h264 profile 66 coded 1280x720, approved h264 profile 100 coded 1920x1080); "+
	"no connection to 10.0.0.1: dial tcp 10.0.0.1:554: connect: connection refused; check power and the network cable. ", 2)[:300]

// resize makes the page as large as a screen.
func resize(t testing.TB, ctx context.Context, width, height int) {
	t.Helper()
	do(t, ctx, chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: int64(width), Height: int64(height), DeviceScaleFactor: 1,
		})
		return err
	}))
}

// photograph keeps what the page looks like, for people, where CUSTODY_PICTURES says.
func photograph(t testing.TB, ctx context.Context, name string) {
	dir := os.Getenv("CUSTODY_PICTURES")
	if dir == "" {
		return
	}
	do(t, ctx, chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		shot, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{})
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name+".png"), []byte(shot.Data), 0o644)
	}))
}

// outside lists the words that do not stand whole inside their picture, or are cut.
const outside = `(() => {
	const wrong = [];
	for (const picture of document.querySelectorAll('.tile .picture')) {
		const box = picture.getBoundingClientRect();
		const cell = picture.parentElement.dataset.cell;
		for (const e of picture.querySelectorAll('.say strong, .say .why')) {
			if (e.textContent === '' || e.getClientRects().length === 0) continue;
			const big = e.matches('strong');
			const range = document.createRange();
			range.selectNodeContents(e);
			const b = big ? range.getBoundingClientRect() : e.getBoundingClientRect();
			const at = cell + ' ' + (big ? 'words' : 'cause');
			if (b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 1 || b.bottom > box.bottom + 1)
				wrong.push(at + ' ' + [b.left, b.top, b.right, b.bottom].map(Math.round) + ' in ' + [box.left, box.top, box.right, box.bottom].map(Math.round));
			if (!big && b.height < 8) wrong.push(at + ' has no room');
			const line = parseFloat(getComputedStyle(e).lineHeight);
			if (!big && Math.abs(e.clientHeight / line - Math.round(e.clientHeight / line)) * line > 2) wrong.push(at + ' shows a part of a line: ' + e.clientHeight / line);
			if (!big && e.title !== e.textContent) wrong.push(at + ' does not have its full text in the title');
		}
		const bar = picture.parentElement.querySelector('.bar').getBoundingClientRect();
		if (bar.top < box.bottom - 1) wrong.push(cell + ' bar stands over the picture');
		const tile = picture.parentElement.getBoundingClientRect();
		if (bar.bottom > tile.bottom + 1) wrong.push(cell + ' bar is cut');
	}
	return wrong.join('\n');
})()`

// The words that send somebody to the cell are never cut and never run over the bar.
func TestWordsAlwaysFitTheirTile(t *testing.T) {
	for _, c := range []struct{ tiles, width, height int }{
		{12, 1920, 1080}, {16, 1920, 1080}, {16, 1280, 720}, {16, 600, 960}, {32, 1280, 720},
	} {
		name := fmt.Sprintf("%d tiles at %dx%d", c.tiles, c.width, c.height)
		t.Run(name, func(t *testing.T) {
			s := startSuite(t, c.tiles, 0, 10)
			for i := range c.tiles {
				switch {
				case i%3 == 0:
					s.set(cellID(i), State{Cause: nvr.ObscuredViewMoved, Detail: longCause})
				case i%3 == 1:
					s.set(cellID(i), State{Cause: nvr.CameraLost, Detail: longCause})
					s.freeze(cellID(i), true)
				}
			}
			ctx := openBrowser(t)
			resize(t, ctx, c.width, c.height)
			do(t, ctx, chromedp.Navigate(s.url))
			until(t, ctx, 30*time.Second, stateOf(cellID(0), "blind")+` && `+stateOf(cellID(1), "notlive")+` && `+stateOf(cellID(2), "live"))
			photograph(t, ctx, strings.ReplaceAll(name, " ", "-"))
			if wrong := evaluate[string](t, ctx, outside); wrong != "" {
				t.Error(wrong)
			}
			evaluate[bool](t, ctx, `location.hash = 'cell-01'; true`)
			until(t, ctx, 5*time.Second, `document.getElementById('one').dataset.state === 'blind'`)
			photograph(t, ctx, strings.ReplaceAll(name, " ", "-")+"-one")
			if wrong := evaluate[string](t, ctx, outside); wrong != "" {
				t.Error("beside the enlarged cell:", wrong)
			}
			if !evaluate[bool](t, ctx, `(() => { const e = document.getElementById('onewhy'); return e.scrollHeight <= e.clientHeight + 1 && e.getBoundingClientRect().bottom <= e.closest('.picture').getBoundingClientRect().bottom; })()`) {
				t.Error("the enlarged cell does not show the whole cause")
			}
		})
	}
}

// A fault that comes or goes must not move the pictures of the other cells.
func TestFaultsDoNotMoveThePictures(t *testing.T) {
	const cells = 16
	s := startSuite(t, cells, 0, 10)
	ctx := openWall(t, s)
	const places = `[...document.querySelectorAll('.tile')].map(e => { const b = e.getBoundingClientRect(); return [b.left, b.top + scrollY, b.width, b.height].map(Math.round); }).join(' ')`
	for _, c := range []struct{ width, height int }{{1920, 1080}, {1280, 720}, {600, 960}, {360, 800}} {
		resize(t, ctx, c.width, c.height)
		until(t, ctx, 5*time.Second, `innerWidth === `+fmt.Sprint(c.width)+` && document.body.dataset.faults === '0'`)
		<-time.After(300 * time.Millisecond) // the grid is laid out anew
		before := evaluate[string](t, ctx, places)
		for _, faults := range []int{1, 3, cells} {
			for i := range faults {
				s.set(cellID(i), State{NotRecording: "the disk is full"})
			}
			until(t, ctx, 5*time.Second, fmt.Sprintf(`document.body.dataset.faults === '%d'`, faults))
			if after := evaluate[string](t, ctx, places); after != before {
				t.Errorf("%dx%d: %d faults moved the tiles\nfrom %s\nto   %s", c.width, c.height, faults, before, after)
			}
			// Each fault is in sight or counted.
			if bad := evaluate[string](t, ctx, `(() => {
				const list = document.getElementById('faultlist').getBoundingClientRect();
				const items = [...document.querySelectorAll('#faultlist li')].filter(e => !e.hidden);
				const cut = items.filter(e => { const b = e.getBoundingClientRect(); return b.bottom > list.bottom + 1 || b.right > list.right + 1 || e.firstElementChild?.scrollWidth > e.firstElementChild?.clientWidth + 1; }).length;
				const links = items.filter(e => e.className !== 'more').length;
				const more = Number(document.querySelector('#faultlist .more')?.textContent.match(/\d+/)[0] ?? 0);
				return cut > 0 || links + more !== `+fmt.Sprint(faults)+` ? cut + ' cut, ' + links + ' shown, ' + more + ' more' : '';
			})()`); bad != "" {
				t.Errorf("%dx%d: %d faults: %s", c.width, c.height, faults, bad)
			}
			photograph(t, ctx, fmt.Sprintf("faults-%d-at-%dx%d", faults, c.width, c.height))
		}
		// In the bar the age stays whole and beside the name.
		if bad := evaluate[string](t, ctx, `[...document.querySelectorAll('.tile .bar')].filter(bar => {
			const box = (name) => bar.querySelector(name).getBoundingClientRect();
			const [b, name, age] = [bar.getBoundingClientRect(), box('.name'), box('.age')];
			return Math.abs(age.bottom - name.bottom) > name.height / 2 || age.right > b.right || age.bottom > b.bottom || name.width < 20;
		}).map(bar => bar.innerText.replace(/\s+/g, ' ')).join()`); bad != "" {
			t.Errorf("%dx%d: age out of its line: %s", c.width, c.height, bad)
		}
		for i := range cells {
			s.set(cellID(i), State{})
		}
	}
}
