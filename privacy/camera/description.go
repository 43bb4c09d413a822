package camera

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// The kinds of video that a session can carry.
const (
	H264 = "h264"
	H265 = "h265"
)

// A Track is the one video track of a camera, and what else the camera told about itself.
type Track struct {
	Kind          string // H264 or H265
	VPS, SPS, PPS []byte // from the description; nil where it has none that can be used: they come in band
	SessionName   string
	Server        string // what the camera calls its RTSP server
	Certificate   string // hex SHA-256 of the leaf certificate, rtsps only
	// Medias names what the camera offers besides, e.g. "audio PCMA/8000". None of it is set up.
	Medias []string

	payload        uint8
	clock          uint32 // RTP ticks a second
	control        string // of the track
	sessionControl string
}

// Limits of a description: real ones have under 40 lines in each of at most six media.
const (
	maxMedias = 64
	maxLines  = 4096
)

// media is one m= section.
type media struct {
	line     int // of the m= line
	kind     string
	formats  []string
	rtpmap   map[string]string
	fmtp     map[string]string
	control  string
	mapLines map[string]int
}

// ParseDescription finds the first H.264 or H.265 track of an SDP description. It reads only the
// lines it needs (s=, m=, and the control, rtpmap and fmtp attributes) and passes over the rest,
// because cameras write every kind of nonsense there; what it reads it reads strictly. The error
// is a *Refusal that names the codec or the line.
//
// gortsplib's own parser is not used: it refuses the whole description for an odd line of a track
// that this product must not touch anyway.
func ParseDescription(sdp []byte) (Track, error) {
	var t Track
	medias, err := t.parseLines(sdp)
	if err != nil {
		return Track{}, err
	}
	if len(medias) == 0 {
		first, _, _ := bytes.Cut(bytes.TrimSpace(sdp), []byte("\n"))
		return Track{}, refuse(BadDescription, "the camera describes no stream: check the path of its URL. No m= line; it begins %q", quote(string(bytes.TrimSpace(first))))
	}
	found := false
	var unsupported []string
	for _, m := range medias {
		if m.kind != "video" || found {
			t.Medias = append(t.Medias, m.name())
			continue
		}
		if found, err = t.choose(m); err != nil {
			return Track{}, err
		}
		if !found {
			unsupported = append(unsupported, m.codecs())
			t.Medias = append(t.Medias, m.name())
		}
	}
	switch {
	case found:
		return t, nil
	case unsupported != nil:
		return Track{}, refuse(UnsupportedCodec, "the camera sends another codec: set its stream to H.264 or H.265. It offers %s", strings.Join(unsupported, ", "))
	}
	return Track{}, refuse(NoVideo, "the camera offers no video: check its settings and the path of its URL. It offers only %s", strings.Join(t.Medias, ", "))
}

func (t *Track) parseLines(sdp []byte) ([]*media, error) {
	text := strings.ReplaceAll(strings.ReplaceAll(string(sdp), "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(strings.Trim(text, "\x00\n"), "\n")
	if len(lines) > maxLines {
		return nil, refuse(BadDescription, "the stream's description cannot be read: update the firmware. It has %d lines, at most %d are read", len(lines), maxLines)
	}
	var medias []*media
	var m *media
	for i, line := range lines {
		line = strings.Trim(line, " \t\x00")
		if len(line) < 2 || line[1] != '=' {
			continue
		}
		value := line[2:]
		switch line[0] {
		case 's':
			if m == nil {
				t.SessionName = quote(strings.TrimSpace(value))
			}
		case 'm':
			f := strings.Fields(value)
			if len(f) < 4 {
				return nil, badLine(i, line, "a media line has a kind, a port, a protocol and at least one format")
			}
			if len(medias) == maxMedias {
				return nil, badLine(i, line, fmt.Sprintf("more than %d media", maxMedias))
			}
			m = &media{line: i, kind: strings.ToLower(f[0]), formats: f[3:],
				rtpmap: map[string]string{}, fmtp: map[string]string{}, mapLines: map[string]int{}}
			medias = append(medias, m)
		case 'a':
			t.parseAttribute(m, i, value)
		}
	}
	return medias, nil
}

func (t *Track) parseAttribute(m *media, line int, attribute string) {
	key, value, _ := strings.Cut(attribute, ":")
	value = strings.TrimSpace(value)
	switch {
	case key == "control" && m == nil:
		t.sessionControl = value
	case m == nil:
	case key == "control":
		m.control = value
	case key == "rtpmap", key == "fmtp":
		pt, rest, _ := strings.Cut(value, " ")
		into := m.rtpmap
		if key == "fmtp" {
			into = m.fmtp
		} else {
			m.mapLines[pt] = line
		}
		if _, twice := into[pt]; !twice { // the first one counts
			into[pt] = strings.TrimSpace(rest)
		}
	}
}

// choose takes the first H.264 or H.265 format of m.
func (t *Track) choose(m *media) (bool, error) {
	for _, pt := range m.formats {
		codec, clock, _ := strings.Cut(m.rtpmap[pt], "/")
		var kind string
		switch strings.ToUpper(strings.TrimSpace(codec)) {
		case "H264":
			kind = H264
		case "H265", "HEVC":
			kind = H265
		default:
			continue
		}
		at := m.mapLines[pt]
		number, err := strconv.ParseUint(pt, 10, 7)
		if err != nil {
			return false, badLine(m.line, "m=video ... "+pt, "the payload type is not a number below 128")
		}
		clock, _, _ = strings.Cut(clock, "/")
		ticks, err := strconv.ParseUint(strings.TrimSpace(clock), 10, 32)
		if err != nil || ticks < 1000 || ticks > 10_000_000 {
			return false, badLine(at, "a=rtpmap:"+pt+" "+m.rtpmap[pt], "the clock rate must be a number from 1000 to 10000000, usually 90000")
		}
		t.Kind, t.payload, t.clock, t.control = kind, uint8(number), uint32(ticks), m.control
		return true, t.readParameters(m.fmtp[pt])
	}
	return false, nil
}

// readParameters reads the fmtp line. Parameter sets that are absent or broken are no fault: they
// come in band (F-32).
func (t *Track) readParameters(fmtp string) error {
	for kv := range strings.SplitSeq(fmtp, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(kv), "=")
		switch strings.ToLower(key) {
		case "sprop-parameter-sets":
			for i, set := range strings.Split(value, ",") {
				if i < 8 { // real ones have two to four
					t.keepParameter(set)
				}
			}
		case "sprop-vps", "sprop-sps", "sprop-pps":
			set, _, _ := strings.Cut(value, ",")
			t.keepParameter(set)
		case "packetization-mode":
			if t.Kind == H264 && value == "2" {
				return refuse(UnsupportedCodec, "the camera sends H.264 in packetization mode 2: set it to mode 1")
			}
		case "sprop-max-don-diff":
			if n, err := strconv.Atoi(value); t.Kind == H265 && (err != nil || n != 0) {
				return refuse(UnsupportedCodec, "the camera sends H.265 out of order: switch that off in the camera. sprop-max-don-diff %s", quote(value))
			}
		}
	}
	return nil
}

// keepParameter takes one Base64 parameter set. Some cameras write an Annex B start code before it
// or after it.
func (t *Track) keepParameter(text string) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return
	}
	for _, nal := range splitAnnexB(nil, b) {
		into := t.parameter(nal)
		if into != nil && *into == nil {
			*into = nal
		}
	}
}

func (t *Track) parameter(nal []byte) *[]byte {
	switch c := classOf(t.Kind, nal); {
	case c == vps:
		return &t.VPS
	case c == sps:
		return &t.SPS
	case c == pps:
		return &t.PPS
	}
	return nil
}

func (m *media) codecs() string {
	var names []string
	for _, pt := range m.formats {
		names = append(names, codecName(pt, m.rtpmap[pt]))
	}
	return strings.Join(names, " or ")
}

func (m *media) name() string { return quote(m.kind + " " + m.codecs()) }

// codecName names a format, the static payload types of RFC 3551 where there is no rtpmap.
func codecName(pt, rtpmap string) string {
	if rtpmap != "" {
		return quote(rtpmap)
	}
	switch pt {
	case "0":
		return "PCMU/8000"
	case "8":
		return "PCMA/8000"
	case "14":
		return "MPA/90000"
	case "26":
		return "JPEG/90000 (Motion JPEG)"
	case "32":
		return "MPV/90000 (MPEG-1 or MPEG-2)"
	case "33":
		return "MP2T/90000 (MPEG transport stream)"
	}
	return "format " + quote(pt) + " without a name"
}

func badLine(i int, line, why string) *Refusal {
	return refuse(BadDescription, "the stream's description cannot be read: update the camera's firmware. In line %d, %q, %s", i+1, quote(line), why)
}
