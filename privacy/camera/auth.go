package camera

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// maxAttempts is how often a password may be sent in vain: cameras lock an account after a few
// (F-43). The second attempt exists only for a stale nonce.
const maxAttempts = 2

// login answers the camera's challenges (RFC 2617 and 7616). gortsplib's own sender knows neither
// qop nor a fresh nonce (F-42), and it needs the password in a URL, from where it gets into texts.
type login struct {
	user, password string

	chosen   *challenge // nil = none seen yet
	count    uint32     // requests with this nonce
	refused  int        // 401 answers to a request that carried an answer
	newNonce func() string
}

// challenge is one way to log in that the camera offers.
type challenge struct {
	scheme string // lower case
	params map[string]string
}

// challenged takes the WWW-Authenticate headers of a 401 answer; answered says that the request
// carried an answer to an earlier challenge; playing that the password was right before, so that
// it must be the nonce. nil means: send the request again.
func (l *login) challenged(headers []string, answered, playing bool) *Refusal {
	var offered []challenge
	for _, h := range headers {
		offered = append(offered, parseChallenges(h)...)
	}
	if l.user == "" {
		return refuse(WrongPassword, "the camera asks for a user name and password, and none is set: set them")
	}
	var best *challenge
	for i := range offered {
		if best == nil || offered[i].strength() > best.strength() {
			best = &offered[i]
		}
	}
	switch {
	case best == nil && answered:
		// Some, gortsplib's server among them, challenge only who has not answered yet.
		l.refused++
		return refuse(WrongPassword, "the camera refuses this user name and password (401): correct them. It gave no new challenge")
	case best == nil:
		return refuse(UnknownAuth, "the camera does not say how to log in: set it to Digest or Basic. It sends no WWW-Authenticate")
	case best.strength() == 0:
		var names []string
		for _, c := range offered {
			names = append(names, c.name())
		}
		return refuse(UnknownAuth, "the camera asks for an unknown log-in: set it to Digest (MD5 or SHA-256) or Basic. It asks for %s", strings.Join(names, ", "))
	}
	if answered {
		l.refused++
		stale := playing || strings.EqualFold(best.params["stale"], "true")
		if !stale || l.refused >= maxAttempts {
			return refuse(WrongPassword, "the camera refuses this user name and password (401): correct them. Asked for: %s", best.name())
		}
	}
	l.chosen, l.count = best, 0
	return nil
}

// accepted forgets refusals: the last answer was right.
func (l *login) accepted() { l.refused = 0 }

// answer gives the Authorization header of a request, "" before the first challenge.
func (l *login) answer(method, uri string) string {
	c := l.chosen
	if c == nil {
		return ""
	}
	if c.scheme == "basic" {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(l.user+":"+l.password))
	}
	l.count++
	sum := c.hash()
	nonce, realm := c.params["nonce"], c.params["realm"]
	nc, cnonce := fmt.Sprintf("%08x", l.count), ""
	qop := c.qop()
	if qop != "" || c.session() {
		cnonce = l.newNonce()
	}
	ha1 := sum(l.user + ":" + realm + ":" + l.password)
	if c.session() {
		ha1 = sum(ha1 + ":" + nonce + ":" + cnonce)
	}
	middle := nonce
	if qop != "" {
		middle += ":" + nc + ":" + cnonce + ":" + qop
	}
	response := sum(ha1 + ":" + middle + ":" + sum(method+":"+uri))

	var b strings.Builder
	fmt.Fprintf(&b, `Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s"`,
		escape(l.user), escape(realm), escape(nonce), uri, response)
	if a, ok := c.params["algorithm"]; ok {
		fmt.Fprintf(&b, ", algorithm=%s", a)
	}
	if o, ok := c.params["opaque"]; ok {
		fmt.Fprintf(&b, `, opaque="%s"`, escape(o))
	}
	if qop != "" {
		fmt.Fprintf(&b, `, qop=%s, nc=%s`, qop, nc)
	}
	if cnonce != "" {
		fmt.Fprintf(&b, `, cnonce="%s"`, cnonce)
	}
	return b.String()
}

// strength orders challenges; 0 means that this product cannot answer it.
func (c *challenge) strength() int {
	if c.scheme == "basic" {
		return 1
	}
	_, nonce := c.params["nonce"]
	if _, offered := c.params["qop"]; c.scheme != "digest" || !nonce || (offered && c.qop() == "") {
		return 0
	}
	switch c.algorithm() {
	case "md5":
		return 2
	case "sha-256":
		return 3
	}
	return 0
}

// algorithm is the hash, without "-sess"; MD5 where the camera names none.
func (c *challenge) algorithm() string {
	a := strings.ToLower(c.params["algorithm"])
	if a == "" {
		return "md5"
	}
	return strings.TrimSuffix(a, "-sess")
}

func (c *challenge) session() bool {
	return strings.HasSuffix(strings.ToLower(c.params["algorithm"]), "-sess")
}

// qop is "auth" where the camera offers it.
func (c *challenge) qop() string {
	for q := range strings.SplitSeq(c.params["qop"], ",") {
		if strings.EqualFold(strings.TrimSpace(q), "auth") {
			return "auth"
		}
	}
	return ""
}

func (c *challenge) hash() func(string) string {
	return func(s string) string {
		var h hash.Hash
		if c.algorithm() == "sha-256" {
			h = sha256.New()
		} else {
			h = md5.New() // what RFC 2617 and nearly every camera has
		}
		h.Write([]byte(s))
		return hex.EncodeToString(h.Sum(nil))
	}
}

// name is for refusals: the scheme and, for Digest, what matters of it.
func (c *challenge) name() string {
	if c.scheme == "basic" {
		return "Basic"
	}
	if c.scheme != "digest" {
		return quote(c.scheme)
	}
	name := "Digest algorithm " + strings.ToUpper(c.algorithm())
	if q, ok := c.params["qop"]; ok {
		name += " qop " + q
	}
	if _, ok := c.params["nonce"]; !ok {
		name += " without nonce"
	}
	return quote(name)
}

// parseChallenges reads one header, which may hold several challenges.
func parseChallenges(h string) []challenge {
	var list []challenge
	for h = strings.TrimLeft(h, " ,\t"); h != ""; h = strings.TrimLeft(h, " ,\t") {
		end := strings.IndexAny(h, " ,=\t")
		if end < 0 {
			end = len(h)
		}
		word := h[:end]
		h = h[end:]
		if rest := strings.TrimLeft(h, " \t"); strings.HasPrefix(rest, "=") {
			var value string
			value, h = parseValue(strings.TrimLeft(rest[1:], " \t"))
			if len(list) > 0 {
				list[len(list)-1].params[strings.ToLower(word)] = value
			}
			continue
		}
		if word == "" { // a stray '='
			h = h[1:]
			continue
		}
		list = append(list, challenge{scheme: strings.ToLower(word), params: map[string]string{}})
	}
	return list
}

// parseValue reads a quoted string or a token, and gives what follows it.
func parseValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ", \t")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", "", "\n", "").Replace(s)
}

func randomNonce() string { return rand.Text()[:16] }
