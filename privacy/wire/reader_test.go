package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/wire/wiretest"
)

var (
	testRun  = nvr.RunID{1, 2, 3, 4, 5, 6, 7, 8}
	testMask = nvr.MaskDigest{9, 9, 9}
	testSize = nvr.Size{Width: 641, Height: 360}
)

func testRules() Rules {
	return Rules{Run: testRun, Masks: []nvr.MaskDigest{testMask}, MaxPixels: 1 << 20, Mono: func() time.Duration { return 0 }}
}

func maker() *wiretest.Maker {
	return &wiretest.Maker{Run: testRun, Mask: testMask, Size: testSize}
}

// raw is the frame as bytes, without the writer's own checks.
func raw(t testing.TB, f *nvr.Frame) []byte {
	t.Helper()
	b, err := encodeFrame(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFrameComesBackAsItWasWritten(t *testing.T) {
	for _, size := range []nvr.Size{{Width: 16, Height: 16}, {Width: 641, Height: 360}, {Width: 1920, Height: 1080}, {Width: 33, Height: 7001}} {
		m, tile := maker(), maker()
		m.Size, tile.Size, tile.Stream = size, size, nvr.Tile
		var pipe bytes.Buffer
		var want []nvr.Frame
		for i := range 25 {
			for _, f := range []*nvr.Frame{m.Next(time.Duration(i)), tile.Next(time.Duration(i))} {
				if i == 3 {
					f.Obscured = nvr.ObscuredDamaged
				}
				if err := WriteFrame(&pipe, f); err != nil {
					t.Fatal(err)
				}
				want = append(want, *f)
			}
		}
		rules := testRules()
		rules.MaxPixels = 0
		r := NewReader(&pipe, rules)
		for i := range want {
			got, err := r.Next()
			if err != nil {
				t.Fatalf("%v: frame %d: %v", size, i, err)
			}
			if !reflect.DeepEqual(got, want[i]) {
				t.Fatalf("%v: frame %d:\n got %+v\nwant %+v", size, i, got, want[i])
			}
		}
		if _, err := r.Next(); err != io.EOF {
			t.Fatalf("end of pipe: %v, want io.EOF", err)
		}
	}
}

// hostile is one way to break the rules: what is done to the second frame of a run (or, with
// first, to the first one), and what the error must say.
type hostile struct {
	name  string
	first bool
	frame func(*nvr.Frame)
	bytes func([]byte) []byte
	want  string
}

func put(at int, v ...byte) func([]byte) []byte {
	return func(b []byte) []byte { copy(b[at:], v); return b }
}

func setSPS(s wiretest.SPS) func(*nvr.Frame) {
	if s.Size == (nvr.Size{}) {
		s.Size = testSize
	}
	return func(f *nvr.Frame) { f.SPS = s.Unit() }
}

var hostiles = []hostile{
	{name: "garbage", bytes: func([]byte) []byte { return bytes.Repeat([]byte("garbage "), 100) }, want: "no frame starts here"},
	{name: "other version", bytes: put(4, 2), want: "version 2"},
	{name: "unknown stream", bytes: put(5, 7), want: "unknown stream 7"},
	{name: "unknown flag", bytes: put(6, 0x80), want: "unknown frame flags"},
	{name: "unknown cause", bytes: put(7, 99), want: "cannot have the cause 99"},
	{name: "cause that leaves no picture", bytes: put(7, byte(nvr.CameraLost)), want: "cannot have the cause 16"},
	{name: "4 GiB", bytes: put(8, 0xff, 0xff, 0xff, 0xff), want: "frame of 4294967295 bytes"},
	{name: "above 8 MiB", bytes: put(8, 0, 0x80, 0, 1), want: "frame of 8388609 bytes"},
	{name: "other run", frame: func(f *nvr.Frame) { f.Run[0]++ }, want: "this child is run"},
	{name: "sequence hole", frame: func(f *nvr.Frame) { f.Seq++ }, want: "frame 2 where frame 1 must come"},
	{name: "sequence repeated", frame: func(f *nvr.Frame) { f.Seq-- }, want: "frame 0 where frame 1 must come"},
	{name: "sequence not from 0", first: true, frame: func(f *nvr.Frame) { f.Seq = 5 }, want: "frame 5 where frame 0 must come"},
	{name: "negative media time", first: true, frame: func(f *nvr.Frame) { f.PTS = -1 }, want: "negative media time"},
	{name: "media time stands", frame: func(f *nvr.Frame) { f.PTS = 0 }, want: "media time 0s after 0s"},
	{name: "negative arrival", first: true, frame: func(f *nvr.Frame) { f.Arrived = -1 }, want: "negative arrival time"},
	{name: "arrival backwards", frame: func(f *nvr.Frame) { f.Arrived = 1 }, want: "arrival time 1ns after"},
	{name: "other mask", frame: func(f *nvr.Frame) { f.Mask[31] = 1 }, want: "is not the approved one"},
	{name: "picture of 0x0", frame: func(f *nvr.Frame) { f.Size = nvr.Size{} }, want: "picture size 0x0"},
	{name: "picture above the limit", frame: func(f *nvr.Frame) { f.Size = nvr.Size{Width: 2000, Height: 2000} }, want: "above the limit of 1048576 pixels"},
	{name: "reserved byte", bytes: put(81, 1), want: "reserved byte"},
	{name: "impossible change", frame: func(f *nvr.Frame) { f.Figures.Change = 10001 }, want: "change figure 10001"},
	{name: "no NAL units", frame: func(f *nvr.Frame) { f.NALs = nil }, want: "0 NAL units"},
	{name: "65 NAL units", frame: func(f *nvr.Frame) {
		f.NALs = nil
		for range MaxUnits + 1 {
			f.NALs = append(f.NALs, wiretest.Slice(false, 0, 0, 20))
		}
	}, want: "65 NAL units"},
	{name: "more units than bytes", bytes: func(b []byte) []byte { binary.BigEndian.PutUint32(b[8:], 4); return b }, want: "cannot be in 4 bytes"},
	{name: "NAL unit longer than the frame", bytes: put(headerSize, 0xff), want: "in a frame that has"},
	{name: "bytes left over", bytes: func(b []byte) []byte {
		binary.BigEndian.PutUint32(b[8:], binary.BigEndian.Uint32(b[8:])+1)
		return append(b, 0)
	}, want: "1 bytes after the last NAL unit"},
	{name: "units end inside a length", bytes: func(b []byte) []byte {
		binary.BigEndian.PutUint16(b[86:], 2)
		return b
	}, want: "inside a NAL unit's length"},
	{name: "first frame not key", first: true, frame: func(f *nvr.Frame) {
		f.Key, f.SPS, f.PPS, f.NALs = false, nil, nil, [][]byte{wiretest.Slice(false, 0, 0, 20)}
	}, want: "the first frame is not a key frame"},
	{name: "key without PPS", first: true, frame: func(f *nvr.Frame) { f.PPS = wiretest.Slice(true, 2, 0, 20) }, want: "PPS: protocol broken: NAL unit type 5 where only type 8"},
	{name: "key without SPS", first: true, frame: func(f *nvr.Frame) { f.SPS = wiretest.PPS() }, want: "SPS: protocol broken: NAL unit type 8 where only type 7"},
	{name: "empty SPS", first: true, frame: func(f *nvr.Frame) { f.SPS = nil }, want: "key frame without parameter sets"},
	{name: "SPS on another frame", frame: func(f *nvr.Frame) { f.NALs = append(f.NALs, wiretest.SPS{Size: testSize}.Unit()) }, want: "slice 1: protocol broken: NAL unit type 7"},
	{name: "SEI", frame: func(f *nvr.Frame) { f.NALs[0] = []byte{6, 5, 1, 1, 0x80} }, want: "NAL unit type 6"},
	{name: "data partition", frame: func(f *nvr.Frame) { f.NALs[0][0] = 0x42 }, want: "NAL unit type 2"},
	{name: "auxiliary slice", frame: func(f *nvr.Frame) { f.NALs[0][0] = 0x53 }, want: "NAL unit type 19"},
	{name: "IDR slice in a frame that is not key", frame: func(f *nvr.Frame) { f.NALs[0][0] = 0x65 }, want: "NAL unit type 5"},
	{name: "forbidden_zero_bit", frame: func(f *nvr.Frame) { f.NALs[0][0] |= 0x80 }, want: "forbidden_zero_bit"},
	{name: "NAL unit hidden in a NAL unit", frame: func(f *nvr.Frame) { copy(f.NALs[0][50:], []byte{0, 0, 1, 0x65}) }, want: "start code inside"},
	{name: "three zeros in a NAL unit", frame: func(f *nvr.Frame) { copy(f.NALs[0][50:], []byte{0, 0, 0}) }, want: "start code inside"},
	{name: "B slice", frame: func(f *nvr.Frame) { f.NALs[0] = wiretest.Slice(false, 1, 0, 20) }, want: "slice type 1"},
	{name: "P slice in a key frame", first: true, frame: func(f *nvr.Frame) { f.NALs[0] = wiretest.Slice(true, 0, 0, 20) }, want: "slice type 0"},
	{name: "other PPS", frame: func(f *nvr.Frame) { f.NALs[0] = wiretest.Slice(false, 0, 3, 20) }, want: "parameter set 3"},
	{name: "slice of nothing", frame: func(f *nvr.Frame) { f.NALs[0] = []byte{0x41, 0, 0} }, want: "slice header ends early"},
	{name: "SPS of another size", first: true, frame: setSPS(wiretest.SPS{Size: nvr.Size{Width: 1280, Height: 720}}), want: "it says 1280x720, the frame says 641x360"},
	{name: "SPS 4:4:4", first: true, frame: setSPS(wiretest.SPS{Chroma: 4}), want: "chroma format 4"},
	{name: "SPS 4:2:2", first: true, frame: setSPS(wiretest.SPS{Chroma: 2}), want: "chroma format 2"},
	{name: "SPS 10 bit", first: true, frame: setSPS(wiretest.SPS{Depth: 10}), want: "bit depth 10"},
	{name: "SPS High 4:2:2", first: true, frame: setSPS(wiretest.SPS{Profile: 122}), want: "profile 122"},
	{name: "SPS interlaced", first: true, frame: setSPS(wiretest.SPS{Interlaced: true}), want: "interlaced"},
	{name: "SPS of another id", first: true, frame: setSPS(wiretest.SPS{ID: 1}), want: "parameter set id 1"},
	{name: "SPS with a hidden border", first: true, frame: setSPS(wiretest.SPS{CropLeft: 8}), want: "crop of left 8"},
	{name: "SPS cut short", first: true, frame: func(f *nvr.Frame) { f.SPS = f.SPS[:5] }, want: "SPS: protocol broken"},
}

func TestReaderRefusesEachBrokenRule(t *testing.T) {
	for _, c := range hostiles {
		t.Run(c.name, func(t *testing.T) {
			var pipe bytes.Buffer
			m := maker()
			f := m.Next(100)
			if !c.first {
				pipe.Write(raw(t, f))
				f = m.Next(200)
			}
			if c.frame != nil {
				c.frame(f)
			}
			b := raw(t, f)
			if c.bytes != nil {
				b = c.bytes(b)
			}
			pipe.Write(b)
			r := NewReader(&pipe, testRules())
			var err error
			for err == nil {
				_, err = r.Next()
			}
			if !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want ErrBroken with %q", err, c.want)
			}
		})
	}
}

func TestWriterRefusesWhatTheReaderWouldRefuse(t *testing.T) {
	m := maker()
	m.Next(0)
	f := m.Next(0)
	f.NALs[0][0] = 6
	var pipe bytes.Buffer
	if err := WriteFrame(&pipe, f); !errors.Is(err, ErrBroken) || pipe.Len() != 0 {
		t.Fatalf("err %v, %d bytes written", err, pipe.Len())
	}
	f = maker().Next(0)
	f.NALs[0] = append(f.NALs[0], bytes.Repeat([]byte{1}, MaxFrameBytes)...)
	if err := WriteFrame(&pipe, f); err == nil || pipe.Len() != 0 {
		t.Fatalf("9 MiB: err %v, %d bytes written", err, pipe.Len())
	}
}

func TestPipeEndInsideAFrameIsNotACleanEnd(t *testing.T) {
	b := raw(t, maker().Next(0))
	for _, n := range []int{1, headerSize - 1, headerSize, headerSize + 3, len(b) - 1} {
		_, err := NewReader(bytes.NewReader(b[:n]), testRules()).Next()
		if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrBroken) {
			t.Errorf("cut at %d: %v, want io.ErrUnexpectedEOF", n, err)
		}
	}
}

func TestFloodIsRefused(t *testing.T) {
	var now time.Duration
	rules := testRules()
	rules.Mono = func() time.Duration { return now }
	m := maker()
	var pipe bytes.Buffer
	r := NewReader(&pipe, rules)
	feed := func() error {
		pipe.Reset()
		pipe.Write(raw(t, m.Next(0)))
		_, err := r.Next()
		return err
	}
	for i := range MaxRate { // 240 frames a second for two seconds
		if now += time.Second / 240; feed() != nil {
			t.Fatalf("frame %d at 240 a second was refused", i)
		}
	}
	now += time.Second
	for i := range MaxRate { // a burst
		if err := feed(); err != nil {
			t.Fatalf("frame %d of a burst: %v", i, err)
		}
	}
	if err := feed(); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "more than 480 frames a second") {
		t.Fatalf("frame after a burst: %v", err)
	}
}

func TestRefusedHeaderIsTheLastThingRead(t *testing.T) {
	b := raw(t, maker().Next(0))
	binary.BigEndian.PutUint32(b[8:], MaxFrameBytes+1)
	pipe := bytes.NewReader(b)
	if _, err := NewReader(pipe, testRules()).Next(); !errors.Is(err, ErrBroken) {
		t.Fatalf("err %v", err)
	}
	if got := len(b) - pipe.Len(); got != headerSize {
		t.Errorf("%d bytes were read, the header has %d", got, headerSize)
	}
}

func FuzzReader(f *testing.F) {
	m, tile := maker(), maker()
	tile.Stream, tile.Size = nvr.Tile, nvr.Size{Width: 320, Height: 180}
	var all []byte
	for i := range 12 {
		all = append(all, raw(f, m.Next(time.Duration(i)))...)
		all = append(all, raw(f, tile.Next(time.Duration(i)))...)
	}
	f.Add(all)
	f.Add(all[:len(all)/2])
	for _, c := range hostiles {
		fr := maker().Next(100)
		if c.frame != nil {
			c.frame(fr)
		}
		b := raw(f, fr)
		if c.bytes != nil {
			b = c.bytes(b)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(bytes.NewReader(in), testRules())
		var out bytes.Buffer
		for {
			fr, err := r.Next()
			if err != nil {
				break
			}
			if err := WriteFrame(&out, &fr); err != nil {
				t.Fatalf("read a frame that cannot be written: %v", err)
			}
		}
		if !bytes.HasPrefix(in, out.Bytes()) {
			t.Fatal("frames read and written again are not the bytes they came from")
		}
	})
}
