// Package cliptest finds the shared test footage.
//
// Only tests import it. The footage is not part of the project (its licences are those of others),
// so it lies in a folder shared/clips beside the repository; where it is not, tests that need it
// skip with a line that says so.
package cliptest

import (
	"os"
	"path/filepath"
	"testing"
)

// Dir returns the folder of the shared clips: $CUSTODY_CLIPS, or the first shared/clips beside a
// parent of the working directory. Without one it skips the test.
func Dir(t testing.TB) string {
	t.Helper()
	if d := os.Getenv("CUSTODY_CLIPS"); d != "" {
		return d
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for d := wd; ; d = filepath.Dir(d) {
		c := filepath.Join(d, "shared", "clips")
		if st, err := os.Stat(c); err == nil && st.IsDir() {
			return c
		}
		if d == filepath.Dir(d) {
			t.Skip("the shared test footage (../shared/clips beside the repository, or $CUSTODY_CLIPS) is not here")
		}
	}
}

// File returns one clip's path, with the rules of Dir.
func File(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(Dir(t), name)
}
