package camera

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pion/rtp"
)

// Limits of one access unit. They are those of the decoder; what is beyond them is dropped here
// and counts as loss (F-53).
const (
	maxNALs    = 4096
	maxBytes   = 16 << 20
	maxPackets = 32768 // of one fragmented NAL unit: 16 MiB in packets of 512 bytes
)

var (
	errFragment = errors.New("fragment without its beginning")
	errTooLarge = fmt.Errorf("unit of more than %d bytes or %d packets", maxBytes, maxPackets)
)

// depacketizer takes NAL units out of RTP payloads (RFC 6184 modes 0 and 1, RFC 7798 without
// decoding order numbers).
//
// gortsplib's rtph264 and rtph265 decoders were tried first. They group by marker only (H.265),
// keep the head of a unit whose tail was lost, refuse a fragmented unit in one packet (H.265), and
// hold an unbounded number of empty fragments; so this product groups by itself and needs no more
// of them than the eighty lines below.
type depacketizer struct {
	kind     string
	fragment []byte // NAL unit under way, nil = none
	packets  int    // in fragment
}

// lost forgets the fragments under way: a packet is missing.
func (d *depacketizer) lost() { d.fragment = nil }

// take appends the NAL units that the payload completes to list.
func (d *depacketizer) take(list [][]byte, p *rtp.Packet) ([][]byte, error) {
	b := p.Payload
	if d.kind == H265 {
		if len(b) < 2 {
			return list, fmt.Errorf("payload of %d bytes", len(b))
		}
		switch t := b[0] >> 1 & 0x3f; {
		case t == 48:
			return d.aggregate(list, b[2:])
		case t == 49 && len(b) < 3:
			return d.refuse(list, "empty fragment of type", t)
		case t == 49:
			header := []byte{b[0]&0x81 | b[2]&0x3f<<1, b[1]}
			return d.fragments(list, header, b[2], b[3:])
		case t >= 50:
			return d.refuse(list, "packet type", t)
		}
	} else {
		if len(b) < 1 {
			return list, fmt.Errorf("payload of %d bytes", len(b))
		}
		switch t := b[0] & 0x1f; {
		case t == 24: // STAP-A
			return d.aggregate(list, b[1:])
		case t == 28 && len(b) < 2:
			return d.refuse(list, "empty fragment of type", t)
		case t == 28: // FU-A
			return d.fragments(list, []byte{b[0]&0xe0 | b[1]&0x1f}, b[1], b[2:])
		case t == 0 || t > 24:
			return d.refuse(list, "packet type", t)
		}
	}
	var err error
	if d.fragment != nil { // the end of the fragmented unit never came
		d.fragment, err = nil, errFragment
	}
	return append(list, b), err
}

func (d *depacketizer) refuse(list [][]byte, what string, t byte) ([][]byte, error) {
	d.fragment = nil
	return list, fmt.Errorf("%s %d is not supported", what, t)
}

func (d *depacketizer) aggregate(list [][]byte, b []byte) ([][]byte, error) {
	var err error
	if d.fragment != nil {
		d.fragment, err = nil, errFragment
	}
	for len(b) > 0 {
		if len(b) < 2 {
			return list, errors.New("aggregation ends within a size")
		}
		n := int(binary.BigEndian.Uint16(b))
		b = b[2:]
		if n == 0 { // padding
			continue
		}
		if n > len(b) {
			return list, errors.New("aggregation ends within a unit")
		}
		list, b = append(list, b[:n]), b[n:]
	}
	return list, err
}

// fragments collects FU-A and FU packets. The type of the first one counts; some cameras change it
// half-way, send whole units as one fragment, or an empty last one (F-40).
func (d *depacketizer) fragments(list [][]byte, header []byte, fu byte, b []byte) ([][]byte, error) {
	var err error
	if fu&0x80 != 0 { // start
		if d.fragment != nil {
			err = errFragment
		}
		d.fragment, d.packets = header, 0
	}
	if d.fragment == nil {
		return list, errFragment
	}
	d.packets++
	if len(d.fragment)+len(b) > maxBytes || d.packets > maxPackets {
		d.fragment = nil
		return list, errTooLarge
	}
	d.fragment = append(d.fragment, b...)
	if fu&0x40 != 0 { // end
		list = append(list, d.fragment)
		d.fragment = nil
	}
	return list, err
}
