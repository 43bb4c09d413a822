package configs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// TestBadSuiteFilesSayWhatToWriteInstead runs testdata/*.yaml against testdata/*.want.
func TestBadSuiteFilesSayWhatToWriteInstead(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			r := Check(file)
			r.File = filepath.Base(file)
			for i := range r.Problems {
				r.Problems[i].File = r.File
			}
			for i := range r.Warnings {
				r.Warnings[i].File = r.File
			}
			var got bytes.Buffer
			if err := r.WriteText(&got); err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".want"
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
			}
			if r.OK != strings.HasPrefix(name, "fine-") {
				t.Errorf("OK is %v", r.OK)
			}
			if strings.Contains(got.String(), "hunter") {
				t.Error("a password of the file is in the report")
			}
		})
	}
}

func TestProblemsComeInTheOrderOfTheLines(t *testing.T) {
	for _, file := range []string{"testdata/cameras.yaml", "testdata/masks.yaml"} {
		_, _, err := Load(file)
		p, ok := err.(Problems)
		if !ok || len(p) < 5 {
			t.Fatalf("%s: want several problems, got %v", file, err)
		}
		if !slices.IsSortedFunc(p, func(a, b Problem) int { return a.Line - b.Line }) {
			t.Errorf("%s: problems are not in the order of the lines", file)
		}
	}
}

func TestReportAsJSON(t *testing.T) {
	for file, ok := range map[string]bool{"example-suite.yaml": true, "testdata/cameras.yaml": false, "testdata/none": false} {
		var b bytes.Buffer
		if err := Check(file).WriteJSON(&b); err != nil {
			t.Fatal(err)
		}
		var got struct {
			File     string
			OK       bool
			Problems []struct {
				Line, Column           int
				Path, Message, Instead string
			}
			Warnings []struct{ Message string }
		}
		if err := json.Unmarshal(b.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got.File != file || got.OK != ok || (len(got.Problems) == 0) != ok || got.Warnings == nil {
			t.Errorf("%s: %s", file, b.String())
		}
	}
}

// TestEnormousSuiteFilesAreRefusedBeforeTheyCost: the YAML parser takes minutes for some of these.
func TestEnormousSuiteFilesAreRefusedBeforeTheyCost(t *testing.T) {
	const n = MaxBytes / 4
	cases := []struct{ name, text, want string }{
		{"too large", strings.Repeat("#", MaxBytes+1), "larger than 1048576 bytes"},
		{"keys", strings.Repeat("a: b\n", n/5), "more than 8000 keys"},
		{"flow keys", "{" + strings.Repeat("a: b,", n/5) + "}", "more than 8000 keys"},
		{"entries", "cells:\n" + strings.Repeat("- a\n", n/4), "has 65536 entries, no list needs more than 1000"},
		{"cells", "cells:\n" + strings.Repeat("- {}\n", 900), "more problems are not listed"},
		{"numbers", "cells: [" + strings.Repeat("1,", n/2) + "]", "has 131072 entries, no list needs more than 1000"},
		{"one word", "name: " + strings.Repeat("x", n), "name has 262144 characters, it needs 1 to 80"},
		{"brackets", strings.Repeat("[", n), "nested too deep"},
		{"braces", strings.Repeat("{a: ", n/4), "nested too deep"},
		{"dashes", strings.Repeat("- ", n/2), "nested too deep"},
		{"question marks", strings.Repeat("? ", n/2), "keys with a question mark"},
		{"comments", strings.Repeat("# x\n", n/4), "says nothing"},
		{"documents", strings.Repeat("---\n", n/4), "says nothing"},
		{"blank", strings.Repeat("\n", n), "says nothing"},
		{"indents", indents(700), "unknown key"},
		{"alias bomb", "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "anchors (&)"},
		{"alias", "a: *b\n", "aliases (*)"},
		{"merge key", "<<: {name: x}\n", "merge keys (<<)"},
		{"tag", "name: !!str x\n", "tags (!)"},
		{"directive", "%YAML 1.2\n---\nname: x\n", "directives (%)"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := Parse("x", []byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %.500v, want %q", err, c.want)
			}
			if len(err.Error()) > 100_000 {
				t.Errorf("the message has %d bytes", len(err.Error()))
			}
		})
	}
}

func indents(deep int) string {
	var b strings.Builder
	for i := range deep {
		fmt.Fprintf(&b, "%sa:\n", strings.Repeat(" ", i))
	}
	return b.String()
}

func TestSuiteSurvivesMarshalAndParse(t *testing.T) {
	s, _, err := Parse("x", []byte(Example()))
	if err != nil {
		t.Fatal(err)
	}
	s.Cells[0].Name = `"C:\1" # ü - true`
	s.Cameras[0].Mask.Areas[0][0] = Point{0.000_000_1, 1.0 / 3}
	again, _, err := Parse("y", s.Marshal())
	if err != nil {
		t.Fatalf("%v\n%s", err, s.Marshal())
	}
	if !reflect.DeepEqual(s, again) {
		t.Errorf("got %+v, want %+v", again, s)
	}
}

func TestValidateSaysPathsInPlaceOfLines(t *testing.T) {
	s := Suite{
		Name:    "Demo",
		Volumes: []Volume{{ID: "archive", Path: "/tmp/demo/archive"}},
		State:   "/tmp/demo/state",
		Cells:   []Cell{{ID: "cell-01", Name: "Cell 1"}},
		Cameras: []Camera{{ID: "cell-01", Cell: "cell-01", URL: "rtsp://127.0.0.1:8554/cell-01"}},
	}
	warnings, err := s.Validate()
	if err != nil {
		t.Fatal(err)
	}
	if s.Network.Listen != DefaultListen || s.Cameras[0].Transport != "tcp" {
		t.Errorf("defaults are not filled in: %+v", s)
	}
	if len(warnings) != 2 {
		t.Errorf("got %d warnings, want the volume in /tmp and the missing mask: %v", len(warnings), warnings)
	}
	s.Cameras[0].Cell = "cell-02"
	_, err = s.Validate()
	if err == nil || !strings.HasPrefix(err.Error(), "cameras[0].cell: camera cell-01 is in cell") {
		t.Errorf("got %v", err)
	}
}

func TestTileNames(t *testing.T) {
	s, _, err := Parse("x", []byte(Example()))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.TileName("cell-01"); got != "Cell 1" {
		t.Errorf("got %q", got)
	}
	if got := s.TileName("cell-03-door"); got != "Cell 3 - door" {
		t.Errorf("got %q", got)
	}
	if got := s.CamerasIn("cell-04"); got != nil {
		t.Errorf("cell-04 has no camera, got %v", got)
	}
}

// FuzzSuite: any bytes are refused with places inside the file, or make a Suite that is written and
// read back the same, fits the schema, and holds no mask that the masker refuses.
func FuzzSuite(f *testing.F) {
	f.Add([]byte(Example()))
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("name: x\nvolumes: [{id: a, path: /a}]\ncells: [{id: a, name: \"\\\"\"}]\n"))
	schema := shipped(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, _, err := Parse("x", data)
		if err != nil {
			lines := 1 + bytes.Count(data, []byte("\n"))
			for _, p := range err.(Problems) {
				if p.Line < 0 || p.Line > lines || p.Line > 0 && p.Column < 1 || p.Message == "" {
					t.Fatalf("a problem is nowhere: %+v", p)
				}
			}
			return
		}
		text := s.Marshal()
		again, _, err := Parse("again", text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if !reflect.DeepEqual(s, again) || !bytes.Equal(text, again.Marshal()) {
			t.Fatalf("read back as something else:\n%s\n%s", text, again.Marshal())
		}
		var v any
		if err := yaml.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); err != nil {
			t.Fatalf("the schema is stricter than the parser: %v\n%s", err, text)
		}
		for _, c := range s.Cameras {
			if spec := c.MaskSpec(); spec != nil && spec.Validate() != nil {
				t.Fatalf("mask of %s: %v", c.ID, spec.Validate())
			}
		}
	})
}
