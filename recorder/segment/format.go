// Package segment writes, reads and verifies one segment file: some ten minutes of one camera.
//
// The archive calls it in the parent process; exhibits, the verifier and rebuilds read with it. It
// touches no file itself, decodes no picture and never repairs what it reads: a fragment verifies or
// the file ends before it.
//
// A segment is fragmented MP4 that any player opens. Beside the boxes that players know it carries
// three uuid boxes of our own, which they skip: a header, a small one before each fragment, and a
// seal at the end. FORMAT.md has the byte diagrams.
package segment

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/recorder/stamp"
)

// Timescale is the number of ticks in a second of all times inside the MP4.
const Timescale = 90000

// Limits of one file. A writer that exceeds them is refused, a reader stops.
const (
	MaxFragmentBytes = 32 << 20
	MaxSamples       = 4096
	MaxFragments     = 7200
	MaxParamBytes    = 1024 // of SPS, of PPS
	MaxGaps          = 32
	maxHead          = 64 << 10 // ftyp, moov and header box together
)

// The three box types. They are part of the format.
var (
	uuidHeader   = [16]byte{0x9b, 0x2f, 0x4c, 0x1e, 0x6d, 0x0a, 0x4f, 0x83, 0xb1, 0x57, 0x0e, 0x5a, 0xc6, 0x71, 0x3d, 0x01}
	uuidFragment = [16]byte{0x9b, 0x2f, 0x4c, 0x1e, 0x6d, 0x0a, 0x4f, 0x83, 0xb1, 0x57, 0x0e, 0x5a, 0xc6, 0x71, 0x3d, 0x02}
	uuidSeal     = [16]byte{0x9b, 0x2f, 0x4c, 0x1e, 0x6d, 0x0a, 0x4f, 0x83, 0xb1, 0x57, 0x0e, 0x5a, 0xc6, 0x71, 0x3d, 0x03}
)

const version = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// An ID names one segment for ever: its UTC start in nanoseconds, big-endian, and eight random
// bytes, so that IDs sort by time and two segments that claim the same time do not collide.
type ID [16]byte

// NewID draws an id for a segment that starts at t.
func NewID(t time.Time) ID {
	var id ID
	binary.BigEndian.PutUint64(id[:8], uint64(t.UnixNano()))
	rand.Read(id[8:]) // never fails, see crypto/rand
	return id
}

// Start is the time in the id.
func (id ID) Start() time.Time { return nanos(int64(binary.BigEndian.Uint64(id[:8]))) }

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// A Digest is a SHA-256 of a header or fragment, see Header and Fragment.
type Digest [32]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// A Gap is a time without pictures, from From until the next Gap or the start of the segment. The
// header of a segment repeats the gaps since the segment before, so that an index that is rebuilt
// from the files alone still knows the causes.
type Gap struct {
	From  time.Time
	Cause nvr.Cause
}

// A Header is what a segment says about itself before its first picture.
type Header struct {
	ID          ID
	Volume      [16]byte // identity of the volume it was written to
	Boot        [16]byte // of the machine: Mono times compare only within one boot
	Suite       string   // at most 64 bytes
	Camera      nvr.CameraID
	Run         nvr.RunID
	Number      uint32 // of this segment in its run, from 0
	Start       time.Time
	Mono        time.Duration // arrival of the first picture
	Clock       stamp.State
	MaskVersion uint32 // 0 where only the digest is known
	Mask        nvr.MaskDigest
	// Prev is the digest of the camera's last fragment that was known to be durable when this
	// segment began, zero for none.
	Prev     Digest
	Gaps     []Gap // at most MaxGaps
	Size     nvr.Size
	SPS, PPS []byte
}

// A Sample is one picture inside a fragment.
type Sample struct {
	Duration uint32 // ticks
	Key      bool
	Data     []byte // NAL units, each after its length in four bytes
}

// A Fragment is about a second of pictures that starts on a key picture.
type Fragment struct {
	Run        nvr.RunID
	Seq        uint64 // of this fragment in its run, from 0
	FirstFrame uint64 // nvr.Frame.Seq of its first picture
	Clock      stamp.State
	Obscured   nvr.Cause // Recorded, or why all of its pictures are filled whole
	Mask       nvr.MaskDigest
	Start, End time.Time     // half-open; End is the start of the next picture
	Mono       time.Duration // arrival of the first picture
	Media      uint64        // ticks since the run began
	Base       uint64        // ticks since the segment began
	// Prev is the digest of the fragment before it in this file; of the header for the first.
	Prev    Digest
	Samples []Sample
}

// Ticks is the media length of the fragment.
func (f *Fragment) Ticks() (n uint64) {
	for _, s := range f.Samples {
		n += uint64(s.Duration)
	}
	return n
}

// A Seal ends a file that was closed in good order.
type Seal struct {
	Fragments uint32
	Ticks     uint64 // sum of all durations
	End       time.Time
	Last      Digest // of the last fragment, or of the header where there is none
	// Root is the RFC 6962 Merkle tree hash over the digests of header and fragments, so that one
	// second can be proven with a dozen hashes and without the others.
	Root Digest
}

// Ticks converts a time into ticks, rounding to the nearest.
func Ticks(d time.Duration) uint64 { return uint64((int64(d)*9 + 50000) / 100000) }

// Duration converts ticks into a time.
func Duration(ticks uint64) time.Duration { return time.Duration(ticks * 100000 / 9) }

// nanos reads a time as it is stored.
func nanos(n int64) time.Time { return time.Unix(0, n).UTC() }

// Root is the Merkle tree hash of RFC 6962 section 2.1 over digests as leaves.
func Root(leaves []Digest) Digest {
	switch len(leaves) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, leaves[0][:]...))
	}
	k := 1
	for k*2 < len(leaves) {
		k *= 2
	}
	l, r := Root(leaves[:k]), Root(leaves[k:])
	return sha256.Sum256(append(append([]byte{1}, l[:]...), r[:]...))
}

// EncodeHeader returns the first bytes of a file and the digest of all of them.
func EncodeHeader(h *Header) ([]byte, Digest, error) {
	if err := h.check(); err != nil {
		return nil, Digest{}, fmt.Errorf("header of segment %s: %w", h.ID, err)
	}
	b := appendMovie(nil, h.Size, h.SPS, h.PPS)
	at := len(b)
	b = append(b, 0, 0, 0, 0, 'u', 'u', 'i', 'd')
	b = append(b, uuidHeader[:]...)
	b = append(b, version, byte(h.Clock), 0, 0)
	b = append(b, h.ID[:]...)
	b = append(b, h.Volume[:]...)
	b = append(b, h.Boot[:]...)
	b = append(b, h.Run[:]...)
	b = binary.BigEndian.AppendUint32(b, h.Number)
	b = binary.BigEndian.AppendUint64(b, uint64(h.Start.UnixNano()))
	b = binary.BigEndian.AppendUint64(b, uint64(h.Mono))
	b = binary.BigEndian.AppendUint32(b, h.MaskVersion)
	b = append(b, h.Mask[:]...)
	b = append(b, h.Prev[:]...)
	b = append(b, byte(len(h.Suite)))
	b = append(b, h.Suite...)
	b = append(b, byte(len(h.Camera)))
	b = append(b, h.Camera...)
	b = append(b, byte(len(h.Gaps)))
	for _, g := range h.Gaps {
		b = append(b, byte(g.Cause))
		b = binary.BigEndian.AppendUint64(b, uint64(g.From.UnixNano()))
	}
	b = closeBox(b, at)
	return b, sha256.Sum256(b), nil
}

// closeBox adds the CRC-32C of the box that begins at at and sets its size.
func closeBox(b []byte, at int) []byte {
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at+4))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

var errTooLong = errors.New("a field is longer than the format allows")

func (h *Header) check() error {
	switch {
	case len(h.Suite) > 64 || len(h.SPS) > MaxParamBytes || len(h.PPS) > MaxParamBytes || len(h.Gaps) > MaxGaps:
		return errTooLong
	case len(h.SPS) < 4 || len(h.PPS) < 1:
		return errors.New("no parameter sets")
	case h.SPS[0]&31 != 7 || h.PPS[0]&31 != 8:
		return errors.New("parameter sets are not of H.264")
	case h.Size.Width < 1 || h.Size.Height < 1 || h.Size.Width > 65535 || h.Size.Height > 65535:
		return fmt.Errorf("picture size %s", h.Size)
	case !h.ID.Start().Equal(h.Start):
		return errors.New("id and start differ")
	case !h.Clock.Known():
		return fmt.Errorf("clock state %d", h.Clock)
	}
	for _, g := range h.Gaps {
		if !g.Cause.Known() || !g.Cause.IsMissing() {
			return fmt.Errorf("gap with cause %d", g.Cause)
		}
	}
	return nvr.ValidID(string(h.Camera))
}

// fragmentBox is the length of the fragment box, which never varies.
const fragmentBox = 8 + 16 + 4 + 8 + 8 + 8 + 8 + 8 + 8 + 8 + 8 + 4 + 4 + 4 + 32 + 32 + 32 + 4

// digestAt is where in the fragment box the digest stands, after all that it covers.
const digestAt = fragmentBox - 32 - 4

// EncodeFragment appends the bytes of f to b and returns its digest: the SHA-256 of the fragment box
// up to the digest, and of all that follows the box, moof and mdat.
func EncodeFragment(b []byte, f *Fragment) ([]byte, Digest, error) {
	if err := f.check(); err != nil {
		return b, Digest{}, fmt.Errorf("fragment %d of run %s: %w", f.Seq, f.Run, err)
	}
	at := len(b)
	b = append(b, 0, 0, 0, 0, 'u', 'u', 'i', 'd')
	b = append(b, uuidFragment[:]...)
	b = append(b, version, byte(f.Clock), byte(f.Obscured), 0)
	b = append(b, f.Run[:]...)
	b = binary.BigEndian.AppendUint64(b, f.Seq)
	b = binary.BigEndian.AppendUint64(b, f.FirstFrame)
	b = binary.BigEndian.AppendUint64(b, uint64(f.Start.UnixNano()))
	b = binary.BigEndian.AppendUint64(b, uint64(f.End.UnixNano()))
	b = binary.BigEndian.AppendUint64(b, uint64(f.Mono))
	b = binary.BigEndian.AppendUint64(b, f.Media)
	b = binary.BigEndian.AppendUint64(b, f.Base)
	moof, mdat := f.moofSize(), f.mdatSize()
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.Samples)))
	b = binary.BigEndian.AppendUint32(b, uint32(moof))
	b = binary.BigEndian.AppendUint32(b, uint32(mdat))
	b = append(b, f.Mask[:]...)
	b = append(b, f.Prev[:]...)
	binary.BigEndian.PutUint32(b[at:], fragmentBox)
	b = append(b, make([]byte, 32+4)...)
	body := len(b)
	b = f.appendMoof(b)
	b = f.appendMdat(b)
	d := digest(b[at:body-36], b[body:])
	copy(b[body-36:], d[:])
	binary.BigEndian.PutUint32(b[body-4:], crc32.Checksum(b[at:body-4], castagnoli))
	return b, d, nil
}

// digest is the SHA-256 of the two parts together.
func digest(head, body []byte) (d Digest) {
	h := sha256.New()
	h.Write(head)
	h.Write(body)
	h.Sum(d[:0])
	return d
}

// Validate reports the first thing that keeps f from being written.
func (f *Fragment) Validate() error { return f.check() }

func (f *Fragment) check() error {
	switch {
	case len(f.Samples) == 0 || len(f.Samples) > MaxSamples:
		return fmt.Errorf("%d samples", len(f.Samples))
	case f.mdatSize()+f.moofSize() > MaxFragmentBytes:
		return fmt.Errorf("%d bytes are too many", f.mdatSize())
	case !f.Samples[0].Key:
		return errors.New("does not start on a key picture")
	case f.Obscured != nvr.Recorded && !f.Obscured.IsObscured():
		return fmt.Errorf("cause %d is not one of an obscured picture", f.Obscured)
	case !f.Obscured.Known():
		return fmt.Errorf("cause %d is not known", f.Obscured)
	case !f.Clock.Known():
		return fmt.Errorf("clock state %d is not known", f.Clock)
	case !f.End.After(f.Start):
		return errors.New("ends before it starts")
	case f.Seq >= 1<<32:
		return errors.New("sequence too high")
	}
	for i, s := range f.Samples {
		if err := checkSample(s.Data); err != nil {
			return fmt.Errorf("picture %d: %w", i, err)
		}
	}
	return nil
}

// checkSample requires whole NAL units that are slices and nothing else: no SEI, no audio, no text.
func checkSample(b []byte) error {
	if len(b) == 0 {
		return errors.New("empty")
	}
	for len(b) > 0 {
		if len(b) < 5 {
			return errors.New("NAL unit cut off")
		}
		n := binary.BigEndian.Uint32(b)
		if n == 0 || uint64(n) > uint64(len(b)-4) {
			return errors.New("NAL unit of a wrong length")
		}
		if t := b[4] & 31; t != 1 && t != 5 {
			return fmt.Errorf("NAL unit of type %d, only slices belong here", t)
		}
		b = b[4+n:]
	}
	return nil
}

// SampleData joins NAL units in the way a Sample holds them.
func SampleData(nals [][]byte) []byte {
	n := 0
	for _, u := range nals {
		n += 4 + len(u)
	}
	b := make([]byte, 0, n)
	for _, u := range nals {
		b = binary.BigEndian.AppendUint32(b, uint32(len(u)))
		b = append(b, u...)
	}
	return b
}

const sealBox = 8 + 16 + 4 + 4 + 8 + 8 + 32 + 32 + 4

// EncodeSeal returns the last bytes of a file.
func EncodeSeal(s *Seal) []byte {
	b := append(make([]byte, 0, sealBox), 0, 0, 0, 0, 'u', 'u', 'i', 'd')
	b = append(b, uuidSeal[:]...)
	b = append(b, version, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, s.Fragments)
	b = binary.BigEndian.AppendUint64(b, s.Ticks)
	b = binary.BigEndian.AppendUint64(b, uint64(s.End.UnixNano()))
	b = append(b, s.Last[:]...)
	b = append(b, s.Root[:]...)
	return closeBox(b, 0)
}
