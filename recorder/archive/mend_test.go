package archive

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"custody-nvr/nvr"
)

// A suite that is given another name keeps its index, and with it the details of its gaps.
func TestAnotherNameOfTheSuiteKeepsTheIndex(t *testing.T) {
	s := newStore(t, nil)
	s.second("cell-01")
	c := s.cams["cell-01"]
	c.feed.Gap(c.at, nvr.CameraLost, "no answer from the camera")
	s.now += 2 * time.Second
	c.at = epoch.Add(s.now)
	s.second("cell-01")
	s.crash()
	for _, name := range []string{"Testford West", "Testford West", "test"} {
		s.cfg = func(c *Config) { c.Suite = name }
		s.open()
		found := false
		for _, sp := range s.coverage("cell-01") {
			found = found || strings.Contains(sp.Detail, "no answer")
		}
		if !found {
			t.Errorf("as %q: the detail of the gap is gone", name)
		}
		s.crash()
	}
	if m, _ := filepath.Glob(filepath.Join(s.dir, "state", indexName+".broken-*")); len(m) != 0 {
		t.Errorf("set aside: %v", m)
	}
	s.check()
}
