package ui

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"time"
	_ "time/tzdata" // civil time must not depend on what the machine has installed

	"custody-nvr/ui/page"
)

//go:embed assets
var embedded embed.FS

// assets are the script, the style sheet and the icon, by file name.
type assets map[string]asset

type asset struct {
	body []byte
	etag string
	kind string
}

func loadAssets() assets {
	all := assets{}
	dir, err := fs.ReadDir(embedded, "assets")
	if err != nil {
		panic("ui: embedded assets: " + err.Error())
	}
	for _, e := range dir {
		body, err := embedded.ReadFile("assets/" + e.Name())
		if err != nil {
			panic("ui: embedded assets: " + err.Error())
		}
		sum := sha256.Sum256(body)
		all[e.Name()] = asset{body: body, etag: `"` + hex.EncodeToString(sum[:12]) + `"`, kind: kindOf(e.Name())}
	}
	return all
}

// kindOf does not ask mime first: the machine's own tables must not decide whether scripts run.
func kindOf(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return mime.TypeByExtension(path.Ext(name))
}

// serve lets the browser keep a file but ask each time whether it is still the same.
func (a assets) serve(w http.ResponseWriter, r *http.Request) {
	f, ok := a[r.PathValue("file")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", f.kind)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("ETag", f.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
}

// buildID digests all that an open wall page was made from: version, assets and the page itself
// with its cells. A page that meets a server with another id loads itself again.
func (s *Server) buildID() (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", s.cfg.Version)
	names := make([]string, 0, len(s.assets))
	for n := range s.assets {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		fmt.Fprintf(h, "%s %s\n", n, s.assets[n].etag)
	}
	if err := page.ShowWall(s.wallView()).Render(context.Background(), h); err != nil {
		return "", fmt.Errorf("render the wall: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// newReference names one internal error, for the person who reports it and the log.
func newReference() string {
	var b [4]byte
	rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}
