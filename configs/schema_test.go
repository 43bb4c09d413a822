package configs

import (
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/jsonschema-go/jsonschema"

	"custody-nvr/nvr"
)

var update = flag.Bool("update", false, "write suite.schema.json and the golden messages anew")

// ptr is for the optional numbers of a schema.
func ptr[T any](v T) *T { return &v }

// schemaOfTypes makes the schema: keys, kinds and descriptions come from the types, the limits that
// a type cannot express are added here. It may be looser than Parse, never stricter.
func schemaOfTypes(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.For[Suite](nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Schema = "https://json-schema.org/draft/2020-12/schema"
	s.Title = "Suite file of custody-nvr"
	s.Description = "What one custody suite is made of: cells, cameras, disks, network. `custody-nvr config check FILE` applies further rules."
	plain(s)
	p := func(path string) *jsonschema.Schema {
		at := s
		for key := range strings.SplitSeq(path, ".") {
			if key == "[]" {
				at = at.Items
			} else {
				at = at.Properties[key]
			}
			if at == nil {
				t.Fatalf("no %q in the schema: its key was renamed", path)
			}
		}
		return at
	}
	id := `^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`
	for _, path := range []string{"volumes.[].id", "cells.[].id", "cameras.[].id", "cameras.[].cell"} {
		p(path).Pattern = id
	}
	for _, path := range []string{"state", "volumes.[].path", "cameras.[].password_file"} {
		p(path).Pattern = "^/"
	}
	sizes := []struct {
		path string
		most int
	}{
		{"name", 80}, {"cells.[].name", 40}, {"cameras.[].view", 40}, {"cameras.[].user", 64},
		{"sandbox.disabled", mostReason}, {"cameras.[].udp_reason", mostReason}, {"cameras.[].fingerprint", 512},
	}
	for _, x := range sizes {
		p(x.path).MinLength, p(x.path).MaxLength = ptr(1), ptr(x.most)
	}
	p("volumes").MinItems, p("volumes").MaxItems = ptr(1), ptr(MaxVolumes)
	p("cells").MinItems, p("cells").MaxItems = ptr(1), ptr(MaxCells)
	p("cameras").MaxItems = ptr(MaxCameras)
	p("cameras.[].url").Pattern = "^rtsps?://[^@/]+(/.*)?$"
	p("cameras.[].transport").Enum = []any{"tcp", "udp"}
	p("cameras.[].certificate_sha256").Pattern = "^[0-9A-Fa-f:]{64,}$"
	p("cameras.[].password_env").Pattern = envName.String()
	mask := p("cameras.[].mask")
	mask.OneOf = []*jsonschema.Schema{{Required: []string{"areas"}}, {Required: []string{"no_toilet_in_view"}}}
	p("cameras.[].mask.version").Minimum = ptr(1.0)
	p("cameras.[].mask.picture").Pattern = "^[0-9]{2,6}x[0-9]{2,6}$"
	p("cameras.[].mask.pixel_aspect").Pattern = "^[0-9]{1,6}:[0-9]{1,6}$"
	areas := p("cameras.[].mask.areas")
	areas.MinItems, areas.MaxItems = ptr(1), ptr(nvr.MaxAreas)
	areas.Items.MinItems, areas.Items.MaxItems = ptr(3), ptr(nvr.MaxPoints)
	areas.Items.Items.Items.Minimum, areas.Items.Items.Items.Maximum = ptr(0.0), ptr(1.0)
	return s
}

// plain takes out null: the suite file has no use for it.
func plain(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	if len(s.Types) == 2 && s.Types[0] == "null" {
		s.Type, s.Types = s.Types[1], nil
	}
	plain(s.Items)
	for _, p := range s.Properties {
		plain(p)
	}
}

func TestShippedSchemaIsThatOfTheTypes(t *testing.T) {
	want, err := json.MarshalIndent(schemaOfTypes(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile("suite.schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if Schema() != string(want) {
		t.Fatal("suite.schema.json is not that of the types: run go generate ./configs")
	}
}

// shipped is the schema as shipped, ready to validate.
func shipped(t testing.TB) *jsonschema.Resolved {
	t.Helper()
	var s jsonschema.Schema
	if err := json.Unmarshal([]byte(Schema()), &s); err != nil {
		t.Fatal(err)
	}
	r, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEveryKeyIsDocumented(t *testing.T) {
	var s jsonschema.Schema
	if err := json.Unmarshal([]byte(Schema()), &s); err != nil {
		t.Fatal(err)
	}
	var keys int
	var visit func(path string, s *jsonschema.Schema)
	visit = func(path string, s *jsonschema.Schema) {
		if s == nil {
			return
		}
		for name, p := range s.Properties {
			keys++
			if len(p.Description) < 20 || !strings.HasSuffix(p.Description, ".") {
				t.Errorf("%s%s is not documented in a sentence: %q", path, name, p.Description)
			}
			if !strings.Contains(Example(), name+":") {
				t.Errorf("%s%s does not occur in the example", path, name)
			}
			visit(path+name+".", p)
		}
		visit(path, s.Items)
	}
	visit("", &s)
	if want := keysOf(reflect.TypeFor[Suite]()); keys != want {
		t.Fatalf("the schema has %d keys, the types have %d", keys, want)
	}
}

// keysOf counts the keys of a type of the suite file.
func keysOf(t reflect.Type) int {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return keysOf(t.Elem())
	case reflect.Struct:
		n := 0
		for f := range t.Fields() {
			n += 1 + keysOf(f.Type)
		}
		return n
	}
	return 0
}

func TestExampleIsAccepted(t *testing.T) {
	s, warnings, err := Parse("example-suite.yaml", []byte(Example()))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range s.Cameras {
		if err := c.MaskSpec().Validate(); err != nil {
			t.Errorf("mask of %s: %v", c.ID, err)
		}
	}
	if len(warnings) != 2 {
		t.Errorf("the example has %d warnings, want 2: the cell without camera and the UDP camera", len(warnings))
	}
}

func TestExampleFitsTheSchema(t *testing.T) {
	var v any
	if err := yaml.Unmarshal([]byte(Example()), &v); err != nil {
		t.Fatal(err)
	}
	if err := shipped(t).Validate(v); err != nil {
		t.Fatal(err)
	}
}

func TestSchemaRefusesWhatTheParserRefuses(t *testing.T) {
	r := shipped(t)
	cases := map[string][2]string{
		"unknown key":        {"listen:", "lissen:"},
		"URL of another web": {"rtsp://192.0.2.11", "http://192.0.2.11"},
		"password in a URL":  {"rtsp://192.0.2.11", "rtsp://a:b@192.0.2.11"},
		"corner outside":     {"0.62, 0.48", "1.62, 0.48"},
		"no version":         {"version: 3", "# version: 3"},
		"id with capitals":   {"id: disk-1", "id: Disk-1"},
		"number for a name":  {`name: "Cell 1"`, "name: 1"},
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(Example(), change[0], change[1], 1)
			if text == Example() {
				t.Fatalf("the example has no %q", change[0])
			}
			if _, _, err := Parse("x", []byte(text)); err == nil {
				t.Error("Parse accepts it")
			}
			var v any
			if err := yaml.Unmarshal([]byte(text), &v); err != nil {
				t.Fatal(err)
			}
			if r.Validate(v) == nil {
				t.Error("the schema accepts it")
			}
		})
	}
}
