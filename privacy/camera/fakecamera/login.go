package fakecamera

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
)

var pairs = regexp.MustCompile(`([a-zA-Z]+)=("([^"]*)"|[^ ,]+)`)

// logIn checks the Authorization header, in its own words: nothing is shared with the client.
func (s *session) logIn(script *Script, r *base.Request) (status, lines string, ok bool) {
	a := &script.Auth
	if a.User == "" && !a.Always || a.FreeOptions && r.Method == base.Options {
		return "", "", true
	}
	if s.nonce == "" {
		s.nonce = "6e6f6e6365-0"
	}
	stale := ""
	given := ""
	if h := r.Header["Authorization"]; len(h) > 0 {
		given = h[0]
		right := !a.Always && a.right(given, string(r.Method), s.nonce)
		if right && s.staled < a.Stale {
			right = false
			s.staled++
			stale = ", stale=true"
			s.nonce = fmt.Sprintf("6e6f6e6365-%d", s.staled)
		}
		s.camera.tally(func(n *Counters) {
			n.LogIns++
			if !right {
				n.LogInsRefused++
			}
		})
		if right {
			return "", "", true
		}
	}
	if a.Bare && given != "" && stale == "" {
		return "401 Unauthorized", "", false
	}
	offers := a.Offers
	if offers == nil {
		offers = []string{`Digest realm="fake", nonce="NONCE"`}
	}
	for _, o := range offers {
		lines += "WWW-Authenticate: " + strings.ReplaceAll(o, "NONCE", s.nonce) + stale + "\r\n"
	}
	return "401 Unauthorized", lines, false
}

func (a *Auth) right(given, method, nonce string) bool {
	if rest, ok := strings.CutPrefix(given, "Basic "); ok {
		return rest == base64.StdEncoding.EncodeToString([]byte(a.User+":"+a.Password))
	}
	p := map[string]string{}
	for _, m := range pairs.FindAllStringSubmatch(given, -1) {
		p[m[1]] = strings.Trim(m[2], `"`)
	}
	sum := func(text string) string {
		if strings.HasPrefix(p["algorithm"], "SHA-256") {
			b := sha256.Sum256([]byte(text))
			return hex.EncodeToString(b[:])
		}
		b := md5.Sum([]byte(text))
		return hex.EncodeToString(b[:])
	}
	a1 := sum(a.User + ":" + p["realm"] + ":" + a.Password)
	if strings.HasSuffix(p["algorithm"], "-sess") {
		a1 = sum(a1 + ":" + nonce + ":" + p["cnonce"])
	}
	a2 := sum(method + ":" + p["uri"])
	want := sum(a1 + ":" + nonce + ":" + a2)
	if p["qop"] != "" {
		want = sum(strings.Join([]string{a1, nonce, p["nc"], p["cnonce"], p["qop"], a2}, ":"))
	}
	offersQOP := strings.Contains(strings.Join(a.Offers, " "), "qop=")
	return p["nonce"] == nonce && p["response"] == want && (p["qop"] != "") == offersQOP
}
