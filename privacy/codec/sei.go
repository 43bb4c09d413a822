package codec

// sei is what is read of supplemental information. Nothing of the camera's own bytes goes further.
type sei struct {
	recovery int // frames or POC steps to a clean picture; noRecovery where none is announced
	display  bool
	rotation int // see Geometry.Rotation
}

const noRecovery = -1 << 31

// readSEI walks the messages of one SEI NAL unit. Both codings share the numbers used here.
func readSEI(nal []byte, header int, kind Kind, out *sei) {
	b := rbsp(nal, header, seiBytes).b
	for len(b) > 2 {
		typ, size := 0, 0
		for len(b) > 0 && b[0] == 255 {
			typ, b = typ+255, b[1:]
		}
		if len(b) == 0 {
			return
		}
		typ, b = typ+int(b[0]), b[1:]
		for len(b) > 0 && b[0] == 255 {
			size, b = size+255, b[1:]
		}
		if len(b) == 0 {
			return
		}
		size, b = size+int(b[0]), b[1:]
		if size > len(b) {
			return
		}
		out.message(typ, &bitReader{b: b[:size]}, kind)
		b = b[size:]
	}
}

func (s *sei) message(typ int, r *bitReader, kind Kind) {
	switch typ {
	case seiRecovery:
		n := 0
		if kind == H264 {
			n = r.ue()
		} else {
			n = r.se()
		}
		if !r.bad && n < 1<<16 && n > -1<<16 {
			s.recovery = n
		}
	case seiDisplay:
		if r.flag() { // cancelled
			s.display, s.rotation = true, 0
			return
		}
		hor, ver, turn := r.u1(), r.u1(), r.u(16)
		if !r.bad {
			s.display = true
			s.rotation = (turn*360 + 1<<15) >> 16 % 360
			s.rotation += 360*hor + 720*ver
		}
	}
}

// recoverySEI is a recovery point message of our own making: libavcodec calls pictures corrupt for
// ever where a stream starts at a recovery point and none is announced.
func recoverySEI(frames int) []byte {
	w := bitWriter{}
	w.ue(frames)
	w.bits(0b1000, 4) // exact match, link not broken, no changing slice groups
	w.bits(1, 1)
	for w.n%8 != 0 {
		w.bits(0, 1)
	}
	nal := append([]byte{h264SEI, seiRecovery, byte(len(w.b))}, w.b...)
	return append(nal, 0x80)
}

type bitWriter struct {
	b []byte
	n int
}

func (w *bitWriter) bits(v, n int) {
	for i := n - 1; i >= 0; i-- {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[w.n/8] |= byte(v>>i&1) << (7 - w.n%8)
		w.n++
	}
}

func (w *bitWriter) ue(v int) {
	n := 0
	for (v+1)>>(n+1) != 0 {
		n++
	}
	w.bits(0, n)
	w.bits(v+1, n+1)
}
