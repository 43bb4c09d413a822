package main

import (
	"context"
	"slices"

	"custody-nvr/configs"
	"custody-nvr/nvr"
	"custody-nvr/recorder/live"
	"custody-nvr/recorder/stamp"
	"custody-nvr/ui"
)

// A wall shows the pages what the recorder has: one tile for each camera, and one for each cell
// without a camera. On the wall a tile is named by the camera's id, or by the cell's where there
// is none.
type wall struct {
	tiles   []ui.Tile
	cameras []nvr.CameraID
	hub     *live.Hub
}

func newWall(suite *configs.Suite, hub *live.Hub) *wall {
	w := &wall{hub: hub}
	taken := map[nvr.CellID]bool{}
	for _, cell := range suite.Cells {
		for _, cam := range suite.CamerasIn(cell.ID) {
			id := nvr.CellID(cam.ID)
			taken[id] = true
			w.tiles = append(w.tiles, ui.Tile{Cell: id, Name: suite.TileName(cam.ID), Camera: true})
			w.cameras = append(w.cameras, cam.ID)
		}
	}
	// A cell without a camera keeps its place; its id may be another cell's camera's.
	var tiles []ui.Tile
	for _, cell := range suite.Cells {
		cams := suite.CamerasIn(cell.ID)
		for range cams {
			tiles, w.tiles = append(tiles, w.tiles[0]), w.tiles[1:]
		}
		if len(cams) > 0 {
			continue
		}
		id := cell.ID
		for taken[id] {
			id += "-no-cctv"
		}
		taken[id] = true
		tiles = append(tiles, ui.Tile{Cell: id, Name: cell.Name})
	}
	w.tiles = tiles
	return w
}

func (w *wall) Tiles() []ui.Tile { return w.tiles }

func (w *wall) States() map[nvr.CellID]ui.State {
	states := make(map[nvr.CellID]ui.State, len(w.cameras))
	for _, c := range w.cameras {
		s := w.hub.State(c)
		st := ui.State{Cause: s.Cause, Detail: s.Detail, Since: s.Since, NotChanging: s.NotChanging}
		if !s.Cause.IsMissing() { // without a picture there is nothing to record, and one fault says it
			st.NotRecording = s.NotRecording
		}
		states[nvr.CellID(c)] = st
	}
	return states
}

func (w *wall) Subscribe() ui.Feed {
	wants := make([]live.Want, len(w.cameras))
	for i, c := range w.cameras {
		wants[i] = live.Want{Camera: c, Stream: nvr.Tile}
	}
	return &feed{wall: w, tiles: wants, sub: w.hub.Subscribe(wants...)}
}

// A feed is one screen's subscription.
type feed struct {
	wall  *wall
	tiles []live.Want
	sub   *live.Subscriber
}

func (f *feed) Next(ctx context.Context) (ui.Shot, error) {
	fr, err := f.sub.Next(ctx)
	if err != nil {
		return ui.Shot{}, err
	}
	return ui.Shot{
		Cell: nvr.CellID(fr.For.Camera), View: fr.For.Stream, Frame: &fr.Frame.Frame,
		UTC: fr.UTC, ClockUnsure: fr.Clock&3 == stamp.Untrusted,
	}, nil
}

func (f *feed) Enlarge(cell nvr.CellID) {
	wants := slices.Clone(f.tiles)
	for _, c := range f.wall.cameras {
		if nvr.CellID(c) == cell {
			wants = append(wants, live.Want{Camera: c, Stream: nvr.Archive})
		}
	}
	f.sub.Want(wants...)
}

func (f *feed) Close() { f.sub.Close() }
