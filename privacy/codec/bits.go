package codec

// A bitReader reads the header fields of a NAL unit. It never fails on the way: past the end it
// reads zeros and sets bad, which the parser asks for at the places that matter.
type bitReader struct {
	b   []byte // RBSP
	pos int    // in bits
	bad bool
}

// rbsp gives the reader of the payload of a NAL unit: header bytes skipped, emulation prevention
// removed, at most limit bytes.
func rbsp(nal []byte, header, limit int) *bitReader {
	if len(nal) < header {
		return &bitReader{bad: true}
	}
	nal = nal[header:]
	out := make([]byte, 0, min(len(nal), limit))
	zeros := 0
	for _, c := range nal {
		if len(out) == limit {
			break
		}
		if zeros >= 2 && c == 3 {
			zeros = 0
			continue
		}
		if c == 0 {
			zeros++
		} else {
			zeros = 0
		}
		out = append(out, c)
	}
	return &bitReader{b: out}
}

func (r *bitReader) u1() int {
	if r.pos >= len(r.b)*8 {
		r.bad = true
		return 0
	}
	v := r.b[r.pos/8] >> (7 - r.pos%8) & 1
	r.pos++
	return int(v)
}

func (r *bitReader) flag() bool { return r.u1() == 1 }

// u reads n <= 32 bits.
func (r *bitReader) u(n int) int {
	v := 0
	for range n {
		v = v<<1 | r.u1()
	}
	return v
}

func (r *bitReader) skip(n int) {
	r.pos += n
	if r.pos > len(r.b)*8 {
		r.bad = true
	}
}

// ue reads an unsigned Exp-Golomb number; more than 31 zeros in front are no number.
func (r *bitReader) ue() int {
	n := 0
	for r.u1() == 0 {
		n++
		if n > 31 || r.bad {
			r.bad = true
			return 0
		}
	}
	return 1<<n - 1 + r.u(n)
}

func (r *bitReader) se() int {
	v := r.ue()
	if v&1 == 1 {
		return (v + 1) / 2
	}
	return -(v / 2)
}

// within marks the reader bad where v is out of range, and gives 0 then.
func (r *bitReader) within(v, lo, hi int) int {
	if v < lo || v > hi {
		r.bad = true
		return 0
	}
	return v
}
