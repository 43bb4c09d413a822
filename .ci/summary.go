//go:build ignore

// Command summary reads the events of go test -json and writes what a person wants to know: a line
// per package, all that failed tests said, and the tests that were skipped. A skipped test is a
// failure, because nothing was proved. One skip is told and let pass: the shared footage is not part
// of the project, so where it is not there at all, tests that need it cannot run.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// noFootage is how package cliptest says that the shared footage is not there.
const noFootage = "the shared test footage"

func main() {
	last := flag.String("last", "", "file for the closing line")
	flag.Parse()
	passed, failed, closing := read()
	line := fmt.Sprintf("%d passed, %d failed\n", passed, failed)
	fmt.Print(closing, line)
	if *last != "" {
		if err := os.WriteFile(*last, []byte(line), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
}

// read follows the events to their end.
func read() (passed, failed int, closing string) {
	said := map[string]*strings.Builder{} // by package and test
	var skipped, unproved []string
	parents := map[string]bool{} // tests with sub-tests are not counted beside them
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 64<<20)
	for in.Scan() {
		var e event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			fmt.Println(in.Text())
			continue
		}
		key := e.Package + " " + e.Test
		if i := strings.LastIndexByte(key, '/'); e.Test != "" && strings.Contains(e.Test, "/") {
			parents[key[:i]] = true
		}
		switch e.Action {
		case "output":
			if said[key] == nil {
				said[key] = &strings.Builder{}
			}
			said[key].WriteString(e.Output)
		case "build-output":
			fmt.Print(e.Output)
		case "build-fail":
			failed++
		case "pass":
			switch {
			case e.Test == "":
				fmt.Printf("ok    %-36s %7.1f s\n", e.Package, e.Elapsed)
			case !parents[key]:
				passed++
			}
			if e.Test != "" {
				delete(said, key)
			}
		case "fail":
			if e.Test == "" {
				fmt.Printf("FAIL  %-36s %7.1f s\n", e.Package, e.Elapsed)
				if failed == 0 {
					failed++ // the package itself: it panicked, or TestMain failed
				}
			} else if !parents[key] {
				failed++
			}
			if b := said[key]; b != nil {
				fmt.Print(indent(b.String()))
			}
		case "skip":
			if e.Test == "" { // no test files
				continue
			}
			why := ""
			if b := said[key]; b != nil {
				why = reason(b.String())
			}
			line := fmt.Sprintf("      %s %s: %s\n", e.Package, e.Test, why)
			if strings.Contains(why, noFootage) && !footage() {
				unproved = append(unproved, line)
			} else {
				skipped = append(skipped, line)
				failed++
			}
		}
	}
	if len(unproved) > 0 {
		closing += fmt.Sprintf("NOT PROVED, for want of the shared footage: %d tests\n%s", len(unproved), strings.Join(unproved, ""))
	}
	if len(skipped) > 0 {
		closing += fmt.Sprintf("SKIPPED, which counts as failed: %d tests\n%s", len(skipped), strings.Join(skipped, ""))
	}
	return passed, failed, closing
}

// footage reports whether the shared footage is where the tests look for it.
func footage() bool {
	if os.Getenv("CUSTODY_CLIPS") != "" {
		return true
	}
	wd, err := os.Getwd()
	if err != nil {
		return true
	}
	for d := wd; ; d = filepath.Dir(d) {
		if st, err := os.Stat(filepath.Join(d, "shared", "clips")); err == nil && st.IsDir() {
			return true
		}
		if d == filepath.Dir(d) {
			return false
		}
	}
}

// reason is the line of a test's output that says why it was skipped.
func reason(output string) string {
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			return line
		}
	}
	return "no reason given"
}

func indent(s string) string {
	return "      " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n      ") + "\n"
}
