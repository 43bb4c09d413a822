package configs

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// Marshal writes a suite file that Parse reads back to the same Suite. Comments of the file that s
// came from are lost: it serves tools that draft a suite file, people edit theirs.
func (s *Suite) Marshal() []byte {
	var b bytes.Buffer
	emit(&b, reflect.ValueOf(*s), 0, true)
	return b.Bytes()
}

// bare is text that YAML reads as the same text without quotes. Everything else gets quotes, also
// where YAML would do without.
var bare = regexp.MustCompile(`^[a-z/][a-z0-9/_-]*[a-z][0-9/_-]*$`)

// emit writes v as YAML, deep levels in. Where inline is false the cursor stands behind a colon.
func emit(b *bytes.Buffer, v reflect.Value, deep int, inline bool) {
	switch v.Kind() {
	case reflect.Pointer:
		emit(b, v.Elem(), deep, inline)
	case reflect.Struct:
		emitStruct(b, v, deep, inline)
	case reflect.Slice:
		switch {
		case v.Len() == 0:
			b.WriteString(" []\n")
		case v.Type().Elem() == reflect.TypeFor[[]Point]():
			b.WriteByte('\n')
			for i := range v.Len() {
				fmt.Fprintf(b, "%s- %s\n", spaces(deep), polygon(v.Index(i).Interface().([]Point)))
			}
		default:
			b.WriteByte('\n')
			for i := range v.Len() {
				fmt.Fprintf(b, "%s- ", spaces(deep))
				emit(b, v.Index(i), deep+1, true)
			}
		}
	case reflect.Int:
		fmt.Fprintf(b, " %d\n", v.Int())
	case reflect.String:
		text := v.String()
		switch text {
		case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
			text = strconv.Quote(text)
		default:
			if !bare.MatchString(text) {
				text = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
			}
		}
		fmt.Fprintf(b, " %s\n", text)
	default:
		panic("configs: no rule to write a suite file field of kind " + v.Kind().String())
	}
}

// emitStruct writes keys and values; the first key goes where the cursor stands if inline.
func emitStruct(b *bytes.Buffer, v reflect.Value, deep int, inline bool) {
	if !inline {
		b.WriteByte('\n')
	}
	first := inline
	for i := range v.NumField() {
		name, opts, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if opts != "" && (v.Field(i).IsZero() || v.Field(i).Kind() == reflect.Slice && v.Field(i).Len() == 0) {
			continue
		}
		if !first {
			b.WriteString(spaces(deep))
		}
		first = false
		b.WriteString(name + ":")
		emit(b, v.Field(i), deep+1, false)
	}
}

func polygon(area []Point) string {
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) } // YAML reads 1e-07 as text
	corners := make([]string, len(area))
	for i, p := range area {
		corners[i] = "[" + number(p[0]) + ", " + number(p[1]) + "]"
	}
	return "[" + strings.Join(corners, ", ") + "]"
}

func spaces(deep int) string { return strings.Repeat("  ", deep) }
