package main

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"custody-nvr/configs"
	"custody-nvr/nvr"
	"custody-nvr/privacy/camera/fakecamera"
)

// A junction is a place on the network between recorder and camera, where somebody may lead the
// connection elsewhere or alter what passes (T-13, T-14).
type junction struct {
	listener net.Listener
	work     sync.WaitGroup

	mu    sync.Mutex
	to    string     // guarded by mu, as all below
	alter bool       // the next byte from the camera
	conns []net.Conn // open ones
}

func newJunction(t testing.TB, to string) *junction {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	j := &junction{listener: l, to: to}
	j.work.Go(j.accept)
	t.Cleanup(func() {
		l.Close()
		j.lead("")
		j.work.Wait()
	})
	return j
}

// lead breaks what is connected and leads all that comes to another place.
func (j *junction) lead(to string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.to = to
	for _, c := range j.conns {
		c.Close()
	}
	j.conns = nil
}

// spoil alters one byte of what the camera sends next.
func (j *junction) spoil() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.alter = true
}

func (j *junction) address() string { return j.listener.Addr().String() }

func (j *junction) accept() {
	for {
		in, err := j.listener.Accept()
		if err != nil {
			return
		}
		j.mu.Lock()
		to := j.to
		j.mu.Unlock()
		out, err := net.Dial("tcp4", to)
		if err != nil {
			in.Close()
			continue
		}
		j.mu.Lock()
		j.conns = append(j.conns, in, out)
		if j.to != to {
			in.Close()
			out.Close()
		}
		j.mu.Unlock()
		j.work.Go(func() { j.pass(out, in) })
		j.work.Go(func() { j.pass(in, altered{out, j}) })
	}
}

func (j *junction) pass(to net.Conn, from io.Reader) {
	_, _ = io.Copy(to, from) // either end may go at any time
	to.Close()
}

// altered is what a camera sends after it was spoilt.
type altered struct {
	net.Conn
	j *junction
}

func (a altered) Read(b []byte) (int, error) {
	n, err := a.Conn.Read(b)
	a.j.mu.Lock()
	defer a.j.mu.Unlock()
	if a.j.alter && n > 100 {
		a.j.alter = false
		b[n/2] ^= 1
	}
	return n, err
}

// Another camera at the address of the approved one is never shown, as far as that can be known; what
// plain RTSP can not know, a pinned certificate does (F-49, T-13, T-14).
func TestAnotherCameraIsNotTakenForTheApprovedOne(t *testing.T) {
	const swapped = "look at it, then accept it"
	other := film{source: bright, extra: "-profile:v baseline"}
	stranger := film{source: bright} // of the same make and settings
	other.clip(t)
	stranger.clip(t)
	neverBright := func(c *faultCase) {
		for _, s := range c.book.of(c.id) {
			if s.obscured == nvr.Recorded && s.luma > 190 {
				c.errorf("frame %d of run %s shows the other camera", s.seq, s.run)
				return
			}
		}
	}
	secure := func(f film) *fakecamera.Camera {
		s := f.script(t)
		s.TLS = true
		return fakecamera.Start(t, s)
	}
	own, foreign := secure(film{}), secure(stranger)
	place := newJunction(t, own.Address())
	spoilt := newJunction(t, own.Address())
	pinned := func(j *junction) func(*configs.Camera) {
		return func(c *configs.Camera) { c.URL, c.CertificateSHA256 = "rtsps://"+j.address()+"/stream", own.Pin() }
	}
	elsewhere := fakecamera.Start(t, stranger.script(t))
	swap := func(c *faultCase, f film) {
		clip := f.clip(c.t)
		c.cam.Stop()
		c.cam.Change(func(s *fakecamera.Script) { s.Kind, s.Units = clip.Kind, clip.Units })
		c.cam.StartAgain()
	}
	rows := []faultRow{
		{name: "F-49 another camera at the address", fault: func(c *faultCase) {
			swap(c, other)
			at := c.now()
			c.tells(at, nvr.ObscuredViewMoved, swapped, 10*time.Second)
			c.rig.killMasker(c.id) // a new masker must not take it for a new camera
		}, says: nvr.ObscuredViewMoved, words: swapped, within: 10 * time.Second, lasts: 12 * time.Second,
			mend: func(c *faultCase) { swap(c, film{}) }, check: neverBright},
		{name: "F-49 redirects to another camera", fault: func(c *faultCase) {
			c.cam.Change(func(s *fakecamera.Script) { s.Redirect = elsewhere.URL() })
			c.cam.Disconnect()
		}, says: nvr.CameraLost, words: "redirects to \"" + elsewhere.URL(), within: 8 * time.Second, lasts: 4 * time.Second,
			mend: func(c *faultCase) { c.cam.Change(func(s *fakecamera.Script) { s.Redirect = "" }) }, check: func(c *faultCase) {
				if n := elsewhere.Counters().Connections; n > 0 {
					c.errorf("the other camera was connected to %d times", n)
				}
			}},
		{name: "T-14 another certificate", camera: pinned(place), fault: func(*faultCase) { place.lead(foreign.Address()) },
			says: nvr.CameraLost, words: "another certificate than the pinned one", within: 8 * time.Second, lasts: 5 * time.Second,
			mend: func(*faultCase) { place.lead(own.Address()) }, check: func(c *faultCase) {
				neverBright(c)
				if n := foreign.Counters().Requests; len(n) > 0 {
					c.errorf("the stranger was asked %v", n)
				}
			}},
		{name: "T-13 altered on the way, RTSPS", camera: pinned(spoilt), fault: func(*faultCase) { spoilt.spoil() },
			says: nvr.CameraLost, within: 8 * time.Second, mend: func(*faultCase) {}},
		{name: "T-13 five minutes old packets, plain RTSP", fault: func(c *faultCase) {
			c.cam.JumpRTP(-5 * time.Minute)
			c.cam.ResetSequence()
			switchTo(c.t, c.cam, film{})
		}, says: nvr.CameraLost, words: "clock of the camera jumped", within: 8 * time.Second, mend: func(*faultCase) {}},
		// What can not be known on plain RTSP. These rows hold the product to what its documents say, no
		// more: whoever can rewrite packets, or has a camera of the same make, is kept out by the
		// camera network or by RTSPS, and by nothing else. A still is noticed, see F-55.
		{name: "T-13 old pictures under new numbers, plain RTSP: not noticed", lasts: 5 * time.Second, fault: func(c *faultCase) { switchTo(c.t, c.cam, film{}) }},
		{name: "T-14 a camera of the same make, plain RTSP: only the interruption is noticed", fault: func(c *faultCase) { swap(c, stranger) },
			says: nvr.CameraLost, words: "closed the connection", within: 8 * time.Second, mend: func(*faultCase) {}},
	}
	runFaults(t, rows)
}
