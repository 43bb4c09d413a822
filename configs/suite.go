// Package configs reads the suite file.
//
// The suite file says what the building is: cells, cameras, disks, network. What people decide
// (masks in force, holds, accounts) lives elsewhere under two-person control. Commands of
// cmd/custody-nvr call it, in the parent process only. It accepts nothing that it does not know,
// reports every problem of a file at once with line, excerpt and what to write instead, and never
// lets a password into a value that can be printed, logged or marshalled. It never writes a file
// and never opens one but the suite file and the password of the camera that is asked for.
package configs

import (
	"fmt"
	"strconv"
	"strings"

	"custody-nvr/nvr"
)

// Limits of a suite file.
const (
	MaxBytes   = 1 << 20 // of one suite file
	MaxCameras = 64      // the design's ceiling for one recorder
	MaxCells   = 128     // cells without a camera count too
	MaxVolumes = 16
)

// What stands where the suite file says nothing.
const (
	DefaultState     = "/var/lib/custody-nvr"
	DefaultListen    = "127.0.0.1:8080"
	DefaultTransport = "tcp"
)

// A Suite is one custody suite as its suite file describes it. The json tags are the keys of the
// YAML file; a key without omitempty is required; the jsonschema tags are its documentation.
type Suite struct {
	Name    string   `json:"name" jsonschema:"The custody suite's name as staff know it. It stands on every page and in every exhibit."`
	State   string   `json:"state,omitempty" jsonschema:"Folder for databases, keys and camera passwords, as a path from the root. Default: /var/lib/custody-nvr."`
	Network Network  `json:"network,omitzero" jsonschema:"Where the web pages are served."`
	Sandbox Sandbox  `json:"sandbox,omitzero" jsonschema:"Only for machines whose kernel cannot confine the masker."`
	Volumes []Volume `json:"volumes" jsonschema:"The disks that hold the rolling year, each a file system of its own."`
	Cells   []Cell   `json:"cells" jsonschema:"Every cell of the suite, in the order of the wall. A cell without a camera stands there as NO CCTV - physical checks only."`
	Cameras []Camera `json:"cameras,omitempty" jsonschema:"The cameras, at most 64."`
}

// A Cell is one cell, or another room under CCTV.
type Cell struct {
	ID   nvr.CellID `json:"id" jsonschema:"Short name for files and logs: a-z, 0-9 and '-', at most 32. Never reuse it for another room."`
	Name string     `json:"name" jsonschema:"The name on the wall, such as Cell 4. It should be the one on the cell's door."`
}

// A Camera is one camera and how to reach it.
type Camera struct {
	ID                nvr.CameraID `json:"id" jsonschema:"Short name and the name of the camera's folder on every volume: a-z, 0-9 and '-', at most 32."`
	Cell              nvr.CellID   `json:"cell" jsonschema:"Id of the cell that the camera looks into."`
	View              string       `json:"view,omitempty" jsonschema:"What this camera shows, such as door. Required where a cell has several cameras."`
	URL               string       `json:"url" jsonschema:"Address of the video stream, rtsp:// or rtsps://, without user or password."`
	Transport         string       `json:"transport,omitempty" jsonschema:"tcp (default) or udp. UDP is the weaker wall around the masker: its socket can send anywhere."`
	UDPReason         string       `json:"udp_reason,omitempty" jsonschema:"Why this camera needs UDP. Required with transport udp; every exhibit repeats it."`
	CertificateSHA256 string       `json:"certificate_sha256,omitempty" jsonschema:"SHA-256 fingerprint of the camera's certificate, 64 hex digits, colons allowed. Required with rtsps."`
	User              string       `json:"user,omitempty" jsonschema:"The camera's user name. Leave it out for a camera without log-in."`
	PasswordFile      string       `json:"password_file,omitempty" jsonschema:"File that holds the password and nothing else, readable by the recorder's user only (0600)."`
	PasswordEnv       string       `json:"password_env,omitempty" jsonschema:"Environment variable that holds the password. With neither this nor password_file the password is read from the systemd credential or the file STATE/secrets/ID."`
	Fingerprint       string       `json:"fingerprint,omitempty" jsonschema:"The approved stream fingerprint. Left out, the first stream seen is taken as the approved one."`
	Mask              *Mask        `json:"mask,omitempty" jsonschema:"What to hide. A camera without mask is neither recorded nor shown: NO APPROVED MASK."`
}

// A Mask is one version of what one camera must hide.
type Mask struct {
	Version        int             `json:"version" jsonschema:"1 for the first mask of this camera; add 1 with every change."`
	Picture        string          `json:"picture" jsonschema:"Size of the shown picture that the mask was drawn on, such as 1280x720. Any other size is obscured whole."`
	PixelAspect    string          `json:"pixel_aspect,omitempty" jsonschema:"Width to height of one pixel, such as 16:11. Default: 1:1."`
	Areas          [][]Point       `json:"areas,omitempty" jsonschema:"Closed polygons around what must be hidden, at most 16 of 3 to 64 corners each. Corners are [across, down] in fractions of the picture: [0, 0] is top left, [1, 1] bottom right."`
	NoToiletInView *NoToiletInView `json:"no_toilet_in_view,omitempty" jsonschema:"Instead of areas: a named person declares that there is nothing to hide in this view."`
}

// A Point is a corner: across and down, in fractions of the shown picture.
type Point [2]float64

// A NoToiletInView is the declaration that a camera sees nothing that must be hidden.
type NoToiletInView struct {
	DeclaredBy string `json:"declared_by" jsonschema:"Rank, number and name of who looked at the picture and declares it."`
	Reason     string `json:"reason" jsonschema:"What the view shows and why nothing in it must be hidden."`
}

// A Volume is one file system that holds footage.
type Volume struct {
	ID   string `json:"id" jsonschema:"Short name for pages and logs: a-z, 0-9 and '-', at most 32."`
	Path string `json:"path" jsonschema:"Where it is mounted, as a path from the root. Not inside the state folder or another volume."`
}

// Network says where the pages are served.
type Network struct {
	Listen string `json:"listen,omitempty" jsonschema:"Address and port of the web pages. Until log-in exists only this machine's own: 127.0.0.1, [::1] or localhost. Default: 127.0.0.1:8080."`
}

// Sandbox declares a missing wall around the masker.
type Sandbox struct {
	Disabled string `json:"disabled,omitempty" jsonschema:"Why recording may go on where the kernel cannot confine the masker. Every exhibit repeats it. Leave it out otherwise."`
}

// CellByID returns the cell with that id.
func (s *Suite) CellByID(id nvr.CellID) (Cell, bool) {
	for _, c := range s.Cells {
		if c.ID == id {
			return c, true
		}
	}
	return Cell{}, false
}

// CameraByID returns the camera with that id.
func (s *Suite) CameraByID(id nvr.CameraID) (Camera, bool) {
	for _, c := range s.Cameras {
		if c.ID == id {
			return c, true
		}
	}
	return Camera{}, false
}

// CamerasIn returns the cameras of a cell in the order of the file; none means that the cell
// stands on the wall as "NO CCTV - physical checks only".
func (s *Suite) CamerasIn(cell nvr.CellID) []Camera {
	var in []Camera
	for _, c := range s.Cameras {
		if c.Cell == cell {
			in = append(in, c)
		}
	}
	return in
}

// TileName is what stands over a camera's picture: the cell's name, and the view where the cell
// has several cameras.
func (s *Suite) TileName(id nvr.CameraID) string {
	cam, ok := s.CameraByID(id)
	if !ok {
		return string(id)
	}
	cell, ok := s.CellByID(cam.Cell)
	switch {
	case !ok:
		return string(id)
	case cam.View == "":
		return cell.Name
	}
	return cell.Name + " - " + cam.View
}

// MaskSpec returns the camera's mask in the form that the masker takes, nil where it has none. It
// is only defined for a Suite that Validate or Parse accepted.
func (c *Camera) MaskSpec() *nvr.MaskSpec {
	if c.Mask == nil {
		return nil
	}
	m := c.Mask
	spec := &nvr.MaskSpec{Version: m.Version}
	spec.Picture.Width, spec.Picture.Height, _ = pair(m.Picture, "x")
	if m.PixelAspect != "" {
		spec.PixelAspectW, spec.PixelAspectH, _ = pair(m.PixelAspect, ":")
	}
	for _, a := range m.Areas {
		area := make([]nvr.Point, len(a))
		for i, p := range a {
			area[i] = nvr.Point{X: p[0], Y: p[1]}
		}
		spec.Areas = append(spec.Areas, area)
	}
	if d := m.NoToiletInView; d != nil {
		spec.NoToiletInView = d.DeclaredBy + ": " + d.Reason
	}
	return spec
}

// setDefaults fills what the file left out.
func (s *Suite) setDefaults() {
	if s.State == "" {
		s.State = DefaultState
	}
	if s.Network.Listen == "" {
		s.Network.Listen = DefaultListen
	}
	for i := range s.Cameras {
		c := &s.Cameras[i]
		if c.Transport == "" {
			c.Transport = DefaultTransport
		}
		c.CertificateSHA256 = strings.ToLower(strings.ReplaceAll(c.CertificateSHA256, ":", ""))
	}
}

// pair reads two whole numbers with sep between them, such as 1280x720.
func pair(s, sep string) (a, b int, err error) {
	left, right, found := strings.Cut(s, sep)
	if !found {
		return 0, 0, fmt.Errorf("no %q in it", sep)
	}
	if a, err = digits(left); err != nil {
		return 0, 0, err
	}
	b, err = digits(right)
	return a, b, err
}

// digits reads a number of 1 to 6 digits and nothing else: no sign, space or underscore.
func digits(s string) (int, error) {
	if s == "" || len(s) > 6 || strings.Trim(s, "0123456789") != "" {
		return 0, fmt.Errorf("%q is not a whole number", s)
	}
	return strconv.Atoi(s)
}
