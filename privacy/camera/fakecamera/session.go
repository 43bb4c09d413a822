package fakecamera

import (
	"encoding/base64"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	rtspconn "github.com/bluenviron/gortsplib/v4/pkg/conn"
)

// session is one connection of a client.
type session struct {
	camera *Camera
	raw    net.Conn
	conn   net.Conn // raw, or TLS over it
	gone   chan struct{}

	// owned by run
	id      string
	ids     int
	staled  int
	nonce   string
	playing bool
	counted bool // as a session
	channel int  // interleaved, of the video
	udp     *udpPath

	lastSign atomic.Int64 // of life of the client, ns since 1970
	writing  sync.Mutex   // conn and mutator
	mutator  *mutator
}

// udpPath is where the video goes over UDP.
type udpPath struct {
	rtp, rtcp *net.UDPConn
	to, toCtl *net.UDPAddr
}

func (s *session) run() {
	var sending sync.WaitGroup
	defer func() {
		close(s.gone)
		s.conn.Close()
		sending.Wait()
		if s.udp != nil {
			s.udp.rtp.Close()
			s.udp.rtcp.Close()
		}
		s.camera.mu.Lock()
		delete(s.camera.sessions, s)
		if s.counted {
			s.camera.count.Sessions--
		}
		s.camera.mu.Unlock()
	}()
	r := rtspconn.NewConn(s.conn)
	for {
		what, err := r.Read()
		if err != nil {
			return
		}
		script, knobs, changed := s.camera.snapshot()
		for knobs.hole {
			select {
			case <-changed:
				script, knobs, changed = s.camera.snapshot()
			case <-s.camera.t.Context().Done():
				return
			}
		}
		request, ok := what.(*base.Request)
		if !ok {
			s.camera.tally(func(n *Counters) { n.PacketsFromUs++ })
			continue
		}
		if script.Slow > 0 {
			timer := time.NewTimer(script.Slow)
			select {
			case <-timer.C:
			case <-s.camera.t.Context().Done():
				timer.Stop()
				return
			}
		}
		status, lines, body := s.answer(&script, request)
		if s.write(response(request, status, lines+script.After[string(request.Method)], body)) != nil || request.Method == base.Teardown {
			return
		}
		if request.Method == base.Play && strings.HasPrefix(status, "200") && !s.playing {
			s.playing = true
			sending.Go(s.send)
		}
	}
}

func (s *session) write(b []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.mutator != nil {
		if b = s.mutator.mutate(b); b == nil {
			s.conn.Close()
		}
	}
	s.raw.SetWriteDeadline(time.Now().Add(10 * time.Second))
	_, err := s.conn.Write(b)
	return err
}

func response(r *base.Request, status, lines, body string) []byte {
	text := "RTSP/1.0 " + status + "\r\n"
	if c := r.Header["CSeq"]; len(c) > 0 {
		text += "CSeq: " + c[0] + "\r\n"
	}
	text += "Server: fakecamera\r\n" + lines
	if body != "" {
		text += "Content-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	return []byte(text + "\r\n" + body)
}

// answer gives status, header lines and body.
func (s *session) answer(script *Script, r *base.Request) (status, lines, body string) {
	s.camera.tally(func(n *Counters) {
		n.Requests[string(r.Method)]++
		if s.playing && r.Method != base.Teardown {
			n.KeepAlives[string(r.Method)]++
		}
	})
	s.lastSign.Store(time.Now().UnixNano())
	if status, lines, ok := s.logIn(script, r); !ok {
		return status, lines, ""
	}
	if status, ok := script.Status[string(r.Method)]; ok {
		return status, "", ""
	}
	switch r.Method {
	case base.Options:
		public := script.Public
		if public == "" {
			public = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"
		}
		return "200 OK", "Public: " + public + "\r\n" + s.session(script), ""
	case base.Describe:
		return s.describe(script, r)
	case base.Setup:
		return s.setup(script, r)
	case base.Play, base.GetParameter, base.Teardown:
		return "200 OK", s.session(script), ""
	}
	return "501 Not Implemented", "", ""
}

// session gives the Session line, "" before SETUP.
func (s *session) session(script *Script) string {
	if s.id == "" {
		return ""
	}
	if script.OtherIDs {
		s.ids++
		s.id = fmt.Sprintf("%08d", s.ids)
	}
	line := "Session: " + s.id
	if script.Timeout > 0 {
		line += ";timeout=" + strconv.Itoa(script.Timeout)
	}
	return line + "\r\n"
}

func (s *session) describe(script *Script, r *base.Request) (status, lines, body string) {
	if script.Redirect != "" {
		return "302 Moved Temporarily", "Location: " + script.Redirect + "\r\n", ""
	}
	if r.URL.Path != script.path() {
		return "404 Not Found", "", ""
	}
	switch script.ContentType {
	case "":
		lines = "Content-Type: application/sdp\r\n"
	case "-":
	default:
		lines = "Content-Type: " + script.ContentType + "\r\n"
	}
	switch script.ContentBase {
	case "":
		lines += "Content-Base: " + r.URL.String() + "/\r\n"
	case "-":
	default:
		lines += "Content-Base: " + script.ContentBase + "\r\n"
	}
	return "200 OK", lines, script.description()
}

// description is the SDP of the script.
func (s *Script) description() string {
	text := "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=fake camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n"
	if s.Audio {
		text += "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 PCMA/8000\r\na=control:track=audio\r\n"
	}
	if !s.NoVideo {
		pt := "96"
		if s.Packets != nil {
			pt = strconv.Itoa(int(s.Packets[0][1] & 0x7f))
		}
		text += "m=video 0 RTP/AVP " + pt + "\r\na=rtpmap:" + pt + " " + strings.ToUpper(s.kind()) + "/90000\r\na=control:track=video\r\n"
		if p := s.parameters(); p != "" && !s.NoParameters {
			text += "a=fmtp:" + pt + " " + p + "\r\n"
		}
	}
	if s.Metadata {
		text += "m=application 0 RTP/AVP 98\r\na=rtpmap:98 vnd.onvif.metadata/90000\r\na=control:track=metadata\r\n"
	}
	if s.BackChannel {
		text += "m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=control:track=backchannel\r\na=sendonly\r\n"
	}
	if s.SDP != nil {
		return s.SDP(text)
	}
	return text
}

// parameters is the fmtp line for the first parameter sets of the units.
func (s *Script) parameters() string {
	found := map[string]string{}
	for _, u := range s.Units {
		for _, nal := range u {
			if name := parameterName(s.kind(), nal); name != "" && found[name] == "" {
				found[name] = base64.StdEncoding.EncodeToString(nal)
			}
		}
	}
	if s.kind() == "h265" {
		if found["sps"] == "" {
			return ""
		}
		return "sprop-vps=" + found["vps"] + "; sprop-sps=" + found["sps"] + "; sprop-pps=" + found["pps"]
	}
	if found["sps"] == "" {
		return "packetization-mode=1"
	}
	return "packetization-mode=1; sprop-parameter-sets=" + found["sps"] + "," + found["pps"]
}

func (s *session) setup(script *Script, r *base.Request) (status, lines, body string) {
	_, track, _ := strings.Cut(r.URL.String(), "track=")
	s.camera.mu.Lock()
	s.camera.count.Setups[track]++
	full := script.MaxSessions > 0 && s.camera.count.Sessions >= script.MaxSessions && !s.counted
	if !full && !s.counted {
		s.counted = true
		s.camera.count.Sessions++
	}
	s.camera.mu.Unlock()
	if full {
		return "453 Not Enough Bandwidth", "", ""
	}
	if s.id == "" {
		s.id = "12345678"
	}
	asked := ""
	if t := r.Header["Transport"]; len(t) > 0 {
		asked = t[0]
	}
	transport := script.Transport
	if _, ports, ok := strings.Cut(asked, "client_port="); ok {
		if track == "video" && s.udp == nil && !s.openUDP(ports) {
			return "461 Unsupported Transport", "", ""
		}
		if transport == "" && s.udp != nil {
			transport = asked + ";server_port=" + portOf(s.udp.rtp) + "-" + portOf(s.udp.rtcp) + ";ssrc=11223344"
		}
	} else {
		_, ids, _ := strings.Cut(asked, "interleaved=")
		first, _, _ := strings.Cut(ids, "-")
		s.channel, _ = strconv.Atoi(first)
		if transport == "" {
			transport = asked + ";ssrc=11223344"
		} else if _, ids, ok := strings.Cut(transport, "interleaved="); ok {
			first, _, _ := strings.Cut(ids, "-")
			s.channel, _ = strconv.Atoi(first)
		}
	}
	return "200 OK", s.session(script) + "Transport: " + transport + "\r\n", ""
}

func portOf(c *net.UDPConn) string { return strconv.Itoa(c.LocalAddr().(*net.UDPAddr).Port) }

func (s *session) openUDP(ports string) bool {
	first, _, _ := strings.Cut(ports, "-")
	port, err := strconv.Atoi(first)
	if err != nil {
		return false
	}
	host := s.raw.RemoteAddr().(*net.TCPAddr).IP
	local := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
	a, err := net.ListenUDP("udp4", local)
	if err != nil {
		return false
	}
	b, err := net.ListenUDP("udp4", local)
	if err != nil {
		a.Close()
		return false
	}
	s.udp = &udpPath{a, b, &net.UDPAddr{IP: host, Port: port}, &net.UDPAddr{IP: host, Port: port + 1}}
	return true
}
