package ui

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"custody-nvr/nvr"
)

// Limits of the listener (T-24). They are far above what a suite's screens need.
const (
	maxWaiting = 256       // connections that are not a live wall; beyond it the oldest goes
	maxScreens = 48        // live walls at a time
	sendBuffer = 128 << 10 // small, so that pictures for a slow screen grow old in the feed, which skips, and not in the kernel
)

// Config is what a Server needs. Wall, Clock and Log are required.
type Config struct {
	Suite string // name of the suite, on every page
	Demo  bool   // every page says DEMO
	// Version names the binary. A wall that is open while the version changes reloads itself.
	Version string
	Wall    Wall
	Clock   nvr.Clock
	Log     *slog.Logger
	// OnPainted, if set, is called with every screen's report, from many goroutines.
	OnPainted func(Painted)
}

// A Server answers browsers.
type Server struct {
	cfg     Config
	tiles   []Tile
	index   map[nvr.CellID]int
	london  *time.Location
	assets  assets
	build   string // changes with anything that an open page would have to be loaded again for
	handler http.Handler

	screens sync.WaitGroup // running live connections

	mu      sync.Mutex
	waiting []net.Conn // guarded by mu; connections that are not a live wall, oldest first
	live    int        // guarded by mu; number of live walls
}

// New makes a Server. It panics if the route table is wrong, which is a programmer's mistake.
func New(cfg Config) (*Server, error) {
	if cfg.Wall == nil || cfg.Log == nil || cfg.Clock.Mono == nil || cfg.Clock.Wall == nil {
		return nil, errors.New("ui: wall, clock and log are required")
	}
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		return nil, fmt.Errorf("load civil time: %w", err)
	}
	s := &Server{cfg: cfg, tiles: cfg.Wall.Tiles(), index: map[nvr.CellID]int{}, london: london, assets: loadAssets()}
	for i, t := range s.tiles {
		if _, twice := s.index[t.Cell]; twice {
			return nil, fmt.Errorf("cell %s stands on the wall twice", t.Cell)
		}
		s.index[t.Cell] = i
	}
	if s.build, err = s.buildID(); err != nil {
		return nil, err
	}
	s.handler = s.chain(s.routes())
	return s, nil
}

// Serve answers on l until ctx ends. It refuses any listener that others could reach, because
// nobody logs in yet.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok || !addr.IP.IsLoopback() {
		return fmt.Errorf("serve pages on %s: this version has no log-in, so it listens on this machine only: use 127.0.0.1:%s", l.Addr(), portOf(l))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second, // not for a live wall: the WebSocket sets its own
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnState:         s.connState,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	var stopped sync.WaitGroup
	stopped.Go(func() {
		<-ctx.Done()
		grace, done := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer done()
		if srv.Shutdown(grace) != nil {
			srv.Close()
		}
	})
	err := srv.Serve(l)
	cancel()
	stopped.Wait()
	s.screens.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve pages on %s: %w", addr, err)
}

func portOf(l net.Listener) string {
	if _, port, err := net.SplitHostPort(l.Addr().String()); err == nil {
		return port
	}
	return "8080"
}

// connState keeps the number of connections that are not live walls below maxWaiting by closing
// the oldest: a flood of idle connections must not keep a wall from coming back.
func (s *Server) connState(c net.Conn, st http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch st {
	case http.StateNew:
		if tcp, ok := c.(*net.TCPConn); ok {
			if err := tcp.SetWriteBuffer(sendBuffer); err != nil {
				s.cfg.Log.Debug("set send buffer", "err", err)
			}
		}
		s.waiting = append(s.waiting, c)
		if len(s.waiting) > maxWaiting {
			s.waiting[0].Close()
			s.waiting = s.waiting[1:]
		}
	case http.StateClosed, http.StateHijacked:
		for i, w := range s.waiting {
			if w == c {
				s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
				break
			}
		}
	}
}
