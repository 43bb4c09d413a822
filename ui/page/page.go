// Package page makes HTML out of view models.
//
// Only package ui calls it. A view model holds strings, numbers and times; no template asks a
// store, sees a request or takes a decision. The *_templ.go files are generated from the .templ
// files by `go tool templ generate` and committed.
package page

//go:generate go tool templ generate

// A Frame is what stands around every page.
type Frame struct {
	Title string
	Suite string
	Demo  bool
}

// A Wall is the live wall.
type Wall struct {
	Frame Frame
	// Build changes with the server; the script loads the page again when they differ.
	Build string
	Tiles []Tile
}

// A Tile is one cell's place on the wall.
type Tile struct {
	Index  int
	Cell   string
	Name   string
	Camera bool
}

// A Problem is a page that says why there is no other page.
type Problem struct {
	Frame Frame
	What  string
	Next  string // what to do
}
