package codec

import (
	"bytes"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"custody-nvr/nvr"
	"custody-nvr/privacy/mask"

	ff "github.com/csnewman/ffmpeg-go"
)

// EncoderConfig says what is encoded.
type EncoderConfig struct {
	// Size of the pictures. H.264 cannot say an odd size in 4:2:0: such a picture is coded with its
	// last row or column twice, and its true size is known from nvr.Frame.Size only.
	Size      nvr.Size
	FullRange bool
	// AspectW:AspectH is the shape of a pixel; 0:0 stands for 1:1.
	AspectW, AspectH int
	QP               int    // quantiser of P pictures, 10 to 40; 0 stands for 20
	Preset           string // of x264; "" stands for superfast
}

// Packet is one coded picture: H.264 High, no SEI, no start codes.
type Packet struct {
	Key      bool
	SPS, PPS []byte   // on key pictures
	NALs     [][]byte // slices: types 1 and 5
}

// An Encoder codes masked pictures, one in, one out, in one thread. Equal pictures give equal bytes.
type Encoder struct {
	canvas   *mask.Canvas
	last     time.Duration
	any      bool
	sps, pps []byte

	// libavcodec's, freed by Close.
	ctx   *ff.AVCodecContext
	pkt   *ff.AVPacket
	frame *ff.AVFrame
}

// timeBase of the encoder in 1/s. Pictures are numbered, because the camera's times leave the
// encoder beside the packet, never in it.
const timeBase = 25

// NewEncoder opens an encoder with a canvas of its own. The caller must Close it.
func NewEncoder(cfg EncoderConfig) (*Encoder, error) {
	quiet()
	if cfg.Size.Width < 16 || cfg.Size.Height < 16 || cfg.Size.Width > 8192 || cfg.Size.Height > 8192 {
		return nil, fmt.Errorf("open encoder: size %s is not between 16x16 and 8192x8192", cfg.Size)
	}
	if cfg.QP != 0 && (cfg.QP < 10 || cfg.QP > 40) {
		return nil, fmt.Errorf("open encoder: quantiser %d is not between 10 and 40", cfg.QP)
	}
	codec := ff.AVCodecFindEncoderByName(ff.GlobalCStr("libx264"))
	if codec == nil {
		return nil, errors.New("open encoder: libavcodec was built without x264")
	}
	e := &Encoder{ctx: ff.AVCodecAllocContext3(codec), pkt: ff.AVPacketAlloc(), frame: ff.AVFrameAlloc()}
	if e.ctx == nil || e.pkt == nil || e.frame == nil {
		e.Close()
		return nil, errors.New("open encoder: no memory")
	}
	if err := e.open(codec, cfg); err != nil {
		e.Close()
		return nil, fmt.Errorf("open encoder for %s: %w", cfg.Size, err)
	}
	return e, nil
}

func (e *Encoder) open(codec *ff.AVCodec, cfg EncoderConfig) error {
	w, h := cfg.Size.Width+cfg.Size.Width&1, cfg.Size.Height+cfg.Size.Height&1
	colour := ff.AVColRangeMpeg
	if cfg.FullRange {
		colour = ff.AVColRangeJpeg
	}
	e.ctx.SetWidth(w)
	e.ctx.SetHeight(h)
	e.ctx.SetPixFmt(ff.AVPixFmtYuv420P)
	e.ctx.SetColorRange(colour)
	aw, ah := cfg.AspectW, cfg.AspectH
	if aw == 0 || ah == 0 {
		aw, ah = 1, 1
	}
	e.ctx.SetSampleAspectRatio(ff.AVMakeQ(aw, ah))
	e.ctx.SetTimeBase(ff.AVMakeQ(1, timeBase))
	e.ctx.SetFramerate(ff.AVMakeQ(timeBase, 1))
	e.ctx.SetThreadCount(1)
	for _, o := range settings(cfg) {
		if _, err := ff.AVOptSet(e.ctx.PrivData(), ff.GlobalCStr(o[0]), ff.GlobalCStr(o[1]), 0); err != nil {
			return fmt.Errorf("set %s=%s: %w", o[0], o[1], err)
		}
	}
	if _, err := ff.AVCodecOpen2(e.ctx, codec, nil); err != nil {
		return err
	}
	e.frame.SetWidth(w)
	e.frame.SetHeight(h)
	e.frame.SetFormat(int(ff.AVPixFmtYuv420P))
	e.frame.SetColorRange(colour)
	if _, err := ff.AVFrameGetBuffer(e.frame, 0); err != nil {
		return err
	}
	return e.makeCanvas(cfg, h)
}

// makeCanvas wraps the frame's own memory, so that a picture painted is a picture handed over:
// x264 copies it before it returns.
func (e *Encoder) makeCanvas(cfg EncoderConfig, h int) (err error) {
	at := func(i uintptr, rows int) ([]byte, int) {
		stride := e.frame.Linesize().Get(i)
		return unsafe.Slice((*byte)(e.frame.Data().Get(i)), stride*rows), stride
	}
	p := mask.Planes{Size: cfg.Size, FullRange: cfg.FullRange}
	p.Y, p.YStride = at(0, h)
	p.U, p.CStride = at(1, h/2)
	p.V, _ = at(2, h/2)
	clear(p.Y) // no memory of others in the unused ends of the rows
	clear(p.U)
	clear(p.V)
	e.canvas, err = mask.NewCanvas(p)
	return err
}

// settings are x264's. Everything that looks ahead or reorders is off: a picture leaves as it comes.
//
// The quantiser is constant. x264's CRF lowers it where nothing moves and raises it in noise, which
// is the wrong way round for a dark cell: with CRF 23 a third of the motion energy of a blanket in
// sensor noise was gone (TestSlowBreathingInTheDarkSurvives), at twice the bytes for a still room.
// It also spends time on half-size pictures for its analysis. Small steps are what breathing is made
// of, so the dead zones are narrow, and single small coefficients are not dropped.
func settings(cfg EncoderConfig) [][2]string {
	qp, preset := cfg.QP, cfg.Preset
	if qp == 0 {
		qp = 20
	}
	if preset == "" {
		preset = "superfast"
	}
	return [][2]string{
		{"preset", preset},
		{"profile", "high"},
		{"forced-idr", "1"},
		{"a53cc", "0"},
		{"x264-params", fmt.Sprintf("qp=%d:%s", qp, x264Params)},
	}
}

const x264Params = "ipratio=1.2:deadzone-inter=6:deadzone-intra=6:no-dct-decimate=1:" +
	"bframes=0:rc-lookahead=0:sync-lookahead=0:scenecut=0:mbtree=0:weightp=0:ref=1:keyint=infinite:" +
	"sliced-threads=0:force-cfr=1:repeat-headers=1:annexb=1:aud=0"

// Canvas is where the next picture must be painted.
func (e *Encoder) Canvas() *mask.Canvas { return e.canvas }

// Close frees the encoder's memory, the canvas included. It may be called twice.
func (e *Encoder) Close() {
	if e.ctx != nil {
		ff.AVCodecFreeContext(&e.ctx)
	}
	if e.pkt != nil {
		ff.AVPacketFree(&e.pkt)
	}
	if e.frame != nil {
		ff.AVFrameFree(&e.frame)
	}
	e.ctx, e.pkt, e.frame, e.canvas = nil, nil, nil, nil
}

// Encode codes the picture, which must stand on this encoder's canvas. pts must rise.
func (e *Encoder) Encode(pic mask.Picture, pts time.Duration, key bool) (Packet, error) {
	switch {
	case e.ctx == nil:
		return Packet{}, errors.New("encode picture: the encoder is closed")
	case pic.Canvas() != e.canvas || !pic.Valid():
		return Packet{}, errors.New("encode picture: it was not painted on this encoder's canvas, or has been painted over")
	case e.any && pts <= e.last:
		return Packet{}, fmt.Errorf("encode picture: time %v does not come after %v", pts, e.last)
	}
	kind := ff.AVPictureTypeP
	if key || !e.any {
		kind = ff.AVPictureTypeI
	}
	e.frame.SetPictType(kind)
	if e.any {
		e.frame.SetPts(e.frame.Pts() + 1)
	} else {
		e.frame.SetPts(0)
	}
	e.any, e.last = true, pts
	if _, err := ff.AVCodecSendFrame(e.ctx, e.frame); err != nil {
		return Packet{}, fmt.Errorf("encode picture: %w", err)
	}
	if _, err := ff.AVCodecReceivePacket(e.ctx, e.pkt); err != nil {
		return Packet{}, fmt.Errorf("encode picture: no packet: %w", err)
	}
	defer ff.AVPacketUnref(e.pkt)
	return e.packet(unsafe.Slice((*byte)(e.pkt.Data()), e.pkt.Size()))
}

// packet keeps slices and parameter sets of what x264 wrote.
func (e *Encoder) packet(data []byte) (Packet, error) {
	var p Packet
	all := bytes.Clone(data) // one allocation a picture
	for nal := range annexB(all) {
		switch nal[0] & 31 {
		case h264IDR:
			p.Key = true
			p.NALs = append(p.NALs, nal)
		case h264Slice:
			p.NALs = append(p.NALs, nal)
		case h264SPS:
			e.sps = bytes.Clone(nal)
		case h264PPS:
			e.pps = bytes.Clone(nal)
		}
	}
	if len(p.NALs) == 0 || p.Key && (e.sps == nil || e.pps == nil) {
		return Packet{}, errors.New("encode picture: packet without slices or parameter sets")
	}
	if p.Key {
		p.SPS, p.PPS = e.sps, e.pps
	}
	return p, nil
}
