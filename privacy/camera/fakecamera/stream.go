package fakecamera

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph264"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph265"
	"github.com/pion/rtp"
)

// stream is the sending state of one session.
type stream struct {
	*session
	next     uint16
	resets   int
	source   int
	position int           // in the units
	sent     int           // units since the start or the last switch
	base     time.Duration // media time of position 0
	last     time.Duration // media time sent last
	started  time.Time
	reported time.Time
	held     []byte // a packet to be sent after the next one (Reorder)
	random   *rand.Rand
}

// send plays until the client has gone.
func (s *session) send() {
	script, knobs, _ := s.camera.snapshot()
	p := &stream{session: s, next: script.StartSeq, resets: knobs.resets, source: knobs.source,
		started: time.Now(), random: rand.New(rand.NewPCG(1, 2))}
	due := time.Now()
	for {
		script, knobs, changed := s.camera.snapshot()
		if script.Enforce && time.Since(s.life()) > script.timeout() {
			s.conn.Close()
			return
		}
		if knobs.source != p.source {
			p.source, p.position, p.sent = knobs.source, 0, 0
			p.base = p.last + frame(&script)
		}
		silent := knobs.frozen || knobs.hole || knobs.rtcpOnly || p.position >= max(len(script.Units), len(script.Packets)) ||
			script.Window > 0 && p.sent-knobs.took >= script.Window
		if silent || time.Now().Before(due) {
			wait := time.Until(due)
			if silent {
				wait = 50 * time.Millisecond
				due = time.Now()
			}
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-changed:
			case <-s.gone:
				timer.Stop()
				return
			}
			timer.Stop()
			if !knobs.hole {
				p.report(&script, knobs)
			}
			continue
		}
		if script.Packets != nil {
			if p.captured(script.Packets[p.position]) != nil {
				return
			}
			if script.Packets[p.position][1]&0x80 != 0 {
				p.sent++
			}
			p.position++
			due = due.Add(time.Millisecond)
			continue
		}
		if p.unit(&script, knobs) != nil {
			return
		}
		due = due.Add(frame(&script))
	}
}

// captured sends a packet as it is.
func (p *stream) captured(b []byte) error {
	if p.udp == nil {
		return p.write(interleaved(p.channel, b))
	}
	return p.datagram(b)
}

// life is when the client last sent a request.
func (s *session) life() time.Time { return time.Unix(0, s.lastSign.Load()) }

func (s *Script) timeout() time.Duration {
	if s.Timeout == 0 {
		return 60 * time.Second
	}
	return time.Duration(s.Timeout) * time.Second
}

func frame(s *Script) time.Duration {
	if s.FPS == 0 {
		return 2500 * time.Microsecond
	}
	return time.Duration(float64(time.Second) / s.FPS)
}

// unit sends the next access unit with what the knobs add.
func (p *stream) unit(script *Script, k knobs) error {
	step := frame(script)
	if script.FPS == 0 {
		step = 40 * time.Millisecond
	}
	at := p.base + time.Duration(p.sent)*step
	if script.PTS != nil {
		at = p.base + script.PTS[p.position]
	}
	p.last = at
	clock := script.Clock
	if clock == 0 {
		clock = 1
	}
	media := time.Duration(float64(at)*clock) + k.offset + k.once
	if k.once != 0 {
		p.camera.turn(func(k *knobs) { k.once = 0 })
	}
	if k.garbage > 0 && p.udp == nil {
		p.camera.turn(func(k *knobs) { k.garbage = 0 })
		if err := p.write(garbage(p.random, k.garbage)); err != nil {
			return err
		}
	}
	if k.resets != p.resets {
		p.resets, p.next = k.resets, 0
	}
	stamp := script.StartRTP + uint32(int64(media/time.Microsecond)*90/1000)
	for _, packet := range script.packets(script.Units[p.position]) {
		packet.SSRC, packet.Timestamp, packet.SequenceNumber = k.ssrc, stamp, p.next
		p.next++
		if k.drop > 0 && p.random.IntN(100) < k.drop {
			continue
		}
		if err := p.packet(script, packet); err != nil {
			return err
		}
	}
	if script.Unasked {
		if err := p.unasked(stamp); err != nil {
			return err
		}
	}
	p.camera.tally(func(n *Counters) { n.UnitsSent++ })
	p.sent++
	if p.position++; p.position == len(script.Units) && script.Loop {
		p.position = 0
		if script.PTS != nil {
			p.base = at + step
		}
	}
	return nil
}

func (p *stream) packet(script *Script, packet *rtp.Packet) error {
	b, err := packet.Marshal()
	if err != nil {
		return err
	}
	if p.udp == nil {
		return p.write(interleaved(p.channel, b))
	}
	if script.FPS == 0 && packet.SequenceNumber%4 == 0 {
		// As fast as a receive buffer of the default size takes it.
		timer := time.NewTimer(500 * time.Microsecond)
		defer timer.Stop()
		<-timer.C
	}
	if script.Reorder {
		if p.held == nil && !packet.Marker && p.sent > 0 { // the first packet sets what comes before it
			p.held = b
			return nil
		}
		held := p.held
		p.held = nil
		if err := p.datagram(b); err != nil || held == nil {
			return err
		}
		return p.datagram(held)
	}
	if err := p.datagram(b); err != nil || !script.Duplicate {
		return err
	}
	return p.datagram(b)
}

// datagram sends over UDP; that nobody listens any more is no error of the camera.
func (p *stream) datagram(b []byte) error {
	p.udp.rtp.WriteTo(b, p.udp.to)
	return nil
}

// unasked sends what was never set up, on the channels that SETUP would have given it.
func (p *stream) unasked(stamp uint32) error {
	if p.udp != nil {
		return nil
	}
	for i, text := range []string{AudioText, MetadataText} {
		b, err := (&rtp.Packet{Header: rtp.Header{Version: 2, Marker: true, PayloadType: uint8(97 + i), SSRC: uint32(i + 1), Timestamp: stamp, SequenceNumber: p.next},
			Payload: []byte(text)}).Marshal()
		if err != nil {
			return err
		}
		// Also on the channel of the video, where only the payload type tells it apart.
		for _, channel := range []int{p.channel + 2 + 2*i, p.channel} {
			if err := p.write(interleaved(channel, b)); err != nil {
				return err
			}
		}
	}
	return nil
}

// report sends a sender report a second.
func (p *stream) report(script *Script, k knobs) {
	if script.RTCP == 0 && !k.rtcpOnly || time.Since(p.reported) < time.Second {
		return
	}
	p.reported = time.Now()
	b := binary.BigEndian.AppendUint32(nil, 0x80c80006)
	b = binary.BigEndian.AppendUint32(b, k.ssrc)
	b = binary.BigEndian.AppendUint32(b, uint32(time.Now().Add(script.RTCP).Unix()+2208988800))
	b = append(b, make([]byte, 16)...)
	if p.udp != nil {
		p.udp.rtcp.WriteTo(b, p.udp.toCtl)
		return
	}
	p.write(interleaved(p.channel+1, b))
}

func interleaved(channel int, b []byte) []byte {
	frame := []byte{'$', byte(channel), byte(len(b) >> 8), byte(len(b))}
	return append(frame, b...)
}

// garbage is bytes that are neither a frame nor the beginning of a message.
func garbage(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(128 + r.IntN(128))
	}
	return b
}

// packets cuts a unit into RTP packets with the script's quirks.
func (s *Script) packets(unit [][]byte) []*rtp.Packet {
	mtu := s.MTU
	if mtu == 0 {
		mtu = 1400
	}
	var groups [][][]byte // NAL units that share a marker
	nals := s.dress(unit)
	switch s.Markers {
	case MarkerOnEach:
		for _, nal := range nals {
			groups = append(groups, [][]byte{nal})
		}
	case MarkerOnParameter:
		split := 0
		for i, nal := range nals {
			if parameterName(s.kind(), nal) != "" {
				split = i + 1
			}
		}
		groups = [][][]byte{nals[:split], nals[split:]}
	default:
		groups = [][][]byte{nals}
	}
	var list []*rtp.Packet
	for _, g := range groups {
		if len(g) > 0 {
			list = append(list, s.encode(g, mtu)...)
		}
	}
	for _, p := range list {
		p.PayloadType = 96
		if s.Markers == NoMarkers {
			p.Marker = false
		}
	}
	return list
}

// dress applies the quirks that lie in the NAL units.
func (s *Script) dress(unit [][]byte) [][]byte {
	if s.AnnexB {
		var b []byte
		for i, nal := range unit {
			if i > 0 { // the header of the first stands at the beginning of the payload
				b = append(b, 0, 0, 0, 1)
			}
			b = append(b, nal...)
		}
		return [][]byte{b}
	}
	if !s.TrailingZero {
		return unit
	}
	var dressed [][]byte
	for _, nal := range unit {
		if parameterName(s.kind(), nal) != "" {
			nal = append(append([]byte(nil), nal...), 0, 0, 0)
		}
		dressed = append(dressed, nal)
	}
	return dressed
}

func (s *Script) encode(nals [][]byte, mtu int) []*rtp.Packet {
	var list []*rtp.Packet
	var err error
	if s.kind() == "h265" {
		e := &rtph265.Encoder{PayloadType: 96, PayloadMaxSize: mtu}
		if err = e.Init(); err == nil {
			list, err = e.Encode(nals)
		}
	} else {
		e := &rtph264.Encoder{PayloadType: 96, PayloadMaxSize: mtu, PacketizationMode: 1}
		if err = e.Init(); err == nil {
			list, err = e.Encode(nals)
		}
	}
	if err != nil {
		panic("fake camera can not packetise: " + err.Error())
	}
	return s.fragments(list)
}

// fragments applies the quirks of fragmented units (F-40).
func (s *Script) fragments(list []*rtp.Packet) []*rtp.Packet {
	if !s.WholeFU && !s.EmptyFU {
		return list
	}
	var out []*rtp.Packet
	for _, p := range list {
		b := p.Payload
		h265 := s.kind() == "h265"
		kind := b[0] & 0x1f
		fu, single := kind == 28, kind < 24
		if h265 {
			kind = b[0] >> 1 & 0x3f
			fu, single = kind == 49, kind < 48
		}
		at := 1 // of the FU header
		if h265 {
			at = 2
		}
		switch {
		case s.WholeFU && single && h265:
			p.Payload = append([]byte{b[0]&0x81 | 49<<1, b[1], 0xc0 | kind}, b[2:]...)
		case s.WholeFU && single:
			p.Payload = append([]byte{b[0]&0xe0 | 28, 0xc0 | kind}, b[1:]...)
		case s.EmptyFU && fu && b[at]&0x40 != 0:
			last := &rtp.Packet{Header: p.Header, Payload: append([]byte(nil), b[:at+1]...)}
			p.Payload[at] &^= 0x40
			p.Marker = false
			out = append(out, p)
			p = last
		}
		out = append(out, p)
	}
	return out
}

// parameterName names a parameter set, "" for anything else.
func parameterName(kind string, nal []byte) string {
	if len(nal) == 0 {
		return ""
	}
	if strings.EqualFold(kind, "h265") {
		return map[byte]string{32: "vps", 33: "sps", 34: "pps"}[nal[0]>>1&0x3f]
	}
	return map[byte]string{7: "sps", 8: "pps"}[nal[0]&0x1f]
}
