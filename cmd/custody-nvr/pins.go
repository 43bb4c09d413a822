package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/nvr/durable"
)

// pins keeps the stream fingerprint that was approved for each camera, one small text file a camera
// in STATE/pins: the fingerprint on the first line, below it who approved it and when, newest first.
// A camera that sends another stream is obscured until somebody with the right has accepted it.
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

// maxPins bounds a file of pins in bytes: its history is cut behind it.
const maxPins = 64 << 10

// get returns the approved fingerprint of a camera, "" where none was taken yet. One that cannot be
// read is an error: an unreadable approval is not a missing one.
func (p *pins) get(cam nvr.CameraID) (string, error) {
	b, err := p.root.ReadFile(string(cam))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the approved stream of camera %s: %w", cam, err)
	}
	first, _, _ := strings.Cut(string(b), "\n")
	if err := nvr.ValidFingerprint(first); err != nil {
		return "", fmt.Errorf("the approved stream of camera %s in %s is damaged: %w", cam, p.root.Name(), err)
	}
	return first, nil
}

// set makes a fingerprint the approved one. by says who approved it, in one line. The file belongs
// to the owner of its folder, the recorder, whoever runs the command.
func (p *pins) set(cam nvr.CameraID, fingerprint, by string, at time.Time) error {
	if err := nvr.ValidFingerprint(fingerprint); err != nil {
		return err
	}
	old, err := p.root.ReadFile(string(cam))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the approved stream of camera %s: %w", cam, err)
	}
	_, history, _ := strings.Cut(string(old), "\n")
	text := fmt.Sprintf("%s\n%s %s: %s\n%s", fingerprint, at.UTC().Format(time.RFC3339), by, fingerprint, history)
	if err := durable.WriteFile(p.root, string(cam), []byte(text[:min(len(text), maxPins)])); err != nil {
		return fmt.Errorf("approve the stream of camera %s: %w", cam, err)
	}
	return p.giveToOwner(cam)
}

// giveToOwner lets the recorder read what root wrote.
func (p *pins) giveToOwner(cam nvr.CameraID) error {
	folder, err := p.root.Stat(".")
	if err == nil {
		uid, gid, ok := ownerOf(folder)
		if !ok || os.Geteuid() == uid {
			return nil
		}
		err = p.root.Chown(string(cam), uid, gid)
	}
	if err != nil {
		return fmt.Errorf("give the approved stream of camera %s to the recorder: %w", cam, err)
	}
	return nil
}

// ownerOf returns the user and group that a file belongs to.
func ownerOf(info fs.FileInfo) (uid, gid int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(st.Uid), int(st.Gid), true
}

func (p *pins) Close() error { return p.root.Close() }
