package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"custody-nvr/nvr"
	"custody-nvr/nvr/durable"
)

// pins keeps the stream fingerprint that was taken for each camera on first use, one small text
// file a camera in STATE/pins. A camera that sends another stream is obscured until the file is
// replaced by somebody with the right: see "custody-nvr camera accept".
type pins struct{ root *os.Root }

func openPins(dir string) (*pins, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of pins: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open folder of pins: %w", err)
	}
	return &pins{root}, nil
}

// maxPin bounds a fingerprint in bytes.
const maxPin = 1024

// get returns the fingerprint of a camera, "" where none was taken yet. A pin that cannot be read
// is an error: an unreadable approval is not a missing one.
func (p *pins) get(cam nvr.CameraID) (string, error) {
	b, err := p.root.ReadFile(string(cam))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("read the pinned stream of camera %s: %w", cam, err)
	case len(b) > maxPin || len(strings.TrimSpace(string(b))) == 0:
		return "", fmt.Errorf("the pinned stream of camera %s in %s is damaged: look at the camera, then run 'custody-nvr camera accept %s'", cam, p.root.Name(), cam)
	}
	return strings.TrimSpace(string(b)), nil
}

func (p *pins) set(cam nvr.CameraID, fingerprint string) error {
	if err := durable.WriteFile(p.root, string(cam), []byte(fingerprint+"\n")); err != nil {
		return fmt.Errorf("pin the stream of camera %s: %w", cam, err)
	}
	return nil
}

func (p *pins) Close() error { return p.root.Close() }
