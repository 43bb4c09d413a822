// Package ui serves the web pages of the suite to custody staff.
//
// cmd/custody-nvr makes one Server in the parent process and hands it what the pages show, behind
// the small interfaces declared here. Every request passes one route table that states the right
// each route needs. Package ui never imports the recorder or the privacy wing, never writes a file
// and never decides anything about footage: it asks, and shows the answer.
package ui

import (
	"context"
	"time"

	"custody-nvr/nvr"
)

// A Tile is one place on the live wall: a cell, with or without a camera.
type Tile struct {
	Cell nvr.CellID
	Name string // what staff call the cell, e.g. "Cell 4"
	// Camera is false for a cell without CCTV: it stands on the wall all the same, so that nobody
	// assumes cover (REQ-LIVE-14).
	Camera bool
}

// A Wall is where the live pictures come from.
type Wall interface {
	// Tiles are the cells in the order of the wall. The list does not change while a Server runs.
	Tiles() []Tile
	// States says what is known about every cell that has a camera. It is asked four times a second
	// for each screen.
	States() map[nvr.CellID]State
	// Subscribe opens a feed of all cells' small pictures. Each cell's begin with a key frame.
	Subscribe() Feed
}

// A Feed is one screen's view of the wall. Next is called from one goroutine, Enlarge and Close
// from others. A feed whose reader is slow skips to the next key frame; it never holds up anybody.
type Feed interface {
	// Next blocks until there is a picture, or ctx ends. An error ends the screen's connection, and
	// the screen makes another.
	Next(ctx context.Context) (Shot, error)
	// Enlarge adds the archive-quality pictures of one cell to the feed, beginning with a key
	// frame, in place of those of the cell enlarged before; "" ends it.
	Enlarge(cell nvr.CellID)
	Close()
}

// A Shot is one picture of one cell.
type Shot struct {
	Cell nvr.CellID
	// View is where the picture is to be shown: Tile, or Archive for the enlarged cell. A small
	// camera has no tile stream of its own; its archive frames are its tile then.
	View  nvr.Stream
	Frame *nvr.Frame // is not changed
	// UTC is the recorder's stamp of Frame: when the picture was captured.
	UTC time.Time
	// ClockUnsure marks a stamp that the recorder could not vouch for.
	ClockUnsure bool
}

// A State says what the recorder knows about a cell apart from its pictures.
type State struct {
	// Cause is Recorded while all is well. An obscured Cause takes the picture off the tile for as
	// long as it stands; a missing one gives the reason once the last picture is too old.
	Cause  nvr.Cause
	Detail string        // one line for staff: what happened and what to do next
	Since  time.Duration // by Clock.Mono
	// NotChanging: the camera sends the same picture again and again.
	NotChanging bool
	// NotRecording says in words why pictures of this cell do not reach the disk; "" while they do.
	// The picture stays on the tile, which says NOT RECORDING.
	NotRecording string
}

// Painted is what one screen says that it painted: not what was sent to it. Which pictures a
// person could have seen is told from this.
type Painted struct {
	Screen  string        // names one connection of one page
	Over    time.Duration // the stretch of time that is reported on, by the screen's clock
	Visible bool          // the page was in front for all of it
	Sound   string        // "on", "silenced" or "off"
	Tiles   map[nvr.CellID]int
	// Enlarged is the cell shown full size, "" if none, and EnlargedFrames its pictures.
	Enlarged       nvr.CellID
	EnlargedFrames int
}
