package codec

import (
	"fmt"
	"time"
	"unsafe"

	"custody-nvr/nvr"
	"custody-nvr/privacy/mask"

	ff "github.com/csnewman/ffmpeg-go"
)

// Decoded is one picture of the camera, unmasked.
type Decoded struct {
	Planes   mask.Planes // the shown rectangle; valid until show returns
	PTS      time.Duration
	Geometry Geometry
	Key      bool // the camera coded it as a key picture
	// Damaged is set unless the picture is provably what the camera meant: on errors and concealment
	// in this picture or one it may build on, on missing pictures, after Lost, and at the start of
	// the stream, until a key picture, or a recovery point that was run to its end without loss.
	Damaged bool
}

// A Decoder turns access units into pictures, in one thread.
//
// BUG(codec): libavcodec does not notice when the inside of an H.265 slice is cut short or changed,
// nor that a slice other than the first is missing: H.265 has no marks for it. What RTP lost must
// therefore always be told by Lost.
type Decoder struct {
	kind   Kind
	limits Limits
	in     *Inspector
	trust  trust
	conv   converter

	// libavcodec's, freed by Close.
	ctx   *ff.AVCodecContext
	pkt   *ff.AVPacket
	frame *ff.AVFrame
	buf   unsafe.Pointer
	size  int // of buf
}

// NewDecoder opens a decoder. The caller must Close it.
func NewDecoder(kind Kind, limits Limits) (*Decoder, error) {
	quiet()
	id := ff.AVCodecIdH264
	switch kind {
	case H264:
	case H265:
		id = ff.AVCodecIdHevc
	default:
		return nil, refuse("the camera sends %q; set it to H.264 or H.265", string(kind))
	}
	d := &Decoder{kind: kind, limits: limits.withDefaults(), in: NewInspector(kind), trust: newTrust()}
	d.in.maxUnits = d.limits.MaxUnits
	codec := ff.AVCodecFindDecoder(id)
	if codec == nil {
		return nil, fmt.Errorf("open %s decoder: libavcodec was built without it", kind)
	}
	d.ctx = ff.AVCodecAllocContext3(codec)
	d.pkt = ff.AVPacketAlloc()
	d.frame = ff.AVFrameAlloc()
	if d.ctx == nil || d.pkt == nil || d.frame == nil {
		d.Close()
		return nil, fmt.Errorf("open %s decoder: no memory", kind)
	}
	d.ctx.SetThreadCount(1)
	d.ctx.SetMaxPixels(int64(d.limits.MaxPixels))
	// Pictures that libavcodec holds for doubtful come out too, marked, because what is doubtful is
	// decided here; cropping is done here, to the sample.
	d.ctx.SetFlags(d.ctx.Flags() | ff.AVCodecFlagOutputCorrupt | ff.AVCodecFlagUnaligned)
	d.ctx.SetApplyCropping(0)
	d.ctx.SetPktTimebase(ff.AVMakeQ(1, 1))
	if _, err := ff.AVCodecOpen2(d.ctx, codec, nil); err != nil {
		d.Close()
		return nil, fmt.Errorf("open %s decoder: %w", kind, err)
	}
	return d, nil
}

// Close frees the decoder's memory. It may be called twice.
func (d *Decoder) Close() {
	if d.ctx != nil {
		ff.AVCodecFreeContext(&d.ctx)
	}
	if d.pkt != nil {
		ff.AVPacketFree(&d.pkt)
	}
	if d.frame != nil {
		ff.AVFrameFree(&d.frame)
	}
	ff.AVFree(d.buf)
	d.ctx, d.pkt, d.frame, d.buf, d.size = nil, nil, nil, nil, 0
}

// Lost tells the decoder that something before the next access unit was lost on the way.
func (d *Decoder) Lost() { d.trust.lose() }

// Decode takes one access unit, NAL units without start codes, and calls show for each picture that
// is ready, in the order of showing. ErrDamaged means that the unit was not decoded cleanly; the
// decoder goes on. Refused means that this stream never will be. An error of show is returned as it
// is.
func (d *Decoder) Decode(au [][]byte, pts time.Duration, show func(Decoded) error) error {
	if err := d.bounded(au); err != nil {
		d.trust.lose()
		return err
	}
	pics, damage := d.in.split(au)
	if damage == nil || isDamage(damage) {
		if err := d.accept(); err != nil {
			damage = err
		}
	}
	if damage != nil {
		d.trust.lose()
		if !isDamage(damage) {
			return damage
		}
	}
	for _, p := range pics {
		if p.leading && d.trust.skipLeading {
			continue
		}
		if err := d.send(p, pts, show); isDamage(err) {
			damage = err
		} else if err != nil {
			return err
		}
	}
	return damage
}

// bounded checks what can be checked before anything is parsed.
func (d *Decoder) bounded(au [][]byte) error {
	n := 0
	for _, u := range au {
		n += len(u)
	}
	if len(au) > d.limits.MaxUnits {
		return refuse("the camera sends a picture in %d NAL units, at most %d are accepted", len(au), d.limits.MaxUnits)
	}
	if n > d.limits.MaxBytes {
		return refuse("the camera sends a picture of %d bytes, at most %d are accepted", n, d.limits.MaxBytes)
	}
	return nil
}

// accept checks the parameter sets before libavcodec sees any of them.
func (d *Decoder) accept() error {
	for _, s := range d.in.streams() {
		switch {
		case s.coded.Width*s.coded.Height > d.limits.MaxPixels:
			return refuse("the camera sends pictures of %s, at most %d pixels are accepted; set a smaller size", s.coded, d.limits.MaxPixels)
		case s.separate:
			return refuse("the camera sends 4:4:4 in separate planes, which is not decoded; set it to 4:2:0")
		case s.depth > 12 || s.depthC > 12 || s.chroma != 0 && s.depth != s.depthC:
			return refuse("the camera sends %d bit luma and %d bit chroma, which is not decoded; set it to 8 bit", s.depth, s.depthC)
		}
	}
	return nil
}

func (in *Inspector) streams() []*stream {
	var all []*stream
	for _, s := range in.sps264 {
		all = append(all, &s.stream)
	}
	for _, s := range in.sps265 {
		all = append(all, &s.stream)
	}
	return all
}

func (d *Decoder) send(p *picture, pts time.Duration, show func(Decoded) error) error {
	seq := d.trust.admit(p, pts, d.kind)
	if err := d.fill(p); err != nil {
		return err
	}
	// In progressive H.264 libavcodec conceals errors and says so with the picture, which is soon
	// enough where pictures come out as they go in. Elsewhere it is asked to give up, so that nothing
	// that builds on the picture is shown before it. It then also gives up over pictures that are
	// missing rightly, before a recovery point: such a stream is clean one recovery point later.
	strict := 0
	if d.kind == H265 || p.stream.interlaced || d.ctx.HasBFrames() > 0 || p.stream.reorder > 0 {
		strict = ff.AVEfExplode
	}
	d.ctx.SetErrRecognition(strict)
	d.pkt.SetPts(seq)
	d.pkt.SetDts(ff.AVNoptsValue)
	_, err := ff.AVCodecSendPacket(d.ctx, d.pkt)
	if err != nil {
		d.trust.damage(seq)
	}
	if e := d.receive(show); e != nil {
		return e
	}
	if err != nil {
		return damaged("picture refused by the decoder: %v", err)
	}
	return nil
}

// fill puts the units as Annex B into the packet's memory, which libavcodec copies.
func (d *Decoder) fill(p *picture) error {
	n := 0
	sei := d.ownSEI(p)
	if sei != nil {
		n += 4 + len(sei)
	}
	for _, u := range p.units {
		n += 4 + len(u)
	}
	if n > d.size {
		ff.AVFree(d.buf)
		d.size = n + n/2
		d.buf = ff.AVMallocz(uint64(d.size + ff.AVInputBufferPaddingSize))
		if d.buf == nil {
			d.size = 0
			return fmt.Errorf("decode picture of %d bytes: no memory", n)
		}
	}
	out := unsafe.Slice((*byte)(d.buf), d.size+ff.AVInputBufferPaddingSize)[:0]
	put := func(u []byte) { out = append(append(out, 0, 0, 0, 1), u...) }
	for i, u := range p.units {
		if i == p.slicesFrom && sei != nil {
			put(sei)
		}
		put(u)
	}
	d.pkt.SetData(d.buf)
	d.pkt.SetSize(n)
	return nil
}

func (d *Decoder) ownSEI(p *picture) []byte {
	if d.kind != H264 || p.key || p.sei.recovery < 0 {
		return nil
	}
	return recoverySEI(p.sei.recovery)
}

// Flush shows what the decoder still holds for reordering. Then it is ready for a new start.
func (d *Decoder) Flush(show func(Decoded) error) error {
	if _, err := ff.AVCodecSendPacket(d.ctx, nil); err != nil {
		return fmt.Errorf("flush decoder: %w", err)
	}
	err := d.receive(show)
	ff.AVCodecFlushBuffers(d.ctx)
	d.trust.lose()
	return err
}

func (d *Decoder) receive(show func(Decoded) error) error {
	for {
		_, err := ff.AVCodecReceiveFrame(d.ctx, d.frame)
		switch {
		case err == nil:
		case err == ff.EAgain, err == ff.AVErrorEOF: //nolint:errorlint // values, never wrapped
			return nil
		default:
			d.trust.lose()
			return damaged("picture not decoded: %v", err)
		}
		err = d.show(show)
		ff.AVFrameUnref(d.frame)
		if err != nil {
			return err
		}
	}
}

func (d *Decoder) show(show func(Decoded) error) error {
	f := d.frame
	if f.DecodeErrorFlags() != 0 || f.Flags()&ff.AVFrameFlagCorrupt != 0 {
		d.trust.damage(f.Pts())
	}
	m, known := d.trust.take(f.Pts())
	if !known {
		d.trust.lose()
		return damaged("the decoder shows a picture that was not sent")
	}
	left, top := int(f.CropLeft()), int(f.CropTop())
	shown := nvr.Size{Width: f.Width() - left - int(f.CropRight()), Height: f.Height() - top - int(f.CropBottom())}
	if shown != m.geometry.Shown || left != m.geometry.CropLeft || top != m.geometry.CropTop {
		// Two parsers of one parameter set disagree: whatever it is, it is not a plain picture.
		d.trust.lose()
		return damaged("picture of %s announced, %s decoded", m.geometry.Shown, shown)
	}
	planes, err := d.conv.planes(f, left, top, shown)
	if err != nil {
		return err
	}
	m.geometry.FullRange = planes.FullRange
	return show(Decoded{Planes: planes, PTS: m.pts, Geometry: m.geometry, Key: m.key, Damaged: m.damaged})
}
