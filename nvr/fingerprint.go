package nvr

import (
	"fmt"
	"regexp"
)

// fingerprint is the form of a stream fingerprint: the geometry of the stream, and what the camera
// calls its session.
var fingerprint = regexp.MustCompile(`^h26[45] profile \d+ coded \d+x\d+[ip] at \d+,\d+ shown \d+x\d+ pixel \d+:\d+ turn \d+ depth \d+ chroma 4:\d:\d( from "[ -~]*")?$`)

// ValidFingerprint reports whether s could be the fingerprint of a camera's stream, as "camera
// probe" prints it. Anything else can match no camera and would leave its cell obscured for ever.
func ValidFingerprint(s string) error {
	if len(s) > 512 || !fingerprint.MatchString(s) {
		return fmt.Errorf("%.80q is no stream fingerprint: take the one that 'custody-nvr camera probe' prints, such as %q",
			s, `h264 profile 100 coded 1280x720p at 0,0 shown 1280x720 pixel 1:1 turn 0 depth 8 chroma 4:2:0 from "Media Presentation"`)
	}
	return nil
}
