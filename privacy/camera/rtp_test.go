package camera

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// packets reads fuzz input as RTP payloads: a length byte, flags, then the payload.
func packets(b []byte) []*rtp.Packet {
	var list []*rtp.Packet
	var seq uint16
	stamp := uint32(1<<32 - 5000)
	for len(b) >= 2 {
		n, flags := min(int(b[0]), len(b)-2), b[1]
		seq += 1 + uint16(flags>>4&1)*uint16(flags>>5)
		if flags&2 != 0 {
			stamp += 3600
		}
		if flags&4 != 0 {
			stamp += 90000 * 7777
		}
		list = append(list, &rtp.Packet{Header: rtp.Header{SequenceNumber: seq, Timestamp: stamp, Marker: flags&1 != 0}, Payload: b[2 : 2+n]})
		b = b[2+n:]
	}
	return list
}

// FuzzRTP feeds payloads straight into the grouping. Whatever comes: units have a slice, no NAL
// unit has a start code or an odd type in it, limits hold, times stay near each other.
func FuzzRTP(f *testing.F) {
	f.Add(false, []byte("\x04\x01\x67\x42\x00\x1e\x05\x03\x65\xb8\x01\x02\x80\x05\x01\x5c\x81\x01\x02\x03\x05\x01\x5c\x41\x01\x02\x03"))
	f.Add(false, []byte("\x09\x01\x78\x00\x02\x67\x42\x00\x02\x65\x88\x06\x03\x41\x9a\x00\x00\x01\x41"))
	f.Add(true, []byte("\x05\x01\x26\x01\xaf\x10\x80\x06\x03\x62\x01\x93\xaf\x01\x02\x05\x01\x62\x01\x53\x01\x02\x0c\x01\x60\x01\x00\x03\x40\x01\x0c\x00\x03\x42\x01\x01"))
	f.Fuzz(func(t *testing.T, h265 bool, b []byte) {
		kind := H264
		if h265 {
			kind = H265
		}
		line := timeline{clock: 90000}
		var last time.Duration
		var arrived time.Duration
		a := assembler{kind: kind, depacketizer: depacketizer{kind: kind}}
		ended := false
		a.give = func(u unit) {
			slices, size := 0, 0
			for _, nal := range u.nals {
				c := classOf(kind, nal)
				if c == banned || bytes.Contains(nal, []byte{0, 0, 1}) || nal[len(nal)-1] == 0 {
					t.Errorf("NAL unit % x", nal)
				}
				if c == slice {
					slices++
				}
				size += len(nal)
			}
			if slices == 0 || len(u.nals) > maxNALs || size > maxBytes {
				t.Errorf("%d slices in %d NAL units of %d bytes", slices, len(u.nals), size)
			}
			pts, _, _, err := line.place(u.stamp, u.arrived)
			if ended = ended || err != nil; ended {
				return
			}
			if d := pts - last; abs(d) > maxDropped+maxStep {
				t.Errorf("time steps by %s", d)
			}
			last = pts
		}
		for _, p := range packets(b) {
			arrived += 40 * time.Millisecond
			a.packet(p, arrived)
		}
	})
}

// The limits of one access unit hold, and what is beyond them is marked as loss (F-53).
func TestUnitsBeyondTheLimitsAreLoss(t *testing.T) {
	slice := append([]byte{0x65, 0xb8}, bytes.Repeat([]byte{1}, 60000)...)
	small := []byte{0x65, 0xb8, 1}
	for name, c := range map[string]struct {
		nal   []byte
		count int
		words string
	}{"bytes": {slice, 300, "16 MiB"}, "NAL units": {small, 10000, "4096 NAL units"}} {
		var got []unit
		a := assembler{kind: H264, depacketizer: depacketizer{kind: H264}, give: func(u unit) { got = append(got, u) }}
		var seq uint16
		send := func(nal []byte, stamp uint32, marker bool) {
			seq++
			a.packet(&rtp.Packet{Header: rtp.Header{SequenceNumber: seq, Timestamp: stamp, Marker: marker}, Payload: nal}, 0)
		}
		send(small, 0, true)
		for i := range c.count {
			send(c.nal, 3000, i == c.count-1)
		}
		if said, _ := a.beyond.Load().(string); !strings.Contains(said, c.words) {
			t.Errorf("%s: %q does not tell staff %q", name, said, c.words)
		}
		send(small, 6000, true)
		send(small, 9000, true)
		if len(got) != 3 || got[0].gap || !got[1].gap || got[1].stamp != 6000 || got[2].gap {
			t.Errorf("%s: %d units, want the one after the flood marked and no other: %+v", name, len(got), stamps(got))
		}
		if said, _ := a.beyond.Load().(string); said != "" {
			t.Errorf("%s: %q is still said after good pictures", name, said)
		}
	}
	d := depacketizer{kind: H264}
	for i := range maxPackets + 10 { // fragments that never end and hold nothing
		b := []byte{0x7c, 0x05}
		if i == 0 {
			b[1] = 0x85
		}
		if _, err := d.take(nil, &rtp.Packet{Payload: b}); err != nil {
			if i != maxPackets {
				t.Errorf("fragment %d: %v", i, err)
			}
			return
		}
	}
	t.Error("fragments without end are collected for ever")
}

func stamps(units []unit) []uint32 {
	var list []uint32
	for _, u := range units {
		list = append(list, u.stamp)
	}
	return list
}

// F-25, F-27, F-29, F-31, F-38: where units are placed in time, as a table of stamps and arrivals
// in milliseconds.
func TestTimeline(t *testing.T) {
	type step struct{ stamp, arrived, want int }
	cases := []struct {
		name      string
		first     uint32
		steps     []step
		restamped int
		ends      bool
	}{
		{"even", 0, []step{{40, 40, 40}, {80, 80, 80}}, 0, false},
		{"F-27 wrap", 1<<32 - 1800, []step{{20, 20, 20}, {40, 40, 40}}, 0, false},
		{"F-29 B-frames", 0, []step{{160, 40, 160}, {80, 80, 80}, {40, 120, 40}, {120, 160, 120}}, 0, false},
		{"F-25 one forward", 0, []step{{40, 40, 40}, {37600000, 80, 80}, {120, 120, 120}}, 1, false},
		{"F-25 one back", 0, []step{{40, 40, 40}, {-9800000, 80, 80}, {120, 120, 120}}, 1, false},
		{"F-31 two per cent fast", 0, []step{{1020, 1000, 1020}, {2040, 2000, 2040}, {3060, 3000, 3060}}, 0, false},
		{"a picture every two seconds", 0, []step{{2000, 2000, 2000}, {4000, 4000, 4000}}, 0, false},
		{"a stall of the network", 0, []step{{40, 1900, 40}, {80, 1901, 80}, {1900, 1910, 0}}, 1, false},
		{"pictures dropped in a burst", 0, []step{{40, 40, 40}, {2040, 60, 80}, {2080, 80, 120}, {2120, 120, 160}, {2160, 160, 2160}, {2200, 200, 2200}}, 3, false},
		{"the clock is set", 0, []step{{40, 40, 40}, {-3600000, 80, 80}, {-3599960, 120, 120}, {-3599920, 160, 160}, {-3599880, 200, 0}}, 3, true},
	}
	for _, c := range cases {
		line := timeline{clock: 90000}
		line.place(c.first, 0)
		restamped, ends := 0, false
		for i, s := range c.steps {
			pts, again, _, err := line.place(c.first+uint32(int64(s.stamp)*90), time.Duration(s.arrived)*time.Millisecond)
			ends = err != nil
			if again {
				restamped++
			}
			if want := time.Duration(s.want) * time.Millisecond; s.want != 0 && pts != want {
				t.Errorf("%s: unit %d at %s, want %s", c.name, i+1, pts, want)
			}
		}
		if restamped != c.restamped || ends != c.ends {
			t.Errorf("%s: %d restamped, want %d; ended %v, want %v", c.name, restamped, c.restamped, ends, c.ends)
		}
	}
}

// Hours of a session do not overflow, and the rate of a foreign clock is kept.
func TestTimelineForAYear(t *testing.T) {
	line := timeline{clock: 90000}
	line.place(0, 0)
	const hour = 3600
	for n := 1; n <= 24*366; n++ { // one unit an hour, with the arrival to match
		pts, _, _, err := line.place(uint32(uint64(n)*hour*90000), time.Duration(n)*time.Hour)
		if err != nil || pts != time.Duration(n)*time.Hour {
			t.Fatalf("hour %d is at %s: %v", n, pts, err)
		}
	}
}
