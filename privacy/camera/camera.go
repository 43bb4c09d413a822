// Package camera holds one RTSP session with one camera.
//
// The masker child calls it: it opens the session through sockets that the parent dials, sets up
// the one H.264 or H.265 track, and gives access units with their times until something ends the
// session. It never asks for sound, metadata or a back-channel, never decodes a picture, never
// reconnects by itself, and never lets anything but units of the video track count as life.
//
// gortsplib (v4.16.2) does the RTSP dialogue and RTP reception. Three things are done here instead,
// because it does them in a way that a custody suite can not use: the log-in (no qop, no fresh
// nonce), the description (one odd line refuses the camera), and time-outs (it reads the wall
// clock, which may step, and takes any packet for a picture).
package camera

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/liberrors"
	"github.com/pion/rtp"
	"golang.org/x/sys/unix"
)

// Times of a session, all by CLOCK_MONOTONIC.
const (
	openTimeout  = 10 * time.Second       // for all of Open
	dialTimeout  = 3 * time.Second        // for one connection with its TLS
	firstTimeout = 5 * time.Second        // from PLAY to the first unit: some wait for their next key picture
	stallTimeout = 2 * time.Second        // between units
	ssrcTimeout  = 500 * time.Millisecond // packets of another SSRC and none of the right one
	writeTimeout = time.Second
	watchPeriod  = 100 * time.Millisecond

	// gortsplib's time-outs compare wall-clock seconds, so that a step of the clock would end every
	// session at once (F-24). They are put out of reach; the ones above stand in for them.
	never = 200 * 365 * 24 * time.Hour

	maxDials = 4 // the parent hands out no more sockets
)

// A Spec says which camera, and how to reach it.
type Spec struct {
	URL            string // rtsp:// or rtsps://, without credentials
	User, Password string
	Transport      string // "tcp" (also "") or "udp"
	// TLSPin is the hex SHA-256 of the camera's leaf certificate (DER); rtsps only. There are no
	// other roots: cameras sign their own.
	TLSPin string
	// Dial and ListenPacket make the sockets; nil means package net's. ListenPacket must give a
	// *net.UDPConn.
	Dial         func(ctx context.Context, network, address string) (net.Conn, error)
	ListenPacket func(network, address string) (net.PacketConn, error)
	Log          *slog.Logger
}

// An AccessUnit is the NAL units of one picture, with what belongs to it.
type AccessUnit struct {
	NALs [][]byte // without start codes, at least one slice
	// PTS is media time by the camera's RTP clock since the first unit. It goes back where the
	// stream has B-frames.
	PTS time.Duration
	// Arrived is when the last packet was there, by CLOCK_MONOTONIC.
	Arrived time.Duration
	// Gap says that something is missing or malformed in this unit or since the one before: until
	// the next clean key picture nothing can be trusted.
	Gap bool
	// Restamped says that the camera's time stamp was out of line and PTS is a prediction.
	Restamped bool
}

// A Session is one RTSP session that plays.
type Session struct {
	track    Track
	client   *gortsplib.Client
	dialogue *dialogue
	log      *slog.Logger
	queue    *queue
	line     timeline

	assembler assembler // owned by gortsplib's reading goroutine, but for beyond

	lastUnit   atomic.Int64 // CLOCK_MONOTONIC of the last unit, of PLAY before the first
	units      atomic.Int64
	wrongSSRC  atomic.Int64 // CLOCK_MONOTONIC of the first packet of another SSRC since a right one, 0 = none
	failure    chan *Refusal
	stop       chan struct{}
	stopOnce   sync.Once
	over       chan struct{} // closed when everything has ended
	err        *Refusal      // why; set before over is closed
	background sync.WaitGroup
}

// Open starts a session: OPTIONS, DESCRIBE, SETUP of the one video track, PLAY. Its error is a
// *Refusal, or ctx's error where ctx ended first.
func Open(ctx context.Context, spec Spec) (*Session, error) {
	u, err := spec.check()
	if err != nil {
		return nil, err
	}
	if spec.Log == nil {
		spec.Log = slog.New(slog.DiscardHandler)
	}
	s := &Session{log: spec.Log, queue: newQueue(),
		failure: make(chan *Refusal, 1), stop: make(chan struct{}), over: make(chan struct{})}
	s.dialogue = &dialogue{url: u, at: u, udp: spec.Transport == "udp", failed: s.fail,
		login: login{user: spec.User, password: spec.Password, newNonce: randomNonce},
		sent:  map[string]base.Method{}, answered: map[string]bool{}}

	transport := gortsplib.TransportTCP
	if spec.Transport == "udp" {
		transport = gortsplib.TransportUDP
	}
	dialer := &dialer{spec: spec, url: u, dialogue: s.dialogue}
	s.client = &gortsplib.Client{
		// TLS is done by dialer: gortsplib does the handshake within a write that no context ends.
		Scheme: "rtsp", Host: address(u), Transport: &transport,
		ReadTimeout: never, WriteTimeout: writeTimeout, InitialUDPReadTimeout: never,
		UserAgent:   "custody-nvr",
		DialContext: dialer.dial, ListenPacket: spec.ListenPacket,
		OnRequest: s.dialogue.request, OnResponse: s.dialogue.response,
		OnPacketsLost:     func(uint64) {}, // the assembler sees the hole
		OnDecodeError:     s.decodeError,
		OnTransportSwitch: func(error) {}, // never happens: the transport is fixed
	}
	if err := s.client.Start2(); err != nil {
		return nil, fmt.Errorf("start RTSP client: %w", err)
	}

	openCtx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	inTime := context.AfterFunc(openCtx, s.client.Close)
	err = s.handshake()
	if err == nil && inTime() {
		s.background.Go(s.run)
		return s, nil
	}
	s.client.Close()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case s.dialogue.refusal != nil:
		return nil, s.dialogue.refusal
	case openCtx.Err() != nil:
		return nil, refuse(Unreachable, "the camera does not answer: check it and its network. No answer to %s within %s", s.dialogue.last, openTimeout)
	}
	return nil, s.redact(refusalOf(err), spec.Password)
}

// redact makes sure that a password which the camera echoes goes nowhere.
func (s *Session) redact(r *Refusal, password string) *Refusal {
	if password == "" || !strings.Contains(r.Detail, password) {
		return r
	}
	return &Refusal{r.Kind, strings.ReplaceAll(r.Detail, password, "***")}
}

func (s *Spec) check() (*base.URL, error) {
	u, err := base.ParseURL(s.URL)
	switch {
	case err != nil:
		return nil, refuse(NotFound, "the camera's URL is not an RTSP URL: correct the suite file")
	case u.User != nil:
		return nil, refuse(Protocol, "the camera's URL holds a log-in: move user and password out of it. See the secrets folder")
	case u.Hostname() == "":
		return nil, refuse(NotFound, "the camera's URL has no host: correct the suite file")
	case s.Transport != "" && s.Transport != "tcp" && s.Transport != "udp":
		return nil, refuse(Protocol, "unknown transport: use tcp, or udp with a reason. It is %q", quote(s.Transport))
	case s.Transport == "udp" && u.Scheme == "rtsps":
		return nil, refuse(Protocol, "RTSPS does not protect UDP: use transport tcp")
	}
	return u, nil
}

// address is host:port with the default port of the scheme.
func address(u *base.URL) string {
	port := u.Port()
	if port == "" {
		port = "554"
		if u.Scheme == "rtsps" {
			port = "322"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// handshake brings the session to PLAY.
func (s *Session) handshake() error {
	if err := s.retryLogin(func() error {
		_, _, err := s.client.Describe(s.dialogue.url)
		return err
	}); err != nil {
		return err
	}
	if s.dialogue.refusal != nil { // in the description
		return s.dialogue.refusal
	}
	if c := s.dialogue.login.chosen; c != nil && c.scheme == "basic" && s.dialogue.url.Scheme == "rtsp" {
		s.log.Warn("camera takes only a Basic log-in, which sends the password readable; set it to Digest or RTSPS")
	}
	s.track = s.dialogue.track
	base := s.dialogue.base
	control := resolve(base, s.track.control)
	if s.track.control == "" {
		control = base
	}
	// Generic: gortsplib needs to know the payload type and the clock rate and nothing else.
	generic := &format.Generic{PayloadTyp: s.track.payload,
		RTPMa: fmt.Sprintf("%s/%d", strings.ToUpper(s.track.Kind), s.track.clock)}
	if err := generic.Init(); err != nil {
		return refuse(BadDescription, "the stream's description cannot be used: update the camera's firmware. Payload type %d with clock %d: %s", s.track.payload, s.track.clock, quote(err.Error()))
	}
	video := &description.Media{Type: description.MediaTypeVideo, Control: rtspURL(control), Formats: []format.Format{generic}}
	if err := s.retryLogin(func() error { return s.setup(base, video) }); err != nil {
		return err
	}
	s.line.clock = s.track.clock
	s.assembler = assembler{kind: s.track.Kind, depacketizer: depacketizer{kind: s.track.Kind}, give: s.place}
	s.client.OnPacketRTP(video, generic, s.packet)
	s.lastUnit.Store(int64(monotonic()))
	if err := s.retryLogin(func() error {
		_, err := s.client.Play(nil)
		return err
	}); err != nil {
		return err
	}
	s.lastUnit.CompareAndSwap(0, int64(monotonic()))
	return nil
}

// rtspURL writes u so that gortsplib takes it for absolute.
func rtspURL(u *base.URL) string { return u.CloneWithoutCredentials().String() }

// retryLogin repeats a request after a challenge that can be answered.
func (s *Session) retryLogin(do func() error) error {
	for {
		err := do()
		status, ok := errors.AsType[liberrors.ErrClientBadStatusCode](err)
		if !ok || status.Code != base.StatusUnauthorized {
			return err
		}
		if s.dialogue.challenge != nil {
			return s.dialogue.challenge
		}
	}
}

// setup asks for the track, over UDP with a pair of ports chosen here: gortsplib would try pairs
// for ever where no socket can be had.
func (s *Session) setup(base *base.URL, video *description.Media) error {
	if !s.dialogue.udp {
		_, err := s.client.Setup(base, video, 0, 0)
		return err
	}
	var err error
	for range 8 {
		port := 10000 + 2*rand.IntN(25000)
		if _, err = s.client.Setup(base, video, port, port+1); !errors.As(err, new(*net.OpError)) {
			return err
		}
	}
	return refuse(Protocol, "no pair of UDP ports is free: use transport tcp, or tell ICT. %s", quote(err.Error()))
}

// Track says what was set up.
func (s *Session) Track() Track { return s.track }

// packet is called by gortsplib for each RTP packet of the track, in order of sequence over UDP.
func (s *Session) packet(p *rtp.Packet) {
	s.wrongSSRC.Store(0)
	s.assembler.packet(p, monotonic())
}

// decodeError is called by gortsplib for what it drops.
func (s *Session) decodeError(err error) {
	if strings.Contains(err.Error(), "wrong SSRC") { // it has no type
		s.wrongSSRC.CompareAndSwap(0, int64(monotonic()))
	}
}

// place gives a unit its time and queues it.
func (s *Session) place(u unit) {
	pts, restamped, dropped, err := s.line.place(u.stamp, u.arrived)
	if err != nil {
		s.fail(refusalOf(err))
		return
	}
	s.lastUnit.Store(int64(u.arrived))
	s.units.Add(1)
	s.queue.push(AccessUnit{NALs: u.nals, PTS: pts, Arrived: u.arrived, Gap: u.gap || dropped, Restamped: restamped})
}

// fail ends the session; the first reason counts.
func (s *Session) fail(r *Refusal) {
	select {
	case s.failure <- r:
	default:
	}
}

// run watches the session and takes it down.
func (s *Session) run() {
	ended := make(chan error, 1)
	s.background.Go(func() { ended <- s.client.Wait() })
	tick := time.NewTicker(watchPeriod)
	defer tick.Stop()
	for s.err == nil {
		select {
		case <-tick.C:
			s.err = s.watch()
		case r := <-s.failure:
			s.err = r
		case err := <-ended:
			s.err = refusalOf(err)
		case <-s.stop:
			s.err = refuse(Closed, "the session was closed")
		}
	}
	s.client.Close()
	close(s.over)
}

// watch is the frame watchdog: only whole units of the track are life.
func (s *Session) watch() *Refusal {
	now := monotonic()
	limit := stallTimeout
	if s.units.Load() == 0 {
		limit = firstTimeout
	}
	if since := s.wrongSSRC.Load(); since != 0 && now-time.Duration(since) > ssrcTimeout {
		return refuse(SSRCChanged, "the camera started another stream: if it goes on, restart the camera. SSRC changed")
	}
	if now-time.Duration(s.lastUnit.Load()) > limit {
		if what, _ := s.assembler.beyond.Load().(string); what != "" {
			return refuse(Stalled, "no usable picture from the camera: check its stream settings. It sends %s", what)
		}
		return refuse(Stalled, "no picture from the camera for %.0f s: check camera and network", limit.Seconds())
	}
	return nil
}

// Next waits for the next access unit. Its error is ctx's, or the *Refusal that ended the session
// once all units that arrived before are given.
func (s *Session) Next(ctx context.Context) (AccessUnit, error) {
	for {
		if u, ok := s.queue.pop(); ok {
			return u, nil
		}
		select {
		case <-s.queue.ready:
		case <-ctx.Done():
			return AccessUnit{}, ctx.Err()
		case <-s.over:
			if u, ok := s.queue.pop(); ok {
				return u, nil
			}
			return AccessUnit{}, s.err
		}
	}
}

// Close ends the session with TEARDOWN and waits until it is gone, at most a second or two.
func (s *Session) Close() {
	s.stopOnce.Do(func() { close(s.stop) })
	s.background.Wait()
}

// monotonic is CLOCK_MONOTONIC, which the processes of one boot share. The vDSO serves it.
func monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic("CLOCK_MONOTONIC can not be read: " + err.Error())
	}
	return time.Duration(t.Nano())
}

// dialer makes the connections of one session.
type dialer struct {
	spec     Spec
	url      *base.URL
	dialogue *dialogue
	dials    int
}

func (d *dialer) dial(ctx context.Context, network, to string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if d.dials++; d.dials > maxDials {
		return nil, refuse(WrongAddress, "the camera redirects in a circle: correct its URL. It redirects more than %d times", maxDials-1)
	}
	if to != address(d.url) {
		return nil, refuse(WrongAddress, "the camera redirects elsewhere: is its address right? Then set the new URL. It redirects to %s", quote(to))
	}
	d.dialogue.login.chosen = nil // a nonce belongs to its connection
	dial := d.spec.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	c, err := dial(ctx, network, to)
	if err != nil {
		if r, ok := errors.AsType[*Refusal](err); ok {
			return nil, r
		}
		return nil, refuse(Unreachable, "no connection to %s (%s): check the camera's power and cable", to, reason(err))
	}
	if d.url.Scheme != "rtsps" {
		return c, nil
	}
	t := tls.Client(c, &tls.Config{
		// Cameras sign their own certificates, so there is no chain to verify: the pin decides.
		InsecureSkipVerify: true, VerifyPeerCertificate: d.verify,
	})
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		if r, ok := errors.AsType[*Refusal](err); ok {
			return nil, r
		}
		return nil, refuse(Protocol, "no TLS with %s: check the camera's RTSPS setting. %s", to, quote(err.Error()))
	}
	return t, nil
}

func (d *dialer) verify(raw [][]byte, _ [][]*x509.Certificate) error {
	if len(raw) == 0 {
		return refuse(WrongCertificate, "the camera shows no certificate: set one up on it")
	}
	sum := sha256.Sum256(raw[0])
	got := hex.EncodeToString(sum[:])
	d.dialogue.track.Certificate = got
	switch pin := strings.ToLower(strings.ReplaceAll(d.spec.TLSPin, ":", "")); {
	case pin == "":
		return refuse(WrongCertificate, "no certificate is set for this camera: compare its SHA-256, then set certificate_sha256. It shows %s", got)
	case pin != got:
		return refuse(WrongCertificate, "another certificate than the pinned one: check that the camera is the right one. SHA-256 %s", got)
	}
	return nil
}
