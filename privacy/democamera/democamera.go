// Package democamera plays drawn custody cells as RTSP cameras.
//
// The demonstration starts it as a process of its own (custody-nvr democamera); tests use its
// scenes and its pattern. Everything is coded once at the start and then only sent, so that a whole
// suite costs next to no processor time. It never reads a real camera, never writes a file, and
// listens on 127.0.0.1 unless told otherwise.
package democamera

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"custody-nvr/nvr"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph264"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph265"
	"github.com/pion/rtp"
)

// maxCells is the ceiling of a recorder.
const maxCells = 64

// Announcement is the first line on stdout, in JSON: where the cells are.
type Announcement struct {
	Address string `json:"address"` // host:port
	Cells   []Cell `json:"cells"`
}

// Cell is one camera of the demonstration.
type Cell struct {
	ID   string   `json:"id"`   // cell-01 ...
	Path string   `json:"path"` // of its URL
	Size nvr.Size `json:"size"`
	// WC is the polygon to mask, in fractions of the picture; empty for a clip, whose view is its
	// own.
	WC [][2]float64 `json:"wc"`
}

// Main runs the command until standard input closes, so that it never outlives who started it.
// It returns the exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // ends with the process at the latest
		defer cancel()
		io.Copy(io.Discard, os.Stdin)
	}()
	return run(ctx, args, stdout, stderr)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("democamera", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:0", "`address` to serve RTSP on")
	cells := flags.Int("cells", 6, "how many cells, 1 to 64; above six their pictures are 640x360")
	file := flags.String("clip", "", "play this .h264, .h265 or .mp4 `file` in every cell instead of a drawing")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "democamera takes no argument %q\n", flags.Arg(0))
		return 2
	case *cells < 1 || *cells > maxCells:
		fmt.Fprintf(stderr, "--cells %d must be 1 to %d\n", *cells, maxCells)
		return 2
	}
	films, err := films(*cells, *file)
	if err == nil {
		err = serve(ctx, *listen, films, *file == "", stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "democamera: %v\n", err)
		return 1
	}
	return 0
}

func films(cells int, file string) ([]film, error) {
	if file == "" {
		size := nvr.Size{Width: 1280, Height: 720}
		if cells > 6 {
			size = nvr.Size{Width: 640, Height: 360}
		}
		return drawAll(cells, size)
	}
	f, err := readFilm(file)
	if err != nil {
		return nil, err
	}
	list := make([]film, cells)
	for i := range list {
		list[i] = f
	}
	return list, nil
}

// serve plays the films until ctx ends.
func serve(ctx context.Context, listen string, films []film, drawn bool, stdout io.Writer) error {
	h := &handler{streams: map[string]*gortsplib.ServerStream{}}
	var address net.Addr
	server := &gortsplib.Server{Handler: h, RTSPAddress: listen, WriteQueueSize: 2048,
		Listen: func(network, a string) (net.Listener, error) {
			l, err := net.Listen(network, a)
			if err == nil {
				address = l.Addr()
			}
			return l, err
		}}
	if err := server.Start(); err != nil {
		return fmt.Errorf("serve RTSP on %s: %w", listen, err)
	}
	defer server.Close()

	var players []*player
	said := Announcement{Address: address.String()}
	for i, f := range films {
		p, err := newPlayer(server, f)
		if err != nil {
			return fmt.Errorf("cell %d: %w", i+1, err)
		}
		defer p.stream.Close()
		cell := Cell{ID: fmt.Sprintf("cell-%02d", i+1), Size: f.size, WC: [][2]float64{}}
		cell.Path = "/" + cell.ID
		if drawn {
			for _, c := range WC() {
				cell.WC = append(cell.WC, [2]float64{c.X, c.Y})
			}
		}
		h.add(cell.Path, p.stream)
		players = append(players, p)
		said.Cells = append(said.Cells, cell)
	}
	if err := json.NewEncoder(stdout).Encode(said); err != nil {
		return fmt.Errorf("announce the cells: %w", err)
	}
	var playing sync.WaitGroup
	errs := make([]error, len(players))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, p := range players {
		playing.Go(func() {
			defer cancel()
			errs[i] = p.play(ctx, time.Duration(i)*time.Second/Rate/time.Duration(len(players)))
		})
	}
	playing.Wait()
	return errors.Join(errs...)
}

// handler gives every reader the stream of its path.
type handler struct {
	mu      sync.RWMutex
	streams map[string]*gortsplib.ServerStream // guarded by mu
}

func (h *handler) add(path string, s *gortsplib.ServerStream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.streams[path] = s
}

func (h *handler) find(path string) (*base.Response, *gortsplib.ServerStream, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if s, ok := h.streams[path]; ok {
		return &base.Response{StatusCode: base.StatusOK}, s, nil
	}
	return &base.Response{StatusCode: base.StatusNotFound}, nil, nil
}

// OnDescribe implements gortsplib.ServerHandlerOnDescribe.
func (h *handler) OnDescribe(c *gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	return h.find(c.Path)
}

// OnSetup implements gortsplib.ServerHandlerOnSetup.
func (h *handler) OnSetup(c *gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	return h.find(c.Path)
}

// OnPlay implements gortsplib.ServerHandlerOnPlay.
func (h *handler) OnPlay(*gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	return &base.Response{StatusCode: base.StatusOK}, nil
}

// player sends one film in real time, round and round, with RTP time and sequence that never jump.
type player struct {
	film   film
	media  *description.Media
	stream *gortsplib.ServerStream
	encode func([][]byte) ([]*rtp.Packet, error)
}

func newPlayer(server *gortsplib.Server, f film) (*player, error) {
	p := &player{film: f}
	vps, sps, pps := f.parameters()
	var forma format.Format
	if f.kind == "h265" {
		e := &rtph265.Encoder{PayloadType: 96, PayloadMaxSize: 1400}
		if err := e.Init(); err != nil {
			return nil, err
		}
		p.encode = e.Encode
		forma = &format.H265{PayloadTyp: 96, VPS: vps, SPS: sps, PPS: pps}
	} else {
		e := &rtph264.Encoder{PayloadType: 96, PayloadMaxSize: 1400, PacketizationMode: 1}
		if err := e.Init(); err != nil {
			return nil, err
		}
		p.encode = e.Encode
		forma = &format.H264{PayloadTyp: 96, SPS: sps, PPS: pps, PacketizationMode: 1}
	}
	p.media = &description.Media{Type: description.MediaTypeVideo, Formats: []format.Format{forma}}
	p.stream = &gortsplib.ServerStream{Server: server, Desc: &description.Session{Title: "drawn cell", Medias: []*description.Media{p.media}}}
	return p, p.stream.Initialize()
}

// play sends until ctx ends. The units go out evenly spaced in decoding order; their time stamps
// are the film's.
func (p *player) play(ctx context.Context, after time.Duration) error {
	n := len(p.film.units)
	start := time.Now().Add(after)
	timer := time.NewTimer(after)
	defer timer.Stop()
	for sent := 0; ; sent++ {
		due := start.Add(time.Duration(float64(sent) / float64(n) * float64(p.film.length)))
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		i, at := p.film.unit(sent)
		packets, err := p.encode(p.film.units[i])
		if err != nil {
			return fmt.Errorf("packetise picture %d: %w", i, err)
		}
		stamp := uint32(at / time.Second * 90000)
		stamp += uint32(at % time.Second * 90000 / time.Second)
		for _, packet := range packets {
			packet.Timestamp = stamp
			if err := p.stream.WritePacketRTP(p.media, packet); err != nil {
				return fmt.Errorf("send picture %d: %w", i, err)
			}
		}
	}
}
