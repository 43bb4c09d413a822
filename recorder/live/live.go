// Package live hands the newest frames of each camera to any number of watchers.
//
// The recorder publishes into it, the wiring in cmd hands subscriptions to the web server, all in the
// parent process. It keeps no more than one group of pictures per camera and stream, writes nothing,
// and never waits for a watcher: whoever is slow loses frames up to the next key picture, alone.
package live

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/recorder/stamp"
)

// Bounds of memory. A group of pictures over maxGroup is not kept for joiners; a subscriber that is
// maxQueue behind on one feed is slow.
const (
	maxGroupBytes  = 8 << 20
	maxGroupFrames = 256
	maxQueueBytes  = 8 << 20
	maxQueueFrames = 300
	staleGroup     = 3 * time.Second // a kept group older than this is not shown to joiners
	tileLinger     = 10 * time.Second
)

// A State is what stands on a camera's tile beside its picture.
type State struct {
	// Cause is Recorded while pictures come and are plain, else why they are obscured or missing.
	Cause  nvr.Cause
	Detail string        // one line for staff: what happened, what to do
	Since  time.Duration // monotonic clock
	// NotChanging: the camera sends the same picture again and again.
	NotChanging bool
	// NotRecording says why the camera's pictures do not reach the disk, such as "disk fault: no space
	// left on device"; "" where they do. The picture itself may be sound, so it stands beside Cause.
	NotRecording string
}

// A Want names one stream of one camera.
type Want struct {
	Camera nvr.CameraID
	Stream nvr.Stream
}

// A Frame is a stamped frame on its way to a watcher.
type Frame struct {
	*stamp.Frame
	// For is the feed that it was asked for as. It differs from the frame's own stream where a small
	// camera's archive frames serve as its tile.
	For Want
	// Restart: frames of this feed were left out before this one, or it is the first. It is a key
	// frame.
	Restart bool
}

// Config is what a Hub is told at its making. OnTiles may be nil.
type Config struct {
	Mono func() time.Duration
	// OnTiles is called when the first watcher of a camera's tiles comes, and ten seconds after the
	// last one went. Calls for all cameras come one at a time; it must not wait for the Hub.
	OnTiles func(cam nvr.CameraID, on bool)
}

// A Hub holds the newest frames of all cameras. It is safe for concurrent use.
type Hub struct {
	cfg Config

	notify sync.Mutex // held around OnTiles, before mu

	mu     sync.Mutex
	cams   map[nvr.CameraID]*camera // guarded by mu, as all it leads to
	subs   map[*Subscriber]struct{}
	closed bool
}

type camera struct {
	groups        map[nvr.Stream]*group
	state         State
	still         stillness
	tileIsArchive bool
	tileWatchers  int
	tilesOn       bool // as last told by OnTiles
	linger        *time.Timer
}

// group is the newest key frame and all after it.
type group struct {
	frames []*stamp.Frame
	bytes  int
}

// New makes a Hub.
func New(cfg Config) *Hub {
	return &Hub{cfg: cfg, cams: map[nvr.CameraID]*camera{}, subs: map[*Subscriber]struct{}{}}
}

// Close ends all subscriptions and stops the timers.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.subs {
		s.end()
	}
	clear(h.subs)
	for _, c := range h.cams {
		if c.linger != nil {
			c.linger.Stop()
		}
	}
}

func (h *Hub) camera(id nvr.CameraID) *camera {
	c := h.cams[id]
	if c == nil {
		c = &camera{groups: map[nvr.Stream]*group{nvr.Archive: {}, nvr.Tile: {}},
			state: State{Cause: nvr.CameraLost, Detail: "waiting for the first picture", Since: h.cfg.Mono()}}
		h.cams[id] = c
	}
	return c
}

// Publish hands f to everyone who watches cam. It never blocks; f must not be changed afterwards.
func (h *Hub) Publish(cam nvr.CameraID, f *stamp.Frame) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.camera(cam)
	g := c.groups[f.Stream]
	if g == nil {
		return // neither archive nor tile
	}
	g.add(f)
	if f.Stream == nvr.Archive {
		c.state.NotChanging = c.still.look(&f.Frame)
	}
	for s := range h.subs {
		s.offer(cam, f, c.tileIsArchive)
	}
}

func (g *group) add(f *stamp.Frame) {
	if f.Key {
		g.frames, g.bytes = nil, 0 // a new slice: joiners may still read the old one
	} else if len(g.frames) == 0 || g.frames[0].Run != f.Run {
		g.frames = nil
		return
	}
	if g.bytes += f.Bytes(); g.bytes > maxGroupBytes || len(g.frames) >= maxGroupFrames {
		g.frames = nil
		return
	}
	g.frames = append(g.frames, f)
}

// SetState says what is the matter with a camera. Since is set here when the cause changes, and
// NotChanging is found here, and NotRecording has its own setter, so these are ignored. A camera that is missing keeps no picture.
func (h *Hub) SetState(cam nvr.CameraID, s State) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.camera(cam)
	if c.state.Cause != s.Cause {
		c.state.Since = h.cfg.Mono()
	}
	c.state.Cause, c.state.Detail = s.Cause, s.Detail
	if s.Cause.IsMissing() {
		c.groups[nvr.Archive].frames, c.groups[nvr.Tile].frames = nil, nil
		c.state.NotChanging, c.still = false, stillness{}
	}
}

// SetNotRecording says why a camera's pictures do not reach the disk, "" where they do.
func (h *Hub) SetNotRecording(cam nvr.CameraID, words string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.camera(cam).state.NotRecording = words
}

// State returns a camera's state; for one that nobody published to, "waiting for the first picture".
func (h *Hub) State(cam nvr.CameraID) State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.camera(cam).state
}

// States returns the states of all cameras that the Hub has heard of.
func (h *Hub) States() map[nvr.CameraID]State {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := make(map[nvr.CameraID]State, len(h.cams))
	for id, c := range h.cams {
		m[id] = c.state
	}
	return m
}

// TileIsArchive says that a camera's picture is so small that there is no tile stream beside it: its
// archive frames serve as tiles.
func (h *Hub) TileIsArchive(cam nvr.CameraID, is bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.camera(cam)
	if c.tileIsArchive == is {
		return
	}
	c.tileIsArchive = is
	w := Want{cam, nvr.Tile}
	for s := range h.subs {
		if s.wants(w) {
			s.join(w, c, h.cfg.Mono())
		}
	}
}

// Subscribe begins a subscription. It starts with the newest group of pictures of each feed, so that a
// picture stands at once.
func (h *Hub) Subscribe(want ...Want) *Subscriber {
	s := &Subscriber{hub: h, wake: make(chan struct{}, 1), feeds: map[Want]*feed{}}
	h.mu.Lock()
	if h.closed {
		s.end()
	} else {
		h.subs[s] = struct{}{}
	}
	h.mu.Unlock()
	s.Want(want...)
	return s
}

// tiles counts watchers of a camera's tiles by d. mu is held.
func (h *Hub) tiles(cam nvr.CameraID, d int) {
	c := h.camera(cam)
	c.tileWatchers += d
	if c.linger != nil {
		c.linger.Stop()
		c.linger = nil
	}
	if c.tileWatchers == 0 && !h.closed {
		var t *time.Timer
		t = time.AfterFunc(tileLinger, func() {
			h.mu.Lock()
			if c.linger == t { // else somebody came back
				c.linger = nil
			}
			h.mu.Unlock()
			h.tellTiles(cam)
		})
		c.linger = t
	}
}

// tellTiles brings OnTiles up to date. mu is not held.
func (h *Hub) tellTiles(cam nvr.CameraID) {
	if h.cfg.OnTiles == nil {
		return
	}
	h.notify.Lock() // orders the calls
	defer h.notify.Unlock()
	h.mu.Lock()
	c := h.camera(cam)
	on := c.tileWatchers > 0
	tell := !h.closed && on != c.tilesOn && c.linger == nil
	if tell {
		c.tilesOn = on
	}
	h.mu.Unlock()
	if tell {
		h.cfg.OnTiles(cam, on)
	}
}

// A Subscriber is one watcher. Next is called by one goroutine at a time; the others by any.
type Subscriber struct {
	hub  *Hub
	wake chan struct{}

	// guarded by hub.mu
	feeds map[Want]*feed
	queue []Frame // oldest first
	over  bool
}

type feed struct {
	frames, bytes int  // in the queue
	needKey       bool // skip until the next key frame
}

// ErrClosed says that the subscription or the Hub was closed.
var ErrClosed = errors.New("subscription is closed")

// Want changes what the subscriber watches to just these feeds. New ones start with their newest
// group of pictures; frames of dropped ones that wait in the queue are taken out.
func (s *Subscriber) Want(want ...Want) {
	h := s.hub
	h.mu.Lock()
	next := map[Want]bool{}
	changed := map[nvr.CameraID]bool{}
	now := h.cfg.Mono()
	if !s.over {
		for _, w := range want {
			next[w] = true
		}
	}
	for w := range maps.Clone(s.feeds) {
		if next[w] {
			continue
		}
		s.drop(w)
		delete(s.feeds, w)
		if w.Stream == nvr.Tile {
			h.tiles(w.Camera, -1)
			changed[w.Camera] = true
		}
	}
	for w := range next {
		if s.feeds[w] != nil {
			continue
		}
		s.feeds[w] = &feed{}
		s.join(w, h.camera(w.Camera), now)
		if w.Stream == nvr.Tile {
			h.tiles(w.Camera, 1)
			changed[w.Camera] = true
		}
	}
	h.mu.Unlock()
	for cam := range changed {
		h.tellTiles(cam)
	}
}

// Close ends the subscription; a waiting Next returns ErrClosed.
func (s *Subscriber) Close() {
	s.Want()
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	delete(s.hub.subs, s)
	s.end()
}

// Next returns the next frame, oldest first over all feeds. It waits until there is one, ctx ends or
// the subscription is closed.
func (s *Subscriber) Next(ctx context.Context) (Frame, error) {
	for {
		s.hub.mu.Lock()
		if len(s.queue) > 0 {
			f := s.queue[0]
			s.queue[0] = Frame{}
			s.queue = s.queue[1:]
			fd := s.feeds[f.For]
			fd.frames--
			fd.bytes -= f.Bytes()
			s.hub.mu.Unlock()
			return f, nil
		}
		over := s.over
		s.hub.mu.Unlock()
		if over {
			return Frame{}, ErrClosed
		}
		select {
		case <-ctx.Done():
			return Frame{}, ctx.Err()
		case <-s.wake:
		}
	}
}

// All below: hub.mu is held.

func (s *Subscriber) wants(w Want) bool { return s.feeds[w] != nil }

func (s *Subscriber) end() {
	s.over = true
	s.queue = nil
	s.poke()
}

func (s *Subscriber) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// join starts a feed over with the group that is kept, if that is fresh.
func (s *Subscriber) join(w Want, c *camera, now time.Duration) {
	s.drop(w)
	s.feeds[w].needKey = true
	from := w.Stream
	if from == nvr.Tile && c.tileIsArchive {
		from = nvr.Archive
	}
	g := c.groups[from]
	if g == nil || len(g.frames) == 0 || now-g.frames[len(g.frames)-1].Arrived > staleGroup {
		return
	}
	for _, f := range g.frames {
		s.put(w, f)
	}
}

// drop takes all frames of a feed out of the queue.
func (s *Subscriber) drop(w Want) {
	kept := make([]Frame, 0, len(s.queue))
	for _, f := range s.queue {
		if f.For != w {
			kept = append(kept, f)
		}
	}
	s.queue = kept
	s.feeds[w].frames, s.feeds[w].bytes = 0, 0
}

// offer queues f for the feeds of this subscriber that it serves.
func (s *Subscriber) offer(cam nvr.CameraID, f *stamp.Frame, tileIsArchive bool) {
	if w := (Want{cam, f.Stream}); s.wants(w) && !(f.Stream == nvr.Tile && tileIsArchive) {
		s.put(w, f)
	}
	if w := (Want{cam, nvr.Tile}); f.Stream == nvr.Archive && tileIsArchive && s.wants(w) {
		s.put(w, f)
	}
}

func (s *Subscriber) put(w Want, f *stamp.Frame) {
	fd := s.feeds[w]
	n := f.Bytes()
	if fd.frames >= maxQueueFrames || fd.frames > 0 && fd.bytes+n > maxQueueBytes {
		s.drop(w)
		fd.needKey = true
	}
	if fd.needKey && !f.Key {
		return
	}
	s.queue = append(s.queue, Frame{Frame: f, For: w, Restart: fd.needKey})
	fd.needKey = false
	fd.frames++
	fd.bytes += n
	s.poke()
}
