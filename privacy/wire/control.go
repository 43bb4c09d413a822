package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"custody-nvr/nvr"
)

// MaxMessage is the longest control message in bytes.
const MaxMessage = 64 << 10

// ToChild is one control message from the parent: exactly one member is set.
type ToChild struct {
	Start  *Start  `json:"start,omitempty"`
	Answer *Answer `json:"answer,omitempty"`
	Watch  *Watch  `json:"watch,omitempty"`
	Stop   *Stop   `json:"stop,omitempty"`
}

// ToParent is one control message from the child: exactly one member is set.
type ToParent struct {
	Walls  *Walls  `json:"walls,omitempty"`
	Dial   *Dial   `json:"dial,omitempty"`
	Listen *Dial   `json:"listen,omitempty"`
	Report *Report `json:"report,omitempty"`
	Status *Status `json:"status,omitempty"`
	Fault  *Fault  `json:"fault,omitempty"`
	Probed *Probed `json:"probed,omitempty"`
}

// Start tells the child everything it needs. It is the only place where a camera's password
// travels, and no method prints it.
type Start struct {
	Run    nvr.RunID    `json:"run"`
	Camera Camera       `json:"camera"`
	Mask   nvr.MaskSpec `json:"mask"`
	Limits Limits       `json:"limits"`
	// Pin is the stream fingerprint that somebody approved; empty on first use. A stream with
	// another one is obscured whole (nvr.ObscuredViewMoved).
	Pin string `json:"pin,omitempty"`
	// TileWidth is the width of the small stream; zero lets the child choose.
	TileWidth int `json:"tile_width,omitempty"`
	// SandboxDisabled is the reason given in the suite file for going on with walls missing.
	// Empty means: a missing wall ends the child.
	SandboxDisabled string `json:"sandbox_disabled,omitempty"`
	// Parent is the parent's process id, for the escape probes.
	Parent int `json:"parent"`
	// Patient: the camera was connected anew for a damaged stream less than a minute ago, so wait
	// for its key picture however long that takes.
	Patient bool `json:"patient,omitempty"`
	// Probe asks for no frames but for a look at the stream for so long, answered with Probed.
	Probe time.Duration `json:"probe,omitempty"`
}

// Camera is what the child needs to speak to its camera.
type Camera struct {
	ID        nvr.CameraID `json:"id"`
	URL       string       `json:"url"` // without credentials
	User      string       `json:"user,omitempty"`
	Password  string       `json:"password,omitempty"`
	Transport string       `json:"transport"` // "tcp" or "udp"
	TLSPin    string       `json:"tls_pin,omitempty"`
}

// String keeps user and password out of anything printed.
func (c Camera) String() string { return fmt.Sprintf("camera %s at %s", c.ID, c.URL) }

// GoString keeps user and password out of %#v.
func (c Camera) GoString() string { return c.String() }

// Limits bound what one child may use. Zero values mean the defaults of whoever applies them.
type Limits struct {
	MaxPixels int    `json:"max_pixels,omitempty"` // of one picture
	MaxUnits  int    `json:"max_units,omitempty"`  // NAL units of one access unit
	MaxBytes  int    `json:"max_bytes,omitempty"`  // of one access unit
	DataLimit uint64 `json:"data_limit,omitempty"` // RLIMIT_DATA in bytes
}

// Watch says whether anybody looks at the live wall, so that tiles are worth encoding.
type Watch struct {
	Tiles bool `json:"tiles"`
}

// Stop asks the child to say goodbye to the camera and end.
type Stop struct{}

// Dial asks the parent for a socket. The parent knows the one address it may lead to.
type Dial struct {
	ID      uint32 `json:"id"`
	Network string `json:"network"`
	Address string `json:"address"`
}

// Answer answers one Dial. Where Error is empty the message carries the socket.
type Answer struct {
	ID    uint32 `json:"id"`
	Error string `json:"error,omitempty"`
}

// Walls says what the child's sandbox consists of, after it has proved itself.
type Walls struct {
	Seccomp      bool `json:"seccomp"`
	Landlock     int  `json:"landlock"` // ABI level, 0 = none
	SwapPossible bool `json:"swap_possible,omitempty"`
	// Missing names the walls that do not stand; the child goes on only with a reason.
	Missing []string `json:"missing,omitempty"`
}

// Report says what the camera sends. It is sent before the first frame, and again before the
// first frame for which anything in it changed.
type Report struct {
	// From is the media time of the first frame this is true of.
	From        time.Duration `json:"from"`
	Fingerprint string        `json:"fingerprint"` // of the stream's geometry, see codec.Geometry
	Geometry    string        `json:"geometry"`    // the same for people
	Size        nvr.Size      `json:"size"`        // shown picture
	Certificate string        `json:"certificate,omitempty"`
	Track       string        `json:"track,omitempty"`  // codec and what the camera calls itself
	Medias      []string      `json:"medias,omitempty"` // offered and not set up
}

// Status is the child's pulse.
type Status struct {
	// Busy is set while a picture is in the codec: number Picture, since Since (CLOCK_MONOTONIC).
	// Otherwise the child waits for packets.
	Busy    bool          `json:"busy,omitempty"`
	Picture uint64        `json:"picture"`
	Since   time.Duration `json:"since"`
	// Counts since the start of the run.
	Units    uint64    `json:"units"`            // access units received
	Gaps     uint64    `json:"gaps"`             // with something lost before them
	Decoded  uint64    `json:"decoded"`          // pictures
	Sent     uint64    `json:"sent"`             // archive frames written
	Obscured nvr.Cause `json:"obscured"`         // of the last picture
	Detail   string    `json:"detail,omitempty"` // why, one line for staff
}

// A Pace says when it makes sense to try again after a fault.
type Pace string

const (
	// Normal: the usual back-off.
	Normal Pace = ""
	// Slow: the camera refused us (401, 453, 503); trying often would lock us out.
	Slow Pace = "slow"
	// Again: reconnect at once, the camera only changed its stream (SSRC).
	Again Pace = "again"
	// Fresh: reconnect at once for a key picture after damage, and be Patient for a minute.
	Fresh Pace = "fresh"
)

// Fault is the child's last word: why there are no more frames. Its cause is nvr.CameraLost,
// nvr.MaskerFault or nvr.Overload, the only ones that a child can know.
type Fault struct {
	Cause  nvr.Cause `json:"cause"`
	Detail string    `json:"detail"` // one line for staff and ICT
	Pace   Pace      `json:"pace,omitempty"`
}

// Probed is what a look at a camera's stream found. It holds figures and words, never a picture.
type Probed struct {
	Track       string        `json:"track"`    // codec and what the camera calls itself
	Geometry    string        `json:"geometry"` // for people
	Fingerprint string        `json:"fingerprint"`
	Size        nvr.Size      `json:"size"` // shown picture
	AspectW     int           `json:"aspect_width"`
	AspectH     int           `json:"aspect_height"`
	Rotation    int           `json:"rotation"`
	Pictures    int           `json:"pictures"` // decoded
	Rate        float64       `json:"rate"`     // pictures a second by the camera's clock
	Bits        float64       `json:"bits"`     // a second
	Keys        int           `json:"keys"`     // key pictures seen
	KeyEvery    time.Duration `json:"key_every_ns"`
	KeyAtLeast  bool          `json:"key_at_least"` // the look did not see both ends of that interval
	Gaps        int           `json:"gaps"`         // units with something lost before them
	Reordered   bool          `json:"reordered"`
	Medias      []string      `json:"medias,omitempty"` // offered besides, not taken
	Certificate string        `json:"certificate,omitempty"`
}

// Validate holds a message from a child to what the parent relies on.
func (m *ToParent) Validate() error {
	n := 0
	for _, set := range []bool{m.Walls != nil, m.Dial != nil, m.Listen != nil, m.Report != nil, m.Status != nil, m.Fault != nil, m.Probed != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("%w: control message with %d members, it must have one", ErrBroken, n)
	}
	switch {
	case m.Walls != nil && (m.Walls.Landlock < 0 || len(m.Walls.Missing) > 32):
		return fmt.Errorf("%w: walls that cannot be", ErrBroken)
	case m.Report != nil && (m.Report.Fingerprint == "" || len(m.Report.Fingerprint) > 1024):
		return fmt.Errorf("%w: report with a fingerprint of %d bytes", ErrBroken, len(m.Report.Fingerprint))
	case m.Report != nil && m.Report.From < 0:
		return fmt.Errorf("%w: report from media time %d", ErrBroken, m.Report.From)
	case m.Status != nil && !m.Status.Obscured.Known():
		return fmt.Errorf("%w: status with cause %d", ErrBroken, uint8(m.Status.Obscured))
	case m.Fault != nil && m.Fault.Cause != nvr.CameraLost && m.Fault.Cause != nvr.MaskerFault && m.Fault.Cause != nvr.Overload:
		return fmt.Errorf("%w: fault with cause %d", ErrBroken, uint8(m.Fault.Cause))
	case m.Fault != nil && m.Fault.Pace != Normal && m.Fault.Pace != Slow && m.Fault.Pace != Again && m.Fault.Pace != Fresh:
		return fmt.Errorf("%w: fault with pace %q", ErrBroken, m.Fault.Pace)
	}
	return nil
}

// Validate holds a message from the parent to having one member.
func (m *ToChild) Validate() error {
	n := 0
	for _, set := range []bool{m.Start != nil, m.Answer != nil, m.Watch != nil, m.Stop != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("%w: control message with %d members, it must have one", ErrBroken, n)
	}
	return nil
}

// message is what both directions have in common.
type message interface {
	ToChild | ToParent
}

func encode[M message](m *M) ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode control message: %w", err)
	}
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("control message of %d bytes, at most %d may pass", len(b), MaxMessage)
	}
	return b, nil
}

// decode reads one message; the datagram must be it and nothing else.
func decode[M message](b []byte, validate func(*M) error) (M, error) {
	var m M
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("%w: control message: %s", ErrBroken, briefly(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return m, fmt.Errorf("%w: control message with something after it", ErrBroken)
	}
	return m, validate(&m)
}

// briefly is an error of encoding/json without the tail of hostile text it may quote.
func briefly(err error) string {
	s := strings.ToValidUTF8(err.Error(), "?")
	if len(s) > 120 {
		s = strings.ToValidUTF8(s[:120], "") + " ..."
	}
	return s
}
