package ui

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"custody-nvr/nvr"
)

// The layout of a picture on the WebSocket; FORMAT.md has the diagram.
const (
	frameVersion = 1
	frameHeader  = 32

	flagKey         = 1 << 0
	flagArchive     = 1 << 1
	flagClockUnsure = 1 << 2
)

var startCode = []byte{0, 0, 0, 1}

// appendFrame appends the message of one picture to b. offset is civil time minus UTC.
func appendFrame(b []byte, tile int, shot Shot, offset time.Duration) []byte {
	f := shot.Frame
	var flags, obscured byte
	if f.Key {
		flags |= flagKey
	}
	if shot.View == nvr.Archive {
		flags |= flagArchive
	}
	if shot.ClockUnsure {
		flags |= flagClockUnsure
	}
	obscured = byte(f.Obscured)
	params := 0
	if f.Key {
		params = 2*len(startCode) + len(f.SPS) + len(f.PPS)
	}
	b = append(b, frameVersion, flags, obscured, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(tile))
	b = binary.BigEndian.AppendUint16(b, uint16(params))
	b = binary.BigEndian.AppendUint64(b, uint64(f.Arrived.Microseconds()))
	b = binary.BigEndian.AppendUint64(b, uint64(shot.UTC.UnixMilli()))
	b = binary.BigEndian.AppendUint16(b, uint16(int16(offset/time.Minute)))
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(f.Seq))
	if f.Key {
		b = append(append(b, startCode...), f.SPS...)
		b = append(append(b, startCode...), f.PPS...)
	}
	for _, n := range f.NALs {
		b = append(append(b, startCode...), n...)
	}
	return b
}

// A Picture is the message of one picture taken apart. Tests of the wall read the WebSocket with
// it; the page has its own reader in assets/link.js.
type Picture struct {
	Tile        int
	Key         bool
	View        nvr.Stream
	ClockUnsure bool
	Obscured    nvr.Cause
	Arrived     time.Duration
	UTC         time.Time
	CivilOffset time.Duration
	Seq         uint32
	Params      []byte // SPS and PPS, each with a start code, on key frames
	AnnexB      []byte // Params and the slices
}

// ParsePicture reads one binary message.
func ParsePicture(b []byte) (Picture, error) {
	if len(b) < frameHeader {
		return Picture{}, errors.New("picture message is shorter than its header")
	}
	if b[0] != frameVersion {
		return Picture{}, fmt.Errorf("picture message has version %d, not %d", b[0], frameVersion)
	}
	if b[1]&^(flagKey|flagArchive|flagClockUnsure) != 0 || b[3] != 0 || b[26] != 0 || b[27] != 0 {
		return Picture{}, errors.New("picture message sets bits that mean nothing")
	}
	if arrived := binary.BigEndian.Uint64(b[8:]); arrived > math.MaxInt64/1000 {
		return Picture{}, fmt.Errorf("picture message says that it arrived %d microseconds after the start", arrived)
	}
	params := int(binary.BigEndian.Uint16(b[6:]))
	p := Picture{
		Tile:        int(binary.BigEndian.Uint16(b[4:])),
		Key:         b[1]&flagKey != 0,
		View:        nvr.Tile,
		ClockUnsure: b[1]&flagClockUnsure != 0,
		Obscured:    nvr.Cause(b[2]),
		Arrived:     time.Duration(binary.BigEndian.Uint64(b[8:])) * time.Microsecond,
		UTC:         time.UnixMilli(int64(binary.BigEndian.Uint64(b[16:]))).UTC(),
		CivilOffset: time.Duration(int16(binary.BigEndian.Uint16(b[24:]))) * time.Minute,
		Seq:         binary.BigEndian.Uint32(b[28:]),
		AnnexB:      b[frameHeader:],
	}
	if b[1]&flagArchive != 0 {
		p.View = nvr.Archive
	}
	if params > len(p.AnnexB) || p.Key != (params > 0) {
		return Picture{}, fmt.Errorf("picture message says %d bytes of parameter sets", params)
	}
	p.Params = p.AnnexB[:params]
	return p, nil
}

// said is a text message to the page. The fields that a kind does not use are left out.
type said struct {
	Kind string `json:"kind"` // hello, state, beat, pong

	Mono float64 `json:"mono,omitempty"` // beat, pong: Clock.Mono in milliseconds
	Echo float64 `json:"echo,omitempty"` // pong: the page's own time out of its ping

	Build  string            `json:"build,omitempty"`  // hello
	Causes map[string]string `json:"causes,omitempty"` // hello: the words for each cause

	Tile        *int    `json:"tile,omitempty"` // state
	Cause       uint8   `json:"cause,omitempty"`
	Detail      string  `json:"detail,omitempty"`
	Since       float64 `json:"since,omitempty"`
	NotChanging bool    `json:"notChanging,omitempty"`

	NotRecording string `json:"notRecording,omitempty"`
}

// heard is a text message from the page.
type heard struct {
	Kind string `json:"kind"` // ping, enlarge, painted

	Echo float64 `json:"echo"` // ping: the page's time
	Got  uint64  `json:"got"`  // ping: how many pictures reached the page on this connection

	Tile int `json:"tile"` // enlarge: -1 for none

	Milliseconds int    `json:"milliseconds"` // painted
	Visible      bool   `json:"visible"`
	Sound        string `json:"sound"`
	Tiles        []int  `json:"tiles"`    // pictures painted of each tile, in the wall's order
	Enlarged     int    `json:"enlarged"` // -1 for none
	Frames       int    `json:"frames"`   // pictures painted of the enlarged cell
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
