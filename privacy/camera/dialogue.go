package camera

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
)

// dialogue stands between gortsplib and the camera: gortsplib shows it every request before it is
// sent and every answer before it is read, and both may be changed there. It logs in, reads the
// description, and puts right what cameras write wrongly (F-39, F-42, F-45, F-50), so that
// gortsplib sees a plain camera with one track.
//
// Only gortsplib's own goroutine calls request and response, one at a time, and never while the
// caller of Open reads the fields: Open waits for the answer first.
type dialogue struct {
	url    *base.URL // of the stream, without credentials
	at     *base.URL // the same, or where the camera redirected to on itself
	udp    bool
	login  login
	failed func(*Refusal) // ends a session that plays

	last      base.Method            // of the request sent last
	sent      map[string]base.Method // by CSeq, of requests not answered yet
	answered  map[string]bool        // by CSeq: the request carried an answer to a challenge
	challenge *Refusal               // what became of the last 401; nil = try again
	refusal   *Refusal               // found in an answer, better than what gortsplib will say
	track     Track
	base      *base.URL // aggregate URL
	playing   bool
}

// canned is the description that gortsplib gets to see instead of the camera's.
const canned = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"

// maxOutstanding bounds what is remembered of keep-alives that a camera never answers.
const maxOutstanding = 32

func (d *dialogue) request(r *base.Request) {
	if len(d.sent) > maxOutstanding {
		clear(d.sent)
		clear(d.answered)
	}
	id := header(r.Header, "CSeq")
	d.last = r.Method
	d.sent[id] = r.Method
	delete(d.answered, id)
	delete(r.Header, "Authorization")
	if a := d.login.answer(string(r.Method), r.URL.CloneWithoutCredentials().String()); a != "" {
		r.Header["Authorization"] = base.HeaderValue{a}
		d.answered[id] = true
	}
}

func (d *dialogue) response(r *base.Response) {
	id := strings.TrimSpace(header(r.Header, "CSeq"))
	method, known := d.sent[id]
	if !known && id == "" {
		method = d.last
	}
	answered := d.answered[id]
	delete(d.sent, id)
	delete(d.answered, id)
	if s := header(r.Header, "Server"); s != "" && d.track.Server == "" {
		d.track.Server = quote(s)
	}
	mendSession(r.Header)
	switch {
	case r.StatusCode == base.StatusUnauthorized:
		d.challenge = d.login.challenged(r.Header["WWW-Authenticate"], answered, d.playing)
		if d.challenge != nil && d.playing {
			d.failed(d.challenge)
		}
		return
	case r.StatusCode == base.StatusSessionNotFound && d.playing:
		d.failed(refusalOfStatus(r.StatusCode, r.StatusMessage))
		return
	case r.StatusCode >= 300 && r.StatusCode < 400:
		d.redirected(r)
		return
	}
	if answered && r.StatusCode == base.StatusOK {
		d.login.accepted()
	}
	switch method {
	case base.Options:
		// Cameras that do not know OPTIONS answer with all kinds of errors; go on to DESCRIBE.
		if r.StatusCode != base.StatusOK && r.StatusCode != base.StatusNotFound && r.StatusCode < 500 {
			r.StatusCode = base.StatusOK
		}
	case base.Describe:
		if r.StatusCode == base.StatusOK {
			d.describe(r)
		}
	case base.Setup:
		if r.StatusCode == base.StatusOK {
			d.mendTransport(r.Header)
		}
	case base.Play:
		d.playing = r.StatusCode == base.StatusOK
	}
}

// describe reads the camera's description and shows gortsplib a canned one: base URL and track are
// given to it by Open.
func (d *dialogue) describe(r *base.Response) {
	track, err := ParseDescription(r.Body)
	if err != nil {
		d.refusal = refusalOf(err)
	}
	server := d.track.Server
	certificate := d.track.Certificate
	d.track = track
	d.track.Server, d.track.Certificate = server, certificate

	d.base = d.at
	for _, text := range []string{track.sessionControl, header(r.Header, "Content-Base"), header(r.Header, "Content-Location")} {
		if text != "" && text != "*" {
			d.base = resolve(d.at, text)
			break
		}
	}
	delete(r.Header, "Content-Base")
	r.Header["Content-Type"] = base.HeaderValue{"application/sdp"}
	r.Body = []byte(canned)
}

// redirected refuses to go elsewhere: the address of a camera is approved, and another one at
// another address is not it (F-49). Elsewhere on the same camera is fine.
func (d *dialogue) redirected(r *base.Response) {
	to := header(r.Header, "Location")
	u, err := base.ParseURL(to)
	if err != nil || !strings.EqualFold(u.Host, d.url.Host) || u.Scheme != d.url.Scheme {
		d.refusal = refuse(WrongAddress, "the camera redirects elsewhere: if that is right, set the new URL. It redirects to %q", quote(to))
		delete(r.Header, "Location")
		return
	}
	d.at = u.CloneWithoutCredentials()
	u.Scheme = "rtsp" // see Open: TLS is none of gortsplib's business
	r.Header["Location"] = base.HeaderValue{u.CloneWithoutCredentials().String()}
}

// mendTransport keeps of the Transport header what a session needs. What it drops is often
// malformed (ssrc, mode), and "source" would let a camera direct our datagrams, or a name look-up,
// anywhere.
func (d *dialogue) mendTransport(h base.Header) {
	var proto, interleaved, ports string
	for i, part := range strings.Split(header(h, "Transport"), ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch strings.ToLower(key) {
		case "interleaved":
			interleaved = pair(value)
		case "server_port":
			ports = pair(value)
		default:
			if i == 0 {
				proto = strings.ToUpper(key)
			}
		}
	}
	if proto == "RTP/AVP" && !d.udp && interleaved != "" {
		proto = "RTP/AVP/TCP" // some forget it
	}
	if proto == "" {
		return // let gortsplib say what is wrong
	}
	parts := []string{proto, "unicast"}
	switch {
	case d.udp && ports != "":
		parts = append(parts, "server_port="+ports)
	case !d.udp && interleaved == "":
		parts = append(parts, "interleaved=0-1") // as asked for
	case !d.udp:
		parts = append(parts, "interleaved="+interleaved)
	}
	h["Transport"] = base.HeaderValue{strings.Join(parts, ";")}
}

// pair reads "n-m" or "n" as n and the number after it; "" is neither.
func pair(s string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(s), "-")
	n, err := strconv.ParseUint(first, 10, 16)
	if err != nil || n == 65535 {
		return ""
	}
	return fmt.Sprintf("%d-%d", n, n+1)
}

// mendSession rewrites the Session header: identifiers may have spaces around them, and the
// time-out may be anything. gortsplib sends a keep-alive after 8/10 of it; half of it is asked
// for, so it is told 5/8 of the truth.
func mendSession(h base.Header) {
	values := h["Session"]
	if len(values) == 0 {
		return
	}
	parts := strings.Split(values[0], ";")
	session := strings.TrimSpace(parts[0])
	for _, part := range parts[1:] {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 16)
		if strings.EqualFold(key, "timeout") && err == nil && n > 0 {
			session += ";timeout=" + strconv.FormatUint(max(1, n*5/8), 10)
			break
		}
	}
	h["Session"] = base.HeaderValue{session}
}

// resolve gives the URL that text means, seen from u. Scheme, host and credentials of the camera
// are never text's to choose: some write names that only they know, some no scheme at all.
func resolve(u *base.URL, text string) *base.URL {
	to := u.CloneWithoutCredentials()
	text = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || r == '#' {
			return -1
		}
		return r
	}, text)
	path := text
	if _, rest, ok := strings.Cut(text, "://"); ok {
		_, path, _ = strings.Cut(rest, "/")
		path = "/" + path
	} else if first, rest, ok := strings.Cut(text, "/"); ok && strings.Contains(first, ":") && !strings.HasPrefix(text, "/") {
		path = "/" + rest // host:port/path without a scheme
	}
	if !strings.HasPrefix(path, "/") { // relative: appended, as every camera means it
		whole := to.String()
		if !strings.HasSuffix(whole, "/") && path[:min(1, len(path))] != "?" {
			whole += "/"
		}
		if r, err := base.ParseURL(whole + path); err == nil {
			return r
		}
		return to
	}
	ref, err := url.Parse("rtsp://h" + path)
	if err != nil {
		return to
	}
	to.Path, to.RawPath, to.RawQuery = ref.Path, ref.RawPath, ref.RawQuery
	return to
}

func header(h base.Header, key string) string {
	if v := h[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}
