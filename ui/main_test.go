package ui

import (
	"os"
	"testing"

	"custody-nvr/nvr/alonetest"
)

func TestMain(m *testing.M) {
	alonetest.Wait()
	os.Exit(m.Run())
}
