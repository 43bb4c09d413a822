package ui

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"custody-nvr/nvr"
)

// A suite is a running Server over a fakeWall.
type suite struct {
	*fakeWall
	server *Server
	clock  *testClock
	url    string
	stop   func() // ends the server, and waits for it

	mu       sync.Mutex
	painted  []Painted // guarded by mu
	arrivals []time.Time
}

func startSuite(t testing.TB, cameras, without, rate int) *suite {
	t.Helper()
	s := &suite{clock: &testClock{}}
	s.fakeWall = newFakeWall(t, cameras, without, rate, s.clock.clock())
	s.serve(t, "127.0.0.1:0", "test")
	played := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { defer close(played); s.play(ctx) }()
	t.Cleanup(func() { cancel(); <-played; s.stop() })
	return s
}

// serve starts a server on addr.
func (s *suite) serve(t testing.TB, addr, version string) {
	t.Helper()
	var err error
	s.server, err = New(Config{
		Suite: "Testham custody suite", Demo: true, Version: version, Wall: s.fakeWall, Clock: s.fakeWall.clock,
		Log: slog.New(slog.DiscardHandler), OnPainted: s.onPainted,
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(ctx, l) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error("serve:", err)
		}
	})
}

func (s *suite) onPainted(p Painted) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.painted = append(s.painted, p)
	s.arrivals = append(s.arrivals, time.Now())
}

func (s *suite) reports() []Painted {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Painted(nil), s.painted...)
}

var chromiumFlags = []chromedp.ExecAllocatorOption{
	chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
	chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
	chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
}

// openBrowser starts Chromium with a profile of its own. Headless unless flags say otherwise.
func openBrowser(t testing.TB, flags ...chromedp.ExecAllocatorOption) context.Context {
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
	opts := append([]chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.Flag("headless", "new"), chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
		chromedp.WindowSize(1920, 1080), chromedp.UserDataDir(profile),
	}, chromiumFlags...)
	alloc, cancelAlloc := chromedp.NewExecAllocator(context.Background(), append(opts, flags...)...)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(func() { cancel(); cancelAlloc() })
	return ctx
}

// openWall opens the wall and waits until all cameras are live.
func openWall(t testing.TB, s *suite, flags ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	ctx := openBrowser(t, flags...)
	err := chromedp.Listen(ctx, func(ev any) {
		switch e := ev.(type) {
		case *runtime.EventExceptionThrown:
			t.Error("page:", e.ExceptionDetails)
		case *cdplog.EventEntryAdded:
			if e.Entry.Source == cdplog.EntrySourceSecurity || e.Entry.Source == "violation" {
				t.Error("browser:", e.Entry.Text) // above all: something against our own policy
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	do(t, ctx, chromedp.Navigate(s.url))
	until(t, ctx, time.Minute, `[...document.querySelectorAll('a.tile')].every(e => e.dataset.state === 'live')`)
	return ctx
}

func evaluate[T any](t testing.TB, ctx context.Context, script string) T {
	t.Helper()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[T](script))
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return out
}

func do(t testing.TB, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// until waits for script to be true. (chromedp.Poll would need eval, which the page's policy forbids.)
func until(t testing.TB, ctx context.Context, within time.Duration, script string) {
	t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !evaluate[bool](t, ctx, script) {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %s\n%s", within, script, evaluate[string](t, ctx, `document.body.innerText`))
		}
	}
}

// record makes the page note when a tile changes its state, and whether the canvas was black then,
// in its own time, which is the machine's.
const record = `
	window.changes = [];
	new MutationObserver((all) => {
		for (const m of all) {
			const e = m.target, c = e.querySelector('canvas');
			const black = c ? c.getContext('2d').getImageData(0, 0, c.width, c.height).data.every((v, i) => i % 4 === 3 || v === 0) : true;
			window.changes.push({cell: e.dataset.cell ?? e.id, state: e.dataset.state, at: performance.timeOrigin + performance.now(), black});
		}
	}).observe(document.body, {subtree: true, attributes: true, attributeFilter: ['data-state']}); true`

type change struct {
	Cell  nvr.CellID `json:"cell"`
	State string     `json:"state"`
	At    float64    `json:"at"` // ms since 1970
	Black bool       `json:"black"`
}

func (c change) after(t time.Time) time.Duration {
	return time.Duration(c.At*1e6) - time.Duration(t.UnixNano())
}
