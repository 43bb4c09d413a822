package segment

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/recorder/stamp"
)

// ErrTorn says that a file holds bytes after its last whole, verified fragment: it was cut off while
// it was written, or it was damaged.
var ErrTorn = errors.New("file ends in bytes that do not verify")

// A Reader walks one file from its start. It trusts nothing: every size is bounded before memory is
// taken, and what it returns would be encoded to the very bytes that were read.
type Reader struct {
	r    io.ReaderAt
	size int64

	head   Header
	headD  Digest
	off    int64 // end of what verified
	last   Digest
	leaves []Digest
	ticks  uint64
	end    time.Time
	seal   *Seal
	done   error
	holed  bool // Resume went over bytes that do not verify
	tries  int  // fragment boxes that Resume looked into
}

// NewReader reads the header of a file of the given size.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	b := make([]byte, min(size, maxHead))
	if _, err := r.ReadAt(b, 0); err != nil && !(errors.Is(err, io.EOF) && len(b) == 0) {
		return nil, fmt.Errorf("segment header: %w", err)
	}
	h, n, err := decodeHeader(b)
	if err != nil {
		return nil, fmt.Errorf("segment header: %w", err)
	}
	d := Digest(sha256.Sum256(b[:n]))
	return &Reader{r: r, size: size, head: h, headD: d, last: d, off: int64(n), leaves: []Digest{d}, end: h.Start}, nil
}

// Header is what the file says about itself.
func (r *Reader) Header() Header { return r.head }

// HeaderDigest is the SHA-256 of everything before the first fragment.
func (r *Reader) HeaderDigest() Digest { return r.headD }

// Last is the digest of the last fragment that Next returned, at first that of the header.
func (r *Reader) Last() Digest { return r.last }

// Offset is where the verified part of the file ends so far.
func (r *Reader) Offset() int64 { return r.off }

// Seal is the seal of the file, nil before Next returned io.EOF and for a file without one.
func (r *Reader) Seal() *Seal { return r.seal }

// Holed reports whether Resume went over bytes that do not verify. Such a file has no Seal: the digests
// under it are not all there.
func (r *Reader) Holed() bool { return r.holed }

// Leaves are the digests of header and fragments so far.
func (r *Reader) Leaves() []Digest { return r.leaves }

// Next returns the next fragment and its digest. At the end it returns io.EOF; where what follows is
// not whole or does not verify, an error that wraps ErrTorn, for ever or until Resume.
func (r *Reader) Next() (*Fragment, Digest, error) {
	if r.done != nil {
		return nil, Digest{}, r.done
	}
	f, d, err := r.next()
	if err != nil {
		if err != io.EOF {
			err = fmt.Errorf("at byte %d: %w: %w", r.off, ErrTorn, err)
		}
		r.done = err
		return nil, Digest{}, err
	}
	return f, d, nil
}

func (r *Reader) next() (*Fragment, Digest, error) {
	rest := r.size - r.off
	if rest == 0 {
		return nil, Digest{}, io.EOF
	}
	head := make([]byte, min(rest, fragmentBox))
	if _, err := r.r.ReadAt(head, r.off); err != nil {
		return nil, Digest{}, err
	}
	if len(head) >= 24 && [16]byte(head[8:24]) == uuidSeal {
		return nil, Digest{}, r.readSeal(head, rest)
	}
	f, want, n, err := r.fragment(head, r.off)
	if err != nil {
		return nil, Digest{}, err
	}
	if err := r.chain(f); err != nil {
		return nil, Digest{}, err
	}
	r.off += n
	r.last, r.end = want, f.End
	r.ticks += f.Ticks()
	r.leaves = append(r.leaves, want)
	return f, want, nil
}

// fragment verifies the fragment at off, whose box is head, by itself: all but its place in the file.
func (r *Reader) fragment(head []byte, off int64) (*Fragment, Digest, int64, error) {
	f, want, moof, mdat, err := decodeFragmentBox(head)
	if err != nil {
		return nil, Digest{}, 0, err
	}
	if int64(fragmentBox+moof+mdat) > r.size-off {
		return nil, Digest{}, 0, errors.New("fragment cut off")
	}
	body := make([]byte, moof+mdat)
	if _, err := r.r.ReadAt(body, off+fragmentBox); err != nil {
		return nil, Digest{}, 0, err
	}
	if digest(head[:digestAt], body) != want {
		return nil, Digest{}, 0, errors.New("digest is wrong")
	}
	return f, want, int64(fragmentBox + moof + mdat), f.decodeBody(body, moof)
}

// chain checks f against the header and the fragment before it.
func (r *Reader) chain(f *Fragment) error {
	switch {
	case len(r.leaves) > MaxFragments:
		return errors.New("too many fragments")
	case f.Prev != r.last:
		return errors.New("does not follow the fragment before it")
	case f.Run != r.head.Run:
		return errors.New("is of another run")
	case f.Mask != r.head.Mask:
		return errors.New("was masked with another mask than the header says")
	case f.Start.Before(r.end):
		return errors.New("starts before the one before it ended")
	case f.Base != r.ticks:
		return errors.New("media time does not follow")
	}
	return nil
}

func (r *Reader) readSeal(b []byte, rest int64) error {
	if rest != sealBox {
		return errors.New("seal cut off, or not at the end")
	}
	s, err := decodeSeal(b)
	if err != nil {
		return err
	}
	if r.holed && s.Last == r.last && s.End.Equal(r.end) && s.Ticks == r.ticks {
		r.off = r.size // its Merkle root needs digests that are lost
		return io.EOF
	}
	want := Seal{Fragments: uint32(len(r.leaves) - 1), Ticks: r.ticks, End: r.end, Last: r.last, Root: Root(r.leaves)}
	if s != want {
		return errors.New("seal does not fit the fragments")
	}
	r.seal = &s
	r.off = r.size
	return io.EOF
}

// Resume goes on behind bytes that do not verify, after Next returned ErrTorn: to the next fragment
// that verifies by itself and does not overlap what came before, or to a seal. It returns the time that
// is lost between them, and false where nothing more verifies: then Next goes on to say so. Between a
// hole and the end of the file fragments are chained to each other, but not to those before the hole.
func (r *Reader) Resume() (from, to time.Time, ok bool) {
	if !errors.Is(r.done, ErrTorn) {
		return r.end, r.end, false
	}
	from = r.end
	buf := make([]byte, scanChunk)
	for at := r.off + 1; at < r.size; {
		n, err := r.r.ReadAt(buf[:min(int64(len(buf)), r.size-at)], at)
		if err != nil && !(errors.Is(err, io.EOF) && n > 0) {
			return from, from, false // the disk itself refuses
		}
		b := buf[:n]
		for i := 0; ; {
			k := bytes.Index(b[i:], uuidFragment[:15]) // the three boxes differ in the last byte alone
			if k < 0 {
				break
			}
			i += k
			if to, ok := r.resumeAt(at + int64(i) - 8); ok {
				return from, to, true
			}
			i++
		}
		if at += int64(n); at < r.size {
			at -= 24 // a box may begin at the end of what was read
		}
		if n <= 24 {
			break
		}
	}
	return from, from, false
}

// scanChunk is how much Resume reads at a time.
const scanChunk = 1 << 20

// resumeAt tries what may be a box of ours at off.
func (r *Reader) resumeAt(off int64) (time.Time, bool) {
	if off <= r.off || off < 0 || r.tries >= 2*MaxFragments {
		return time.Time{}, false
	}
	r.tries++
	head := make([]byte, min(r.size-off, fragmentBox))
	if _, err := r.r.ReadAt(head, off); err != nil || len(head) < 24 {
		return time.Time{}, false
	}
	if [16]byte(head[8:24]) == uuidSeal {
		s, err := decodeSeal(head)
		if err != nil || r.size-off != sealBox || s.End.Before(r.end) || s.Ticks < r.ticks {
			return time.Time{}, false
		}
		r.holed, r.off, r.done = true, r.size, io.EOF
		return s.End, true
	}
	f, _, _, err := r.fragment(head, off)
	if err != nil || f.Run != r.head.Run || f.Mask != r.head.Mask || f.Start.Before(r.end) || f.Base < r.ticks || len(r.leaves) > MaxFragments {
		return time.Time{}, false
	}
	r.holed, r.done = true, nil
	r.off, r.last, r.ticks, r.end = off, f.Prev, f.Base, f.Start
	return f.Start, true
}

// NewSeal makes the seal of what was read so far.
func (r *Reader) NewSeal() *Seal {
	return &Seal{Fragments: uint32(len(r.leaves) - 1), Ticks: r.ticks, End: r.end, Last: r.last, Root: Root(r.leaves)}
}

// decodeSeal reads the box at the end; b may be longer.
func decodeSeal(b []byte) (s Seal, err error) {
	if len(b) < sealBox {
		return s, errors.New("seal cut off")
	}
	c := cursor{b: b[:sealBox]}
	if err := c.open(uuidSeal); err != nil {
		return s, err
	}
	if !c.zero(3) {
		return s, errors.New("reserved bytes are set")
	}
	s.Fragments, s.Ticks, s.End = c.u32(), c.u64(), nanos(int64(c.u64()))
	c.bytes(s.Last[:])
	c.bytes(s.Root[:])
	return s, c.close()
}

// cursor reads the fields of one of our boxes. Reading past its end gives zeros and fails close.
type cursor struct {
	b   []byte
	n   int
	bad bool
}

var zeros [64]byte

func (c *cursor) take(n int) []byte {
	if c.n+n > len(c.b) {
		c.bad = true
		return zeros[:min(n, len(zeros))]
	}
	c.n += n
	return c.b[c.n-n : c.n]
}
func (c *cursor) u8() byte    { return c.take(1)[0] }
func (c *cursor) u16() uint16 { return be.Uint16(c.take(2)) }
func (c *cursor) u32() uint32 { return be.Uint32(c.take(4)) }
func (c *cursor) u64() uint64 { return be.Uint64(c.take(8)) }
func (c *cursor) zero(n int) bool {
	for _, v := range c.take(n) {
		if v != 0 {
			return false
		}
	}
	return true
}
func (c *cursor) bytes(p []byte) { copy(p, c.take(len(p))) }
func (c *cursor) text(most int) string {
	n := int(c.u8())
	if n > most {
		c.bad = true
		return ""
	}
	if n == 0 || c.n+n > len(c.b) {
		c.bad = c.bad || n > 0
		return ""
	}
	return string(c.take(n))
}

// open checks the box's own size, type and version; c.b must be the whole box.
func (c *cursor) open(id [16]byte) error {
	if len(c.b) < 8+16+4+4 {
		return errors.New("box cut off")
	}
	if int(be.Uint32(c.b)) != len(c.b) || string(c.b[4:8]) != "uuid" || [16]byte(c.b[8:24]) != id {
		return errors.New("not the box that belongs here")
	}
	if crc32.Checksum(c.b[:len(c.b)-4], castagnoli) != be.Uint32(c.b[len(c.b)-4:]) {
		return errors.New("checksum is wrong")
	}
	if c.b[24] != version {
		return fmt.Errorf("format version %d, this program reads %d", c.b[24], version)
	}
	c.n = 25
	return nil
}

func (c *cursor) close() error {
	if c.bad || c.n != len(c.b)-4 {
		return errors.New("box of a wrong length")
	}
	return nil
}

// decodeHeader reads ftyp, moov and header box, and returns how long they are.
func decodeHeader(b []byte) (Header, int, error) {
	var h Header
	sizes := [3]int{}
	at := 0
	for i, kind := range [3]string{"ftyp", "moov", "uuid"} {
		if len(b)-at < 8 {
			return h, 0, fmt.Errorf("%s box cut off", kind)
		}
		n := int(be.Uint32(b[at:]))
		if n < 8 || n > len(b)-at || string(b[at+4:at+8]) != kind {
			return h, 0, fmt.Errorf("no whole %s box where one belongs", kind)
		}
		sizes[i] = n
		at += n
	}
	c := cursor{b: b[sizes[0]+sizes[1] : at]}
	if err := c.open(uuidHeader); err != nil {
		return h, 0, err
	}
	h.Clock = stamp.State(c.u8())
	if !c.zero(2) {
		return h, 0, errors.New("reserved bytes are set")
	}
	c.bytes(h.ID[:])
	c.bytes(h.Volume[:])
	c.bytes(h.Boot[:])
	c.bytes(h.Run[:])
	h.Number = c.u32()
	h.Start, h.Mono = nanos(int64(c.u64())), time.Duration(c.u64())
	h.MaskVersion = c.u32()
	c.bytes(h.Mask[:])
	c.bytes(h.Prev[:])
	h.Suite = c.text(64)
	h.Camera = nvr.CameraID(c.text(255))
	for range min(int(c.u8()), MaxGaps+1) {
		h.Gaps = append(h.Gaps, Gap{Cause: nvr.Cause(c.u8()), From: nanos(int64(c.u64()))})
	}
	if err := c.close(); err != nil {
		return h, 0, err
	}
	var err error
	if h.Size, h.SPS, h.PPS, err = movieParams(b[sizes[0] : sizes[0]+sizes[1]]); err != nil {
		return h, 0, err
	}
	again, _, err := EncodeHeader(&h)
	if err != nil {
		return h, 0, err
	}
	if !bytes.Equal(again, b[:at]) {
		return h, 0, errors.New("not written by this program")
	}
	return h, at, nil
}

// movieParams finds size and parameter sets in a moov box. It only has to find them in one that this
// package wrote: the caller encodes what it found and compares.
func movieParams(moov []byte) (s nvr.Size, sps, pps []byte, err error) {
	bad := errors.New("moov box is not of this program")
	at := bytes.Index(moov, []byte("avc1"))
	if at < 0 || len(moov)-at < 82+8+11 {
		return s, nil, nil, bad
	}
	e := moov[at+4:] // fields of the sample entry
	s = nvr.Size{Width: int(be.Uint16(e[24:])), Height: int(be.Uint16(e[26:]))}
	c := cursor{b: e[78:]}
	c.take(8 + 6)
	n := int(c.u16())
	if c.bad || n > MaxParamBytes || n > len(c.b)-c.n {
		return s, nil, nil, bad
	}
	sps = bytes.Clone(c.take(n))
	c.u8()
	n = int(c.u16())
	if c.bad || n > MaxParamBytes || n > len(c.b)-c.n {
		return s, nil, nil, bad
	}
	return s, sps, bytes.Clone(c.take(n)), nil
}

// decodeFragmentBox reads the box before a moof, without what follows.
func decodeFragmentBox(b []byte) (f *Fragment, want Digest, moof, mdat int, err error) {
	fail := func(err error) (*Fragment, Digest, int, int, error) { return nil, Digest{}, 0, 0, err }
	c := cursor{b: b}
	if len(b) != fragmentBox {
		return fail(errors.New("fragment box cut off"))
	}
	if err := c.open(uuidFragment); err != nil {
		return fail(err)
	}
	f = &Fragment{Clock: stamp.State(c.u8()), Obscured: nvr.Cause(c.u8())}
	if c.u8() != 0 {
		return fail(errors.New("reserved bytes are set"))
	}
	c.bytes(f.Run[:])
	f.Seq, f.FirstFrame = c.u64(), c.u64()
	f.Start, f.End = nanos(int64(c.u64())), nanos(int64(c.u64()))
	f.Mono, f.Media, f.Base = time.Duration(c.u64()), c.u64(), c.u64()
	n, moofN, mdatN := c.u32(), c.u32(), c.u32()
	c.bytes(f.Mask[:])
	c.bytes(f.Prev[:])
	c.bytes(want[:])
	if err := c.close(); err != nil {
		return fail(err)
	}
	if n < 1 || n > MaxSamples || moofN != moofFixed+sampleRow*n || mdatN < 8 || mdatN > MaxFragmentBytes {
		return fail(errors.New("sizes out of bounds"))
	}
	f.Samples = make([]Sample, n)
	return f, want, int(moofN), int(mdatN), nil
}

// decodeBody reads the samples out of moof and mdat and requires that they are just what EncodeFragment
// writes.
func (f *Fragment) decodeBody(body []byte, moof int) error {
	rows := body[moofFixed:moof]
	data := body[moof+8:]
	for i := range f.Samples {
		row := rows[i*sampleRow:]
		n := be.Uint32(row[4:])
		if uint64(n) > uint64(len(data)) {
			return errors.New("pictures are longer than their box")
		}
		f.Samples[i] = Sample{Duration: be.Uint32(row), Key: be.Uint32(row[8:]) == flagsKey, Data: data[:n:n]}
		data = data[n:]
	}
	if len(data) != 0 {
		return errors.New("bytes after the last picture")
	}
	if err := f.check(); err != nil {
		return err
	}
	if !bytes.Equal(f.appendMoof(make([]byte, 0, moof)), body[:moof]) || be.Uint32(body[moof:]) != uint32(len(body)-moof) || string(body[moof+4:moof+8]) != "mdat" {
		return errors.New("not written by this program")
	}
	return nil
}
