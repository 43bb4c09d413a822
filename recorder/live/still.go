package live

import (
	"time"

	"custody-nvr/nvr"
)

// stillFor is how long a picture must stay the same before staff are told (REQ-LIVE-1). The 15
// seconds that the rule allows leave five for the second key picture.
const stillFor = 10 * time.Second

// stillness notices a camera that sends one picture, or one group of pictures, for ever. A quiet cell is not that: the camera
// codes each key picture anew, with the noise of its sensor, so two key pictures that decode to the
// same samples over ten seconds have only one explanation. Between key pictures an encoder may well
// say "no change" for seconds, hence two of them.
type stillness struct {
	begun bool
	sum   uint32
	since time.Duration // arrival of the first frame with this sum
	keys  int           // key pictures of the camera with this sum

	// A camera may also repeat one group of pictures for ever. Within the group they differ, so only
	// its key pictures are compared with each other.
	keySum   uint32
	keySince time.Duration // arrival of the first key picture with keySum
	keyLast  time.Duration // and of the newest
	keyRun   int           // successive key pictures with keySum
}

// look takes in one archive frame and reports whether the picture is not changing.
func (s *stillness) look(f *nvr.Frame) bool {
	if f.Obscured != nvr.Recorded {
		*s = stillness{} // filled whole: another alarm stands, and nothing can be said
		return false
	}
	if !s.begun || s.sum != f.Figures.Sum {
		s.begun, s.sum, s.since, s.keys = true, f.Figures.Sum, f.Arrived, 0
	}
	if f.SourceKey {
		s.keys++
		if s.keyRun == 0 || s.keySum != f.Figures.Sum {
			s.keySum, s.keySince, s.keyRun = f.Figures.Sum, f.Arrived, 0
		}
		s.keyLast = f.Arrived
		s.keyRun++
	}
	return s.keys >= 2 && f.Arrived-s.since >= stillFor || s.keyRun >= 3 && s.keyLast-s.keySince >= stillFor
}
