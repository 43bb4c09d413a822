package privacy

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Limits of text from a child.
const (
	maxDetail    = 300
	maxLine      = 500
	linesPerTurn = 50
	turn         = 10 * time.Second
)

// clean makes one harmless line of what a child said: no control or formatting characters (a
// terminal obeys them, a page may show another order), no secret, no more than max bytes.
func clean(s, secret string, max int) string {
	if secret != "" {
		s = strings.ReplaceAll(s, secret, "***") // before anything is cut
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r == unicode.ReplacementChar || !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	s = strings.TrimSpace(s)
	if len(s) > max {
		s = strings.ToValidUTF8(s[:max], "") + " ..."
	}
	return s
}

// reason is the kernel's word for a network error, without the address, which the line has already.
func reason(err error) string {
	s := err.Error()
	if i := strings.LastIndex(s, ": "); i >= 0 {
		s = s[i+len(": "):]
	}
	return s
}

// A talk takes a child's standard error into the log, line by line, a limited number in a time.
type talk struct {
	log    *slog.Logger
	secret string
	mono   func() time.Duration

	mu      sync.Mutex
	line    []byte // guarded by mu, as all below
	lines   int
	since   time.Duration
	dropped int
}

func (t *talk) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		part, rest, whole := bytes.Cut(b, []byte{'\n'})
		if room := 4*maxLine - len(t.line); room > 0 {
			t.line = append(t.line, part[:min(len(part), room)]...)
		}
		if whole {
			t.flush()
		}
		b = rest
	}
	return n, nil
}

// Close logs a last line without an end.
func (t *talk) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flush()
	if t.dropped > 0 {
		t.log.Warn("masker said more", "lines", t.dropped)
	}
}

func (t *talk) flush() {
	line := clean(string(t.line), t.secret, maxLine)
	t.line = t.line[:0]
	if line == "" {
		return
	}
	if now := t.mono(); now-t.since > turn {
		t.since, t.lines = now, 0
	}
	if t.lines++; t.lines > linesPerTurn {
		t.dropped++
		return
	}
	t.log.Warn("masker says", "line", line)
}
