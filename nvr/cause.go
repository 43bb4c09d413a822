package nvr

import (
	"errors"
	"fmt"
)

// A Cause says why a second of a camera-day is not plain recorded picture (REQ-REC-3, DESIGN
// section 3 step 12). Every second of every camera-day is exactly one of: recorded (the zero
// Cause), obscured for a cause, or missing for a cause. The numbers are stored on disk and sent
// between processes: never renumber, only append.
type Cause uint8

// The causes. Obscured causes leave a picture that is filled whole; missing causes leave none.
const (
	Recorded Cause = 0

	// Obscured: the stream goes on, the whole picture is filled.

	ObscuredPrivacyInterval Cause = 1 // an authorised privacy interval (REQ-MASK-12)
	ObscuredDamaged         Cause = 2 // the camera's stream was damaged; waiting for a clean key picture
	ObscuredWrongSize       Cause = 3 // size, crop, aspect or rotation is not the plan's (REQ-MASK-5)
	ObscuredViewMoved       Cause = 4 // the camera was knocked or swapped: its identity is not the pinned one
	ObscuredMaskProof       Cause = 5 // the proof of the mask on disk failed

	// Missing: there is no picture.

	CameraLost      Cause = 16 // nothing decodable comes from the camera
	NoApprovedMask  Cause = 17 // nobody approved a mask, so nothing is recorded or shown (REQ-MASK-4)
	MaskerFault     Cause = 18 // the masker child crashed, hung, ran out of memory or broke its protocol
	Overload        Cause = 19 // the machine could not keep up
	DiskFault       Cause = 20 // the volume refused a write or a sync
	RecorderStopped Cause = 21 // the recorder was not running
	ClockStep       Cause = 22 // the wall clock was set back or forward across this time
	NotInService    Cause = 23 // the camera is not in service
	FileDamaged     Cause = 24 // footage was recorded, its file is damaged now
)

var causeWords = map[Cause]string{
	Recorded:                "recorded",
	ObscuredPrivacyInterval: "obscured: privacy interval",
	ObscuredDamaged:         "obscured: damaged picture",
	ObscuredWrongSize:       "obscured: picture does not fit the mask",
	ObscuredViewMoved:       "obscured: camera is not the approved one",
	ObscuredMaskProof:       "obscured: mask could not be proven",
	CameraLost:              "camera lost",
	NoApprovedMask:          "no approved mask",
	MaskerFault:             "masker fault",
	Overload:                "recorder overloaded",
	DiskFault:               "disk fault",
	RecorderStopped:         "recorder stopped",
	ClockStep:               "clock step",
	NotInService:            "not in service",
	FileDamaged:             "footage damaged on disk",
}

// String returns the cause in the words that staff read.
func (c Cause) String() string {
	if w, ok := causeWords[c]; ok {
		return w
	}
	return fmt.Sprintf("cause %d", uint8(c))
}

// Known reports whether c is one of the causes above.
func (c Cause) Known() bool { _, ok := causeWords[c]; return ok }

// IsObscured reports whether c leaves a picture that is filled whole.
func (c Cause) IsObscured() bool { return c >= ObscuredPrivacyInterval && c < CameraLost }

// IsMissing reports whether c leaves no picture at all.
func (c Cause) IsMissing() bool { return c >= CameraLost }

// An Outage is the error a frame source returns while it has no frames to give. It is not the end
// of the source: whoever reads goes on reading, and declares the time in between as missing for
// the Cause. Detail is one line for people: what happened and what to do next.
type Outage struct {
	Cause  Cause
	Detail string
}

func (o *Outage) Error() string {
	if o.Detail == "" {
		return o.Cause.String()
	}
	return o.Cause.String() + ": " + o.Detail
}

// AsOutage returns the Outage in err's chain, if there is one.
func AsOutage(err error) (*Outage, bool) { return errors.AsType[*Outage](err) }
