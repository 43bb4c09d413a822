package configs

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"custody-nvr/nvr"
)

// A checker applies the rules that need more than one value's type. It knows paths, not lines.
type checker struct {
	suite *Suite
	// What the decoder knows: known reports whether it said something about this very path, broken
	// about the path or its parts, written whether the file has the key.
	known, broken, written func(path string) bool
	problems, warnings     []Problem
}

func (c *checker) problem(path, message, instead string) {
	if !c.known(path) {
		c.problems = append(c.problems, Problem{Path: path, Message: redact(message), Instead: redact(instead)})
	}
}

func (c *checker) warn(path, message, instead string) {
	c.warnings = append(c.warnings, Problem{Path: path, Message: redact(message), Instead: redact(instead)})
}

func (c *checker) run() {
	s := c.suite
	c.text("name", s.Name, 1, 80)
	c.folder("state", s.State)
	c.listen(s.Network.Listen)
	c.sandbox()
	c.volumes()
	c.cells()
	c.cameras()
}

// text checks the length of a text for people, and that it does not begin or end with a space.
func (c *checker) text(path, s string, least, most int) {
	n := utf8.RuneCountInString(s)
	switch {
	case n < least || n > most:
		c.problem(path, fmt.Sprintf("%s has %d characters, it needs %d to %d", last(path), n, least, most), "a text of that length")
	case strings.TrimSpace(s) != s:
		c.problem(path, last(path)+" begins or ends with a space", strconv.Quote(strings.TrimSpace(s)))
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		c.problem(path, last(path)+" has a character that cannot be shown", "the text without it")
	}
}

// Reasons are repeated in every exhibit; shorter ones say nothing.
const leastReason, mostReason = 10, 300

func (c *checker) id(path, id string) {
	if err := nvr.ValidID(id); err != nil {
		c.problem(path, err.Error(), "an id such as cell-04")
	}
}

// folder checks a path from the root.
func (c *checker) folder(path, dir string) bool {
	switch {
	case !filepath.IsAbs(dir):
		c.problem(path, fmt.Sprintf("%s %q is not a path from the root", last(path), dir), "a path that begins with /")
	case filepath.Clean(dir) != dir:
		c.problem(path, fmt.Sprintf("%s %q is not in its shortest form", last(path), dir), filepath.Clean(dir))
	case dir == "/":
		c.problem(path, last(path)+" is the root of the machine", "a folder of its own")
	case under(dir, "/proc") || under(dir, "/sys") || under(dir, "/dev") || under(dir, "/run"):
		c.problem(path, fmt.Sprintf("%s %q does not outlive a power cut", last(path), dir), "a folder on a disk")
	default:
		return true
	}
	return false
}

// under reports whether dir is base or lies in it.
func under(dir, base string) bool { return dir == base || strings.HasPrefix(dir, base+"/") }

func (c *checker) listen(addr string) {
	const path = "network.listen"
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		c.problem(path, fmt.Sprintf("listen %q is not an address with a port", addr), DefaultListen)
		return
	}
	if n, err := digits(port); err != nil || n > 65535 {
		c.problem(path, fmt.Sprintf("the port must be a number from 0 to 65535, not %q", port), DefaultListen)
		return
	} else if n == 0 {
		c.warn(path, "port 0 means another port after every start", DefaultListen)
	}
	ip, err := netip.ParseAddr(host)
	if host != "localhost" && (err != nil || !ip.IsLoopback()) {
		c.problem(path, fmt.Sprintf("listen %q can be reached from other machines, yet nobody has to log in so far", addr),
			net.JoinHostPort("127.0.0.1", port)+" (to see the wall elsewhere, use an SSH tunnel)")
	}
}

func (c *checker) sandbox() {
	const path = "sandbox.disabled"
	if c.suite.Sandbox.Disabled == "" && !c.written(path) {
		return
	}
	c.text(path, c.suite.Sandbox.Disabled, leastReason, mostReason)
	c.warn(path, "THE MASKER MAY RUN WITHOUT WALLS: where the kernel cannot confine it, recording goes on and every exhibit says so",
		"nothing: leave sandbox out, unless this machine's kernel has neither seccomp nor Landlock")
}

func (c *checker) volumes() {
	vs := c.suite.Volumes
	if len(vs) < 1 || len(vs) > MaxVolumes {
		c.problem("volumes", fmt.Sprintf("there are %d volumes, there must be 1 to %d", len(vs), MaxVolumes), exampleKey["volumes"])
	}
	ids := map[string]int{}
	for i, v := range vs {
		at := fmt.Sprintf("volumes[%d]", i)
		c.id(at+".id", v.ID)
		c.once(ids, at+".id", "volume", v.ID, i)
		if !c.folder(at+".path", v.Path) {
			continue
		}
		switch {
		case under(v.Path, c.suite.State):
			c.problem(at+".path", fmt.Sprintf("volume %s lies in the state folder %s", v.ID, c.suite.State), "a folder elsewhere, on a disk of its own")
		case under(c.suite.State, v.Path):
			c.problem(at+".path", fmt.Sprintf("the state folder %s lies in volume %s", c.suite.State, v.ID), "a folder elsewhere, on a disk of its own")
		case under(v.Path, "/tmp") || under(v.Path, "/var/tmp"):
			c.warn(at+".path", fmt.Sprintf("volume %s lies in %s, which the system empties", v.ID, v.Path), "a folder on a disk of its own")
		}
		for j, w := range vs[:i] {
			if under(v.Path, w.Path) || under(w.Path, v.Path) {
				c.problem(at+".path", fmt.Sprintf("volume %s lies in or around volume %s (entry %d)", v.ID, w.ID, j+1), "folders apart from each other")
			}
		}
	}
}

// once reports an id that an entry before has too.
func (c *checker) once(seen map[string]int, path, what, id string, i int) {
	if first, twice := seen[id]; twice && id != "" {
		c.problem(path, fmt.Sprintf("%s %q stands twice: it is entry %d too", what, id, first+1), "another id: each stands for one "+what)
		return
	}
	seen[id] = i
}

func (c *checker) cells() {
	cells := c.suite.Cells
	if len(cells) < 1 || len(cells) > MaxCells {
		c.problem("cells", fmt.Sprintf("there are %d cells, there must be 1 to %d", len(cells), MaxCells), exampleKey["cells"])
	}
	ids, names := map[string]int{}, map[string]int{}
	for i, cell := range cells {
		at := fmt.Sprintf("cells[%d]", i)
		c.id(at+".id", string(cell.ID))
		c.once(ids, at+".id", "cell", string(cell.ID), i)
		c.text(at+".name", cell.Name, 1, 40)
		name := strings.ToLower(cell.Name)
		if first, twice := names[name]; twice && name != "" {
			c.problem(at+".name", fmt.Sprintf("the name %q stands twice: it is that of entry %d too", cell.Name, first+1), "the name on this cell's own door")
		}
		names[name] = i
		if nvr.ValidID(string(cell.ID)) == nil && len(c.suite.CamerasIn(cell.ID)) == 0 {
			c.warn(at, fmt.Sprintf("cell %s has no camera: it stands on the wall as NO CCTV - physical checks only", cell.ID), "")
		}
	}
}

func (c *checker) cameras() {
	cams := c.suite.Cameras
	if len(cams) > MaxCameras {
		c.problem("cameras", fmt.Sprintf("there are %d cameras, one recorder takes at most %d", len(cams), MaxCameras), "the others in the suite file of a second recorder")
	}
	ids, urls := map[string]int{}, map[string]int{}
	for i := range cams {
		cam := &cams[i]
		at := fmt.Sprintf("cameras[%d]", i)
		c.id(at+".id", string(cam.ID))
		c.once(ids, at+".id", "camera", string(cam.ID), i)
		c.cellOf(at, cam)
		c.url(at+".url", cam.URL)
		if first, twice := urls[cam.URL]; twice && cam.URL != "" {
			c.problem(at+".url", fmt.Sprintf("this is the address of entry %d (camera %s) too: one of the two would show the wrong cell", first+1, cams[first].ID), "the address of this camera")
		}
		urls[cam.URL] = i
		c.transport(at, cam)
		c.login(at, cam)
		if cam.Fingerprint != "" || c.written(at+".fingerprint") {
			c.text(at+".fingerprint", cam.Fingerprint, 1, 512)
		}
		c.mask(at, cam)
	}
}

func (c *checker) cellOf(at string, cam *Camera) {
	if cam.View != "" || c.written(at+".view") {
		c.text(at+".view", cam.View, 1, 40)
	}
	if _, ok := c.suite.CellByID(cam.Cell); !ok {
		if c.known("cells") {
			return
		}
		var ids []string
		for i, cell := range c.suite.Cells {
			if c.known(fmt.Sprintf("cells[%d]", i)) || c.known(fmt.Sprintf("cells[%d].id", i)) {
				return // it may be this one
			}
			ids = append(ids, string(cell.ID))
		}
		instead := "an id that stands under cells"
		if near := nearest(string(cam.Cell), ids); near != "" {
			instead = near
		}
		c.problem(at+".cell", fmt.Sprintf("camera %s is in cell %q, which does not stand under cells", cam.ID, cam.Cell), instead)
		return
	}
	for _, other := range c.suite.CamerasIn(cam.Cell) {
		if &other == cam || other.ID == cam.ID {
			continue
		}
		switch {
		case cam.View == "":
			c.problem(at+".view", fmt.Sprintf("cell %s has several cameras, and camera %s does not say what it shows", cam.Cell, cam.ID), "view: door (another word for each camera)")
			return
		case strings.EqualFold(cam.View, other.View):
			c.problem(at+".view", fmt.Sprintf("cameras %s and %s of cell %s have the same view", cam.ID, other.ID, cam.Cell), "another word for each camera, such as door and bench")
			return
		}
	}
}

// queryLogin are the names under which cameras take a log-in in the address.
var queryLogin = regexp.MustCompile(`(?i)\b_?(?:user|username|usr|password|passwd|pass|pwd|token|auth)=`)

func (c *checker) url(path, raw string) {
	if c.known(path) {
		return
	}
	const form = "rtsp://192.0.2.14/stream1"
	scheme, rest, found := strings.Cut(raw, "://")
	authority, _, _ := strings.Cut(rest, "/")
	switch {
	case !found:
		c.problem(path, "url has no rtsp:// or rtsps:// at its beginning", form)
		return
	case hasLogin(authority, rest):
		c.problem(path, "url has a user or password in it; addresses end up in logs, so neither may stand there",
			"the url without them, user: NAME as a key of its own, and the password in password_file, password_env or STATE/secrets/ID")
		return
	case scheme != "rtsp" && scheme != "rtsps":
		c.problem(path, fmt.Sprintf("url begins with %s://, this recorder speaks rtsp:// and rtsps:// only", shorten(scheme)), form+" (the camera's manual calls it the RTSP address)")
		return
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil && !portOnly(authority):
		c.problem(path, "the port of url must be a number from 1 to 65535", "rtsp://192.0.2.14:554/stream1, or no port for the usual one")
	case err != nil || u.Opaque != "":
		c.problem(path, "url is not an address", form)
	case u.Hostname() == "":
		c.problem(path, "url names no camera", form)
	case strings.Contains(raw, "#"):
		c.problem(path, "url has a # in it, and what stands behind it never reaches the camera", "the url without it, or %23 for the character itself")
	case strings.ContainsRune(raw, ' ') || len(raw) > 1024:
		c.problem(path, "url has a space in it or is longer than 1024 characters", form)
	case u.Port() != "":
		if n, err := digits(u.Port()); err != nil || n < 1 || n > 65535 {
			c.problem(path, "the port of url must be a number from 1 to 65535", "rtsp://192.0.2.14:554/stream1, or no port for the usual one")
		}
	case strings.HasSuffix(u.Host, ":"):
		c.problem(path, "url has a colon without a port", form)
	}
	if err == nil {
		if ip, err := netip.ParseAddr(u.Hostname()); err == nil && (ip.IsMulticast() || ip.IsUnspecified() || ip.Zone() != "") {
			c.problem(path, fmt.Sprintf("%s is not the address of one camera", ip), form)
		}
	}
}

// hasLogin reports whether an address holds a user or a password: user:password@host in any
// spelling, also with a slash in the password, or as a parameter.
func hasLogin(authority, rest string) bool {
	return strings.ContainsRune(authority, '@') || queryLogin.MatchString(rest) ||
		strings.ContainsRune(rest, '@') && !portOnly(authority) ||
		parameterLogin(rest) || pathLogin(strings.TrimPrefix(rest, authority))
}

// loginParameters are the names of query parameters under which cameras take a log-in.
var loginParameters = map[string]bool{
	"u": true, "user": true, "usr": true, "username": true, "loginuse": true,
	"p": true, "pass": true, "pwd": true, "passwd": true, "password": true, "loginpas": true,
}

// parameterLogin reports a query parameter of such a name that has a value.
func parameterLogin(rest string) bool {
	_, query, _ := strings.Cut(rest, "?")
	for _, parameter := range strings.FieldsFunc(query, func(r rune) bool { return r == '&' || r == ';' || r == '?' }) {
		name, value, _ := strings.Cut(parameter, "=")
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		if value != "" && loginParameters[strings.ToLower(strings.TrimSpace(name))] {
			return true
		}
	}
	return false
}

// pathLogin reports a part of the path of the form name:secret. A stream whose name has a colon is
// written with %3A.
func pathLogin(path string) bool {
	path, _, _ = strings.Cut(path, "?")
	for part := range strings.SplitSeq(path, "/") {
		if name, secret, ok := strings.Cut(part, ":"); ok && name != "" && secret != "" {
			return true
		}
	}
	return false
}

// portOnly reports whether an authority is a host with a number, or nothing, behind its colon.
func portOnly(authority string) bool {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.HasSuffix(authority, "]") {
		return true
	}
	return strings.Trim(authority[i+1:], "0123456789") == ""
}

func (c *checker) transport(at string, cam *Camera) {
	tls := strings.HasPrefix(cam.URL, "rtsps://")
	switch cam.Transport {
	case "tcp":
		if cam.UDPReason != "" {
			c.problem(at+".udp_reason", fmt.Sprintf("camera %s has a udp_reason, yet its transport is tcp", cam.ID), "nothing: leave the key out (TCP is the stronger wall)")
		}
	case "udp":
		switch {
		case tls:
			c.problem(at+".transport", "an rtsps camera sends over its TLS connection, not over UDP", "tcp")
		case cam.UDPReason == "" && !c.written(at+".udp_reason"):
			c.problem(at+".transport", fmt.Sprintf("camera %s uses UDP without a reason; UDP is the weaker wall around the masker, its socket can send anywhere", cam.ID),
				"tcp, or beside it udp_reason: and why this camera cannot do TCP")
		default:
			c.text(at+".udp_reason", cam.UDPReason, leastReason, mostReason)
			c.warn(at+".transport", fmt.Sprintf("camera %s uses UDP, the weaker wall around the masker: its socket can send anywhere; every exhibit says so", cam.ID), "tcp, if the camera can do it")
		}
	default:
		c.problem(at+".transport", fmt.Sprintf("transport %q is not known", cam.Transport), "tcp, or udp with a udp_reason")
	}
	pin, err := hex.DecodeString(cam.CertificateSHA256)
	switch {
	case cam.CertificateSHA256 == "" && !c.written(at+".certificate_sha256"):
		if tls {
			c.problem(at+".url", fmt.Sprintf("camera %s uses rtsps, and nothing says which certificate is its own", cam.ID),
				"beside it certificate_sha256: and what `openssl s_client -connect HOST:322 </dev/null | openssl x509 -noout -fingerprint -sha256` prints")
		}
	case err != nil || len(pin) != 32:
		c.problem(at+".certificate_sha256", "certificate_sha256 must be 64 hex digits", "what `openssl x509 -noout -fingerprint -sha256` prints behind the equals sign")
	case !tls:
		c.problem(at+".certificate_sha256", fmt.Sprintf("camera %s has a certificate, yet its url is not rtsps://", cam.ID), "a url with rtsps://, or leave the key out")
	}
}

// envName is a portable name of an environment variable.
var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

func (c *checker) login(at string, cam *Camera) {
	if cam.User != "" || c.written(at+".user") {
		c.text(at+".user", cam.User, 1, 64)
		if strings.ContainsRune(cam.User, ':') {
			c.problem(at+".user", "user has a colon in it: the password does not stand there", "the user's name alone")
		}
	}
	file, env := cam.PasswordFile != "" || c.written(at+".password_file"), cam.PasswordEnv != "" || c.written(at+".password_env")
	source := ".password_file"
	if env {
		source = ".password_env"
	}
	switch {
	case file && env:
		c.problem(at+source, fmt.Sprintf("camera %s has both password_file and password_env", cam.ID), "one of the two")
	case (file || env) && cam.User == "" && !c.written(at+".user"):
		c.problem(at+source, fmt.Sprintf("camera %s has a password, yet no user", cam.ID), "beside it user: and the camera's user name")
	}
	if file {
		c.folder(at+".password_file", cam.PasswordFile)
	}
	if env && !envName.MatchString(cam.PasswordEnv) {
		c.problem(at+".password_env", "password_env is not the name of an environment variable", "a name such as CELL_04_PASSWORD; the password itself never stands here")
	}
}

func (c *checker) mask(at string, cam *Camera) {
	if cam.Mask == nil {
		if !c.written(at + ".mask") {
			c.warn(at, fmt.Sprintf("camera %s has NO APPROVED MASK: IT IS NOT RECORDED AND NOT SHOWN", cam.ID), "mask: with areas, or with no_toilet_in_view")
		}
		return
	}
	m := cam.Mask
	at += ".mask"
	if m.Version < 1 || m.Version > 1_000_000 {
		c.problem(at+".version", fmt.Sprintf("version %d must be from 1 to 1000000", m.Version), "1 for the first mask, and 1 more with every change")
	}
	if w, h, err := pair(m.Picture, "x"); err != nil || w < 16 || h < 16 || w > 8192 || h > 8192 {
		c.problem(at+".picture", fmt.Sprintf("picture %q must be width x height in pixels, each from 16 to 8192", m.Picture), "picture: 1280x720")
	}
	if w, h, err := pair(m.PixelAspect, ":"); (m.PixelAspect != "" || c.written(at+".pixel_aspect")) && (err != nil || w < 1 || h < 1 || w > 65535 || h > 65535) {
		c.problem(at+".pixel_aspect", fmt.Sprintf("pixel_aspect %q must be two numbers from 1 to 65535", m.PixelAspect), `"16:11", or leave it out for square pixels`)
	}
	areas := len(m.Areas) > 0 || c.known(at+".areas")
	switch {
	case m.NoToiletInView != nil && areas:
		c.problem(at+".no_toilet_in_view", "a mask has areas, yet somebody declares that no toilet is in view", "only the one that is true")
	case m.NoToiletInView == nil && !areas:
		path := at
		if c.written(at + ".areas") {
			path = at + ".areas"
		}
		c.problem(path, "a mask has no area, and nobody declares that no toilet is in view", "areas: around the toilet, or no_toilet_in_view: with declared_by and reason")
	}
	if d := m.NoToiletInView; d != nil {
		c.text(at+".no_toilet_in_view.declared_by", d.DeclaredBy, 3, 80)
		c.text(at+".no_toilet_in_view.reason", d.Reason, leastReason, mostReason)
	}
	if len(m.Areas) > nvr.MaxAreas {
		c.problem(at+".areas", fmt.Sprintf("a mask has %d areas, at most %d are possible", len(m.Areas), nvr.MaxAreas), "fewer and larger areas")
	}
	for i, area := range m.Areas {
		c.area(fmt.Sprintf("%s.areas[%d]", at, i), i+1, area)
	}
}

// area checks one polygon.
func (c *checker) area(at string, n int, area []Point) {
	if len(area) < 3 || len(area) > nvr.MaxPoints {
		c.problem(at, fmt.Sprintf("area %d has %d corners, it needs 3 to %d", n, len(area), nvr.MaxPoints), "[[0.6, 0.5], [0.9, 0.5], [0.9, 1], [0.6, 1]]")
		return
	}
	inside := true
	for j, p := range area {
		for _, f := range p {
			if !(f >= 0 && f <= 1) { // also refuses NaN
				inside = false
				c.problem(fmt.Sprintf("%s[%d]", at, j), fmt.Sprintf("corner %d of area %d is outside the picture: both numbers must be from 0 to 1", j+1, n),
					"fractions of the picture's width and height, not pixels: 0.5 is the middle")
				break
			}
		}
	}
	if !inside || c.broken(at) {
		return
	}
	if err := shape(area); err != nil {
		c.problem(at, fmt.Sprintf("area %d %s", n, err), "the corners in the order in which a pencil draws them round the area")
	}
}

// shape refuses polygons that hide less than whoever drew them thinks.
func shape(area []Point) error {
	cross := func(a, b, p Point) float64 { return (b[0]-a[0])*(p[1]-a[1]) - (b[1]-a[1])*(p[0]-a[0]) }
	n, sum := len(area), 0.0
	for i := range area {
		a, b := area[i], area[(i+1)%n]
		sum += a[0]*b[1] - b[0]*a[1]
		for j := i + 2; j < n; j++ {
			p, q := area[j], area[(j+1)%n]
			if cross(a, b, p)*cross(a, b, q) < 0 && cross(p, q, a)*cross(p, q, b) < 0 {
				return fmt.Errorf("crosses itself: the side behind corner %d meets the side behind corner %d", i+1, j+1)
			}
		}
	}
	if math.Abs(sum/2) < 1e-6 {
		return errors.New("hides nothing: its corners stand on one line")
	}
	return nil
}
