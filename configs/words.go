package configs

import (
	"reflect"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// kind names what stands in the file, in words.
func kind(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys with values"
	case *ast.SequenceNode:
		return "a list"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.NullNode:
		return "nothing"
	}
	return "text"
}

// thing names what a struct of the file describes.
func thing(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Suite]():
		return "the suite file"
	case reflect.TypeFor[Cell]():
		return "a cell"
	case reflect.TypeFor[Camera]():
		return "a camera"
	case reflect.TypeFor[Volume]():
		return "a volume"
	case reflect.TypeFor[Mask]():
		return "a mask"
	case reflect.TypeFor[NoToiletInView]():
		return "no_toilet_in_view"
	}
	return strings.ToLower(t.Name())
}

// exampleOf is a line in the form that a struct of the file has.
func exampleOf(t reflect.Type) string {
	if t == reflect.TypeFor[Suite]() {
		return `name: "Example Street custody suite", and below it volumes:, cells: and cameras:`
	}
	name, _, _ := strings.Cut(t.Field(0).Tag.Get("json"), ",")
	return exampleKey[name]
}

// exampleKey is how each key that is required, or opens a struct, may be written.
var exampleKey = map[string]string{
	"name":        `name: "Cell 4"`,
	"volumes":     "volumes: and below it - {id: disk-1, path: /srv/custody-nvr/disk-1}",
	"cells":       `cells: and below it - {id: cell-04, name: "Cell 4"}`,
	"id":          "id: cell-04",
	"cell":        "cell: cell-04 (an id of cells)",
	"url":         "url: rtsp://192.0.2.14/stream1",
	"path":        "path: /srv/custody-nvr/disk-1",
	"version":     "version: 1",
	"picture":     "picture: 1280x720",
	"declared_by": `declared_by: "Insp 1234 Example"`,
	"reason":      `reason: "the whole view is a corridor"`,
	"listen":      "listen: 127.0.0.1:8080",
	"disabled":    `disabled: "why the kernel of this machine cannot confine the masker"`,
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// parent is the path around path.
func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

// last is the key that a path ends with.
func last(path string) string {
	key := path[strings.LastIndexByte(path, '.')+1:]
	key, index, _ := strings.Cut(key, "[")
	switch {
	case key == "":
		return "the file"
	case index != "":
		return "an entry of " + key
	}
	return key
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "..."
	}
	return s
}

// nearest is the name that key was probably meant to be, or "".
func nearest(key string, names []string) string {
	best, at := "", 1+len(key)/3
	for _, n := range names {
		if dist := distance(strings.ToLower(key), n, at+1); dist <= at {
			best, at = n, dist-1
		}
	}
	return best
}

// distance is the number of letters to add, drop, change or swap to get from a to b, or limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	var older []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], older[j-2]+1)
			}
		}
		older, row = row, next
	}
	return min(limit, row[len(b)])
}
