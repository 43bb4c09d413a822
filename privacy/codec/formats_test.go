package codec

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"custody-nvr/nvr"
	"custody-nvr/privacy/mask"
)

// made lets ffmpeg code a drawn clip of 20 pictures.
func made(tb testing.TB, kind Kind, size string, args ...string) [][][]byte {
	tb.Helper()
	coder, form := "libx264", "h264"
	if kind == H265 {
		coder, form = "libx265", "hevc"
		args = append(args, "-x265-params", "log-level=none:pools=1:frame-threads=1:keyint=10")
	}
	all := append([]string{"-f", "lavfi", "-i", "testsrc=s=" + size + ":r=25:d=0.8", "-c:v", coder, "-g", "10"}, args...)
	return units(tb, kind, ffmpeg(tb, nil, append(all, "-f", form, "-")...))
}

func TestEverySourceFormatBecomesPlainPictures(t *testing.T) {
	for _, c := range []struct {
		name  string
		kind  Kind
		size  string
		args  string
		want  string // Geometry as text
		exact bool   // ffmpeg needs no conversion either
	}{
		{"H.264 with B-frames", H264, "176x144", "-pix_fmt yuv420p -bf 3", "176x144 of 176x144 1:1 4:2:0 8p", true},
		{"H.264 cropped", H264, "178x146", "-pix_fmt yuv420p", "178x146 of 192x160 1:1 4:2:0 8p", true},
		{"H.264 cropped on all sides", H264, "192x160", "-pix_fmt yuv420p -bsf:v h264_metadata=crop_left=6:crop_right=4:crop_top=2:crop_bottom=10", "182x148 of 192x160 1:1 4:2:0 8p", true},
		{"H.265 cropped on all sides", H265, "192x160", "-pix_fmt yuv420p -bsf:v hevc_metadata=crop_left=6:crop_right=4:crop_top=2:crop_bottom=10", "182x148 of 192x160 1:1 4:2:0 8p", true},
		{"H.264 full range", H264, "176x144", "-pix_fmt yuvj420p", "176x144 of 176x144 1:1 4:2:0 8p full", true},
		{"H.264 interlaced", H264, "176x160", "-pix_fmt yuv420p -flags +ildct+ilme -x264-params interlaced=1", "176x160 of 176x160 1:1 4:2:0 8i", true},
		{"H.264 wide pixels", H264, "176x144", "-pix_fmt yuv420p -aspect 16:9", "176x144 of 176x144 16:11 4:2:0 8p", true},
		{"H.264 4:2:2", H264, "176x144", "-pix_fmt yuv422p", "176x144 of 176x144 1:1 4:2:2 8p", false},
		{"H.264 4:4:4 odd", H264, "177x143", "-pix_fmt yuv444p", "177x143 of 192x144 1:1 4:4:4 8p", false},
		{"H.264 10 bit", H264, "176x144", "-pix_fmt yuv420p10le", "176x144 of 176x144 1:1 4:2:0 10p", false},
		{"H.264 4:2:2 10 bit", H264, "176x144", "-pix_fmt yuv422p10le", "176x144 of 176x144 1:1 4:2:2 10p", false},
		{"H.264 grey", H264, "177x143", "-pix_fmt gray", "177x143 of 192x144 1:1 4:0:0 8p full", false},
		{"H.264 many slices", H264, "176x144", "-pix_fmt yuv420p -x264-params slices=9", "176x144 of 176x144 1:1 4:2:0 8p", true},
		{"H.265 with B-frames", H265, "176x144", "-pix_fmt yuv420p -bf 3", "176x144 of 176x144 1:1 4:2:0 8p", true},
		{"H.265 cropped", H265, "178x146", "-pix_fmt yuv420p", "178x146 of 184x152 1:1 4:2:0 8p", true},
		{"H.265 4:2:2 10 bit", H265, "176x144", "-pix_fmt yuv422p10le", "176x144 of 176x144 1:1 4:2:2 10p", false},
		{"H.265 4:4:4 odd", H265, "177x143", "-pix_fmt yuv444p", "177x143 of 184x144 1:1 4:4:4 8p", false},
		{"H.265 12 bit", H265, "176x144", "-pix_fmt yuv420p12le", "176x144 of 176x144 1:1 4:2:0 12p", false},
		{"H.265 grey", H265, "176x144", "-pix_fmt gray", "176x144 of 176x144 1:1 4:0:0 8p full", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			aus := made(t, c.kind, c.size, strings.Fields(c.args)...)
			var got []byte
			n, text := 0, ""
			decodeAll(t, c.kind, aus, func(p Decoded) {
				n++
				text = describe(p)
				got = append(got, i420(p.Planes)...)
				if p.Damaged {
					t.Errorf("picture %d is called damaged", n)
				}
			})
			if n != 20 || text != c.want {
				t.Errorf("%d pictures of %s, want 20 of %s", n, text, c.want)
			}
			pixels := "yuv420p"
			if c.exact {
				pixels = ""
			} else if strings.Contains(c.want, "full") {
				pixels = "yuvj420p"
			}
			if strings.Contains(c.want, "4:4:4") {
				pixels = "yuv444p"
			}
			want := reference(t, c.kind, aus, pixels)
			if pixels == "yuv444p" { // swscale takes chroma from another place than the middle
				want = quarter(want, 177, 143)
			}
			compare(t, got, want, c.exact)
		})
	}
}

func describe(p Decoded) string {
	g := p.Geometry
	s := fmt.Sprintf("%s of %s %d:%d %s %d", g.Shown, g.Coded, g.AspectW, g.AspectH, g.Chroma, g.Depth)
	if g.Interlaced {
		s += "i"
	} else {
		s += "p"
	}
	if g.FullRange != p.Planes.FullRange || g.Shown != p.Planes.Size {
		s += " (planes differ)"
	}
	if g.FullRange {
		s += " full"
	}
	return s
}

// i420 lays out the three planes one after the other.
func i420(p mask.Planes) []byte {
	var out []byte
	for y := range p.Size.Height {
		out = append(out, p.Y[y*p.YStride:][:p.Size.Width]...)
	}
	for _, c := range [][]byte{p.U, p.V} {
		for y := range (p.Size.Height + 1) / 2 {
			out = append(out, c[y*p.CStride:][:(p.Size.Width+1)/2]...)
		}
	}
	return out
}

// reference decodes by ffmpeg, and lets it convert where pixels are named.
func reference(t *testing.T, kind Kind, aus [][][]byte, pixels string) []byte {
	t.Helper()
	var stream []byte
	for _, au := range aus {
		for _, u := range au {
			stream = append(append(stream, 0, 0, 0, 1), u...)
		}
	}
	form := "h264"
	if kind == H265 {
		form = "hevc"
	}
	args := []string{"-flags", "unaligned", "-f", form, "-i", "-", "-fps_mode", "passthrough", "-f", "rawvideo"}
	if pixels != "" {
		args = append(args, "-pix_fmt", pixels, "-sws_flags", "area+accurate_rnd+full_chroma_inp")
	}
	return ffmpeg(t, stream, append(args, "-")...)
}

// quarter halves the chroma of 4:4:4 pictures both ways, plainly.
func quarter(b []byte, w, h int) (out []byte) {
	for ; len(b) > 0; b = b[3*w*h:] {
		out = append(out, b[:w*h]...)
		for plane := 1; plane <= 2; plane++ {
			c := b[plane*w*h:][:w*h]
			for y := 0; y < h; y += 2 {
				for x := 0; x < w; x += 2 {
					x1, y1 := min(x+1, w-1), min(y+1, h-1)
					out = append(out, byte((int(c[y*w+x])+int(c[y*w+x1])+int(c[y1*w+x])+int(c[y1*w+x1])+2)/4))
				}
			}
		}
	}
	return out
}

// compare requires equal samples, or where ffmpeg converts in its own way, close ones.
func compare(t *testing.T, got, want []byte, exact bool) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d bytes, ffmpeg has %d", len(got), len(want))
	}
	sum := 0
	for i := range got {
		d := int(got[i]) - int(want[i])
		sum += d * d
	}
	mean := float64(sum) / float64(len(got))
	if exact && sum != 0 || mean > 4 {
		t.Errorf("mean square difference to ffmpeg is %.3f", mean)
	}
}

func TestWhatIsNotDecodedIsRefusedWithACause(t *testing.T) {
	for _, c := range []struct {
		name, args, want string
		limits           Limits
	}{
		{"too large", "-pix_fmt yuv420p", "176x144", Limits{MaxPixels: 176*144 - 1}},
		{"RGB in 4:4:4", "-c:v libx264rgb -pix_fmt rgb24 -bf 0", "pixel format", Limits{}},
		{"too many units", "-pix_fmt yuv420p -x264-params slices=9", "NAL units", Limits{MaxUnits: 8}},
		{"too many bytes", "-pix_fmt yuv420p", "bytes", Limits{MaxBytes: 1000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			aus := made(t, H264, "176x144", strings.Fields(c.args)...)
			d, err := NewDecoder(H264, c.limits)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			err = d.Decode(aus[0], 0, func(Decoded) error { t.Error("a picture is shown"); return nil })
			refused, ok := errors.AsType[*Refused](err)
			if !ok || !strings.Contains(refused.What, c.want) {
				t.Errorf("error %v, want a refusal that says %q", err, c.want)
			}
		})
	}
	if _, err := NewDecoder("mjpeg", Limits{}); err == nil {
		t.Error("a decoder for MJPEG was made")
	}
}

// bigSPS writes a sequence parameter set of any size, as a lying camera would.
func bigSPS(w, h int) []byte {
	b := bitWriter{b: []byte{0x67, 66, 0xC0, 30}, n: 32}
	for _, v := range []int{0, 0, 2, 1} { // id, frame_num bits, POC type, references
		b.ue(v)
	}
	b.bits(0, 1)
	b.ue(w/16 - 1)
	b.ue(h/16 - 1)
	b.bits(0b110, 3) // frames only, direct 8x8, no cropping
	b.bits(0, 1)
	b.bits(1, 1)
	return b.b
}

func TestSizesThatNoCameraHasNeverReachTheDecoder(t *testing.T) {
	aus := made(t, H264, "176x144", "-pix_fmt", "yuv420p")
	for _, size := range []nvr.Size{{Width: 16384, Height: 16384}, {Width: 16, Height: 1 << 20}, {Width: 8192, Height: 4320}} {
		d, err := NewDecoder(H264, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		au := append([][]byte{bigSPS(size.Width, size.Height)}, aus[0][1:]...)
		if err := d.Decode(au, 0, func(Decoded) error { t.Error("a picture is shown"); return nil }); err == nil {
			t.Errorf("%s was accepted", size)
		}
	}
}

func TestAnOddPictureIsPaddedAndItsRangeIsKept(t *testing.T) {
	for _, full := range []bool{false, true} {
		size := nvr.Size{Width: 177, Height: 143}
		e := testEncoder(t, EncoderConfig{Size: size, FullRange: full})
		src := mask.NewPlanes(size, full)
		drawNoise(src, 1, 9)
		plan := testPlan(t, size, corner)
		p, err := e.Encode(plan.Apply(src, 1, 1, e.Canvas()), 0, true)
		if err != nil {
			t.Fatal(err)
		}
		au := append([][]byte{p.SPS, p.PPS}, p.NALs...)
		decodeAll(t, H264, [][][]byte{au}, func(q Decoded) {
			if q.Geometry.Shown != (nvr.Size{Width: 178, Height: 144}) || q.Geometry.FullRange != full || q.Geometry.Profile != 100 {
				t.Errorf("coded as %s, full range %v", q.Geometry.Fingerprint(), q.Geometry.FullRange)
			}
			requireMasked(t, plan, q.Planes)
		})
	}
}

// border is how far into the mask the encoder carries its own noise: the deblocking filter changes
// three samples at a block's edge, and one more is for prediction. What is carried there is the
// visible side of the masked picture, never what is hidden.
const border = 4

// requireMasked requires the fill colour behind the mask: within 2, and within 8 at its border.
func requireMasked(t *testing.T, plan *mask.Plan, p mask.Planes) {
	t.Helper()
	off := func(got byte, want int) int { return max(int(got)-want, want-int(got)) }
	size := plan.Size()
	for y := range size.Height {
		for x := range size.Width {
			if !plan.Covers(x, y) {
				continue
			}
			allowed := 2
			if !plan.Covers(x-border, y) || !plan.Covers(x+border, y) || !plan.Covers(x, y-border) || !plan.Covers(x, y+border) {
				allowed = 8
			}
			c := y/2*p.CStride + x/2
			if d := max(off(p.Y[y*p.YStride+x], mask.FillY), off(p.U[c], mask.FillU), off(p.V[c], mask.FillV)); d > allowed {
				t.Fatalf("sample %d,%d behind the mask is off by %d", x, y, d)
			}
		}
	}
}
