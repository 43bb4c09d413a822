package nvr_test

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The floors of the house: imports point down. A new arrow means that the design changed: say so
// in the commit that changes a table here.
//
// Patterns: "a" is that package, "a/..." is it and everything below, "..." is every package.

// A floor says which packages of this module the code of a package may import.
type floor struct {
	who []string
	may []string
	why string
}

// floors: the first row that fits a package counts. Tests may import what their package may, what
// lies in the same top folder, and test support.
var floors = []floor{
	{[]string{"cmd/..."}, []string{"..."}, "the wings meet in cmd and nowhere else"},
	{[]string{"nvr", "nvr/cliptest"}, nil, "nvr is the language of all: it reaches nothing"},
	{[]string{"nvr/durable"}, nil, "file calls know nothing of custody"},
	{[]string{"nvr/..."}, []string{"nvr", "nvr/durable"}, "the rules of people do not know each other or the wings"},
	{[]string{"configs"}, []string{"nvr"}, "the suite file is read before anything else exists"},
	{[]string{"systemd"}, nil, "units are text"},
	{[]string{"privacy"}, []string{"nvr", "privacy/wire", "privacy/sandbox"}, "the parent's door never holds a camera's bytes: no camera, codec or masker"},
	{[]string{"privacy/mask", "privacy/wire/...", "privacy/sandbox"}, []string{"nvr", "privacy/wire"}, "small enough to be read whole"},
	{[]string{"privacy/camera/..."}, []string{"nvr", "privacy/camera/..."}, "hostile network bytes are parsed and fuzzed without C"},
	{[]string{"privacy/codec"}, []string{"nvr", "privacy/mask"}, "the only C takes pictures from memory and gives only masked ones back"},
	{[]string{"privacy/..."}, []string{"nvr", "privacy/..."}, "who sees the toilet cannot write: privacy never reaches recorder, ui or durable files"},
	{[]string{"recorder/..."}, []string{"nvr", "nvr/durable", "recorder/..."}, "who writes never sees the toilet: recorder never reaches privacy or ui"},
	{[]string{"ui/..."}, []string{"nvr", "ui/..."}, "ui only asks: it declares its own interfaces and reaches neither privacy nor recorder"},
}

// A fence says where a module, or a package of the standard library, may be imported.
type fence struct {
	what  string   // import path; those below it too
	code  []string // packages whose code may
	tests []string // packages whose tests may beside those
	why   string
}

var fences = []fence{
	{"C", []string{"privacy/hangtest"}, nil, "all other C comes with the codec's module and runs in the masker"},
	{"unsafe", []string{"privacy/codec", "privacy/sandbox"}, nil, "elsewhere it could make a mask.Picture out of an unmasked one"},
	{"plugin", nil, nil, "one binary"},
	{"net/http/pprof", nil, nil, "it shows the memory of the process to whoever asks"},
	{"os/exec", []string{"privacy", "cmd/..."}, []string{"..."}, "the parent's door starts maskers; nothing else runs programs"},
	{"testing", []string{"nvr/cliptest", "privacy/camera/fakecamera", "recorder/frametest", "privacy/wire/wiretest"}, []string{"..."}, "test code does not ship"},
	{"github.com/csnewman/ffmpeg-go", []string{"privacy/codec"}, nil, "FFmpeg gets no patches from Debian: it runs in the masker only"},
	{"github.com/bluenviron/gortsplib", []string{"privacy/camera/...", "privacy/democamera"}, nil, "a camera's bytes are parsed in the masker only"},
	{"github.com/bluenviron/mediacommon", []string{"privacy/...", "recorder/segment"}, []string{"..."}, "video headers belong to who reads them"},
	{"github.com/pion", []string{"privacy/camera/...", "privacy/democamera"}, nil, "RTP is spoken with cameras only"},
	{"go.etcd.io/bbolt", []string{"recorder/archive"}, nil, "one owner per database; the stores of nvr join this list when they come"},
	{"github.com/landlock-lsm/go-landlock", []string{"privacy/sandbox"}, nil, "one place takes rights away and proves it"},
	{"kernel.org/pub/linux/libs/security/libcap/psx", []string{"privacy/sandbox"}, nil, "capabilities leave every thread, those of C too"},
	{"github.com/goccy/go-yaml", []string{"configs"}, nil, "YAML is for the suite file"},
	{"github.com/google/jsonschema-go", nil, []string{"configs"}, "the schema is made before it ships"},
	{"github.com/a-h/templ", []string{"ui/..."}, nil, "pages are made in ui"},
	{"github.com/coder/websocket", []string{"ui"}, []string{"cmd/..."}, "pictures leave through the one wall"},
	{"net/http", []string{"ui", "cmd/..."}, []string{"..."}, "one web server with one route table"},
	{"github.com/spf13", []string{"cmd/..."}, nil, "only main knows flags"},
	{"golang.org/x/term", []string{"cmd/..."}, nil, "only main knows terminals"},
	{"github.com/Eyevinn/mp4ff", []string{"privacy/camera/clip"}, []string{"..."}, "the recorder writes its own boxes; this one reads clips, and checks ours"},
	{"github.com/chromedp", nil, []string{"ui/...", "cmd/..."}, "browsers are for tests"},
	{"github.com/rogpeppe/go-internal", nil, []string{"..."}, "test tool"},
	{"go.uber.org/goleak", nil, []string{"..."}, "test tool"},
	{"pgregory.net/rapid", nil, []string{"..."}, "test tool"},
}

// A use says where an identifier of a package may be used. The client and the server of gortsplib
// share an import path, and os holds more ways to start a program than os/exec.
type use struct {
	pkg, name string // import path; the name's beginning
	code      []string
	tests     []string
	why       string
}

var uses = []use{
	{"github.com/bluenviron/gortsplib/v4", "Client", []string{"privacy/camera"}, []string{"privacy/..."}, "one client, which sets up nothing but the video track"},
	{"github.com/bluenviron/gortsplib/v4", "Server", []string{"privacy/democamera", "privacy/camera/fakecamera"}, []string{"privacy/..."}, "drawn and fake cameras alone serve RTSP"},
	{"os", "StartProcess", nil, nil, "programs start through os/exec, in privacy and cmd"},
	{"syscall", "ForkExec", nil, nil, "programs start through os/exec, in privacy and cmd"},
	{"syscall", "StartProcess", nil, nil, "programs start through os/exec, in privacy and cmd"},
	{"syscall", "Exec", nil, nil, "no process becomes another program"},
	{"golang.org/x/sys/unix", "Exec", []string{"privacy/sandbox"}, nil, "only the sandbox's probe may try, to see it refused"},
}

// quiet packages do no I/O at all.
var quiet = []string{"nvr", "privacy/mask", "ui/page"}

// noisy are the packages of the standard library that do I/O.
var noisy = []string{"os", "net", "net/http", "syscall", "io/ioutil", "os/exec", "database/sql"}

// vague are package names that say nothing.
var vague = []string{"util", "utils", "common", "helper", "helpers", "manager", "managers", "types", "misc", "shared", "base", "lib"}

// offTags are build tags that no build sets.
var offTags = []string{"ignore", "depsonly"}

func TestFloors(t *testing.T) {
	files := readTree(t)
	if len(files) < 10 {
		t.Fatalf("found %d Go files only: the tree was not walked", len(files))
	}
	for _, fault := range faults(t, files) {
		t.Error(fault)
	}
}

// readTree opens every Go file of the module itself, so that the test cache sees each change.
func readTree(t *testing.T) map[string]string {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	err = filepath.WalkDir(root, func(full string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && full != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(d.Name(), ".go"):
			return nil
		}
		text, err := os.ReadFile(full)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, full)
		files[filepath.ToSlash(name)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// faults returns what is wrong with a tree of Go files, by name.
func faults(t *testing.T, files map[string]string) []string {
	t.Helper()
	var found []string
	documented := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file, err := parser.ParseFile(token.NewFileSet(), name, files[name], parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			found = append(found, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		if off(file) {
			continue
		}
		h := house{file: file, name: name, pkg: path.Dir(name), test: strings.HasSuffix(name, "_test.go")}
		h.look()
		found = append(found, h.found...)
		if !h.test {
			documented[h.pkg] = documented[h.pkg] || isPackageComment(file)
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(documented)) {
		if !documented[pkg] {
			found = append(found, pkg+": has no package comment; write one sentence that says what it is, then who calls it and what it will never do")
		}
	}
	return found
}

// off reports whether a file is never built.
func off(file *ast.File) bool {
	for _, group := range file.Comments {
		if group.Pos() > file.Package {
			break
		}
		for _, c := range group.List {
			if x, err := constraint.Parse(c.Text); err == nil && !x.Eval(func(tag string) bool { return !slices.Contains(offTags, tag) }) &&
				slices.ContainsFunc(offTags, func(tag string) bool { return strings.Contains(c.Text, tag) }) {
				return true
			}
		}
	}
	return false
}

func isPackageComment(file *ast.File) bool {
	if file.Name.Name == "main" {
		return file.Doc != nil && strings.HasPrefix(file.Doc.Text(), "Command ")
	}
	return file.Doc != nil && strings.HasPrefix(file.Doc.Text(), "Package "+file.Name.Name+" ")
}

// A house looks at one file.
type house struct {
	file      *ast.File
	name, pkg string
	test      bool
	found     []string
}

func (h *house) fault(format string, args ...any) {
	h.found = append(h.found, h.name+": "+fmt.Sprintf(format, args...))
}

func (h *house) look() {
	if base := strings.TrimSuffix(h.file.Name.Name, "_test"); slices.Contains(vague, base) || slices.Contains(vague, path.Base(h.pkg)) {
		h.fault("package %s: the name says nothing; name it after its one job", base)
	}
	local := map[string]string{} // name in this file -> import path
	for _, spec := range h.file.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			h.fault("import %s: %v", spec.Path.Value, err)
			continue
		}
		if ours, ok := strings.CutPrefix(imp, "custody-nvr/"); ok {
			h.floor(ours)
		} else {
			h.fence(imp)
		}
		name := path.Base(imp)
		if path.Dir(imp) != "." && strings.HasPrefix(name, "v") && strings.Trim(name[1:], "0123456789") == "" {
			name = path.Base(path.Dir(imp))
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if name == "." {
			h.fault("import of %s with a dot: say where each name comes from", imp)
		}
		local[name] = imp
	}
	ast.Inspect(h.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok {
				h.use(local[x.Name], sel.Sel.Name)
			}
		}
		return true
	})
}

// support packages help tests and do not ship.
func support(pkg string) bool {
	return strings.HasSuffix(pkg, "test") || pkg == "privacy/camera/fakecamera"
}

// floor checks an import of this module.
func (h *house) floor(imp string) {
	if support(imp) && !h.test && !support(h.pkg) {
		h.fault("imports %s, which is for tests", imp)
		return
	}
	if h.test && (imp == h.pkg || support(imp) || top(imp) == top(h.pkg)) {
		return
	}
	for _, f := range floors {
		if !fits(h.pkg, f.who) {
			continue
		}
		if !fits(imp, f.may) {
			h.fault("%s may not import %s: %s", h.pkg, imp, f.why)
		}
		return
	}
	h.fault("package %s stands on no floor: give it a row in the table, with a reason", h.pkg)
}

// fence checks an import of another module.
func (h *house) fence(imp string) {
	if !h.test && slices.Contains(noisy, imp) && slices.Contains(quiet, h.pkg) {
		h.fault("%s may not import %s: it does no I/O", h.pkg, imp)
	}
	known := !strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") || strings.HasPrefix(imp, "golang.org/x/sys")
	for _, f := range fences {
		if imp != f.what && !strings.HasPrefix(imp, f.what+"/") {
			continue
		}
		known = true
		if !fits(h.pkg, f.code) && (!h.test || !fits(h.pkg, f.tests)) {
			h.fault("%s may not import %s: %s", h.pkg, imp, f.why)
		}
	}
	if !known {
		h.fault("%s imports %s, which has no row in the table: say where it may be used, and why", h.pkg, imp)
	}
	if known && h.pkg == "nvr" && !h.test && strings.Contains(imp, ".") {
		h.fault("nvr may not import %s: it reaches the standard library alone", imp)
	}
}

// use checks one identifier of an imported package.
func (h *house) use(imp, name string) {
	for _, u := range uses {
		whole := strings.HasPrefix(name, u.name) && (name == u.name || strings.HasPrefix(imp, "github.com/"))
		if imp == u.pkg && whole && !fits(h.pkg, u.code) && (!h.test || !fits(h.pkg, u.tests)) {
			h.fault("%s may not use %s.%s: %s", h.pkg, path.Base(imp), name, u.why)
		}
	}
}

func top(pkg string) string {
	first, _, _ := strings.Cut(pkg, "/")
	return first
}

// fits reports whether one of the patterns fits the package.
func fits(pkg string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		below, tree := strings.CutSuffix(p, "/...")
		return p == "..." || p == pkg || tree && (pkg == below || strings.HasPrefix(pkg, below+"/"))
	})
}
