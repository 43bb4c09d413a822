package ui

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"custody-nvr/nvr"
)

var bst = time.Date(2026, 10, 25, 0, 30, 0, 250e6, time.UTC) // 01:30:00 BST, an hour before 01:30 GMT

func samplePicture() Shot {
	return Shot{View: nvr.Archive, UTC: bst, ClockUnsure: true, Frame: &nvr.Frame{
		Key: true, Seq: 7, Arrived: 1234567 * time.Microsecond, Obscured: nvr.ObscuredWrongSize,
		SPS: []byte{0x67, 100, 0, 31}, PPS: []byte{0x68, 1}, NALs: [][]byte{{0x65, 9, 9}, {0x65, 8}},
	}}
}

func TestPictureMessageIsAsFormatSays(t *testing.T) {
	const golden = "01070300" + "0002" + "000e" + "000000000012d687" + "000001a17076dc3a" + "003c" + "0000" + "00000007" +
		"00000001" + "6764001f" + "00000001" + "6801" + "00000001" + "650909" + "00000001" + "6508"
	got := hex.EncodeToString(appendFrame(nil, 2, samplePicture(), time.Hour))
	if got != golden {
		t.Errorf("got  %s\nwant %s", got, golden)
	}
}

func TestPictureMessageComesBackWhole(t *testing.T) {
	shot := samplePicture()
	p, err := ParsePicture(appendFrame(nil, 2, shot, time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if p.Tile != 2 || !p.Key || p.View != nvr.Archive || !p.ClockUnsure || p.Obscured != nvr.ObscuredWrongSize ||
		p.Arrived != shot.Frame.Arrived || !p.UTC.Equal(bst) || p.CivilOffset != time.Hour || p.Seq != 7 ||
		!bytes.HasSuffix(p.Params, []byte{0x68, 1}) || len(p.AnnexB) != len(p.Params)+4+3+4+2 {
		t.Errorf("got %+v", p)
	}
}

func FuzzParsePicture(f *testing.F) {
	f.Add(appendFrame(nil, 2, samplePicture(), time.Hour))
	f.Add(make([]byte, frameHeader))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePicture(b)
		if err != nil {
			return
		}
		shot := Shot{View: p.View, UTC: p.UTC, ClockUnsure: p.ClockUnsure, Frame: &nvr.Frame{
			Key: p.Key, Seq: uint64(p.Seq), Arrived: p.Arrived, Obscured: p.Obscured,
		}}
		again := appendFrame(nil, p.Tile, shot, p.CivilOffset)
		// The header must come back as it was, but for the length of the parameter sets, which are
		// not taken apart here.
		copy(again[6:8], b[6:8])
		if !bytes.Equal(again[:frameHeader], b[:frameHeader]) {
			t.Errorf("%x came back as %x", b[:frameHeader], again[:frameHeader])
		}
	})
}

func TestWindowStopsWhatWouldArriveOld(t *testing.T) {
	var w window
	at := func(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }
	for _, step := range []struct {
		now    int
		sends  bool
		acks   uint64
		behind bool
	}{
		{now: 0, sends: true},
		{now: 500, sends: true},
		{now: 1000, behind: false},
		{now: 1001, behind: true}, // the first is a second on its way
		{now: 1100, acks: 1, behind: true},
		{now: 1200, acks: 1, behind: true}, // an old acknowledgement changes nothing
		{now: 1300, acks: 2, behind: false},
		{now: 1400, acks: 99, behind: false}, // nor does one for what was never sent
		{now: 1500, sends: true},
		{now: 2400, behind: false},
		{now: 2501, behind: true},
	} {
		if step.sends {
			w.sent(at(step.now))
		}
		w.acknowledged(step.acks)
		if got := w.behind(at(step.now)); got != step.behind {
			t.Errorf("at %d ms: behind %v", step.now, got)
		}
	}
}
