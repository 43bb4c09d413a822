// Package wire defines what passes between the parent process and a masker child.
//
// The parent's door (package privacy) and the child (package privacy/masker) both import it; it
// runs in both processes. Masked frames go down a pipe, everything else goes over a control
// socket pair. It never touches an unmasked picture, and whatever reads with it takes the other
// end for hostile: a broken rule is an error, never a guess. FORMAT.md has the byte diagrams.
package wire

import "errors"

// The descriptors a masker child inherits, besides 0, 1 and 2.
const (
	FramesFD  = 3 // write end of the frames pipe
	ControlFD = 4 // child's end of the control pair
)

// ErrBroken is in the chain of every error that says the other end broke the protocol, as opposed
// to having gone away.
var ErrBroken = errors.New("protocol broken")
