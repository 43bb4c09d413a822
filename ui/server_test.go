package ui

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"custody-nvr/nvr"
)

// emptyWall has cells and no pictures.
type emptyWall []Tile

func (w emptyWall) Tiles() []Tile              { return w }
func (emptyWall) States() map[nvr.CellID]State { return nil }
func (emptyWall) Subscribe() Feed              { return emptyFeed{} }

type emptyFeed struct{}

func (emptyFeed) Next(ctx context.Context) (Shot, error) { <-ctx.Done(); return Shot{}, ctx.Err() }
func (emptyFeed) Enlarge(nvr.CellID)                     {}
func (emptyFeed) Close()                                 {}

func newServer(t testing.TB) *Server {
	t.Helper()
	s, err := New(Config{
		Suite: "Testham <&> suite", Demo: true, Version: "test", Clock: (&testClock{}).clock(), Log: slog.New(slog.DiscardHandler),
		Wall: emptyWall{{Cell: "cell-01", Name: "Cell 1", Camera: true}, {Cell: "cell-02", Name: "Cell 2"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ask(s *Server, method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:8080"+path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

func TestEveryRouteStatesAKnownRight(t *testing.T) {
	known := map[right]bool{anyone: true, seeLive: true}
	for _, r := range newServer(t).routes() {
		if !known[r.right] {
			t.Errorf("route %q states the right %q", r.pattern, r.right)
		}
		if r.handler == nil {
			t.Errorf("route %q leads nowhere", r.pattern)
		}
	}
}

func TestRouteTableRefusesMistakes(t *testing.T) {
	s := newServer(t)
	for name, r := range map[string]route{
		"no right":  {"GET /x", "", s.health},
		"no method": {"/x", anyone, s.health},
		"no path":   {"GET x", anyone, s.health},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("the table was accepted")
				}
			}()
			s.chain([]route{r})
		})
	}
}

func TestRouteNeedsItsRight(t *testing.T) {
	s := newServer(t)
	s.handler = s.chain([]route{{"GET /secret", "a right that nobody holds", s.health}})
	if w := ask(s, "GET", "/secret"); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "You may not open this page") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestEveryAnswerCarriesTheSecurityHeaders(t *testing.T) {
	s := newServer(t)
	for _, path := range []string{"/", "/help", "/healthz", "/assets/wall.js", "/live", "/nowhere"} {
		h := ask(s, "GET", path).Header()
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self';", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: policy %q lacks %q", path, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
		for key, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin"} {
			if h.Get(key) != want {
				t.Errorf("%s: %s is %q", path, key, h.Get(key))
			}
		}
	}
}

func TestAnswersByStatus(t *testing.T) {
	s := newServer(t)
	for name, c := range map[string]struct {
		method, path string
		header       []string
		status       int
		says         string
	}{
		"wall":                            {"GET", "/", nil, 200, "Cell 1"},
		"suite name is text":              {"GET", "/", nil, 200, "Testham &lt;&amp;&gt; suite"},
		"cell without camera":             {"GET", "/", nil, 200, "physical checks only"},
		"no script":                       {"GET", "/", nil, 200, "<noscript>"},
		"help":                            {"GET", "/help", nil, 200, "CANNOT SEE"},
		"health":                          {"GET", "/healthz", nil, 200, `"cells":2`},
		"unknown page":                    {"GET", "/nowhere", nil, 404, "There is no such page"},
		"unknown asset":                   {"GET", "/assets/nothing.js", nil, 404, ""},
		"path out of the assets":          {"GET", "/assets/..%2fserver.go", nil, 404, ""},
		"method that is not there":        {"POST", "/help", nil, 405, "This cannot be done here"},
		"other host by rebinding":         {"GET", "/", []string{"Host", "evil.example:8080"}, 421, "Wrong address"},
		"host like ours":                  {"GET", "/", []string{"Host", "127.0.0.1.evil.example"}, 421, ""},
		"localhost":                       {"GET", "/", []string{"Host", "localhost:8080"}, 200, ""},
		"IPv6 loopback":                   {"GET", "/", []string{"Host", "[::1]:8080"}, 200, ""},
		"write from another site":         {"POST", "/help", []string{"Sec-Fetch-Site", "cross-site"}, 403, ""},
		"live from another site":          {"GET", "/live", []string{"Origin", "http://evil.example"}, 403, "another page"},
		"live from another port":          {"GET", "/live", []string{"Origin", "http://127.0.0.1:9999"}, 403, "another page"},
		"live without origin":             {"GET", "/live", nil, 403, "another page"},
		"live from here but no WebSocket": {"GET", "/live", []string{"Origin", "http://127.0.0.1:8080"}, 426, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := ask(s, c.method, c.path, c.header...)
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		})
	}
}

func TestHealthNamesEveryCellThatIsNotRecorded(t *testing.T) {
	s := newServer(t)
	w := newFakeWall(t, 5, 1, 10, s.cfg.Clock)
	s.cfg.Wall, s.tiles = w, w.tiles
	for i := range 5 {
		w.set(cellID(i), State{})
	}
	if got := ask(s, "GET", "/healthz").Body.String(); !strings.Contains(got, `{"ok":true,"version"`) {
		t.Errorf("all is well: %s", got)
	}
	w.set(cellID(0), State{Cause: nvr.CameraLost, Detail: "no answer from 10.0.0.1"})
	w.set(cellID(1), State{NotRecording: "the disk is full"})
	w.set(cellID(2), State{Cause: nvr.ObscuredDamaged, NotChanging: true}) // recorded, such as it is
	delete(w.states, cellID(3))
	const want = `{"ok":false,"reasons":["Cell 1: camera lost","Cell 2: not recording: the disk is full","Cell 4: nothing is known about its camera"],`
	if got := ask(s, "GET", "/healthz").Body.String(); !strings.HasPrefix(got, want) {
		t.Errorf("got %s", got)
	}
}

func TestEveryPageSaysDemo(t *testing.T) {
	s := newServer(t)
	for _, path := range []string{"/", "/help", "/nowhere"} {
		if body := ask(s, "GET", path).Body.String(); !strings.Contains(body, "<strong>DEMO</strong>") {
			t.Errorf("%s does not say DEMO", path)
		}
		s.cfg.Demo = false
		if body := ask(s, "GET", path).Body.String(); strings.Contains(body, "<strong>DEMO</strong>") {
			t.Errorf("%s says DEMO and is none", path)
		}
		s.cfg.Demo = true
	}
}

func TestNothingOnTheWallIsCalledAVisit(t *testing.T) {
	all := map[string]string{"page": ask(newServer(t), "GET", "/").Body.String()}
	for _, name := range []string{"wall.js", "verdict.js", "alarm.js"} {
		b, err := os.ReadFile("assets/" + name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(b)
	}
	for name, text := range all {
		if strings.Contains(strings.ToLower(text), "visit") {
			t.Errorf("%s speaks of a visit (REQ-LIVE-5)", name)
		}
	}
}

func TestAssetIsSentOnceUntilItChanges(t *testing.T) {
	s := newServer(t)
	tag := ask(s, "GET", "/assets/wall.js").Header().Get("ETag")
	if w := ask(s, "GET", "/assets/wall.js", "If-None-Match", tag); tag == "" || w.Code != http.StatusNotModified {
		t.Errorf("ETag %q: got %d", tag, w.Code)
	}
}

func TestBuildChangesWithVersionAndCells(t *testing.T) {
	s := newServer(t)
	again, other, cells := newServer(t), newServer(t), newServer(t)
	other.cfg.Version = "2"
	cells.tiles = cells.tiles[:1]
	for name, c := range map[string]struct {
		server *Server
		same   bool
	}{"same": {again, true}, "version": {other, false}, "cells": {cells, false}} {
		c.server.build = "" // the page holds it
		id, err := c.server.buildID()
		if err != nil || (id == s.build) != c.same {
			t.Errorf("%s: build %s, was %s, %v", name, id, s.build, err)
		}
	}
}

func TestPanicGivesAReferenceAndNoMore(t *testing.T) {
	var log strings.Builder
	s := newServer(t)
	s.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	s.handler = s.chain([]route{{"GET /x", anyone, func(http.ResponseWriter, *http.Request) { panic("secret detail") }}})
	w := ask(s, "GET", "/x")
	body := w.Body.String()
	_, after, _ := strings.Cut(body, "reference ")
	ref, _, _ := strings.Cut(after, ".")
	if w.Code != 500 || strings.Contains(body, "secret") || len(ref) != 8 || !strings.Contains(log.String(), "reference="+ref) {
		t.Errorf("got %d %s; log %s", w.Code, body, &log)
	}
}

func TestServesThisMachineOnly(t *testing.T) {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err = newServer(t).Serve(ctx, l)
	if err == nil || !strings.Contains(err.Error(), "no log-in") || !strings.Contains(err.Error(), "127.0.0.1:") {
		t.Errorf("got %v", err)
	}
}

// running serves s and returns its address.
func running(t *testing.T, s *Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func dial(t testing.TB, addr string, client *http.Client) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), "ws://"+addr+"/live", &websocket.DialOptions{
		HTTPClient: client, HTTPHeader: http.Header{"Origin": {"http://" + addr}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow() })
	c.SetReadLimit(1 << 20)
	return c
}

func TestMessageWithoutSenseEndsTheConnection(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON": "{", "unknown kind": `{"kind":"record"}`, "tile that is not there": `{"kind":"enlarge","tile":9}`,
		"negative tile": `{"kind":"enlarge","tile":-2}`, "report on another wall": `{"kind":"painted","tiles":[1]}`,
		"too long": `{"kind":"` + strings.Repeat("x", maxHeard) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, running(t, newServer(t)), nil)
			if err := c.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			for {
				if _, _, err := c.Read(ctx); err != nil {
					if ctx.Err() != nil {
						t.Error("the connection stays")
					}
					return
				}
			}
		})
	}
}

// T-24: a flood of idle connections must not keep a wall from working or from coming back.
func TestFloodOfConnectionsDoesNotStopTheWall(t *testing.T) {
	s := newServer(t)
	addr := running(t, s)
	wall := dial(t, addr, nil)
	for range 2 * maxWaiting {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: 127"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	began := time.Now()
	for range 4 { // hello or beats: the wall that was open lives
		if _, _, err := wall.Read(ctx); err != nil {
			t.Fatal("the open wall:", err)
		}
	}
	s.mu.Lock()
	if len(s.waiting) > maxWaiting {
		t.Errorf("%d connections wait", len(s.waiting))
	}
	s.mu.Unlock()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("four messages took %s", took)
	}
	if _, _, err := dial(t, addr, nil).Read(ctx); err != nil {
		t.Fatal("a new wall:", err)
	}
}

func TestTooManyWallsAreRefusedInWords(t *testing.T) {
	addr := running(t, newServer(t))
	for range maxScreens {
		dial(t, addr, nil)
	}
	_, resp, err := websocket.Dial(t.Context(), "ws://"+addr+"/live", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"http://" + addr}}})
	if err == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %v", err)
	}
}

// F-62: a client that reads 1 kB/s is sent less, no other client notices, and once it reads faster
// it goes on with key frames and is up to date at once.
func TestSlowScreenSkipsAlone(t *testing.T) {
	s := startSuite(t, 8, 0, 10)
	addr := strings.TrimPrefix(s.url, "http://")
	tap := &drip{}
	lame := dial(t, addr, &http.Client{Transport: &http.Transport{DialContext: tap.dial}})
	quick := dial(t, addr, nil)
	lameSees, quickSees := make(chan seen, 1), make(chan seen, 1)
	go func() { lameSees <- watch(t, lame, s.fakeWall.clock, 7*time.Second) }()
	go func() { quickSees <- watch(t, quick, s.fakeWall.clock, 7*time.Second) }()
	<-time.After(4 * time.Second) // the rule is about time: four seconds of 1 kB/s
	tap.open.Store(true)
	q, l := <-quickSees, <-lameSees
	if q.pictures < 8*60 || q.gaps > 0 || q.worst > 500*time.Millisecond {
		t.Errorf("the quick screen: %+v", q)
	}
	if l.gaps == 0 || l.deltaAfterGap > 0 || l.lastAge > 500*time.Millisecond {
		t.Errorf("the slow screen: %+v", l)
	}
}

// seen is what a raw screen got.
type seen struct {
	pictures      int
	gaps          int // jumps in a stream's sequence
	deltaAfterGap int // of those, to what cannot be decoded
	worst         time.Duration
	lastAge       time.Duration
}

// watch reads pictures and acknowledges them as the page does.
func watch(t *testing.T, c *websocket.Conn, clock nvr.Clock, long time.Duration) seen {
	var out seen
	next := map[int]uint32{}
	for end := time.Now().Add(long); time.Now().Before(end); {
		kind, b, err := c.Read(t.Context())
		if err != nil {
			t.Error("screen:", err)
			return out
		}
		if kind == websocket.MessageText {
			if err := c.Write(t.Context(), websocket.MessageText, fmt.Appendf(nil, `{"kind":"ping","got":%d}`, out.pictures)); err != nil {
				t.Error("screen:", err)
				return out
			}
			continue
		}
		p, err := ParsePicture(b)
		if err != nil {
			t.Error(err)
			return out
		}
		out.pictures++
		out.lastAge = clock.Mono() - p.Arrived
		if want, ok := next[p.Tile]; ok {
			out.worst = max(out.worst, out.lastAge)
			if p.Seq != want {
				out.gaps++
				if !p.Key {
					out.deltaAfterGap++
				}
			}
		}
		next[p.Tile] = p.Seq + 1
	}
	return out
}

// A drip makes connections that read 1 kB/s until it is open.
type drip struct{ open atomic.Bool }

func (d *drip) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if err := c.(*net.TCPConn).SetReadBuffer(256 << 10); err != nil {
		return nil, err
	}
	return slowConn{c, d}, nil
}

type slowConn struct {
	net.Conn
	tap *drip
}

func (s slowConn) Read(b []byte) (int, error) {
	if s.tap.open.Load() {
		return s.Conn.Read(b)
	}
	n, err := s.Conn.Read(b[:min(len(b), 100)])
	<-time.After(100 * time.Millisecond)
	return n, err
}
