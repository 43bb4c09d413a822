package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
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
