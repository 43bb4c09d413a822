package configs

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Problem is one thing that is wrong with a suite file. Its texts never hold a password, even
// where the file does.
type Problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`    // from 1; 0 where it belongs to no line
	Column  int    `json:"column,omitempty"`  // from 1, in characters
	Path    string `json:"path,omitempty"`    // such as cameras[2].url
	Message string `json:"message"`           // what is wrong
	Instead string `json:"instead,omitempty"` // what to write instead
	Excerpt string `json:"excerpt,omitempty"` // the line, passwords taken out

	width int // of the underlined text in characters
}

// A Warning is something that is allowed, yet must not be overlooked.
type Warning struct{ Problem }

// Problems is the error of a suite file: all its problems in the order of the lines.
type Problems []Problem

// Error returns all problems with their excerpts.
func (p Problems) Error() string {
	var b strings.Builder
	for i := range p {
		if i > 0 {
			b.WriteByte('\n')
		}
		p[i].render(&b, "")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// String is the problem on one line, without excerpt.
func (p *Problem) String() string {
	at := p.File
	if p.Line > 0 {
		at += fmt.Sprintf(":%d:%d", p.Line, p.Column)
	}
	if at != "" {
		at += ": "
	}
	if p.Line == 0 && p.Path != "" {
		at += p.Path + ": "
	}
	return at + p.Message
}

func (p *Problem) render(b *strings.Builder, kind string) {
	if kind != "" {
		kind += ": "
	}
	b.WriteString(kind + p.String() + "\n")
	if p.Line > 0 {
		num := fmt.Sprintf("%5d", p.Line)
		fmt.Fprintf(b, "%s | %s\n", num, p.Excerpt)
		if w := p.underline(); w > 0 {
			fmt.Fprintf(b, "%s | %s%s\n", strings.Repeat(" ", len(num)), p.indent(), strings.Repeat("^", w))
		}
	}
	if p.Instead != "" {
		fmt.Fprintf(b, "      = write instead: %s\n", p.Instead)
	}
}

// indent is white space as wide as what stands before the column, with its tabs kept.
func (p *Problem) indent() string {
	var b strings.Builder
	n := 1
	for _, r := range p.Excerpt {
		if n >= p.Column {
			break
		}
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// underline is how many characters to mark, at least one and not past the end of the excerpt.
func (p *Problem) underline() int {
	room := utf8.RuneCountInString(p.Excerpt) - p.Column + 1
	return max(1, min(p.width, room))
}

// maxProblems is how many problems of one file are reported.
const maxProblems = 100

// sorted puts problems in the order of the file and cuts the list to a length that people read.
// unsaid is how many more there are that p does not hold.
func sorted(p []Problem, unsaid int) []Problem {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if len(p) > maxProblems {
		more := Problem{File: p[0].File, Message: fmt.Sprintf("%d more problems are not listed: put these right first", len(p)-maxProblems+unsaid)}
		p = append(p[:maxProblems:maxProblems], more)
	}
	return p
}

var (
	// urlCredentials is everything between :// and the last @ of a line.
	urlCredentials = regexp.MustCompile(`://.*@`)
	// namedSecrets is a value behind a name that smells of a password, mistyped too, in YAML or in
	// a URL, to the end of its line: nobody knows where a password ends. password_file and
	// password_env name a place, not a password.
	namedSecrets = regexp.MustCompile(`(?i)((?:[a-z]*pass[a-z]*|(?:\b|_)pa?s+[a-z]*|pwd|secret|token|auth)["']?\s*[:=]).*`)
	// parameterSecrets is what stands behind a parameter of a URL that may be a password, under a
	// short name or one with % in it.
	parameterSecrets = regexp.MustCompile(`(?i)(://[^\s"']*?[?&;](?:p|[a-z]*pas|[^=&;\s"']*%[^=&;\s"']*)=).*`)
	// pathSecrets is what stands behind a colon in the path of a URL.
	pathSecrets = regexp.MustCompile(`(://[^/\s"']*/(?:[^?\s"']*/)?[^/?:\s"']+:).*`)
	// userSecrets is what stands behind a colon in a user name.
	userSecrets = regexp.MustCompile(`(?i)(\buser["']?\s*:\s*["']?[^"'\s,:]+:).*`)
)

// redact takes passwords out of a text.
func redact(s string) string {
	s = urlCredentials.ReplaceAllString(s, "://***@")
	s = parameterSecrets.ReplaceAllString(s, "${1} ***")
	s = pathSecrets.ReplaceAllString(s, "${1} ***")
	s = userSecrets.ReplaceAllString(s, "${1}***")
	return namedSecrets.ReplaceAllString(s, "${1} ***")
}

// excerpt returns a line of the file as it may be shown.
func excerpt(lines []string, n int) string {
	const wide = 160
	if n < 1 || n > len(lines) {
		return ""
	}
	for above := n - 1; above >= 1 && above >= n-4; above-- { // a password on the lines below its key
		if namedSecrets.MatchString(lines[above-1]) && leading(lines[n-1]) > leading(lines[above-1]) {
			return strings.Repeat(" ", leading(lines[n-1])) + "***"
		}
	}
	s := redact(lines[n-1])
	if utf8.RuneCountInString(s) > wide {
		s = string([]rune(s)[:wide]) + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '\uFFFD' // no control sequence reaches a terminal
		}
		return r
	}, s)
}

func leading(s string) int { return len(s) - len(strings.TrimLeft(s, " ")) }

// A Report is what `config check` says about a suite file.
type Report struct {
	File     string    `json:"file"`
	OK       bool      `json:"ok"`
	Name     string    `json:"name,omitempty"`
	Cells    int       `json:"cells"`
	Cameras  int       `json:"cameras"`
	Volumes  int       `json:"volumes"`
	Problems []Problem `json:"problems"`
	Warnings []Warning `json:"warnings"`
}

// Check reads a suite file and reports on it. It looks at the file alone: no camera, volume or
// password is touched.
func Check(path string) Report {
	suite, warnings, err := Load(path)
	r := Report{File: path, OK: err == nil, Problems: []Problem{}, Warnings: append([]Warning{}, warnings...)}
	r.Name, r.Cells, r.Cameras, r.Volumes = suite.Name, len(suite.Cells), len(suite.Cameras), len(suite.Volumes)
	switch p, ok := err.(Problems); {
	case ok:
		r.Problems = p
	case err != nil:
		r.Problems = []Problem{{File: path, Message: err.Error()}}
	}
	return r
}

// WriteText writes the report for people.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for i := range r.Problems {
		r.Problems[i].render(&b, "")
		b.WriteByte('\n')
	}
	for i := range r.Warnings {
		r.Warnings[i].render(&b, "WARNING")
		b.WriteByte('\n')
	}
	if r.OK {
		fmt.Fprintf(&b, "%s: fine: %s, %s, %s, %s\n", r.File, count(r.Cells, "cell"), count(r.Cameras, "camera"),
			count(r.Volumes, "volume"), count(len(r.Warnings), "warning"))
	} else {
		fmt.Fprintf(&b, "%s: not usable: %s, %s\n", r.File, count(len(r.Problems), "problem"), count(len(r.Warnings), "warning"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON writes the report as one JSON object.
func (r Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
