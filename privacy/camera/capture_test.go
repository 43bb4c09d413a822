package camera_test

import (
	"encoding/binary"
	"os"
	"testing"

	"custody-nvr/nvr/cliptest"
	"custody-nvr/privacy/camera"
	"custody-nvr/privacy/camera/fakecamera"
)

// capture reads the UDP payloads of a pcap file that are RTP of one payload type.
func capture(t *testing.T, path string, payload byte) [][]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if binary.LittleEndian.Uint32(b)>>16 != 0xa1b2 { // also nanoseconds
		order = binary.BigEndian
	}
	link := order.Uint32(b[20:])
	var packets [][]byte
	for b = b[24:]; len(b) >= 16; {
		n := int(order.Uint32(b[8:]))
		frame := b[16 : 16+n]
		b = b[16+n:]
		switch link {
		case 1: // Ethernet
			frame = frame[14:]
		case 113: // Linux cooked
			frame = frame[16:]
		case 101: // IP alone
		default:
			t.Fatalf("pcap of link type %d", link)
		}
		if frame[0]>>4 != 4 || frame[9] != 17 {
			continue
		}
		length := int(binary.BigEndian.Uint16(frame[2:]))
		rtp := frame[int(frame[0]&15)*4+8 : length]
		if len(rtp) > 12 && rtp[0]>>6 == 2 && rtp[1]&0x7f == payload {
			packets = append(packets, rtp)
		}
	}
	return packets
}

// A real camera's H.265 over RTP comes out as the file that others made of it.
func TestCaptureOfARealCamera(t *testing.T) {
	want := read(t, "wilson_640x480.h265").Units
	packets := capture(t, cliptest.File(t, "wilson_hevc_rtp_anon.pcap"), 104)
	for _, transport := range []string{"tcp", "udp"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			fake := fakecamera.Start(t, fakecamera.Script{Kind: camera.H265, Packets: packets, Window: 8})
			s := open(t, camera.Spec{URL: fake.URL(), Transport: transport})
			for i, u := range take(t, s, len(want), fake.Took) {
				if !same(u.NALs, want[i]) || u.Gap || u.Restamped {
					t.Fatalf("unit %d of %d: %d NAL units, want %d; gap %v", i, len(want), len(u.NALs), len(want[i]), u.Gap)
				}
			}
		})
	}
}
