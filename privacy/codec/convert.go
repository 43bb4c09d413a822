package codec

import (
	"unsafe"

	"custody-nvr/nvr"
	"custody-nvr/privacy/mask"

	ff "github.com/csnewman/ffmpeg-go"
)

// layout is how libavcodec's planes are read.
type layout struct {
	depth    int // bits of a sample; more than 8 are two bytes, low byte first
	gray     bool
	subX     int // chroma samples are halved so often in width
	subY     int
	fullJPEG bool
}

var layouts = map[ff.AVPixelFormat]layout{
	ff.AVPixFmtYuv420P:     {8, false, 1, 1, false},
	ff.AVPixFmtYuvj420P:    {8, false, 1, 1, true},
	ff.AVPixFmtYuv422P:     {8, false, 1, 0, false},
	ff.AVPixFmtYuvj422P:    {8, false, 1, 0, true},
	ff.AVPixFmtYuv444P:     {8, false, 0, 0, false},
	ff.AVPixFmtYuvj444P:    {8, false, 0, 0, true},
	ff.AVPixFmtGray8:       {8, true, 0, 0, false},
	ff.AVPixFmtGray10Le:    {10, true, 0, 0, false},
	ff.AVPixFmtGray12Le:    {12, true, 0, 0, false},
	ff.AVPixFmtYuv420P9Le:  {9, false, 1, 1, false},
	ff.AVPixFmtYuv422P9Le:  {9, false, 1, 0, false},
	ff.AVPixFmtYuv444P9Le:  {9, false, 0, 0, false},
	ff.AVPixFmtYuv420P10Le: {10, false, 1, 1, false},
	ff.AVPixFmtYuv422P10Le: {10, false, 1, 0, false},
	ff.AVPixFmtYuv444P10Le: {10, false, 0, 0, false},
	ff.AVPixFmtYuv420P12Le: {12, false, 1, 1, false},
	ff.AVPixFmtYuv422P12Le: {12, false, 1, 0, false},
	ff.AVPixFmtYuv444P12Le: {12, false, 0, 0, false},
}

// A converter brings pictures to 8 bit 4:2:0. What is that already is not copied.
type converter struct{ y, u, v []byte }

// source is one cropped plane of libavcodec's.
type source struct {
	b            []byte
	stride, w, h int
	wide         int // bits above 8
}

func (c *converter) planes(f *ff.AVFrame, left, top int, shown nvr.Size) (mask.Planes, error) {
	l, ok := layouts[ff.AVPixelFormat(f.Format())]
	if !ok {
		return mask.Planes{}, refuse("the camera sends a pixel format (number %d) that is not decoded; set it to 8 bit 4:2:0", f.Format())
	}
	p := mask.Planes{Size: shown, FullRange: l.fullJPEG || f.ColorRange() == ff.AVColRangeJpeg}
	y, err := plane(f, 0, left, top, shown.Width, shown.Height, l.depth)
	if err != nil {
		return p, err
	}
	p.Y, p.YStride = y.b, y.stride
	if l.depth > 8 {
		c.y = room(c.y, shown.Width*shown.Height)
		p.Y, p.YStride = c.y, shown.Width
		average(c.y, shown.Width, shown.Width, shown.Height, y, 0, 0)
	}
	cw, ch := (shown.Width+1)/2, (shown.Height+1)/2
	if l.gray {
		p.U, p.V, p.CStride = c.flat(cw*ch), c.flat(cw*ch), cw
		return p, nil
	}
	u, err := plane(f, 1, left>>l.subX, top>>l.subY, (shown.Width+l.subX)>>l.subX, (shown.Height+l.subY)>>l.subY, l.depth)
	if err != nil {
		return p, err
	}
	v, err := plane(f, 2, left>>l.subX, top>>l.subY, u.w, u.h, l.depth)
	if err != nil {
		return p, err
	}
	if l.depth == 8 && l.subX == 1 && l.subY == 1 && u.stride == v.stride {
		p.U, p.V, p.CStride = u.b, v.b, u.stride
		return p, nil
	}
	c.u, c.v = room(c.u, cw*ch), room(c.v, cw*ch)
	average(c.u, cw, cw, ch, u, 1-l.subX, 1-l.subY)
	average(c.v, cw, cw, ch, v, 1-l.subX, 1-l.subY)
	p.U, p.V, p.CStride = c.u, c.v, cw
	return p, nil
}

// flat is chroma without colour.
func (c *converter) flat(n int) []byte {
	if len(c.u) != n {
		c.u = make([]byte, n)
	}
	for i := range c.u {
		c.u[i] = 128
	}
	return c.u
}

func room(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// plane cuts the shown rectangle out of one of the frame's planes.
func plane(f *ff.AVFrame, i, left, top, w, h, depth int) (source, error) {
	data, stride := f.Data().Get(uintptr(i)), f.Linesize().Get(uintptr(i))
	size := 1
	if depth > 8 {
		size = 2
	}
	if data == nil || left < 0 || top < 0 || w < 1 || h < 1 || stride < (left+w)*size {
		return source{}, damaged("plane %d of %dx%d at %d,%d is not there", i, w, h, left, top)
	}
	all := unsafe.Slice((*byte)(data), (top+h-1)*stride+(left+w)*size)
	return source{b: all[top*stride+left*size:], stride: stride, w: w, h: h, wide: depth - 8}, nil
}

// at reads a sample in its full depth.
func (s *source) at(x, y int) int {
	if s.wide == 0 {
		return int(s.b[y*s.stride+x])
	}
	i := y*s.stride + 2*x
	return int(s.b[i]) | int(s.b[i+1])<<8
}

// average writes dst of w x h, each sample the rounded mean of 1<<halveX x 1<<halveY of the source;
// past its edge, the edge counts.
func average(dst []byte, stride, w, h int, s source, halveX, halveY int) {
	shift := s.wide + halveX + halveY
	half := 1 << shift >> 1
	for y := range h {
		y0 := min(y<<halveY, s.h-1)
		y1 := min(y0+halveY, s.h-1)
		row := dst[y*stride:][:w]
		for x := range row {
			x0 := min(x<<halveX, s.w-1)
			x1 := min(x0+halveX, s.w-1)
			sum := s.at(x0, y0)
			if halveX > 0 {
				sum += s.at(x1, y0)
			}
			if halveY > 0 {
				sum += s.at(x0, y1)
				if halveX > 0 {
					sum += s.at(x1, y1)
				}
			}
			row[x] = byte(min((sum+half)>>shift, 255))
		}
	}
}
