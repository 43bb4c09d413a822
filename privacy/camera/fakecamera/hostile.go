package fakecamera

import (
	"bytes"
	"math/rand/v2"
	"strings"
)

// mutator turns what a right camera would say into what an attacker might (F-52, F-53): it knows
// the grammar of messages, descriptions, interleaved frames and RTP payloads, and breaks it here
// and there. The same seed gives the same session as long as the client does the same.
type mutator struct {
	r *rand.Rand
}

func newMutator(seed uint64) *mutator { return &mutator{rand.New(rand.NewPCG(seed, 7))} }

var (
	numbers = []string{"0", "1", "-1", "127", "128", "255", "256", "65535", "65536", "4294967295", "4294967296", "99999999999999999999", "", "0x10", "1e9"}
	words   = []string{"", " ", "=", ";", ":", "\x00", "%", "%zz", "*", "rtsp://", "rtsp://[::1", "rtsp://h:99999/", "/", "?", "Session", "smart/1/90000",
		"H264", "H265", "MP4V-ES", "RTP/AVP", "RTP/SAVP", "unicast", "interleaved=255-256", "interleaved=0-0", "source=localhost", "server_port=0-1", "ssrc=", "timeout=0",
		"sprop-parameter-sets=,", "sprop-vps=AAAA", "sprop-max-don-diff=9", "packetization-mode=3", "\xff\xfe", strings.Repeat("A", 3000)}
	lines = []string{"Content-Length: 4294967295", "Content-Length: -1", "Content-Length: 131073", "Transfer-Encoding: chunked", "WWW-Authenticate: Digest", "WWW-Authenticate: ,,,=\"",
		"Session: ;timeout=", "Transport: ;;;", "Transport: RTP/AVP/TCP;interleaved=", "Location: rtsp://127.0.0.1:1/", "CSeq: 99999", "Content-Base: ::", "Public:", "a=control:%", "a=key-mgmt:mikey AAAA",
		"m=video 0 RTP/AVP 96 97 98", "m=video 0 RTP/AVP smart/1/90000", "a=rtpmap:96", "a=rtpmap:96 H264/0", "a=fmtp:96", "k=", "v=9"}
	statuses = []string{"100 Continue", "200 OK", "301 Moved", "401 Unauthorized", "404 Not Found", "454 Session Not Found", "461 Unsupported Transport", "500 E", "999 ?", "-1 X", "200"}
	asides   = []string{"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", "ANNOUNCE rtsp://h/ RTSP/1.0\r\nCSeq: 2\r\n\r\n", "RTSP/1.0 200 OK\r\nCSeq: 77\r\n\r\n", "RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n",
		"REDIRECT * RTSP/1.0\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "$", "$\x00\x00\x00", "$\x09\x00\x02ab", "\r\n\r\n"}
)

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// mutate changes one message or frame; nil ends the connection.
func (m *mutator) mutate(b []byte) []byte {
	if m.r.IntN(400) == 0 {
		return nil
	}
	b = bytes.Clone(b)
	if b[0] == '$' && len(b) > 16 {
		if m.r.IntN(5) > 0 {
			return b
		}
		return m.frame(b)
	}
	for m.r.IntN(6) == 0 {
		b = m.text(b)
	}
	if m.r.IntN(12) == 0 {
		b = append([]byte(pick(m.r, asides)), b...)
	}
	return b
}

// text breaks a message or its body.
func (m *mutator) text(b []byte) []byte {
	all := strings.Split(string(b), "\r\n")
	i := m.r.IntN(len(all))
	switch m.r.IntN(10) {
	case 0:
		all = append(all[:i], all[i+1:]...)
	case 1:
		all = append(all[:i], append([]string{all[i]}, all[i:]...)...)
	case 2:
		j := m.r.IntN(len(all))
		all[i], all[j] = all[j], all[i]
	case 3:
		all[i] = m.number(all[i])
	case 4:
		all = append(all[:i], append([]string{pick(m.r, lines)}, all[i:]...)...)
	case 5:
		if at := m.r.IntN(len(all[i]) + 1); true {
			all[i] = all[i][:at] + pick(m.r, words) + all[i][at:]
		}
	case 6:
		if strings.HasPrefix(all[0], "RTSP/1.0 ") {
			all[0] = "RTSP/1.0 " + pick(m.r, statuses)
		}
	case 7:
		fields := strings.FieldsFunc(all[i], func(r rune) bool { return strings.ContainsRune(" ;=,:/", r) })
		if len(fields) > 0 {
			all[i] = strings.Replace(all[i], pick(m.r, fields), pick(m.r, words), 1)
		}
	case 8:
		return b[:m.r.IntN(len(b)+1)]
	case 9:
		if len(b) > 0 {
			b[m.r.IntN(len(b))] = byte(m.r.Uint32())
		}
		return b
	}
	return []byte(strings.Join(all, "\r\n"))
}

// number replaces the digits of a line.
func (m *mutator) number(line string) string {
	from := strings.IndexAny(line, "0123456789")
	if from < 0 {
		return line + pick(m.r, numbers)
	}
	to := from
	for to < len(line) && line[to] >= '0' && line[to] <= '9' {
		to++
	}
	return line[:from] + pick(m.r, numbers) + line[to:]
}

// frame breaks an interleaved frame: '$', channel, length, RTP header of 12 bytes, payload.
func (m *mutator) frame(b []byte) []byte {
	fix := func() {
		b[2], b[3] = byte((len(b)-4)>>8), byte(len(b)-4)
	}
	switch m.r.IntN(12) {
	case 0:
		b[4+m.r.IntN(2)] = byte(m.r.Uint32()) // version, padding, extension, CSRC count, type
	case 1:
		b = b[:4+m.r.IntN(len(b)-4)]
		fix()
	case 2:
		b[1] = byte(m.r.Uint32())
	case 3:
		b[2], b[3] = byte(m.r.Uint32()), byte(m.r.Uint32())
	case 4:
		b[16] = byte(m.r.Uint32()) // NAL or packet type
	case 5:
		if len(b) > 18 {
			b[17], b[18] = byte(m.r.Uint32()), byte(m.r.Uint32()) // fragment header, aggregation size
		}
	case 6:
		copy(b[8:12], []byte{byte(m.r.Uint32()), byte(m.r.Uint32()), byte(m.r.Uint32()), 0}) // time
	case 7:
		copy(b[6:8], []byte{byte(m.r.Uint32()), byte(m.r.Uint32())}) // sequence
	case 8:
		b[12] ^= 1 // SSRC
	case 9:
		b = append(b[:16], bytes.Repeat([]byte{b[16], 0, 1}, m.r.IntN(20000))...) // many tiny parts
		fix()
	case 10:
		for range 1 + m.r.IntN(20) {
			b[4+m.r.IntN(len(b)-4)] = byte(m.r.Uint32())
		}
	case 11:
		b[1] |= 1 // RTCP channel
		b[4], b[5] = 0x80|byte(m.r.IntN(32)), byte(200+m.r.IntN(8))
	}
	return b
}
