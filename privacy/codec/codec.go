// Package codec turns a camera's access units into pictures, and masked pictures into H.264.
//
// The masker child is its one caller in the product, beside the drawn demo camera and the tests. It
// is the only package that imports FFmpeg, of which it uses avcodec and never avformat: camera
// bytes reach C only as single NAL units that the parsers here have looked at first. It encodes
// nothing but a mask.Picture, it never logs, and it never calls a picture undamaged that is not
// provably so.
package codec

import (
	"errors"
	"fmt"

	ff "github.com/csnewman/ffmpeg-go"
)

// A Kind is a coding that cameras send.
type Kind string

// The codings that are decoded.
const (
	H264 Kind = "h264"
	H265 Kind = "h265"
)

// Limits bound what a stream may cost. The zero value of a field stands for its default.
type Limits struct {
	MaxPixels int // coded luma samples of a picture; default 4096x2304
	MaxUnits  int // NAL units in an access unit; default 4096
	MaxBytes  int // bytes in an access unit; default 16 MiB
}

func (l Limits) withDefaults() Limits {
	if l.MaxPixels == 0 {
		l.MaxPixels = 4096 * 2304
	}
	if l.MaxUnits == 0 {
		l.MaxUnits = 4096
	}
	if l.MaxBytes == 0 {
		l.MaxBytes = 16 << 20
	}
	return l
}

// ErrDamaged says that an access unit was not decoded, or not cleanly. The decoder goes on: what it
// shows is Damaged until a clean place in the stream.
var ErrDamaged = errors.New("damaged picture data")

// A Refused says that the stream is of a kind that is not decoded, however long one waits. What is
// one line for staff: what the camera sends and what it must be set to.
type Refused struct{ What string }

func (r *Refused) Error() string { return r.What }

func refuse(format string, a ...any) error { return &Refused{What: fmt.Sprintf(format, a...)} }

func damaged(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, a...))
}

// quiet keeps libavcodec from writing to stderr: what goes wrong is known from its results, and
// its lines could be driven by the camera. The level is one C int for the whole process.
func quiet() { ff.AVLogSetLevel(ff.AVLogQuiet) }
