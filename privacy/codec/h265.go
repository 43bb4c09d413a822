package codec

import (
	"math/bits"

	"custody-nvr/nvr"
)

// NAL unit types of H.265.
const (
	h265RADLN     = 6
	h265RASLN     = 8
	h265RASLR     = 9
	h265BLA       = 16 // to 18
	h265IDR       = 19 // and 20
	h265CRA       = 21
	h265LastIRAP  = 23
	h265VPS       = 32
	h265SPS       = 33
	h265PPS       = 34
	h265EOS       = 36
	h265PrefixSEI = 39
	maxSPS265     = 16
	maxPPS265     = 64
	maxRefs265    = 16
)

type sps265 struct {
	stream
	id            int
	pocBits       int
	addressBits   int
	sets          []refSet
	longTerm      bool
	longTermPOC   []int
	longTermInUse []bool
}

// A refSet is a short-term reference picture set: POC differences and whether the current picture
// itself uses the picture.
type refSet struct {
	negative, positive []refDelta // nearest first
}

type refDelta struct {
	delta int
	used  bool
}

func parseSPS265(nal []byte) (*sps265, error) {
	r := rbsp(nal, 2, paramBytes)
	s := &sps265{}
	r.skip(4)
	layers := r.within(r.u(3), 0, 6)
	r.skip(1)
	s.readProfile(r, layers)
	s.id = r.within(r.ue(), 0, maxSPS265-1)
	s.chroma = r.within(r.ue(), 0, 3)
	if s.chroma == 3 {
		s.separate = r.flag()
	}
	s.coded = nvr.Size{Width: r.within(r.ue(), 0, maxSize), Height: r.within(r.ue(), 0, maxSize)}
	if r.flag() { // conformance_window_flag
		ux, uy := cropUnits(s.chroma, s.separate)
		s.crop.left, s.crop.right = r.within(r.ue(), 0, maxSize)*ux, r.within(r.ue(), 0, maxSize)*ux
		s.crop.top, s.crop.bottom = r.within(r.ue(), 0, maxSize)*uy, r.within(r.ue(), 0, maxSize)*uy
	}
	s.checkSize(r)
	s.depth, s.depthC = r.within(r.ue(), 0, 8)+8, r.within(r.ue(), 0, 8)+8
	s.pocBits = r.within(r.ue(), 0, 12) + 4
	from := layers
	if r.flag() { // sps_sub_layer_ordering_info_present_flag
		from = 0
	}
	for i := from; i <= layers; i++ {
		r.ue()
		s.reorder = r.within(r.ue(), 0, maxRefs265)
		r.ue()
	}
	ctb := 1 << (r.within(r.ue(), 0, 3) + 3 + r.within(r.ue(), 0, 3))
	for range 4 {
		r.ue()
	}
	s.readTools(r)
	s.readSets(r)
	if r.bad {
		return nil, damaged("H.265 sequence parameter set of %d bytes", len(nal))
	}
	n := ((s.coded.Width + ctb - 1) / ctb) * ((s.coded.Height + ctb - 1) / ctb)
	s.addressBits = ceilLog2(n)
	r.skip(2)     // temporal motion vectors, strong intra smoothing
	if r.flag() { // vui_parameters_present_flag; as far as it goes, see parseSPS264
		s.vui(r)
		r.skip(1)
		s.interlaced = s.interlaced || r.flag() // field_seq_flag
	}
	return s, nil
}

func ceilLog2(n int) int { return bits.Len(uint(n - 1)) }

func (s *sps265) readProfile(r *bitReader, layers int) {
	r.skip(3)
	s.profile = r.u(5)
	r.skip(32)
	progressive, interlaced := r.flag(), r.flag()
	s.interlaced = interlaced && !progressive
	r.skip(46 + 8)
	var profile, level [8]bool
	for i := range layers {
		profile[i], level[i] = r.flag(), r.flag()
	}
	if layers > 0 {
		r.skip(2 * (8 - layers))
	}
	for i := range layers {
		if profile[i] {
			r.skip(88)
		}
		if level[i] {
			r.skip(8)
		}
	}
}

func (s *sps265) readTools(r *bitReader) {
	enabled := r.flag()      // scaling_list_enabled_flag
	if enabled && r.flag() { // sps_scaling_list_data_present_flag
		for size := range 4 {
			step := 1
			if size == 3 {
				step = 3
			}
			for matrix := 0; matrix < 6; matrix += step {
				if !r.flag() {
					r.ue()
					continue
				}
				if size > 1 {
					r.se()
				}
				for range min(64, 1<<(4+2*size)) {
					r.se()
				}
			}
		}
	}
	r.skip(2)     // amp, sample adaptive offset
	if r.flag() { // pcm_enabled_flag
		r.skip(8)
		r.ue()
		r.ue()
		r.skip(1)
	}
}

func (s *sps265) readSets(r *bitReader) {
	n := r.within(r.ue(), 0, 64)
	for i := range n {
		s.sets = append(s.sets, readRefSet(r, i, n, s.sets))
		if r.bad {
			return
		}
	}
	s.longTerm = r.flag()
	if s.longTerm {
		for range r.within(r.ue(), 0, 32) {
			s.longTermPOC = append(s.longTermPOC, r.u(s.pocBits))
			s.longTermInUse = append(s.longTermInUse, r.flag())
		}
	}
}

// readRefSet reads st_ref_pic_set(index) of n; index n stands in a slice header.
func readRefSet(r *bitReader, index, n int, sets []refSet) refSet {
	if index > 0 && r.flag() {
		back := 1
		if index == n {
			back = r.within(r.ue(), 0, n-1) + 1
		}
		return predictRefSet(r, sets[index-back])
	}
	neg, pos := r.within(r.ue(), 0, maxRefs265), r.within(r.ue(), 0, maxRefs265)
	var set refSet
	at := 0
	for range neg {
		at -= r.within(r.ue(), 0, 1<<15) + 1
		set.negative = append(set.negative, refDelta{at, r.flag()})
	}
	at = 0
	for range pos {
		at += r.within(r.ue(), 0, 1<<15) + 1
		set.positive = append(set.positive, refDelta{at, r.flag()})
	}
	return set
}

// predictRefSet derives a set from another one (7.4.8, equations 7-61 and 7-62).
func predictRefSet(r *bitReader, ref refSet) refSet {
	sign := r.u1()
	shift := (1 - 2*sign) * (r.within(r.ue(), 0, 1<<15) + 1)
	// The entries of the other set in the order of its flags, with the set itself at the end.
	entries := append(append(append([]refDelta(nil), ref.negative...), ref.positive...), refDelta{})
	type kept struct {
		refDelta
		keep bool
	}
	out := make([]kept, len(entries))
	for j, e := range entries {
		used := r.flag()
		keep := used || r.flag()
		out[j] = kept{refDelta{e.delta + shift, used}, keep}
	}
	nNeg, last := len(ref.negative), len(entries)-1
	var set refSet
	take := func(list *[]refDelta, j int, negative bool) {
		if k := out[j]; k.keep && (negative && k.delta < 0 || !negative && k.delta > 0) {
			*list = append(*list, k.refDelta)
		}
	}
	for j := last - 1; j >= nNeg; j-- {
		take(&set.negative, j, true)
	}
	take(&set.negative, last, true)
	for j := range nNeg {
		take(&set.negative, j, true)
	}
	for j := nNeg - 1; j >= 0; j-- {
		take(&set.positive, j, false)
	}
	take(&set.positive, last, false)
	for j := nNeg; j < last; j++ {
		take(&set.positive, j, false)
	}
	if len(set.negative)+len(set.positive) > maxRefs265 {
		r.bad = true
	}
	return set
}

type pps265 struct {
	id, sps, extraBits   int
	dependent, outputFlg bool
}

func parsePPS265(nal []byte) (*pps265, error) {
	r := rbsp(nal, 2, 64)
	p := &pps265{id: r.within(r.ue(), 0, maxPPS265-1), sps: r.within(r.ue(), 0, maxSPS265-1)}
	p.dependent, p.outputFlg = r.flag(), r.flag()
	p.extraBits = r.u(3)
	if r.bad {
		return nil, damaged("H.265 picture parameter set of %d bytes", len(nal))
	}
	return p, nil
}

type slice265 struct {
	first  bool // of its picture
	intra  bool // refers to no other picture
	pocLsb int
	refs   refSet
	long   []longRef
	sps    *sps265
}

type longRef struct {
	lsb  int
	used bool
}

func parseSlice265(nal []byte, typ int, spss map[int]*sps265, ppss map[int]*pps265) (slice265, error) {
	r := rbsp(nal, 2, headerBytes)
	sl := slice265{first: r.flag()}
	if typ >= h265BLA && typ <= h265LastIRAP {
		r.skip(1)
	}
	pps := ppss[r.within(r.ue(), 0, maxPPS265-1)]
	if r.bad {
		return sl, damaged("H.265 slice header of %d bytes", len(nal))
	}
	if pps == nil || spss[pps.sps] == nil {
		return sl, damaged("H.265 slice without parameter sets")
	}
	sl.sps = spss[pps.sps]
	if !sl.first {
		dependent := pps.dependent && r.flag()
		r.skip(sl.sps.addressBits)
		if dependent { // has no header of its own
			sl.intra = true
			return sl, nil
		}
	}
	r.skip(pps.extraBits)
	sl.intra = r.ue() == 2
	if r.bad {
		return sl, damaged("H.265 slice header of %d bytes", len(nal))
	}
	if !sl.first { // the rest only repeats what the first slice said
		return sl, nil
	}
	if pps.outputFlg {
		r.skip(1)
	}
	if sl.sps.separate {
		r.skip(2)
	}
	if typ != h265IDR && typ != h265IDR+1 {
		sl.readRefs(r)
	}
	if r.bad {
		return sl, damaged("H.265 slice header of %d bytes", len(nal))
	}
	return sl, nil
}

func (sl *slice265) readRefs(r *bitReader) {
	s := sl.sps
	sl.pocLsb = r.u(s.pocBits)
	if !r.flag() { // short_term_ref_pic_set_sps_flag
		sl.refs = readRefSet(r, len(s.sets), len(s.sets), s.sets)
	} else if len(s.sets) > 0 {
		sl.refs = s.sets[r.within(r.u(ceilLog2(len(s.sets))), 0, len(s.sets)-1)]
	} else {
		r.bad = true
	}
	if !s.longTerm {
		return
	}
	known := 0
	if len(s.longTermPOC) > 0 {
		known = r.within(r.ue(), 0, maxRefs265)
	}
	for i := range known + r.within(r.ue(), 0, maxRefs265) {
		var l longRef
		if i < known {
			j := r.within(r.u(ceilLog2(len(s.longTermPOC))), 0, len(s.longTermPOC)-1)
			l = longRef{s.longTermPOC[j], s.longTermInUse[j]}
		} else {
			l = longRef{r.u(s.pocBits), r.flag()}
		}
		if r.flag() {
			r.ue()
		}
		sl.long = append(sl.long, l)
	}
}
