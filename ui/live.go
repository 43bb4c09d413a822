package ui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"

	"custody-nvr/nvr"
)

const (
	beatEvery   = 250 * time.Millisecond
	writeWithin = 30 * time.Second // one message; a screen that takes longer must connect again
	silentAfter = 10 * time.Second // no ping: the screen is gone
	maxHeard    = 8 << 10          // bytes of one message from a page
)

// liveWall is the one WebSocket of a wall. Pictures flow down, pings and reports come up.
func (s *Server) liveWall(w http.ResponseWriter, r *http.Request) {
	if !sameOrigin(r) {
		s.problem(w, r, http.StatusForbidden, "This connection comes from another page", "Open the wall itself and try again.")
		return
	}
	if !s.enter() {
		s.problem(w, r, http.StatusServiceUnavailable, "Too many walls are open", "Close walls that nobody watches.")
		return
	}
	defer s.leave()
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil { // Accept has answered
		s.cfg.Log.Debug("no live wall", "err", err)
		return
	}
	conn.SetReadLimit(maxHeard)
	sc := &screen{
		name: newReference() + newReference(), server: s, conn: conn, feed: s.cfg.Wall.Subscribe(),
		needKey: map[stream]bool{},
	}
	s.cfg.Log.Info("live wall connected", "screen", sc.name)
	err = sc.run(r.Context())
	s.cfg.Log.Info("live wall ended", "screen", sc.name, "err", err)
}

// sameOrigin requires the Origin that every browser sends on a WebSocket to be this very host: a
// page elsewhere could open the socket otherwise, cookies and all.
func sameOrigin(r *http.Request) bool {
	o, err := url.Parse(r.Header.Get("Origin"))
	return err == nil && (o.Scheme == "http" || o.Scheme == "https") && o.Host != "" && o.Host == r.Host
}

func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live >= maxScreens {
		return false
	}
	s.live++
	s.screens.Add(1)
	return true
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live--
	s.screens.Done()
}

// A stream is one sequence of pictures that a screen decodes.
type stream struct {
	tile int
	kind nvr.Stream
}

// A screen is one connected page.
type screen struct {
	name   string
	server *Server
	conn   *websocket.Conn
	feed   Feed

	needKey map[stream]bool // owned by show; streams that skip to their next key frame
	window  window
	buf     []byte // owned by show
}

// run ends when any of its three parts does.
func (sc *screen) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer sc.conn.CloseNow()
	defer sc.feed.Close()
	if err := sc.hello(ctx); err != nil {
		return err
	}
	var parts sync.WaitGroup
	for _, part := range []func(context.Context) error{sc.show, sc.beat, sc.listen} {
		parts.Go(func() { cancel(part(ctx)) })
	}
	parts.Wait()
	return context.Cause(ctx)
}

func (sc *screen) hello(ctx context.Context) error {
	words := map[string]string{}
	for c := range 256 {
		if cause := nvr.Cause(c); cause.Known() {
			words[strconv.Itoa(c)] = cause.String()
		}
	}
	return sc.say(ctx, said{Kind: "hello", Build: sc.server.build, Causes: words})
}

func (sc *screen) say(ctx context.Context, m said) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode message %s: %w", m.Kind, err)
	}
	return sc.write(ctx, websocket.MessageText, b)
}

func (sc *screen) write(ctx context.Context, kind websocket.MessageType, b []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	return sc.conn.Write(ctx, kind, b)
}

// show sends what the feed gives.
func (sc *screen) show(ctx context.Context) error {
	for {
		shot, err := sc.feed.Next(ctx)
		if err != nil {
			return fmt.Errorf("feed: %w", err)
		}
		tile, ok := sc.server.index[shot.Cell]
		if !ok {
			continue // a cell that is on no wall
		}
		if err := sc.picture(ctx, tile, shot); err != nil {
			return err
		}
	}
}

// picture sends one picture, or skips it while the screen is behind: pictures that queue up on
// their way would be old when they are painted.
func (sc *screen) picture(ctx context.Context, tile int, shot Shot) error {
	id := stream{tile, shot.View}
	now := sc.server.cfg.Clock.Mono()
	if sc.window.behind(now) {
		sc.needKey[id] = true
		return nil
	}
	if sc.needKey[id] && !shot.Frame.Key {
		return nil
	}
	delete(sc.needKey, id)
	_, east := shot.UTC.In(sc.server.london).Zone()
	sc.buf = appendFrame(sc.buf[:0], tile, shot, time.Duration(east)*time.Second)
	sc.window.sent(now)
	return sc.write(ctx, websocket.MessageBinary, sc.buf)
}

// beat tells the page four times a second that the server lives, what its clock says, and what is
// new about the cells.
func (sc *screen) beat(ctx context.Context) error {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	told := map[nvr.CellID]State{}
	for {
		if err := sc.say(ctx, said{Kind: "beat", Mono: milliseconds(sc.server.cfg.Clock.Mono())}); err != nil {
			return err
		}
		if err := sc.states(ctx, told); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// states sends the states that differ from what the page was told.
func (sc *screen) states(ctx context.Context, told map[nvr.CellID]State) error {
	now := sc.server.cfg.Wall.States()
	for i, t := range sc.server.tiles {
		st, known := now[t.Cell]
		if was, ok := told[t.Cell]; !known || ok && was == st {
			continue
		}
		told[t.Cell] = st
		err := sc.say(ctx, said{
			Kind: "state", Tile: &i, Cause: uint8(st.Cause), Detail: st.Detail,
			Since: milliseconds(st.Since), NotChanging: st.NotChanging,
			NotRecording: st.NotRecording,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// listen reads what the page says. A message that makes no sense ends the connection.
func (sc *screen) listen(ctx context.Context) error {
	for {
		quiet, cancel := context.WithTimeout(ctx, silentAfter)
		kind, b, err := sc.conn.Read(quiet)
		cancel()
		if err != nil {
			return fmt.Errorf("page: %w", err)
		}
		var m heard
		if kind != websocket.MessageText || json.Unmarshal(b, &m) != nil {
			return errors.New("page sent what is no message")
		}
		if err := sc.hear(ctx, m); err != nil {
			return err
		}
	}
}

func (sc *screen) hear(ctx context.Context, m heard) error {
	switch m.Kind {
	case "ping":
		sc.window.acknowledged(m.Got)
		return sc.say(ctx, said{Kind: "pong", Echo: m.Echo, Mono: milliseconds(sc.server.cfg.Clock.Mono())})
	case "enlarge":
		cell, err := sc.cell(m.Tile)
		if err != nil {
			return err
		}
		sc.feed.Enlarge(cell)
		return nil
	case "painted":
		return sc.painted(m)
	}
	return fmt.Errorf("page sent a message of kind %q", m.Kind)
}

func (sc *screen) cell(tile int) (nvr.CellID, error) {
	if tile == -1 {
		return "", nil
	}
	if tile < 0 || tile >= len(sc.server.tiles) {
		return "", fmt.Errorf("page named tile %d of %d", tile, len(sc.server.tiles))
	}
	return sc.server.tiles[tile].Cell, nil
}

func (sc *screen) painted(m heard) error {
	if len(m.Tiles) != len(sc.server.tiles) || m.Milliseconds < 0 {
		return errors.New("page reported on another wall")
	}
	enlarged, err := sc.cell(m.Enlarged)
	if err != nil {
		return err
	}
	if sc.server.cfg.OnPainted == nil {
		return nil
	}
	p := Painted{
		Screen: sc.name, Over: time.Duration(m.Milliseconds) * time.Millisecond, Visible: m.Visible, Sound: m.Sound,
		Tiles: map[nvr.CellID]int{}, Enlarged: enlarged, EnlargedFrames: m.Frames,
	}
	for i, n := range m.Tiles {
		p.Tiles[sc.server.tiles[i].Cell] = n
	}
	sc.server.cfg.OnPainted(p)
	return nil
}
