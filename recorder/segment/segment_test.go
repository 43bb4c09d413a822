package segment

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"flag"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"

	"custody-nvr/nvr"
	"custody-nvr/recorder/frametest"
	"custody-nvr/recorder/stamp"
)

var (
	update = flag.Bool("update", false, "write the golden file anew")
	long   = flag.Bool("long", false, "play every one of the 1,000 truncations")
)

var begin = time.Date(2026, 10, 25, 0, 59, 59, 500e6, time.UTC)

// sample makes a segment of n fragments, always the same, and the offsets at which they end.
func sample(t testing.TB, n int) (file []byte, ends []int, parts []Fragment) {
	t.Helper()
	m := frametest.New(t)
	m.Run = nvr.RunID{1, 2, 3, 4, 5, 6, 7, 8}
	first := m.Next(time.Hour)
	h := Header{Volume: [16]byte{5}, Boot: [16]byte{6}, Suite: "Testford", Camera: "cell-01", Run: m.Run, Number: 3,
		Start: begin, Mono: time.Hour, Clock: stamp.Synced, MaskVersion: 2, Mask: first.Mask, Prev: Digest{9},
		Gaps: []Gap{{begin.Add(-time.Minute), nvr.CameraLost}, {begin.Add(-time.Second), nvr.MaskerFault}},
		Size: first.Size, SPS: first.SPS, PPS: first.PPS}
	id := NewID(begin)
	copy(h.ID[:], id[:8])
	b, last, err := EncodeHeader(&h)
	if err != nil {
		t.Fatal(err)
	}
	ends = append(ends, len(b))
	leaves := []Digest{last}
	at, base := begin, uint64(0)
	fr := first
	for i := range n {
		f := Fragment{Run: m.Run, Seq: uint64(i), FirstFrame: fr.Seq, Clock: stamp.Synced, Mask: fr.Mask, Start: at, End: at.Add(time.Second),
			Mono: fr.Arrived, Media: Ticks(fr.PTS), Base: base, Prev: last}
		if i == 1 {
			f.Obscured = nvr.ObscuredDamaged
		}
		for range frametest.Rate {
			f.Samples = append(f.Samples, Sample{Duration: 18000, Key: fr.Key, Data: SampleData(fr.NALs)})
			fr = m.Next(fr.Arrived + m.Spacing)
		}
		if b, last, err = EncodeFragment(b, &f); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, len(b))
		leaves = append(leaves, last)
		parts = append(parts, f)
		at, base = f.End, base+f.Ticks()
	}
	b = append(b, EncodeSeal(&Seal{Fragments: uint32(n), Ticks: base, End: at, Last: last, Root: Root(leaves)})...)
	return b, ends, parts
}

// read walks a file to its end and returns how many fragments verify, and why it ended.
func read(b []byte) (n int, off int64, err error) {
	r, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return 0, 0, err
	}
	for {
		if _, _, err = r.Next(); err != nil {
			return n, r.Offset(), err
		}
		n++
	}
}

func TestReaderReturnsWhatWasWritten(t *testing.T) {
	b, ends, parts := sample(t, 4)
	r, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if h := r.Header(); h.Camera != "cell-01" || h.Suite != "Testford" || !h.Start.Equal(begin) || len(h.Gaps) != 2 || h.Gaps[1].Cause != nvr.MaskerFault || h.Size != frametest.Size {
		t.Errorf("header is %+v", h)
	}
	for i, want := range parts {
		got, _, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got.Seq != want.Seq || !got.Start.Equal(want.Start) || !got.End.Equal(want.End) || got.Obscured != want.Obscured || got.Mono != want.Mono ||
			len(got.Samples) != len(want.Samples) || !bytes.Equal(got.Samples[2].Data, want.Samples[2].Data) || r.Offset() != int64(ends[i+1]) {
			t.Errorf("fragment %d is %+v", i, got)
		}
	}
	if _, _, err := r.Next(); err != io.EOF || r.Seal() == nil || r.Seal().Fragments != 4 {
		t.Errorf("end: %v, seal %+v", err, r.Seal())
	}
}

func TestFormatStaysAsItIs(t *testing.T) {
	b, _, _ := sample(t, 3)
	golden := filepath.Join("testdata", "golden.mp4")
	if *update {
		if err := os.WriteFile(golden, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Error("the bytes of a segment changed: footage on disk for a year must stay readable, so this needs a new version and a reader of both")
	}
	if n, off, err := read(want); n != 3 || off != int64(len(want)) || err != io.EOF {
		t.Errorf("golden file: %d fragments, %d bytes, %v", n, off, err)
	}
}

func TestEveryBitFlipIsFound(t *testing.T) {
	b, ends, _ := sample(t, 2)
	for i := range b {
		c := bytes.Clone(b)
		c[i] ^= 1 << (i % 8)
		n, _, err := read(c)
		sound := 0
		for sound+1 < len(ends) && ends[sound+1] <= i {
			sound++
		}
		if err == io.EOF || n != sound {
			t.Fatalf("bit %d of byte %d flipped: %d fragments pass for %d sound ones, %v", i%8, i, n, sound, err)
		}
	}
}

// Six damaged bytes in the middle cost the fragments they are in, and nothing behind them.
func TestReaderResumesBehindDamage(t *testing.T) {
	b, ends, parts := sample(t, 6)
	for at := ends[0]; at < ends[6]; at += 37 {
		c := bytes.Clone(b)
		for i := at; i < at+6; i++ {
			c[i] ^= 0xa5
		}
		want, hole := []uint64{}, [2]time.Time{}
		for i, p := range parts {
			if ends[i] < at+6 && at < ends[i+1] {
				if hole[0].IsZero() {
					hole[0] = p.Start
				}
				hole[1] = p.End
				continue
			}
			want = append(want, p.Seq)
		}
		r, err := NewReader(bytes.NewReader(c), int64(len(c)))
		if err != nil {
			t.Fatal(err)
		}
		var got []uint64
		var holes [][2]time.Time
		for {
			f, _, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				from, to, ok := r.Resume()
				if !ok {
					// Damage in the seal itself too: nothing is behind it.
					break
				}
				holes = append(holes, [2]time.Time{from, to})
				continue
			}
			got = append(got, f.Seq)
		}
		if !slices.Equal(got, want) && at+6 <= ends[6] {
			t.Fatalf("damage at byte %d: fragments %v, want %v", at, got, want)
		}
		if at+6 <= ends[6] && (len(holes) != 1 || !holes[0][0].Equal(hole[0]) || !holes[0][1].Equal(hole[1])) {
			t.Fatalf("damage at byte %d: holes %v, want %v", at, holes, hole)
		}
		if r.Seal() != nil || !r.Holed() {
			t.Fatalf("damage at byte %d: seal %v, holed %v", at, r.Seal(), r.Holed())
		}
	}
}

// F-21: cut anywhere, all whole fragments are found, and up to there the file plays.
func TestCutFilePlaysUpToTheCut(t *testing.T) {
	b, ends, _ := sample(t, 12)
	dir := t.TempDir()
	probe, probeErr := exec.LookPath("ffprobe")
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 1000 {
		cut := ends[0] + rnd.IntN(len(b)-ends[0])
		whole := 0
		for whole+1 < len(ends) && ends[whole+1] <= cut {
			whole++
		}
		n, off, err := read(b[:cut])
		if n != whole || off != int64(ends[whole]) || (err == io.EOF) != (cut == ends[whole]) {
			t.Fatalf("cut at %d: %d fragments, offset %d, %v; want %d, %d", cut, n, off, err, whole, ends[whole])
		}
		if probeErr != nil || whole == 0 || !*long && i%50 != 0 {
			continue
		}
		if got := frames(t, probe, dir, b[:off]); got != whole*frametest.Rate {
			t.Fatalf("cut at %d: ffprobe reads %d pictures, %d are whole", cut, got, whole*frametest.Rate)
		}
		// The torn file itself plays too. Only where the cut went through the 360 bytes before the
		// pictures of a fragment does FFmpeg, which reads all moof boxes first, refuse to open it.
		if cut < ends[whole]+fragmentBox+moofFixed+frametest.Rate*sampleRow+8 {
			continue
		}
		if got := frames(t, probe, dir, b[:cut]); got < whole*frametest.Rate {
			t.Fatalf("cut at %d: ffprobe reads %d pictures of the torn file, %d are whole", cut, got, whole*frametest.Rate)
		}
	}
	if probeErr != nil {
		t.Skip("ffprobe is not installed: only our own reader was tested")
	}
}

// frames counts the pictures that ffprobe decodes.
func frames(t *testing.T, probe, dir string, b []byte) int {
	t.Helper()
	name := filepath.Join(dir, "cut.mp4")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(probe, "-v", "quiet", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", name).Output()
	if err != nil {
		t.Fatalf("ffprobe: %v", err)
	}
	row, err := csv.NewReader(bytes.NewReader(out)).Read()
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(row[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestForeignReaderFindsTheSamePictures(t *testing.T) {
	b, _, parts := sample(t, 3)
	f, err := mp4.DecodeFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	track := f.Init.Moov.Trak
	if track.Mdia.Mdhd.Timescale != Timescale || track.Mdia.Minf.Stbl.Stsd.AvcX == nil || track.Mdia.Minf.Stbl.Stsd.AvcX.Width != 96 {
		t.Error("track is not H.264 of the right size and timescale")
	}
	var got []mp4.FullSample
	for _, s := range f.Segments {
		for _, fr := range s.Fragments {
			list, err := fr.GetFullSamples(f.Init.Moov.Mvex.Trex)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, list...)
		}
	}
	i := 0
	for _, p := range parts {
		at := p.Base
		for _, s := range p.Samples {
			if i >= len(got) || got[i].DecodeTime != at || got[i].Dur != s.Duration || !bytes.Equal(got[i].Data, s.Data) || got[i].IsSync() != s.Key {
				t.Fatalf("picture %d differs", i)
			}
			at += uint64(s.Duration)
			i++
		}
	}
	if i != len(got) {
		t.Errorf("%d pictures, wrote %d", len(got), i)
	}
}

// Digests alone prove little: each fragment must be the one that belongs there.
func TestReaderStopsAtAFragmentThatDoesNotFollow(t *testing.T) {
	b, ends, parts := sample(t, 3)
	r, err := NewReader(bytes.NewReader(b), int64(ends[2]))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, _, err = r.Next()
	}
	for name, change := range map[string]func(*Fragment){
		"another fragment before it": func(f *Fragment) { f.Prev = Digest{1} },
		"another run":                func(f *Fragment) { f.Run = nvr.RunID{1} },
		"another mask":               func(f *Fragment) { f.Mask = nvr.MaskDigest{1} },
		"overlap":                    func(f *Fragment) { f.Start = f.Start.Add(-1) },
		"hole in media time":         func(f *Fragment) { f.Base++ },
	} {
		f := parts[2]
		f.Prev = r.Last()
		change(&f)
		c, _, err := EncodeFragment(bytes.Clone(b[:ends[2]]), &f)
		if err != nil {
			t.Fatal(err)
		}
		if n, _, err := read(c); n != 2 || !errors.Is(err, ErrTorn) {
			t.Errorf("%s: %d fragments, %v", name, n, err)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	_, _, parts := sample(t, 1)
	good := parts[0]
	with := func(change func(*Fragment)) Fragment {
		f := good
		f.Samples = append([]Sample{}, good.Samples...)
		change(&f)
		return f
	}
	for name, f := range map[string]Fragment{
		"no pictures":             with(func(f *Fragment) { f.Samples = nil }),
		"first picture not key":   with(func(f *Fragment) { f.Samples = f.Samples[1:] }),
		"missing cause":           with(func(f *Fragment) { f.Obscured = nvr.CameraLost }),
		"unknown clock state":     with(func(f *Fragment) { f.Clock = 0x80 }),
		"ends before it starts":   with(func(f *Fragment) { f.End = f.Start }),
		"text in a picture (SEI)": with(func(f *Fragment) { f.Samples[1].Data = SampleData([][]byte{{6, 5, 1, 2}}) }),
		"NAL unit cut off":        with(func(f *Fragment) { f.Samples[1].Data = []byte{0, 0, 0, 9, 1} }),
		"empty picture":           with(func(f *Fragment) { f.Samples[1].Data = nil }),
		"more bytes than a fragment": with(func(f *Fragment) {
			f.Samples[1].Data = SampleData([][]byte{append([]byte{1}, make([]byte, MaxFragmentBytes)...)})
		}),
	} {
		if _, _, err := EncodeFragment(nil, &f); err == nil {
			t.Errorf("%s: was written", name)
		}
	}
}

func TestRootIsThatOfRFC6962(t *testing.T) {
	leaf := func(d Digest) []byte { s := sha256.Sum256(append([]byte{0}, d[:]...)); return s[:] }
	node := func(l, r []byte) []byte { s := sha256.Sum256(append(append([]byte{1}, l...), r...)); return s[:] }
	a, b, c := Digest{1}, Digest{2}, Digest{3}
	got := Root([]Digest{a, b, c})
	if want := node(node(leaf(a), leaf(b)), leaf(c)); !bytes.Equal(got[:], want) {
		t.Errorf("root %x, want %x", got, want)
	}
}

// repair sets all checksums and digests in b anew, so that fuzzing gets behind them.
func repair(b []byte) {
	last := Digest{}
	for at := 0; at+fragmentBox <= len(b); {
		n := int(be.Uint32(b[at:]))
		if n < 8 || n > len(b)-at {
			return
		}
		if string(b[at+4:at+8]) == "uuid" && n > 28 {
			id := [16]byte(b[at+8 : at+24])
			if id == uuidFragment && n == fragmentBox {
				copy(b[at+digestAt-32:], last[:])
				moof := int(be.Uint32(b[at+96:]))
				mdat := int(be.Uint32(b[at+100:]))
				if end := at + n + moof + mdat; moof >= 0 && mdat >= 0 && moof < 1<<30 && mdat < 1<<30 && end <= len(b) {
					last = digest(b[at:at+digestAt], b[at+n:end])
					copy(b[at+digestAt:], last[:])
				}
			}
			be.PutUint32(b[at+n-4:], crc32.Checksum(b[at:at+n-4], castagnoli))
			if id == uuidHeader {
				last = sha256.Sum256(b[:at+n])
			}
		}
		at += n
	}
}

// FuzzReader: an error, or writing what was read gives the bytes that were read.
func FuzzReader(f *testing.F) {
	b, ends, _ := sample(f, 2)
	f.Add(b, false)
	f.Add(b, true)
	f.Add(b[:ends[1]+7], true)
	f.Add(b[:ends[0]], true)
	f.Fuzz(func(t *testing.T, b []byte, fix bool) {
		if fix {
			b = bytes.Clone(b)
			repair(b)
		}
		r, err := NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		h := r.Header()
		out, _, err := EncodeHeader(&h)
		if err != nil {
			t.Fatal(err)
		}
		for {
			fr, d, err := r.Next()
			if err != nil {
				if err != io.EOF && !errors.Is(err, ErrTorn) {
					t.Fatal(err)
				}
				break
			}
			var again Digest
			if out, again, err = EncodeFragment(out, fr); err != nil || again != d {
				t.Fatal(err, again, d)
			}
		}
		if s := r.Seal(); s != nil {
			out = append(out, EncodeSeal(s)...)
		}
		if !bytes.Equal(out, b[:r.Offset()]) {
			t.Fatal("what was read does not encode to what was there")
		}
	})
}

func TestRepairGetsBehindTheDigests(t *testing.T) {
	b, _, _ := sample(t, 2)
	c := bytes.Clone(b)
	i := bytes.Index(c, []byte("mdat")) + 30
	c[i] ^= 1
	if n, _, _ := read(c); n != 0 {
		t.Fatal("a changed picture passed")
	}
	repair(c)
	if n, _, err := read(c); n != 2 || !strings.Contains(err.Error(), "seal") {
		t.Fatalf("after the repair %d fragments pass, %v: the fuzzer does not reach what is behind the digests", n, err)
	}
}

func BenchmarkEncodeFragment(b *testing.B) {
	_, _, parts := sample(b, 1)
	f := parts[0]
	for i := range f.Samples {
		f.Samples[i].Data = SampleData([][]byte{append([]byte{f.Samples[i].Data[4]}, make([]byte, 80<<10)...)})
	}
	var buf []byte
	b.SetBytes(400 << 10)
	for b.Loop() {
		buf, _, _ = EncodeFragment(buf[:0], &f)
	}
}
