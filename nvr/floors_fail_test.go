package nvr_test

import (
	"strings"
	"testing"
)

// TestFloorsFindEachViolation proves that TestFloors can fail: each case is one file that breaks
// one rule, and the fault that must be found.
func TestFloorsFindEachViolation(t *testing.T) {
	const doc = "// Package x is x.\npackage x\n"
	cases := []struct{ name, file, text, want string }{
		{"nvr reaches a module", "nvr/x.go", doc + `import _ "golang.org/x/sys/unix"`, "standard library alone"},
		{"nvr reaches a wing", "nvr/x.go", doc + `import _ "custody-nvr/recorder"`, "nvr may not import recorder"},
		{"nvr opens files", "nvr/x.go", doc + `import _ "os"`, "it does no I/O"},
		{"rules of people reach each other", "nvr/staff/x.go", doc + `import _ "custody-nvr/nvr/ledger"`, "nvr/staff may not import nvr/ledger"},
		{"recorder reaches privacy", "recorder/x.go", doc + `import _ "custody-nvr/privacy"`, "recorder may not import privacy"},
		{"recorder reaches ui", "recorder/live/x.go", doc + `import _ "custody-nvr/ui"`, "recorder/live may not import ui"},
		{"a recorder test reaches privacy", "recorder/x_test.go", doc + `import _ "custody-nvr/privacy/mask"`, "recorder may not import privacy/mask"},
		{"ui reaches privacy", "ui/x.go", doc + `import _ "custody-nvr/privacy/wire"`, "ui may not import privacy/wire"},
		{"ui reaches recorder", "ui/x.go", doc + `import _ "custody-nvr/recorder/live"`, "ui may not import recorder/live"},
		{"a page opens files", "ui/page/x.go", doc + `import _ "os"`, "it does no I/O"},
		{"privacy reaches recorder", "privacy/masker/x.go", doc + `import _ "custody-nvr/recorder"`, "privacy/masker may not import recorder"},
		{"privacy reaches durable files", "privacy/masker/x.go", doc + `import _ "custody-nvr/nvr/durable"`, "privacy/masker may not import nvr/durable"},
		{"privacy reaches ui", "privacy/x.go", doc + `import _ "custody-nvr/ui"`, "privacy may not import ui"},
		{"the parent's door reaches the codec", "privacy/x.go", doc + `import _ "custody-nvr/privacy/codec"`, "privacy may not import privacy/codec"},
		{"a camera reaches C", "privacy/camera/x.go", doc + `import _ "custody-nvr/privacy/codec"`, "privacy/camera may not import privacy/codec"},
		{"configs reaches a wing", "configs/x.go", doc + `import _ "custody-nvr/ui/page"`, "configs may not import ui/page"},
		{"a package without a floor", "tools/x.go", doc + `import _ "custody-nvr/nvr"`, "stands on no floor"},
		{"test support ships", "ui/x.go", doc + `import _ "custody-nvr/nvr/cliptest"`, "which is for tests"},
		{"FFmpeg outside the codec", "privacy/masker/x.go", doc + `import ff "github.com/csnewman/ffmpeg-go"`, "privacy/masker may not import github.com/csnewman"},
		{"FFmpeg in a test of the recorder", "recorder/x_test.go", doc + `import ff "github.com/csnewman/ffmpeg-go"`, "recorder may not import github.com/csnewman"},
		{"C of one's own", "privacy/codec/x.go", doc + `import "C"`, "privacy/codec may not import C"},
		{"unsafe in the recorder", "recorder/x.go", doc + `import "unsafe"`, "recorder may not import unsafe"},
		{"RTSP in the recorder", "recorder/x.go", doc + `import _ "github.com/bluenviron/gortsplib/v4/pkg/base"`, "recorder may not import github.com/bluenviron"},
		{"RTSP client in the demo", "privacy/democamera/x.go", doc + "import \"github.com/bluenviron/gortsplib/v4\"\nvar c gortsplib.Client", "may not use v4.Client"},
		{"RTSP server in the camera", "privacy/camera/x.go", doc + "import g \"github.com/bluenviron/gortsplib/v4\"\nvar s g.ServerStream", "may not use v4.ServerStream"},
		{"bbolt in ui", "ui/x.go", doc + `import _ "go.etcd.io/bbolt"`, "ui may not import go.etcd.io/bbolt"},
		{"Landlock in main", "cmd/x/x.go", doc + `import _ "github.com/landlock-lsm/go-landlock/landlock"`, "cmd/x may not import github.com/landlock-lsm"},
		{"programs from the recorder", "recorder/archive/x.go", doc + `import _ "os/exec"`, "recorder/archive may not import os/exec"},
		{"programs from the masker", "privacy/masker/x.go", doc + "import \"syscall\"\nvar f = syscall.ForkExec", "may not use syscall.ForkExec"},
		{"programs by os", "ui/x.go", doc + "import \"os\"\nvar f = os.StartProcess", "may not use os.StartProcess"},
		{"a web server in privacy", "privacy/x.go", doc + `import _ "net/http"`, "privacy may not import net/http"},
		{"a browser in the product", "ui/x.go", doc + `import _ "github.com/chromedp/chromedp"`, "ui may not import github.com/chromedp"},
		{"MP4 by another's code", "recorder/segment/x.go", doc + `import _ "github.com/Eyevinn/mp4ff/mp4"`, "recorder/segment may not import github.com/Eyevinn"},
		{"testing in the product", "recorder/x.go", doc + `import _ "testing"`, "recorder may not import testing"},
		{"flags in the recorder", "recorder/x.go", doc + `import _ "github.com/spf13/cobra"`, "recorder may not import github.com/spf13"},
		{"a module nobody spoke of", "ui/x.go", doc + `import _ "example.org/new"`, "has no row in the table"},
		{"names without their package", "ui/x.go", doc + `import . "strings"`, "with a dot"},
		{"no package comment", "ui/x.go", "package x\n", "ui: has no package comment"},
		{"a comment that does not name the package", "ui/x.go", "// It is x.\npackage x\n", "ui: has no package comment"},
		{"a command without comment", "cmd/x/x.go", "package main\n", "cmd/x: has no package comment"},
		{"a package named util", "ui/util/x.go", "// Package util is x.\npackage util\n", "the name says nothing"},
		{"a folder named common", "ui/common/x.go", doc, "the name says nothing"},
		{"a file that is no Go", "ui/x.go", "pakage x", "ui/x.go:1:1: expected 'package'"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			found := faults(t, map[string]string{c.file: c.text})
			if len(found) != 1 || !strings.Contains(found[0], c.want) {
				t.Errorf("found %q, want one fault with %q", found, c.want)
			}
		})
	}
}

// TestFloorsLetTheDesignPass: what the design allows is no fault.
func TestFloorsLetTheDesignPass(t *testing.T) {
	const doc = "// Package x is x.\npackage x\n"
	cases := []struct{ name, file, text string }{
		{"cmd wires the wings", "cmd/x/x.go", "// Command x is x.\npackage main\nimport (_ \"custody-nvr/ui\"; _ \"custody-nvr/privacy\"; _ \"custody-nvr/recorder/live\"; _ \"os/exec\")"},
		{"the codec decodes", "privacy/codec/x.go", doc + "import (\"unsafe\"; ff \"github.com/csnewman/ffmpeg-go\"; _ \"custody-nvr/privacy/mask\")"},
		{"the camera is a client", "privacy/camera/x.go", doc + "import \"github.com/bluenviron/gortsplib/v4\"\nvar c gortsplib.Client"},
		{"the demo is a server", "privacy/democamera/x.go", doc + "import \"github.com/bluenviron/gortsplib/v4\"\nvar c gortsplib.Server"},
		{"the archive has an index", "recorder/archive/x.go", doc + "import (bolt \"go.etcd.io/bbolt\"; _ \"custody-nvr/nvr/durable\")"},
		{"a test runs ffmpeg", "ui/x_test.go", "package x\nimport (_ \"os/exec\"; _ \"testing\"; _ \"custody-nvr/nvr/cliptest\")"},
		{"a file of no build", "ui/x.go", "//go:build depsonly\n\npackage x\nimport _ \"go.etcd.io/bbolt\""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if found := faults(t, map[string]string{c.file: c.text}); len(found) != 0 {
				t.Errorf("found %q", found)
			}
		})
	}
}
