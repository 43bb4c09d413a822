// Package nvr names the things of a custody suite.
//
// Every other package speaks this language: the wings (privacy, recorder, ui) never import each
// other, they meet in cmd/custody-nvr and hand each other values of this package. It does no I/O,
// starts no goroutine and imports nothing but the standard library. GLOSSARY.md explains the words.
package nvr

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// A CameraID names one camera in the suite file, e.g. "cell-04". It is also the name of the
// camera's folder on every volume, hence the narrow alphabet.
type CameraID string

// A CellID names one cell, or another room under CCTV, in the suite file.
type CellID string

// maxID is the longest CameraID or CellID in bytes.
const maxID = 32

// ValidID reports what is wrong with an id: 1 to 32 of a-z, 0-9 and '-', not starting or ending
// with '-'.
func ValidID(s string) error {
	if s == "" || len(s) > maxID {
		return fmt.Errorf("id %q must have 1 to %d characters", s, maxID)
	}
	for i, r := range s {
		inner := r == '-' && i > 0 && i < len(s)-1
		if !inner && (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return fmt.Errorf("id %q may hold only a-z, 0-9 and, inside, '-'", s)
		}
	}
	return nil
}

// A RunID names one life of one masker child: one connection to one camera. Frame times and
// sequence numbers only compare within a run.
type RunID [8]byte

// NewRunID draws a random run.
func NewRunID() RunID {
	var r RunID
	rand.Read(r[:]) // never fails, see crypto/rand
	return r
}

func (r RunID) String() string { return hex.EncodeToString(r[:]) }

// A Size is a picture size in pixels. The zero Size means "not known".
type Size struct {
	Width  int `json:"width"`
	Height int `json:"height"`
}

func (s Size) String() string { return fmt.Sprintf("%dx%d", s.Width, s.Height) }
