package democamera

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/camera/clip"
	"custody-nvr/privacy/codec"
	"custody-nvr/privacy/mask"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h265"
)

// film is one coded stream that can be played round and round.
type film struct {
	kind   string
	size   nvr.Size
	units  [][][]byte
	at     []time.Duration // presentation time of each unit
	length time.Duration
	first  int // unit to begin with: cells that share a film begin at different places
}

// maxDrawn is how many cells have films as long as Loop. Above it films are shorter, so that a start
// costs no more, and begin again with a seam.
const maxDrawn = 12

// drawAll draws and codes the films of n cells, on all processors.
func drawAll(n int, size nvr.Size) ([]film, error) {
	films := make([]film, n)
	errs := make([]error, n)
	length := Loop
	if n > maxDrawn {
		length = max(Loop*maxDrawn/time.Duration(n), 2*time.Second).Truncate(time.Second)
	}
	var work sync.WaitGroup
	next := make(chan int)
	for range min(n, runtime.GOMAXPROCS(0)) {
		work.Go(func() {
			for i := range next {
				films[i], errs[i] = draw(i, size, length)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	work.Wait()
	return films, errors.Join(errs...)
}

// draw codes the film of one cell, a key picture a second.
func draw(number int, size nvr.Size, length time.Duration) (film, error) {
	scene := NewScene(number, size)
	plan, err := mask.NewPlan(nvr.MaskSpec{Picture: size, Version: 1,
		NoToiletInView: "a drawn cell: the demonstration camera shows it whole, and the recorder masks it"})
	if err != nil {
		return film{}, fmt.Errorf("draw cell %d: %w", number+1, err)
	}
	encoder, err := codec.NewEncoder(codec.EncoderConfig{Size: size, QP: 26})
	if err != nil {
		return film{}, fmt.Errorf("draw cell %d: %w", number+1, err)
	}
	defer encoder.Close()
	f := film{kind: "h264", size: size, length: length}
	planes := mask.NewPlanes(size, false)
	for i := range int(length.Seconds()) * Rate {
		at := time.Duration(i) * time.Second / Rate
		scene.Draw(at, planes)
		p, err := encoder.Encode(plan.Apply(planes, 1, 1, encoder.Canvas()), at, i%Rate == 0)
		if err != nil {
			return film{}, fmt.Errorf("draw cell %d: %w", number+1, err)
		}
		unit := p.NALs
		if p.Key {
			unit = append([][]byte{p.SPS, p.PPS}, unit...)
		}
		f.units = append(f.units, unit)
		f.at = append(f.at, at)
	}
	return f, nil
}

// readFilm makes a film of a clip file. An Annex B file has no times: it plays at 25 a second.
func readFilm(path string) (film, error) {
	c, err := clip.Read(path)
	if err != nil {
		return film{}, err
	}
	f := film{kind: c.Kind, units: c.Units, at: c.PTS, length: c.Length}
	if f.at == nil {
		for i := range f.units {
			f.at = append(f.at, time.Duration(i)*40*time.Millisecond)
		}
		f.length = time.Duration(len(f.units)) * 40 * time.Millisecond
	}
	_, sps, _ := f.parameters()
	if f.kind == "h265" {
		var s h265.SPS
		if err := s.Unmarshal(sps); err != nil {
			return film{}, fmt.Errorf("clip %s: %w", path, err)
		}
		f.size = nvr.Size{Width: s.Width(), Height: s.Height()}
		return f, nil
	}
	var s h264.SPS
	if err := s.Unmarshal(sps); err != nil {
		return film{}, fmt.Errorf("clip %s: %w", path, err)
	}
	f.size = nvr.Size{Width: s.Width(), Height: s.Height()}
	return f, nil
}

// unit says which unit is sent as number n, and its time, which goes on over the film's end.
func (f *film) unit(n int) (index int, at time.Duration) {
	index = (f.first + n) % len(f.units)
	return index, time.Duration((f.first+n)/len(f.units))*f.length + f.at[index]
}

// parameters are the first parameter sets of the film, nil where it has none.
func (f *film) parameters() (vps, sps, pps []byte) {
	for _, unit := range f.units {
		for _, nal := range unit {
			into := map[byte]*[]byte{7: &sps, 8: &pps}[nal[0]&0x1f]
			if f.kind == "h265" {
				into = map[byte]*[]byte{32: &vps, 33: &sps, 34: &pps}[nal[0]>>1&0x3f]
			}
			if into != nil && *into == nil {
				*into = nal
			}
		}
	}
	return vps, sps, pps
}
