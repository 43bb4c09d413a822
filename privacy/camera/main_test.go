package camera_test

import (
	"flag"
	"os"
	"testing"

	"custody-nvr/nvr/alonetest"
)

// TestMain runs more tests at a time than there are processors: nearly all of them wait for a
// clock.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() == "" {
		if err := flag.Set("test.parallel", "16"); err != nil {
			panic(err)
		}
	}
	alonetest.Wait()
	os.Exit(m.Run())
}
