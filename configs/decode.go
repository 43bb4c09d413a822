package configs

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/ast"
)

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
