package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Load reads the suite file at path. The error is Problems where the file can be read.
func Load(path string) (Suite, []Warning, error) {
	f, err := os.Open(path)
	if err != nil {
		return Suite{}, nil, fmt.Errorf("read suite file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return Suite{}, nil, fmt.Errorf("read suite file: %w", err)
	}
	return Parse(path, data)
}

// Parse reads a suite file; name stands in the problems. The error is Problems: all of them, in
// the order of the lines. Warnings are given with and without an error.
func Parse(name string, data []byte) (Suite, []Warning, error) {
	d := decoder{file: name, values: map[string]mark{}, keys: map[string]mark{}, said: map[string]bool{},
		runes: map[int][]rune{}, excerpt: map[int]string{}}
	root := d.syntax(data)
	if root == nil {
		return Suite{}, nil, d.all()
	}
	var s Suite
	d.decode(root, reflect.ValueOf(&s).Elem(), "")
	s.setDefaults()
	c := checker{suite: &s, known: d.known, broken: d.broken, written: d.written}
	c.run()
	for _, p := range c.problems {
		d.add(d.locate(p))
	}
	var warnings []Warning
	for _, w := range c.warnings {
		warnings = append(warnings, Warning{d.locate(w)})
	}
	if err := d.all(); err != nil {
		return Suite{}, warnings, err
	}
	return s, warnings, nil
}

// Validate applies the rules of the suite file to a Suite that was made otherwise, such as the
// demo's. Its problems have paths in place of lines. It fills in the defaults first.
func (s *Suite) Validate() ([]Warning, error) {
	s.setDefaults()
	no := func(string) bool { return false }
	c := checker{suite: s, known: no, broken: no, written: no}
	c.run()
	var warnings []Warning
	for _, w := range c.warnings {
		warnings = append(warnings, Warning{w})
	}
	if len(c.problems) == 0 {
		return warnings, nil
	}
	return warnings, Problems(sorted(c.problems, 0))
}

// A mark is a place in the file.
type mark struct{ line, column, width int }

// A decoder turns the syntax tree into a Suite and remembers where everything stood.
type decoder struct {
	file     string
	lines    []string
	values   map[string]mark // by path
	keys     map[string]mark // by path
	problems []Problem
	said     map[string]bool // paths of problems
	unsaid   int             // problems past maxKept

	// caches by line number, for files that are one enormous line
	runes   map[int][]rune
	excerpt map[int]string
}

// Limits that keep the YAML parser's time and stack small; a suite of 64 cameras is far below.
const (
	maxDepth = 12
	maxKeys  = 8000 // the parser's time grows with the square of it
	maxList  = 1000 // entries of one list that are looked at
	maxKept  = 1000 // problems, of which maxProblems are shown
)

// syntax parses the text, or reports the first thing that is not YAML, or not the plain part of
// YAML that a suite file may use.
func (d *decoder) syntax(data []byte) ast.Node {
	data = bytes.TrimPrefix(data, []byte("\uFEFF")) // Windows editors put it there
	switch {
	case len(data) > MaxBytes:
		d.add(Problem{Message: fmt.Sprintf("the file is larger than %d bytes", MaxBytes), Instead: "one suite a file; no suite needs that much"})
		return nil
	case bytes.IndexByte(data, 0) >= 0 || !utf8.Valid(data):
		d.add(Problem{Message: "the file is not UTF-8 text", Instead: "the same text, saved as UTF-8"})
		return nil
	}
	d.lines = strings.Split(string(data), "\n")
	for i, line := range d.lines {
		d.lines[i] = strings.TrimSuffix(line, "\r")
	}
	tokens := lexer.Tokenize(string(data))
	if !d.plain(tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.add(d.syntaxError(err))
		return nil
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentType {
			bodies = append(bodies, doc.Body)
		}
	}
	switch len(bodies) {
	case 0:
		d.add(Problem{Message: "the file says nothing", Instead: "a suite; example-suite.yaml shows one"})
		return nil
	case 1:
		return bodies[0]
	}
	d.add(d.here(d.mark(bodies[1]), "", "a second document begins here", "one suite a file, without a line of ---"))
	return nil
}

// plain refuses what would cost the parser too much, and what a suite file has no use for.
func (d *decoder) plain(tokens token.Tokens) bool {
	refuse := func(t *token.Token, what, instead string) bool {
		d.add(d.here(d.markToken(t), "", what, instead))
		return false
	}
	brackets, run, keys := 0, 0, 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets--
		case token.SequenceEntryType:
			run++
		case token.MappingValueType:
			keys++
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			return refuse(t, "anchors (&), aliases (*) and merge keys (<<) are not used in a suite file", "the text in full, in every place")
		case token.TagType:
			return refuse(t, "tags (!) are not used in a suite file", "the plain value; text that begins with ! goes into quotes")
		case token.MappingKeyType:
			return refuse(t, "keys with a question mark are not used in a suite file", "key: value")
		case token.DirectiveType:
			return refuse(t, "directives (%) are not used in a suite file", "nothing: leave the line out")
		}
		if t.Type != token.SequenceEntryType {
			run = 0
		}
		switch {
		case brackets > maxDepth || run > maxDepth:
			return refuse(t, "the lists are nested too deep", "the form shown in example-suite.yaml")
		case keys > maxKeys:
			return refuse(t, fmt.Sprintf("the file has more than %d keys", maxKeys), "one suite a file; no suite needs that many")
		}
	}
	return true
}

// syntaxError puts the YAML parser's message at its place.
func (d *decoder) syntaxError(err error) Problem {
	var at interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if !errors.As(err, &at) || at.GetToken() == nil {
		return Problem{Message: "this is not YAML: " + firstLine(err.Error())}
	}
	return d.here(d.markToken(at.GetToken()), "", "this is not YAML: "+firstLine(at.GetMessage()),
		"key: value, two spaces deeper for each level, no tabs; text with : or # in it goes into quotes")
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// decode fills v from n, which stands at path, and reports what does not fit.
func (d *decoder) decode(n ast.Node, v reflect.Value, path string) {
	d.values[path] = d.mark(n)
	if _, null := n.(*ast.NullNode); null {
		d.problem(path, "nothing stands behind "+last(path), "a value, or leave the key out")
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.decode(n, v.Elem(), path)
	case reflect.Struct:
		d.decodeStruct(n, v, path)
	case reflect.Slice, reflect.Array:
		d.decodeList(n, v, path)
	case reflect.String:
		d.decodeText(n, v, path)
	case reflect.Int:
		i, err := strconv.Atoi(n.GetToken().Value)
		if _, ok := n.(*ast.IntegerNode); !ok || err != nil {
			d.problem(path, last(path)+" must be a whole number, here stands "+kind(n), "a number such as 1")
			return
		}
		v.SetInt(int64(i))
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.GetToken().Value, 64)
		switch n.(type) {
		case *ast.IntegerNode, *ast.FloatNode:
		default:
			err = errors.New("no number")
		}
		if err != nil {
			d.problem(path, "a corner must be two numbers, here stands "+kind(n), "a number from 0 to 1, such as 0.25")
			return
		}
		v.SetFloat(f)
	default:
		panic("configs: no rule for a suite file field of kind " + v.Kind().String())
	}
}

func (d *decoder) decodeStruct(n ast.Node, v reflect.Value, path string) {
	what := thing(v.Type())
	var entries []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		entries = n.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{n}
	default:
		d.problem(path, what+" must be keys with values, here stands "+kind(n), exampleOf(v.Type()))
		return
	}
	fields := map[string]int{}
	var names []string
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		fields[name] = i
		names = append(names, name)
	}
	first := map[string]int{}
	for _, e := range entries {
		key := e.Key.GetToken().Value
		at := d.markToken(e.Key.GetToken())
		i, ok := fields[key]
		switch line, twice := first[key]; {
		case !ok:
			d.add(d.unknownKey(key, at, join(path, key), what, names))
			continue
		case twice:
			d.add(d.here(at, join(path, key), fmt.Sprintf("key %q stands twice in %s, first in line %d", key, what, line), "it once"))
			continue
		}
		first[key] = at.line
		d.keys[join(path, key)] = at
		d.decode(e.Value, v.Field(i), join(path, key))
	}
	for _, name := range names {
		_, written := first[name]
		_, opts, _ := strings.Cut(v.Type().Field(fields[name]).Tag.Get("json"), ",")
		if !written && opts == "" {
			d.add(d.here(d.values[path], join(path, name), fmt.Sprintf("%s has no %s", what, name), exampleKey[name]))
		}
	}
}

// namesPassword is a key under which people write a password.
var namesPassword = regexp.MustCompile(`(?i)^(.*pass.*|pwd|secret|token)$`)

// unknownKey says which key was probably meant.
func (d *decoder) unknownKey(key string, at mark, path, what string, names []string) Problem {
	near := nearest(key, names)
	if !strings.HasPrefix(near, "password_") && namesPassword.MatchString(key) {
		return d.here(at, path, "a password never stands in the suite file",
			"password_file: /path/of/a/file with mode 0600, or password_env: NAME, or neither and the password in STATE/secrets/ID")
	}
	instead := "one of " + strings.Join(names, ", ")
	if near != "" {
		instead = near
	}
	p := d.here(at, path, fmt.Sprintf("unknown key %q in %s", shorten(key), what), instead)
	if line := []rune(p.Excerpt); len(line) > at.column+at.width { // nobody knows what its value is: it may be a password
		p.Excerpt = string(line[:at.column-1+at.width]) + ": ***"
	}
	return p
}

func (d *decoder) decodeList(n ast.Node, v reflect.Value, path string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.problem(path, last(path)+" must be a list, here stands "+kind(n), "entries that begin with a dash, or [ ] around them")
		return
	}
	if len(seq.Values) > maxList {
		d.problem(path, fmt.Sprintf("%s has %d entries, no list needs more than %d", last(path), len(seq.Values), maxList), "fewer entries")
		return
	}
	if v.Kind() == reflect.Array {
		if len(seq.Values) != v.Len() {
			d.problem(path, fmt.Sprintf("a corner must be two numbers, here stand %d", len(seq.Values)), "[across, down] such as [0.25, 0.9]")
			return
		}
	} else {
		v.Set(reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values)))
	}
	for i, e := range seq.Values {
		d.decode(e, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

func (d *decoder) decodeText(n ast.Node, v reflect.Value, path string) {
	var s string
	switch n := n.(type) {
	case *ast.StringNode:
		s = n.Value
	case *ast.LiteralNode:
		d.problem(path, last(path)+" must stand on one line, here stands a block of text", "the text behind the colon")
		return
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		instead := strconv.Quote(n.GetToken().Value) + " with the quotes"
		if last(path) == "picture" {
			instead = exampleKey["picture"]
		}
		d.problem(path, last(path)+" must be text, here stands "+kind(n), instead)
		return
	default:
		d.problem(path, last(path)+" must be text, here stands "+kind(n), "text behind the colon")
		return
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			d.problem(path, fmt.Sprintf("%s has a character that cannot be shown (%U)", last(path), r), "the text without it")
			return
		}
	}
	v.SetString(s)
}

// problem reports at the value of path.
func (d *decoder) problem(path, message, instead string) {
	d.add(d.here(d.values[path], path, message, instead))
}

func (d *decoder) add(p Problem) {
	if len(d.problems) == maxKept {
		d.unsaid++
		return
	}
	p.File = d.file
	d.problems = append(d.problems, p)
	d.said[p.Path] = true
}

// here makes a problem at a mark. All texts pass redact.
func (d *decoder) here(at mark, path, message, instead string) Problem {
	return Problem{File: d.file, Line: at.line, Column: at.column, Path: path, Message: redact(message), Instead: redact(instead),
		Excerpt: d.excerptOf(at.line), width: at.width}
}

// locate gives a problem that was found by path its place: the value, else the key, else what
// stands around it.
func (d *decoder) locate(p Problem) Problem {
	for path := p.Path; ; path = parent(path) {
		if at, ok := d.values[path]; ok && at.line > 0 {
			return d.here(at, p.Path, p.Message, p.Instead)
		}
		if path == "" {
			p.File = d.file
			return p
		}
	}
}

// known reports whether something is already said about path or what is around it.
func (d *decoder) known(path string) bool {
	for {
		if d.said[path] {
			return true
		}
		if path == "" {
			return false
		}
		path = parent(path)
	}
}

// broken reports whether something is already said about path or its parts.
func (d *decoder) broken(path string) bool {
	for _, p := range d.problems {
		if p.Path == path || strings.HasPrefix(p.Path, path+".") || strings.HasPrefix(p.Path, path+"[") {
			return true
		}
	}
	return false
}

// written reports whether the file has the key of path.
func (d *decoder) written(path string) bool { _, ok := d.keys[path]; return ok }

func (d *decoder) all() error {
	if len(d.problems) == 0 {
		return nil
	}
	return Problems(sorted(d.problems, d.unsaid))
}

// excerptOf is excerpt with a memory.
func (d *decoder) excerptOf(line int) string {
	text, ok := d.excerpt[line]
	if !ok {
		text = excerpt(d.lines, line)
		d.excerpt[line] = text
	}
	return text
}

// mark finds the first character of a node.
func (d *decoder) mark(n ast.Node) mark {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return d.mark(n.Values[0])
		}
	case *ast.MappingValueNode:
		return d.markToken(n.Key.GetToken())
	}
	return d.markToken(n.GetToken())
}

// markToken finds a token's place and how much of its line it takes.
func (d *decoder) markToken(t *token.Token) mark {
	m := mark{line: min(max(1, t.Position.Line), len(d.lines)), column: max(1, t.Position.Column), width: 1}
	if m.line < 1 {
		return m
	}
	line, ok := d.runes[m.line]
	if !ok {
		line = []rune(d.lines[m.line-1])
		d.runes[m.line] = line
	}
	m.column = min(m.column, len(line)+1)
	rest := line[m.column-1:]
	for _, form := range []string{t.Value, strings.TrimSpace(t.Origin)} {
		if n := utf8.RuneCountInString(form); n > m.width && n <= len(rest) && string(rest[:n]) == form {
			m.width = n
		}
	}
	return m
}

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
