package codec

import (
	"bytes"
	"maps"
	"slices"
)

// Info is what the headers of an access unit say, read in Go from the bytes that the decoder gets.
type Info struct {
	Key       bool // IDR, BLA or CRA: decoding can start here
	Recovery  int  // frames (H.265: POC steps) from here to a clean picture; -1: none announced
	Gap       bool // a picture that this one builds on is missing
	Picture   bool // has a slice
	NewParams bool // a parameter set differs from the one before under its number
}

// An Inspector reads parameter sets and slice headers of one stream, and notices missing pictures:
// by frame_num in H.264, unless the stream may leave out numbers, and by the reference picture sets
// in H.265. Nothing that a stream contains makes it panic.
type Inspector struct {
	kind   Kind
	sps264 map[int]*sps264
	pps264 map[int]*pps264
	sps265 map[int]*sps265
	pps265 map[int]*pps265
	raw    map[[2]int][]byte // last bytes of each parameter set by type and number

	maxUnits int
	changed  bool     // a parameter set of this access unit is new
	carried  *picture // begun, without a slice yet

	prevPOC int // of the last picture that counts for the high bits

	// H.264: the picture before.
	started   bool
	prevRef   int // frame_num of the last reference picture
	prevField bool
	prevLow   bool // it was a bottom field

	// H.265: what may be referred to.
	held    map[int]bool // by picture order count
	skipped bool         // RASL pictures have nothing to build on
	ended   bool         // an end of sequence came
}

// NewInspector starts at the beginning of a stream.
func NewInspector(kind Kind) *Inspector {
	return &Inspector{
		kind: kind, maxUnits: Limits{}.withDefaults().MaxUnits,
		sps264: map[int]*sps264{}, pps264: map[int]*pps264{},
		sps265: map[int]*sps265{}, pps265: map[int]*pps265{},
		raw: map[[2]int][]byte{}, held: map[int]bool{}, ended: true,
	}
}

// Look reads one access unit. With an error, Info holds what could be read, and the unit must not
// be trusted: Gap is set.
func (in *Inspector) Look(au [][]byte) (Info, error) {
	pics, err := in.split(au)
	info := Info{Recovery: -1, Gap: err != nil, Picture: len(pics) > 0, NewParams: in.changed}
	for i, p := range pics {
		if i == 0 {
			info.Key = p.key
			info.Recovery = max(p.sei.recovery, -1)
		}
		info.Gap = info.Gap || p.gap || p.part
	}
	return info, err
}

// picture is one coded picture or field: the NAL units that may go to libavcodec and what their
// headers say.
type picture struct {
	units      [][]byte
	slicesFrom int     // index of the first slice in units
	stream     *stream // nil until the first slice
	key        bool
	leading    bool // RASL: may build on pictures before the key picture it follows
	second     bool // field of a picture
	intra      bool
	gap        bool // a picture before it is missing
	part       bool // some of its own slices are missing
	sei        sei
	poc        int // in the order of showing, counted since the last IDR
	pocUnknown bool
	frameNum   int // H.264 only, modulo frameNums
	frameNums  int
}

// maxCarried bounds the parameter sets that wait for their picture.
const maxCarried = 64

// split walks the NAL units in order. Units that are not for a decoder of plain pictures are left
// out: SEI and delimiters, user data, layers and views, auxiliary and redundant data. Start codes
// inside of a unit, which some cameras leave there, separate units like any others: nothing may
// reach libavcodec in the shadow of another unit. What comes after the last slice is kept for the
// next access unit: some cameras send parameter sets in one of their own.
func (in *Inspector) split(au [][]byte) (pics []*picture, err error) {
	cur := in.carried
	in.carried, in.changed = nil, false
	if cur == nil {
		cur = newPicture()
	}
	n := 0
	for _, outer := range au {
		for nal := range annexB(outer) {
			if n++; n > in.maxUnits {
				return pics, refuse("the camera sends a picture in more than %d NAL units, which are not accepted", in.maxUnits)
			}
			var e error
			if cur, e = in.unit(nal, cur, &pics); e != nil && err == nil {
				err = e
			}
		}
	}
	if cur.stream != nil {
		return append(pics, cur), err
	}
	for i := range cur.units { // the caller's memory may be used again
		cur.units[i] = bytes.Clone(cur.units[i])
	}
	cur.units = cur.units[max(len(cur.units)-maxCarried, 0):]
	in.carried = cur
	return pics, err
}

func newPicture() *picture { return &picture{intra: true, sei: sei{recovery: noRecovery}} }

// annexB yields the NAL units of b, which mostly is one.
func annexB(b []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			i := bytes.Index(b, []byte{0, 0, 1})
			nal := b
			if i >= 0 {
				nal, b = b[:i:i], b[i+3:]
			} else {
				b = nil
			}
			for len(nal) > 0 && nal[len(nal)-1] == 0 {
				nal = nal[:len(nal)-1]
			}
			if len(nal) > 0 && !yield(nal) {
				return
			}
		}
	}
}

func (in *Inspector) unit(nal []byte, cur *picture, pics *[]*picture) (*picture, error) {
	if in.kind == H265 {
		return in.unit265(nal, cur, pics)
	}
	return in.unit264(nal, cur, pics)
}

// next closes the picture before a new one starts.
func next(cur *picture, pics *[]*picture) *picture {
	if cur.stream == nil {
		return cur
	}
	*pics = append(*pics, cur)
	return newPicture()
}

// note remembers the bytes of a parameter set, to see whether the next one under its number differs.
func (in *Inspector) note(typ, id int, nal []byte) {
	k := [2]int{typ, id}
	if !bytes.Equal(in.raw[k], nal) {
		in.raw[k] = bytes.Clone(nal)
		in.changed = true
	}
}

func (in *Inspector) unit264(nal []byte, cur *picture, pics *[]*picture) (*picture, error) {
	switch typ := int(nal[0] & 31); typ {
	case h264SPS:
		cur = next(cur, pics)
		s, err := parseSPS264(nal)
		if err != nil {
			return cur, err
		}
		in.sps264[s.id] = s
		in.note(typ, s.id, nal)
		cur.units = append(cur.units, nal)
	case h264PPS:
		cur = next(cur, pics)
		p, err := parsePPS264(nal)
		if err != nil {
			return cur, err
		}
		in.pps264[p.id] = p
		in.note(typ, p.id, nal)
		cur.units = append(cur.units, nal)
	case h264SEI:
		cur = next(cur, pics)
		readSEI(nal, 1, H264, &cur.sei)
	case h264Slice, h264IDR:
		sl, err := parseSlice264(nal, in.sps264, in.pps264)
		if err != nil {
			cur.part = cur.stream != nil
			return cur, err
		}
		if sl.first == 0 {
			cur = next(cur, pics)
		}
		if cur.stream == nil {
			in.begin264(sl, cur)
		}
		cur.intra = cur.intra && sl.intra
		cur.units = append(cur.units, nal)
	case h264DataA, h264DataA + 1, h264DataC:
		return cur, refuse("the camera sends H.264 with data partitioning, which is not decoded; set it to the Main or High profile")
	}
	return cur, nil
}

// begin264 takes in the first slice of a picture: is it the one that must come next (7.4.3)?
//
// BUG(codec): memory management operation 5, which restarts frame_num in the middle of a sequence,
// is not read; a camera that used it would be called damaged until its next key picture.
func (in *Inspector) begin264(sl slice264, cur *picture) {
	cur.stream, cur.slicesFrom = &sl.sps.stream, len(cur.units)
	cur.key = sl.idr
	mod := 1 << sl.sps.frameNumBits
	cur.frameNum, cur.frameNums = sl.frameNum, mod
	cur.second = in.started && !sl.idr && sl.field && in.prevField && sl.bottom != in.prevLow && sl.frameNum == in.prevRef
	follows := in.started && (sl.sps.gapsAllowed || sl.frameNum == (in.prevRef+1)%mod)
	cur.gap = cur.gap || !sl.idr && !cur.second && !follows
	cur.part = cur.part || sl.first != 0
	in.order264(sl, cur)
	in.started = true
	in.prevField, in.prevLow = sl.field, sl.bottom
	if sl.ref {
		in.prevRef = sl.frameNum
	}
}

// order264 derives the picture order count (8.2.1). Type 2 has no other order than that of coding;
// type 1 is not worked out, for no camera is known to use it.
func (in *Inspector) order264(sl slice264, cur *picture) {
	switch sl.sps.pocType {
	case 0:
		if sl.idr {
			in.prevPOC = 0
		}
		cur.poc = nearest(sl.pocLsb, in.prevPOC, sl.sps.pocLsbBits)
		if sl.ref {
			in.prevPOC = cur.poc
		}
	case 1:
		cur.pocUnknown = true
	default:
		in.prevPOC++
		cur.poc = in.prevPOC
	}
}

// nearest completes the low bits of a picture order count to the number nearest to the one before.
func nearest(lsb, before, bits int) int {
	mod := 1 << bits
	prev := before & (mod - 1)
	poc := before - prev + lsb
	switch {
	case lsb < prev && prev-lsb >= mod/2:
		poc += mod
	case lsb > prev && lsb-prev > mod/2:
		poc -= mod
	}
	return poc
}

func (in *Inspector) unit265(nal []byte, cur *picture, pics *[]*picture) (*picture, error) {
	if len(nal) < 3 {
		return cur, nil
	}
	typ := int(nal[0] >> 1 & 63)
	if layer := int(nal[0]&1)<<5 | int(nal[1]>>3); layer > 0 {
		return cur, nil
	}
	switch {
	case typ == h265VPS:
		cur = next(cur, pics)
		in.note(typ, int(nal[2]>>4), nal)
		cur.units = append(cur.units, nal)
	case typ == h265SPS:
		cur = next(cur, pics)
		s, err := parseSPS265(nal)
		if err != nil {
			return cur, err
		}
		in.sps265[s.id] = s
		in.note(typ, s.id, nal)
		cur.units = append(cur.units, nal)
	case typ == h265PPS:
		cur = next(cur, pics)
		p, err := parsePPS265(nal)
		if err != nil {
			return cur, err
		}
		in.pps265[p.id] = p
		in.note(typ, p.id, nal)
		cur.units = append(cur.units, nal)
	case typ == h265PrefixSEI:
		cur = next(cur, pics)
		readSEI(nal, 2, H265, &cur.sei)
	case typ == h265EOS:
		in.ended = true
		cur.units = append(cur.units, nal)
	case typ <= h265RASLR || typ >= h265BLA && typ <= h265CRA:
		sl, err := parseSlice265(nal, typ, in.sps265, in.pps265)
		if err != nil {
			cur.part = cur.stream != nil
			return cur, err
		}
		if sl.first {
			cur = next(cur, pics)
		}
		if cur.stream == nil {
			in.begin265(sl, typ, int(nal[1]&7)-1, cur)
		}
		cur.intra = cur.intra && sl.intra
		cur.units = append(cur.units, nal)
	}
	return cur, nil
}

// begin265 derives the picture order count (8.3.1) and compares the reference picture set with what
// came before (8.3.2).
func (in *Inspector) begin265(sl slice265, typ, temporal int, cur *picture) {
	cur.stream, cur.slicesFrom = &sl.sps.stream, len(cur.units)
	cur.key = typ >= h265BLA
	cur.leading = typ == h265RASLN || typ == h265RASLR
	cur.part = cur.part || !sl.first
	fresh := typ >= h265BLA && typ < h265CRA || typ == h265CRA && in.ended
	if cur.key {
		in.skipped = fresh
		in.ended = false
	}
	poc := sl.pocLsb
	if !fresh {
		poc = nearest(sl.pocLsb, in.prevPOC, sl.sps.pocBits)
	}
	cur.poc = poc
	held := map[int]bool{poc: true}
	if !fresh {
		for _, d := range slices.Concat(sl.refs.negative, sl.refs.positive) {
			if in.held[poc+d.delta] {
				held[poc+d.delta] = true
			} else if d.used && !cur.key && !(cur.leading && in.skipped) {
				cur.gap = true
			}
		}
		in.holdLong(sl, held, cur)
	}
	in.held = held
	subLayerNonRef := typ < h265BLA && typ%2 == 0
	if temporal == 0 && !subLayerNonRef && (typ < h265RADLN || typ > h265RASLR) {
		in.prevPOC = poc
	}
}

func (in *Inspector) holdLong(sl slice265, held map[int]bool, cur *picture) {
	mask := 1<<sl.sps.pocBits - 1
	for _, l := range sl.long {
		found := false
		for poc := range maps.Keys(in.held) {
			if poc&mask == l.lsb {
				held[poc], found = true, true
			}
		}
		if !found && l.used && !cur.key {
			cur.gap = true
		}
	}
}
