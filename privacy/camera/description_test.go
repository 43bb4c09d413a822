package camera

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"custody-nvr/nvr/cliptest"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
)

var update = flag.Bool("update", false, "write testdata/descriptions.golden anew")

// outcome is one line that says what became of a file of the corpus.
func outcome(file []byte) string {
	if !bytes.HasPrefix(file, []byte("RTSP/")) {
		return describe(ParseDescription(file))
	}
	var r base.Response
	if err := r.Unmarshal(bufio.NewReader(bytes.NewReader(file))); err != nil {
		return "answer can not be read: " + err.Error()
	}
	u, _ := base.ParseURL("rtsp://192.0.2.1/ch")
	d := dialogue{url: u, at: u, sent: map[string]base.Method{}, answered: map[string]bool{}, login: login{user: "u"}}
	id := strings.TrimSpace(header(r.Header, "CSeq"))
	d.sent[id] = base.Options
	switch {
	case len(r.Body) > 0:
		d.sent[id] = base.Describe
		description := r.Body
		d.response(&r)
		return describe(ParseDescription(description)) + " at " + d.base.Path + query(d.base)
	case r.Header["Transport"] != nil:
		d.sent[id] = base.Setup
		d.udp = !strings.Contains(r.Header["Transport"][0], "interleaved")
		d.response(&r)
		var tr headers.Transport
		if err := tr.Unmarshal(r.Header["Transport"]); err != nil {
			return "transport: " + err.Error()
		}
		return "transport " + r.Header["Transport"][0] + session(r)
	}
	d.response(&r)
	if d.challenge != nil {
		return d.challenge.Error()
	}
	return fmt.Sprintf("status %d%s", r.StatusCode, session(r))
}

func session(r base.Response) string {
	var s headers.Session
	if err := s.Unmarshal(r.Header["Session"]); err != nil {
		return ""
	}
	return " session " + strings.Join(s.Marshal(), "")
}

func query(u *base.URL) string {
	if u.RawQuery == "" {
		return ""
	}
	return "?" + u.RawQuery
}

func describe(t Track, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s payload %d clock %d vps %d sps %d pps %d control %q besides %q",
		t.Kind, t.payload, t.clock, len(t.VPS), len(t.SPS), len(t.PPS), t.control, t.Medias)
}

// Every answer in the corpus of a hundred cameras gives a track or a cause that names what is
// wrong; testdata/descriptions.golden lists them.
func TestCorpusOfDescriptions(t *testing.T) {
	root := filepath.Join(cliptest.Dir(t), "sdp")
	var got strings.Builder
	if err := fs.WalkDir(os.DirFS(root), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(root, path))
		fmt.Fprintf(&got, "%s\n\t%s\n", path, outcome(b))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("testdata/descriptions.golden", []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/descriptions.golden")
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("descriptions come out otherwise than in testdata/descriptions.golden; run with -update and look at the difference:\n%s", got.String())
	}
}

func FuzzDescription(f *testing.F) {
	f.Add([]byte("v=0\r\ns=x\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0IAHvQCgC3I,aM48gA==\r\n"))
	f.Add([]byte("m=video 0 RTP/AVP 98\na=rtpmap:98 H265/90000\na=fmtp:98 sprop-max-don-diff=0\nm=audio 0 RTP/AVP 0\n"))
	f.Add([]byte("m=video 0 RTP/AVP 26\r\n"))
	f.Fuzz(func(t *testing.T, sdp []byte) {
		track, err := ParseDescription(sdp)
		if err != nil {
			r := refusalOf(err)
			if r.Kind == "" || strings.ContainsAny(r.Detail, "\r\n\x00") || len(r.Detail) > 64*110 {
				t.Errorf("refusal %q is not one line", r.Detail)
			}
			return
		}
		if track.Kind != H264 && track.Kind != H265 || track.clock == 0 || track.payload > 127 {
			t.Errorf("track %+v can not be set up", track)
		}
		if classOf(track.Kind, track.SPS) != sps && track.SPS != nil {
			t.Errorf("SPS % x is none", track.SPS)
		}
		u, _ := base.ParseURL("rtsp://192.0.2.1/ch")
		for _, text := range []string{track.control, track.sessionControl} {
			if r := resolve(u, text); r == nil || r.Host != u.Host || r.Scheme != u.Scheme || r.User != nil {
				t.Errorf("%q leads to %v", text, r)
			}
		}
	})
}
