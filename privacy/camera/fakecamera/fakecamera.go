// Package fakecamera is a scripted RTSP camera for tests.
//
// Only tests import it. It runs in the test's own process on 127.0.0.1, writes every byte of its
// dialogue itself, so that each fault of a real camera can be played (the F numbers are those of
// the fault table), and never decodes anything.
package fakecamera

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
)

// The texts that the tracks besides video carry when Script.Unasked is set: no byte of them may
// ever leave the masker.
const (
	AudioText    = "AUDIO-OF-THE-CELL-MUST-NEVER-BE-HEARD-0123456789"
	MetadataText = "<tt:MetadataStream>METADATA-OF-THE-CELL-MUST-NEVER-BE-READ</tt:MetadataStream>"
)

// A Script says what a camera is and does from the start. The zero value of each field is a plain
// camera.
type Script struct {
	Kind  string     // "h264" (also "") or "h265"
	Units [][][]byte // access units of NAL units without start codes
	// Packets are RTP packets sent as they are, instead of Units: a capture.
	Packets [][]byte
	PTS     []time.Duration // of each unit; nil = its number / FPS. With B-frames they go back (F-29).
	FPS     float64         // units a second; 0 = 400 a second with the time stamps of 25
	// Window, if not 0, is how many units may be under way that Took was not told of: nothing is lost
	// by a slow test.
	Window int
	Loop   bool                    // else the stream falls silent after the last unit (F-22)
	Auth   Auth                    // F-42, F-43
	Path   string                  // "" = /stream
	TLS    bool                    // RTSPS with a certificate of its own, see Pin (T-13)
	Clock  float64                 // speed of the RTP clock against the wall: 1.02 = 2 % fast (F-31); 0 = 1
	SDP    func(own string) string // replaces the description
	After  map[string]string       // header lines added to the answer to a method, e.g. "SETUP": "X: y\r\n"

	// What else the camera offers, and whether it sends it though nobody asked (T-13, "only video").
	NoVideo, Audio, Metadata, BackChannel, Unasked bool
	NoParameters                                   bool // no sprop in the description (F-32)

	// Dialogue.
	Status      map[string]string // answer to a method instead, e.g. "DESCRIBE": "404 Not Found" (404, 453, 503)
	Redirect    string            // Location of a 302 to DESCRIBE (F-49)
	Public      string            // methods told in OPTIONS; "" = all with GET_PARAMETER (F-45)
	Timeout     int               // session time-out announced, s; 0 = none announced (F-45)
	Enforce     bool              // end the session when no keep-alive comes within Timeout (60 s if none)
	MaxSessions int               // 453 beyond; 0 = any number (F-44)
	Transport   string            // Transport header of the SETUP answer; "" = a right one (F-39, F-50)
	ContentBase string            // Content-Base; "" = a right one, "-" = none (F-50)
	ContentType string            // "" = application/sdp, "-" = none (F-50)
	OtherIDs    bool              // another session id in each answer (F-50)
	Slow        time.Duration     // wait before each answer

	// RTP.
	StartSeq     uint16
	StartRTP     uint32 // F-27: 2^32-90000 wraps after a second
	MTU          int    // RTP payload; 0 = 1400
	Markers      Markers
	AnnexB       bool          // units as one NAL unit with start codes (F-34)
	TrailingZero bool          // zero bytes after each parameter set (F-34)
	WholeFU      bool          // small NAL units as one fragment with start and end bit (F-40)
	EmptyFU      bool          // an empty last fragment (F-40)
	RTCP         time.Duration // sender reports a second with this offset to the true time; 0 = none (F-51)
	Duplicate    bool          // each packet twice (UDP)
	Reorder      bool          // neighbouring packets swapped (UDP)

	// Hostile breaks what the camera says, in a way that depends on the number; 0 = it does not
	// (F-52, F-53).
	Hostile uint64
}

// Markers are the ways cameras set the RTP marker (F-33).
type Markers int

// The ways.
const (
	MarkerAtEnd       Markers = iota // as RFC 6184 says
	NoMarkers                        // never: only the time stamp tells
	MarkerOnEach                     // on every NAL unit
	MarkerOnParameter                // also on the last parameter set or SEI before the picture
)

// Auth is how the camera wants to be logged in to.
type Auth struct {
	User, Password string   // User "" = no log-in
	Offers         []string // WWW-Authenticate values; NONCE is replaced. nil = Digest MD5
	Stale          int      // the first n right answers are refused with stale=true
	Always         bool     // 401 for ever, whatever the answer
	FreeOptions    bool     // OPTIONS needs no log-in
	Bare           bool     // a wrong answer is refused without another challenge
}

// Counters are what a camera saw. Setups and others are by name.
type Counters struct {
	Connections, Sessions    int
	Requests                 map[string]int // by method
	Setups                   map[string]int // by track: video, audio, metadata, backchannel
	LogIns, LogInsRefused    int            // requests with an answer to a challenge
	KeepAlives               map[string]int // by method, while playing
	UnitsSent, PacketsFromUs int
}

// A Camera is a running fake.
type Camera struct {
	t       testing.TB
	address string
	cert    tls.Certificate
	pin     string
	work    sync.WaitGroup

	mu       sync.Mutex
	script   Script                // guarded by mu
	listener net.Listener          // guarded by mu; nil = stopped
	sessions map[*session]struct{} // guarded by mu
	count    Counters              // guarded by mu
	knobs    knobs                 // guarded by mu
	changed  chan struct{}         // guarded by mu; closed and replaced when a knob turns
}

// knobs are what the methods of a Camera change while it plays.
type knobs struct {
	frozen, rtcpOnly, hole bool
	drop                   int // percent
	ssrc                   uint32
	resets                 int // of the sequence number
	offset                 time.Duration
	once                   time.Duration
	garbage                int
	source                 int // counts SwitchTo
	took                   int
}

// Start runs a camera until the test ends.
func Start(t testing.TB, s Script) *Camera {
	t.Helper()
	c := &Camera{t: t, script: s, sessions: map[*session]struct{}{}, changed: make(chan struct{}),
		count: Counters{Requests: map[string]int{}, Setups: map[string]int{}, KeepAlives: map[string]int{}},
		knobs: knobs{ssrc: 0x11223344}}
	if s.TLS {
		c.cert, c.pin = selfSigned(t)
	}
	c.address = "127.0.0.1:0"
	c.StartAgain()
	t.Cleanup(func() {
		c.Stop()
		c.work.Wait()
	})
	return c
}

// StartAgain listens at the address of before, e.g. after Stop: the camera is back (F-46, F-47).
func (c *Camera) StartAgain() {
	c.t.Helper()
	l, err := net.Listen("tcp4", c.address)
	if err != nil {
		c.t.Fatalf("fake camera: %v", err)
	}
	c.address = l.Addr().String()
	c.mu.Lock()
	c.listener = l
	c.knobs.hole = false
	c.mu.Unlock()
	c.work.Go(func() { c.accept(l) })
}

// Stop breaks all connections and listens no more (F-46): connections are refused.
func (c *Camera) Stop() {
	c.mu.Lock()
	if c.listener != nil {
		c.listener.Close()
		c.listener = nil
	}
	for s := range c.sessions {
		s.conn.Close()
	}
	c.mu.Unlock()
}

// StartLater starts a stopped camera after d (F-46, F-47).
func (c *Camera) StartLater(d time.Duration) {
	done := c.t.Context().Done()
	c.work.Go(func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			c.StartAgain()
		case <-done:
		}
	})
}

// Address is host:port.
func (c *Camera) Address() string { return c.address }

// URL is the stream's, without credentials.
func (c *Camera) URL() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	scheme := "rtsp"
	if c.script.TLS {
		scheme = "rtsps"
	}
	return scheme + "://" + c.address + c.script.path()
}

// Pin is the hex SHA-256 of the certificate of a camera with TLS.
func (c *Camera) Pin() string { return c.pin }

// Change alters the script for sessions and answers to come, e.g. to come back with audio only
// (F-48).
func (c *Camera) Change(f func(*Script)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.script)
}

// turn changes knobs and wakes the senders.
func (c *Camera) turn(f func(*knobs)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.knobs)
	close(c.changed)
	c.changed = make(chan struct{})
}

// Freeze stops sending units, with the connection open and answering (F-22).
func (c *Camera) Freeze() { c.turn(func(k *knobs) { k.frozen = true }) }

// Thaw undoes Freeze, RTCPOnly and BlackHole. Sending goes on where it stopped, at the right pace.
func (c *Camera) Thaw() {
	c.turn(func(k *knobs) { k.frozen, k.rtcpOnly, k.hole = false, false, false })
}

// RTCPOnly sends sender reports and nothing else (F-23).
func (c *Camera) RTCPOnly() { c.turn(func(k *knobs) { k.rtcpOnly = true }) }

// BlackHole neither sends nor answers nor closes (F-22: half-open), also for new connections.
func (c *Camera) BlackHole() { c.turn(func(k *knobs) { k.hole = true }) }

// Drop loses that percentage of the RTP packets (F-38).
func (c *Camera) Drop(percent int) { c.turn(func(k *knobs) { k.drop = percent }) }

// ChangeSSRC goes on under another SSRC (F-23).
func (c *Camera) ChangeSSRC() { c.turn(func(k *knobs) { k.ssrc += 0x01010101 }) }

// ResetSequence goes on with sequence number 0 (F-28).
func (c *Camera) ResetSequence() { c.turn(func(k *knobs) { k.resets++ }) }

// JumpRTP moves the RTP clock by d for good (F-25, F-26).
func (c *Camera) JumpRTP(d time.Duration) { c.turn(func(k *knobs) { k.offset += d }) }

// JumpOnce moves the time stamp of the next unit alone (F-25).
func (c *Camera) JumpOnce(d time.Duration) { c.turn(func(k *knobs) { k.once = d }) }

// Garbage writes n bytes between interleaved frames (F-39).
func (c *Camera) Garbage(n int) { c.turn(func(k *knobs) { k.garbage += n }) }

// SwitchTo goes on with other units, from the first: another size, crop or codec in mid-stream
// (F-36), another SPS of the same meaning (F-35), the same unit for ever (F-55).
func (c *Camera) SwitchTo(kind string, units [][][]byte) {
	c.Change(func(s *Script) { s.Kind, s.Units, s.PTS = kind, units, nil })
	c.turn(func(k *knobs) { k.source++ })
}

// Took says that the test has read a unit, see Script.Window.
func (c *Camera) Took() { c.turn(func(k *knobs) { k.took++ }) }

// Disconnect closes the connections and goes on listening.
func (c *Camera) Disconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.sessions {
		s.conn.Close()
	}
}

// Counters returns what was seen so far.
func (c *Camera) Counters() Counters {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.count
	n.Requests, n.Setups, n.KeepAlives = clone(n.Requests), clone(n.Setups), clone(n.KeepAlives)
	return n
}

func clone(m map[string]int) map[string]int {
	n := make(map[string]int, len(m))
	for k, v := range m {
		n[k] = v
	}
	return n
}

// snapshot gives script and knobs as they are, and a channel that closes when a knob turns.
func (c *Camera) snapshot() (Script, knobs, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.script, c.knobs, c.changed
}

func (c *Camera) tally(f func(*Counters)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.count)
}

func (c *Camera) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s := &session{camera: c, raw: conn, conn: conn, gone: make(chan struct{})}
		if c.pin != "" {
			s.conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{c.cert}})
		}
		c.mu.Lock()
		if c.script.Hostile != 0 {
			s.mutator = newMutator(c.script.Hostile)
		}
		stopped := c.listener != l
		c.sessions[s] = struct{}{}
		c.count.Connections++
		c.mu.Unlock()
		if stopped {
			conn.Close()
		}
		c.work.Go(s.run)
	}
}

func (s *Script) path() string {
	if s.Path == "" {
		return "/stream"
	}
	return s.Path
}

func (s *Script) kind() string {
	if s.Kind == "" {
		return "h264"
	}
	return s.Kind
}

func selfSigned(t testing.TB) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, hex.EncodeToString(sum[:])
}
