package codec

import "custody-nvr/nvr"

// NAL unit types of H.264.
const (
	h264Slice    = 1
	h264DataA    = 2
	h264DataC    = 4
	h264IDR      = 5
	h264SEI      = 6
	h264SPS      = 7
	h264PPS      = 8
	paramBytes   = 4096 // of a parameter set are looked at
	headerBytes  = 512  // of a slice are looked at
	seiBytes     = 4096
	seiRecovery  = 6
	seiDisplay   = 47
	maxSPS264    = 32
	maxPPS264    = 256
	profileBase  = 66
	extended     = 88
	maxFrameBits = 16
)

type sps264 struct {
	stream
	id           int
	frameNumBits int
	pocType      int
	pocLsbBits   int
	gapsAllowed  bool
	frameMbsOnly bool
}

// parseSPS264 reads a sequence parameter set. The VUI is read as far as it goes: cameras write
// broken ones, and nothing the safety of a picture hangs on stands there.
func parseSPS264(nal []byte) (*sps264, error) {
	r := rbsp(nal, 1, paramBytes)
	s := &sps264{}
	s.profile = r.u(8)
	r.skip(16) // constraints, level
	s.id = r.within(r.ue(), 0, maxSPS264-1)
	s.chroma, s.depth, s.depthC = 1, 8, 8
	if highProfile(s.profile) {
		s.readHigh(r)
	}
	s.frameNumBits = r.within(r.ue(), 0, maxFrameBits-4) + 4
	s.readPOC(r)
	r.within(r.ue(), 0, 16) // max_num_ref_frames
	s.gapsAllowed = r.flag()
	w, h := r.within(r.ue(), 0, maxSize/16), r.within(r.ue(), 0, maxSize/16)
	s.frameMbsOnly = r.flag()
	fields := 1
	if !s.frameMbsOnly {
		fields = 2
		s.interlaced = true
		r.skip(1) // mb_adaptive_frame_field_flag
	}
	s.coded = nvr.Size{Width: (w + 1) * 16, Height: (h + 1) * 16 * fields}
	r.skip(1)     // direct_8x8_inference_flag
	if r.flag() { // frame_cropping_flag
		ux, uy := cropUnits(s.chroma, s.separate)
		uy *= fields
		max := maxSize
		s.crop.left, s.crop.right = r.within(r.ue(), 0, max)*ux, r.within(r.ue(), 0, max)*ux
		s.crop.top, s.crop.bottom = r.within(r.ue(), 0, max)*uy, r.within(r.ue(), 0, max)*uy
	}
	s.checkSize(r)
	if r.bad {
		return nil, damaged("H.264 sequence parameter set of %d bytes", len(nal))
	}
	s.reorder = -1
	if s.profile == profileBase || s.pocType == 2 {
		s.reorder = 0
	}
	if r.flag() {
		s.readVUI(r)
	}
	return s, nil
}

func highProfile(p int) bool {
	switch p {
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
		return true
	}
	return false
}

func (s *sps264) readHigh(r *bitReader) {
	s.chroma = r.within(r.ue(), 0, 3)
	if s.chroma == 3 {
		s.separate = r.flag()
	}
	s.depth, s.depthC = r.within(r.ue(), 0, 6)+8, r.within(r.ue(), 0, 6)+8
	r.skip(1)      // qpprime_y_zero_transform_bypass_flag
	if !r.flag() { // seq_scaling_matrix_present_flag
		return
	}
	lists := 8
	if s.chroma == 3 {
		lists = 12
	}
	for i := range lists {
		if !r.flag() {
			continue
		}
		size := 16
		if i >= 6 {
			size = 64
		}
		last, next := 8, 8
		for range size {
			if next != 0 {
				next = (last + r.se() + 512) % 256
			}
			if next != 0 {
				last = next
			}
		}
	}
}

func (s *sps264) readPOC(r *bitReader) {
	s.pocType = r.within(r.ue(), 0, 2)
	switch s.pocType {
	case 0:
		s.pocLsbBits = r.within(r.ue(), 0, 12) + 4
	case 1:
		r.skip(1)
		r.se()
		r.se()
		for range r.within(r.ue(), 0, 255) {
			r.se()
		}
	}
}

func (s *sps264) readVUI(r *bitReader) {
	s.vui(r)
	if r.flag() { // timing_info_present_flag
		r.skip(65)
	}
	nal := r.flag()
	if nal {
		skipHRD(r)
	}
	vcl := r.flag()
	if vcl {
		skipHRD(r)
	}
	if nal || vcl {
		r.skip(1)
	}
	r.skip(1)     // pic_struct_present_flag
	if r.flag() { // bitstream_restriction_flag
		r.skip(1)
		for range 4 {
			r.ue()
		}
		if n := r.ue(); !r.bad {
			s.reorder = n
		}
	}
}

func skipHRD(r *bitReader) {
	n := r.within(r.ue(), 0, 31) + 1
	r.skip(8)
	for range n {
		r.ue()
		r.ue()
		r.skip(1)
	}
	r.skip(20)
}

type pps264 struct{ id, sps int }

func parsePPS264(nal []byte) (*pps264, error) {
	r := rbsp(nal, 1, 64)
	p := &pps264{id: r.within(r.ue(), 0, maxPPS264-1), sps: r.within(r.ue(), 0, maxSPS264-1)}
	if r.bad {
		return nil, damaged("H.264 picture parameter set of %d bytes", len(nal))
	}
	return p, nil
}

type slice264 struct {
	idr, ref, field, bottom, intra bool
	first, frameNum, pocLsb        int
	sps                            *sps264
}

// parseSlice264 reads the start of a slice header, with the parameter sets known so far.
func parseSlice264(nal []byte, spss map[int]*sps264, ppss map[int]*pps264) (slice264, error) {
	r := rbsp(nal, 1, 64)
	sl := slice264{}
	sl.ref = len(nal) > 0 && nal[0]>>5&3 != 0
	sl.idr = len(nal) > 0 && nal[0]&31 == h264IDR
	sl.first = r.ue()
	typ := r.within(r.ue(), 0, 9) % 5
	sl.intra = typ == 2 || typ == 4
	pps := ppss[r.within(r.ue(), 0, maxPPS264-1)]
	if r.bad {
		return sl, damaged("H.264 slice header of %d bytes", len(nal))
	}
	if pps == nil || spss[pps.sps] == nil {
		return sl, damaged("H.264 slice without parameter sets")
	}
	sl.sps = spss[pps.sps]
	if sl.sps.separate {
		r.skip(2)
	}
	sl.frameNum = r.u(sl.sps.frameNumBits)
	if !sl.sps.frameMbsOnly && r.flag() {
		sl.field, sl.bottom = true, r.flag()
	}
	if sl.idr {
		r.ue() // idr_pic_id
	}
	if sl.sps.pocType == 0 {
		sl.pocLsb = r.u(sl.sps.pocLsbBits)
	}
	if r.bad {
		return sl, damaged("H.264 slice header of %d bytes", len(nal))
	}
	return sl, nil
}
