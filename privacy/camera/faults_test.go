package camera_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"custody-nvr/privacy/camera"
	"custody-nvr/privacy/camera/fakecamera"
)

// drawn makes n access units that look like H.264 or H.265 to everything but a decoder: a key
// picture every ten, two slices each, the number of the unit in each slice.
func drawn(kind string, n int) [][][]byte {
	nal := func(h264, h265 byte, first bool, number, size int) []byte {
		b := []byte{h264}
		if kind == camera.H265 {
			b = []byte{h265 << 1, 1}
		}
		b = append(b, 0x3f)
		if first {
			b[len(b)-1] = 0xbf
		}
		b = binary.BigEndian.AppendUint32(b, uint32(number)|0x80808080)
		for i := range size {
			b = append(b, byte(1+(number+i)%255))
		}
		return append(b, 0x80)
	}
	var units [][][]byte
	for i := range n {
		var u [][]byte
		slice, irap := byte(0x41), byte(1)
		if i%10 == 0 {
			if kind == camera.H265 {
				u = append(u, nal(0, 32, false, 1, 8))
			}
			u = append(u, nal(0x67, 33, false, 1, 12), nal(0x68, 34, false, 1, 3))
			slice, irap = 0x65, 19
		}
		u = append(u, nal(slice, irap, true, i, 2000+i*37%3000), nal(slice, irap, false, i, 100))
		units = append(units, u)
	}
	return units
}

// eventually waits until ok, which some other goroutine brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come", what)
		}
	}
}

// What cameras do differently and is no fault: every unit arrives, whole and unmarked.
func TestQuirksCostNothing(t *testing.T) {
	const all = 40
	cases := []struct {
		name      string
		transport string
		script    fakecamera.Script
		missing   int // units at the end that only the next one would complete
	}{
		{name: "F-27 RTP time wraps", script: fakecamera.Script{StartRTP: 1<<32 - 90000}},
		{name: "sequence number wraps", script: fakecamera.Script{StartSeq: 65500}},
		{name: "F-32 no parameter sets in the description", script: fakecamera.Script{NoParameters: true}},
		{name: "F-33 no markers", script: fakecamera.Script{Markers: fakecamera.NoMarkers}, missing: 1},
		{name: "F-33 marker on parameter sets", script: fakecamera.Script{Markers: fakecamera.MarkerOnParameter}},
		{name: "F-34 Annex B in RTP", script: fakecamera.Script{AnnexB: true}},
		{name: "F-34 zeros after SPS", script: fakecamera.Script{TrailingZero: true}},
		{name: "F-39 odd channels", script: fakecamera.Script{Transport: "RTP/AVP/TCP;unicast;interleaved=5-6"}},
		{name: "F-39 no interleaved ids", script: fakecamera.Script{Transport: "RTP/AVP/TCP;unicast"}},
		{name: "F-39 TCP not named", script: fakecamera.Script{Transport: "RTP/AVP;unicast;interleaved=0-1"}},
		{name: "F-40 whole units as fragments", script: fakecamera.Script{WholeFU: true}},
		{name: "F-40 empty last fragment", script: fakecamera.Script{EmptyFU: true}},
		{name: "F-45 keep-alive by OPTIONS", script: fakecamera.Script{Public: "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"}},
		{name: "F-45 OPTIONS not known", script: fakecamera.Script{Status: map[string]string{"OPTIONS": "405 Method Not Allowed"}}},
		{name: "F-50 Content-Base without scheme", script: fakecamera.Script{ContentBase: "192.168.1.10:554/stream/"}},
		{name: "F-50 Content-Base of another host", script: fakecamera.Script{ContentBase: "rtsp://cam-door/stream/"}},
		{name: "F-50 no Content-Base", script: fakecamera.Script{ContentBase: "-"}},
		{name: "F-50 no Content-Type", script: fakecamera.Script{ContentType: "-"}},
		{name: "F-50 another session id each time", script: fakecamera.Script{OtherIDs: true, Timeout: 60}},
		{name: "F-50 spaced SSRC", script: fakecamera.Script{Transport: "RTP/AVP/TCP;ssrc= d6d6627 ;unicast;interleaved=0-1;mode=\"what\""}},
		{name: "F-50 session time-out is no number", script: fakecamera.Script{After: map[string]string{"PLAY": "Session: 12345678 ; timeout=soon\r\n"}}},
		{name: "F-51 sender reports of 1970", script: fakecamera.Script{RTCP: -56 * 365 * 24 * time.Hour}},
		{name: "other tracks, sent unasked", script: fakecamera.Script{Audio: true, Metadata: true, BackChannel: true, Unasked: true}},
		{name: "H.265", script: fakecamera.Script{Kind: camera.H265}},
		{name: "H.265 F-33 no markers", script: fakecamera.Script{Kind: camera.H265, Markers: fakecamera.NoMarkers}, missing: 1},
		{name: "H.265 F-33 marker on parameter sets", script: fakecamera.Script{Kind: camera.H265, Markers: fakecamera.MarkerOnParameter}},
		{name: "H.265 F-34 Annex B in RTP", script: fakecamera.Script{Kind: camera.H265, AnnexB: true}},
		{name: "H.265 F-40 whole units as fragments", script: fakecamera.Script{Kind: camera.H265, WholeFU: true}},
		{name: "H.265 F-40 empty last fragment", script: fakecamera.Script{Kind: camera.H265, EmptyFU: true}},
		{name: "UDP twice", transport: "udp", script: fakecamera.Script{Duplicate: true}},
		{name: "UDP out of order", transport: "udp", script: fakecamera.Script{Reorder: true}},
		{name: "UDP H.265", transport: "udp", script: fakecamera.Script{Kind: camera.H265, RTCP: time.Hour}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			kind := max(c.script.Kind, camera.H264)
			c.script.Units, c.script.Window = drawn(kind, all), 8
			fake := fakecamera.Start(t, c.script)
			s := open(t, camera.Spec{URL: fake.URL(), Transport: c.transport})
			for i, u := range take(t, s, all-c.missing, fake.Took) {
				if !same(u.NALs, c.script.Units[i]) || u.Gap || u.Restamped {
					t.Fatalf("unit %d: %d NAL units, want %d; gap %v, restamped %v", i, len(u.NALs), len(c.script.Units[i]), u.Gap, u.Restamped)
				}
				if want := time.Duration(i) * 40 * time.Millisecond; (u.PTS - want).Abs() > time.Millisecond {
					t.Fatalf("unit %d at %s, want %s", i, u.PTS, want)
				}
				for _, nal := range u.NALs {
					if bytes.Contains(nal, []byte(fakecamera.AudioText)) || bytes.Contains(nal, []byte(fakecamera.MetadataText)) {
						t.Fatal("sound or metadata in a unit")
					}
				}
			}
			if n := fake.Counters(); n.Setups["video"] != 1 || len(n.Setups) != 1 {
				t.Errorf("SETUP seen for %v, want the video alone", n.Setups)
			}
		})
	}
}

// A camera without what is needed is refused with a cause that names it, and a wrong password is
// not tried again and again.
func TestRefusals(t *testing.T) {
	digest := `Digest realm="r", nonce="NONCE"`
	admin := fakecamera.Auth{User: "admin", Password: "right"}
	with := func(a fakecamera.Auth, offers ...string) fakecamera.Auth { a.Offers = offers; return a }
	sdp := func(s string) func(string) string { return func(string) string { return s } }
	cases := []struct {
		name     string
		script   fakecamera.Script
		password string
		kind     camera.RefusalKind
		detail   string
		logIns   int // at most
	}{
		{"wrong password", fakecamera.Script{Auth: admin}, "hunter2", camera.WrongPassword, "401", 1},
		{"401 for ever", fakecamera.Script{Auth: fakecamera.Auth{User: "admin", Password: "right", Always: true}}, "right", camera.WrongPassword, "401", 1},
		{"no challenge after the answer", fakecamera.Script{Auth: fakecamera.Auth{User: "admin", Password: "right", Bare: true}}, "hunter2", camera.WrongPassword, "refuses", 1},
		{"stale for ever", fakecamera.Script{Auth: fakecamera.Auth{User: "admin", Password: "right", Stale: 99}}, "right", camera.WrongPassword, "401", 2},
		{"no password set", fakecamera.Script{Auth: admin}, "", camera.WrongPassword, "none is set", 0},
		{"scheme", fakecamera.Script{Auth: with(admin, "Negotiate")}, "right", camera.UnknownAuth, "negotiate", 0},
		{"algorithm", fakecamera.Script{Auth: with(admin, digest+", algorithm=SHA-512-256")}, "right", camera.UnknownAuth, "SHA-512-256", 0},
		{"qop", fakecamera.Script{Auth: with(admin, digest+`, qop="auth-int"`)}, "right", camera.UnknownAuth, "auth-int", 0},
		{"no challenge", fakecamera.Script{Status: map[string]string{"DESCRIBE": "401 Unauthorized"}}, "right", camera.UnknownAuth, "WWW-Authenticate", 0},
		{"forbidden", fakecamera.Script{Status: map[string]string{"DESCRIBE": "403 Forbidden"}}, "", camera.WrongPassword, "403", 0},
		{"not found", fakecamera.Script{Status: map[string]string{"DESCRIBE": "404 Not Found"}}, "", camera.NotFound, "404", 0},
		{"453", fakecamera.Script{Status: map[string]string{"SETUP": "453 Not Enough Bandwidth"}}, "", camera.TooManySessions, "453", 0},
		{"503", fakecamera.Script{Status: map[string]string{"DESCRIBE": "503 Service Unavailable"}}, "", camera.TooManySessions, "503", 0},
		{"500", fakecamera.Script{Status: map[string]string{"PLAY": "500 Oops"}}, "", camera.Protocol, "500 Oops", 0},
		{"audio only", fakecamera.Script{NoVideo: true, Audio: true}, "", camera.NoVideo, "audio PCMA/8000", 0},
		{"metadata only", fakecamera.Script{NoVideo: true, Metadata: true}, "", camera.NoVideo, "vnd.onvif.metadata", 0},
		{"Motion JPEG", fakecamera.Script{SDP: sdp("v=0\r\nm=video 0 RTP/AVP 26\r\n")}, "", camera.UnsupportedCodec, "Motion JPEG", 0},
		{"MPEG-4", fakecamera.Script{SDP: sdp("v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 MP4V-ES/90000\r\n")}, "", camera.UnsupportedCodec, "MP4V-ES", 0},
		{"interleaved mode", fakecamera.Script{SDP: sdp("m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96 packetization-mode=2\n")}, "", camera.UnsupportedCodec, "mode 2", 0},
		{"broken description", fakecamera.Script{SDP: sdp("v=0\r\ns=x\r\nm=video 0\r\n")}, "", camera.BadDescription, "line 3", 0},
		{"no description", fakecamera.Script{SDP: sdp("<html>")}, "", camera.BadDescription, "<html>", 0},
		{"clock rate", fakecamera.Script{SDP: sdp("m=video 0 RTP/AVP 96\na=rtpmap:96 H264/fast\n")}, "", camera.BadDescription, "line 2", 0},
		{"redirected elsewhere", fakecamera.Script{Redirect: "rtsp://192.0.2.7/stream"}, "", camera.WrongAddress, "192.0.2.7", 0},
		{"redirected in a circle", fakecamera.Script{Redirect: "SELF"}, "", camera.WrongAddress, "more than 3 times", 0},
		{"only UDP", fakecamera.Script{Transport: "RTP/AVP;unicast;server_port=5000-5001"}, "", camera.Protocol, "UDP", 0},
		{"not RTSP", fakecamera.Script{Status: map[string]string{"DESCRIBE": "hello world"}}, "", camera.Protocol, "", 0},
		{"echo of the password", fakecamera.Script{Status: map[string]string{"DESCRIBE": "400 you said hunter2!"}}, "hunter2!", camera.Protocol, "***", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.script.Units = drawn(camera.H264, 1)
			fake := fakecamera.Start(t, c.script)
			self := fake.URL()
			fake.Change(func(s *fakecamera.Script) { s.Redirect = strings.Replace(s.Redirect, "SELF", self, 1) })
			spec := camera.Spec{URL: fake.URL(), Password: c.password}
			if c.password != "" {
				spec.User = "admin"
			}
			s, err := camera.Open(t.Context(), spec)
			if err == nil {
				s.Close()
				t.Fatal("the camera was accepted")
			}
			if kindOf(t, err) != c.kind || !strings.Contains(err.Error(), c.detail) {
				t.Errorf("got %q, want %s with %q", err, c.kind, c.detail)
			}
			if r, _ := errors.AsType[*camera.Refusal](err); !leads(r.Detail) {
				t.Errorf("%q does not begin with a short sentence on what to do", r.Detail)
			}
			if c.password != "" && strings.Contains(err.Error(), c.password) && c.password != "right" {
				t.Errorf("the password stands in %q", err)
			}
			if n := fake.Counters(); n.LogIns > c.logIns {
				t.Errorf("%d log-ins, want at most %d", n.LogIns, c.logIns)
			}
		})
	}
}

// leads reports whether a detail begins with what is wrong and what to do, in what a tile shows.
func leads(detail string) bool {
	first, _, _ := strings.Cut(detail, ". ")
	return len(first) <= 90 && strings.Contains(first, ": ")
}

// F-42: every challenge that a camera may make and that can be answered is.
func TestLogIns(t *testing.T) {
	for name, offers := range map[string][]string{
		"Basic":                  {`Basic realm="r"`},
		"Digest":                 {`Digest realm="r", nonce="NONCE"`},
		"MD5 unquoted":           {`Digest realm="r",nonce=NONCE,algorithm=MD5`},
		"qop":                    {`Digest realm="r", nonce="NONCE", qop="auth"`},
		"qop of two":             {`Digest realm="r", nonce="NONCE", qop="auth,auth-int", opaque="o"`},
		"SHA-256":                {`Digest realm="r", nonce="NONCE", algorithm=SHA-256`},
		"SHA-256 qop":            {`Digest realm="r", nonce="NONCE", algorithm="SHA-256", qop=auth`},
		"MD5-sess":               {`Digest realm="r", nonce="NONCE", algorithm=MD5-sess, qop="auth"`},
		"two challenges":         {`Digest realm="r", nonce="NONCE"`, `Basic realm="r"`},
		"two in one header":      {`Basic realm="r", Digest realm="r", nonce="NONCE"`},
		"unknown one first":      {`Negotiate`, `Digest realm="r", nonce="NONCE"`},
		"unknown algorithm also": {`Digest realm="r", nonce="NONCE", algorithm=SHA-512-256`, `Digest realm="r", nonce="NONCE", algorithm=MD5`},
		"small letters":          {`digest realm="r", nonce="NONCE"`},
		"stale nonce":            {`Digest realm="r", nonce="NONCE"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			auth := fakecamera.Auth{User: "admin", Password: `pa"ss:wörd`, Offers: offers, FreeOptions: name == "Digest"}
			if name == "stale nonce" {
				auth.Stale = 1
			}
			fake := fakecamera.Start(t, fakecamera.Script{Units: drawn(camera.H264, 3), Auth: auth})
			s := open(t, camera.Spec{URL: fake.URL(), User: auth.User, Password: auth.Password})
			collect(t, s, 3)
			s.Close()
			eventually(t, "TEARDOWN", func() bool { return fake.Counters().Requests["TEARDOWN"] == 1 })
			if n := fake.Counters(); n.LogInsRefused != auth.Stale {
				t.Errorf("%d answers refused, want %d", n.LogInsRefused, auth.Stale)
			}
		})
	}
}

// A session that stops giving pictures ends by itself, with the cause, in bounded time.
func TestSessionsEndWithTheirCause(t *testing.T) {
	cases := []struct {
		name   string
		fault  func(*fakecamera.Camera)
		kind   camera.RefusalKind
		detail string
		within time.Duration
	}{
		{"F-22 no data", (*fakecamera.Camera).Freeze, camera.Stalled, "no picture from the camera for 2 s", 3 * time.Second},
		{"F-22 half-open", (*fakecamera.Camera).BlackHole, camera.Stalled, "no picture", 3 * time.Second},
		{"F-23 RTCP only", (*fakecamera.Camera).RTCPOnly, camera.Stalled, "no picture", 3 * time.Second},
		{"F-23 another SSRC", (*fakecamera.Camera).ChangeSSRC, camera.SSRCChanged, "SSRC", time.Second},
		{"F-26 the camera's clock is set", func(c *fakecamera.Camera) { c.JumpRTP(-3 * time.Hour) }, camera.Closed, "stays there", 2 * time.Second},
		{"F-46 disconnected", (*fakecamera.Camera).Disconnect, camera.Closed, "closed the connection", time.Second},
		{"F-46 reboot", (*fakecamera.Camera).Stop, camera.Closed, "closed the connection", time.Second},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fake := fakecamera.Start(t, fakecamera.Script{Units: drawn(camera.H264, 20), FPS: 25, Loop: true})
			s := open(t, camera.Spec{URL: fake.URL()})
			collect(t, s, 5)
			began := time.Now()
			c.fault(fake)
			var err error
			for err == nil {
				_, err = s.Next(t.Context())
			}
			if kindOf(t, err) != c.kind || !strings.Contains(err.Error(), c.detail) {
				t.Errorf("got %q, want %s with %q", err, c.kind, c.detail)
			}
			if d := time.Since(began); d > c.within {
				t.Errorf("it took %s, at most %s", d, c.within)
			}
			began = time.Now()
			s.Close()
			if d := time.Since(began); d > 2*time.Second {
				t.Errorf("Close took %s", d)
			}
		})
	}
}

// What damages a stream shows as a gap, and no unit without one misses anything.
func TestDamageIsMarked(t *testing.T) {
	cases := []struct {
		name      string
		transport string
		fault     func(*fakecamera.Camera)
		gaps      int // at least
	}{
		{"F-28 sequence reset", "tcp", (*fakecamera.Camera).ResetSequence, 1},
		{"F-38 loss over TCP", "tcp", func(c *fakecamera.Camera) { c.Drop(10) }, 1},
		{"F-38 loss over UDP", "udp", func(c *fakecamera.Camera) { c.Drop(10) }, 1},
		{"F-38 heavy loss", "tcp", func(c *fakecamera.Camera) { c.Drop(30) }, 1},
		{"F-39 garbage between frames", "tcp", func(c *fakecamera.Camera) { c.Garbage(777) }, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			units := drawn(camera.H264, 120)
			fake := fakecamera.Start(t, fakecamera.Script{Units: units, FPS: 100, StartSeq: 1000})
			s := open(t, camera.Spec{URL: fake.URL(), Transport: c.transport})
			last, gaps, after := -1, 0, 0
			for last < 110 {
				u, err := s.Next(t.Context())
				if err != nil {
					t.Fatalf("after unit %d: %v", last, err)
				}
				if last == 9 {
					c.fault(fake)
				}
				slice := u.NALs[len(u.NALs)-1]
				i := int(binary.BigEndian.Uint32(slice[2:]) & 0x7f7f7f7f)
				if u.Gap {
					gaps++
				} else if i != last+1 || !same(u.NALs, units[i]) {
					t.Fatalf("unit %d after %d misses something and does not say so", i, last)
				} else {
					after++
				}
				last = i
			}
			if gaps < c.gaps || after < 20 {
				t.Errorf("%d gaps, want at least %d; %d whole units", gaps, c.gaps, after)
			}
		})
	}
}

// F-25: one time stamp out of line is replaced and said, and the stream goes on.
func TestOneWildTimeStampIsReplaced(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{-9800 * time.Second, 37600 * time.Second} {
		fake := fakecamera.Start(t, fakecamera.Script{Units: drawn(camera.H264, 60), FPS: 100, Window: 8})
		s := open(t, camera.Spec{URL: fake.URL()})
		take(t, s, 10, fake.Took)
		fake.JumpOnce(jump)
		restamped, last := 0, 9*10*time.Millisecond
		for _, u := range take(t, s, 40, fake.Took) {
			if u.Restamped {
				restamped++
			}
			if step := u.PTS - last; step <= 0 || step > 45*time.Millisecond {
				t.Errorf("step of %s", step)
			}
			last = u.PTS
		}
		if restamped != 1 {
			t.Errorf("%d units restamped, want 1", restamped)
		}
	}
}

// F-33: a camera that sets the marker on every slice damages the first picture and no other.
func TestMarkerOnEverySliceIsLearnt(t *testing.T) {
	t.Parallel()
	units := drawn(camera.H264, 30)
	fake := fakecamera.Start(t, fakecamera.Script{Units: units, Markers: fakecamera.MarkerOnEach})
	s := open(t, camera.Spec{URL: fake.URL()})
	got := collect(t, s, 29)
	if !got[1].Gap {
		t.Error("the torn picture is not marked")
	}
	for i, u := range got[2:] {
		if u.Gap || !same(u.NALs, units[i+1]) {
			t.Fatalf("unit %d is torn", i+1)
		}
	}
}

// F-45: the keep-alive comes within half of the announced time-out, by a method the camera knows.
func TestKeepAliveInHalfTheTimeout(t *testing.T) {
	t.Parallel()
	for public, method := range map[string]string{"": "GET_PARAMETER", "OPTIONS, DESCRIBE, SETUP, PLAY": "OPTIONS"} {
		fake := fakecamera.Start(t, fakecamera.Script{Units: drawn(camera.H264, 20), FPS: 25, Loop: true, Timeout: 2, Enforce: true, Public: public})
		s := open(t, camera.Spec{URL: fake.URL()})
		collect(t, s, 75) // three seconds
		if n := fake.Counters(); n.KeepAlives[method] < 2 || len(n.KeepAlives) != 1 {
			t.Errorf("keep-alives %v, want at least 2 by %s", n.KeepAlives, method)
		}
	}
}

// F-49: another certificate than the pinned one is refused, and without a pin the text tells it.
func TestCertificateIsPinned(t *testing.T) {
	fake := fakecamera.Start(t, fakecamera.Script{Units: drawn(camera.H264, 5), TLS: true})
	s := open(t, camera.Spec{URL: fake.URL(), TLSPin: strings.ToUpper(fake.Pin())})
	collect(t, s, 5)
	if s.Track().Certificate != fake.Pin() {
		t.Errorf("certificate %q, want %q", s.Track().Certificate, fake.Pin())
	}
	for _, pin := range []string{"", strings.Repeat("00", 32)} {
		_, err := camera.Open(t.Context(), camera.Spec{URL: fake.URL(), TLSPin: pin})
		if err == nil || kindOf(t, err) != camera.WrongCertificate || !strings.Contains(err.Error(), fake.Pin()) {
			t.Errorf("pin %q: %v, want the fingerprint", pin, err)
		}
	}
}

// A camera that cannot be reached is told of in a short line, whoever dialled.
func TestNoConnectionIsAShortLine(t *testing.T) {
	const want = "no connection to 127.0.0.1:1 (connection refused): check the camera's power and cable"
	parent := func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("dial tcp 127.0.0.1:1: connect: connection refused")
	}
	for name, dial := range map[string]func(context.Context, string, string) (net.Conn, error){"own": nil, "parent's": parent} {
		_, err := camera.Open(t.Context(), camera.Spec{URL: "rtsp://127.0.0.1:1/x", Dial: dial})
		if r, ok := errors.AsType[*camera.Refusal](err); !ok || r.Detail != want {
			t.Errorf("%s dial: %v, want %s", name, err, want)
		}
	}
}

// Dial hands out no connection to another address, and its error is the answer.
func TestDialDecides(t *testing.T) {
	fake := fakecamera.Start(t, fakecamera.Script{Units: drawn(camera.H264, 5)})
	var asked []string
	spec := camera.Spec{URL: fake.URL(), Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		asked = append(asked, network+" "+address)
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	s := open(t, spec)
	collect(t, s, 5)
	if len(asked) != 1 || asked[0] != "tcp "+fake.Address() {
		t.Errorf("dialled %q", asked)
	}
	spec.Dial = func(context.Context, string, string) (net.Conn, error) {
		return nil, &camera.Refusal{Kind: camera.WrongAddress, Detail: "not this one"}
	}
	if _, err := camera.Open(t.Context(), spec); err == nil || kindOf(t, err) != camera.WrongAddress {
		t.Errorf("got %v", err)
	}
	fake.Stop()
	if _, err := camera.Open(t.Context(), camera.Spec{URL: fake.URL()}); err == nil || kindOf(t, err) != camera.Unreachable {
		t.Errorf("got %v", err)
	}
}

// A consumer that sleeps loses the oldest units, and is told so.
func TestSlowConsumerIsToldWhatItMissed(t *testing.T) {
	t.Parallel()
	units := drawn(camera.H264, 200)
	fake := fakecamera.Start(t, fakecamera.Script{Units: units})
	s := open(t, camera.Spec{URL: fake.URL()})
	collect(t, s, 1)
	eventually(t, "200 units", func() bool { return fake.Counters().UnitsSent == 200 })
	var err error
	var got []camera.AccessUnit
	for err == nil {
		var u camera.AccessUnit
		if u, err = s.Next(t.Context()); err == nil {
			got = append(got, u)
		}
	}
	if len(got) > 120 || !got[0].Gap || !same(got[len(got)-1].NALs, units[199]) || got[1].Gap {
		t.Errorf("%d units, first gap %v, want at most 64 and those that came meanwhile of the newest with one gap before them", len(got), got[0].Gap)
	}
}
