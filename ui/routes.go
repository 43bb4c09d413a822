package ui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"

	"github.com/a-h/templ"

	"custody-nvr/ui/page"
)

// A right is what a caller must hold to use a route.
type right string

// The rights. Anyone is a right too: a route that forgot to say one does not start.
const (
	anyone  right = "anyone"
	seeLive right = "see the live wall"
)

// A route is one row of the table. There is no other way to be reached.
type route struct {
	pattern string // method and path, as http.ServeMux has them
	right   right
	handler http.HandlerFunc
}

func (s *Server) routes() []route {
	return []route{
		{"GET /{$}", seeLive, s.wallPage},
		{"GET /live", seeLive, s.liveWall},
		{"GET /help", anyone, s.helpPage},
		{"GET /healthz", anyone, s.health},
		{"GET /assets/{file}", anyone, s.assets.serve},
	}
}

// A caller is whoever sent a request.
type caller struct {
	name string
	may  map[right]bool
}

// who answers who is asking. Until people can log in it is whoever sits at this machine, who may
// see the wall and nothing else; Serve refuses to be reached from elsewhere.
func (s *Server) who(*http.Request) caller {
	return caller{name: "this machine", may: map[right]bool{anyone: true, seeLive: true}}
}

// chain puts the steps around the routes that every request goes through, outermost first.
func (s *Server) chain(routes []route) http.Handler {
	mux := http.NewServeMux()
	for _, r := range routes {
		if r.right == "" {
			panic(fmt.Sprintf("ui: route %q has no right", r.pattern))
		}
		if method, path, ok := strings.Cut(r.pattern, " "); !ok || method != strings.ToUpper(method) || !strings.HasPrefix(path, "/") {
			panic(fmt.Sprintf("ui: route %q must name a method and a path", r.pattern))
		}
		mux.HandleFunc(r.pattern, func(w http.ResponseWriter, req *http.Request) {
			if !s.who(req).may[r.right] {
				s.problem(w, req, http.StatusForbidden, "You may not open this page", "Your account does not hold the right: "+string(r.right)+". Ask the custody sergeant.")
				return
			}
			r.handler(w, req)
		})
	}
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			s.noRoute(w, r, mux)
			return
		}
		mux.ServeHTTP(w, r)
	})
	return s.recovered(headers(s.ownHost(http.NewCrossOriginProtection().Handler(answer))))
}

// recovered turns a panic into an "internal error" with a reference that is also in the log.
func (s *Server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			fault := recover()
			if fault == nil {
				return
			}
			if fault == http.ErrAbortHandler { // net/http's own way to end a response
				panic(fault)
			}
			ref := newReference()
			s.cfg.Log.Error("page panicked", "reference", ref, "path", r.URL.Path, "panic", fault, "stack", string(debug.Stack()))
			s.problem(w, r, http.StatusInternalServerError, "Internal error", "Something went wrong in the recorder's pages. Recording is not affected. Tell ICT the reference "+ref+".")
		}()
		next.ServeHTTP(w, r)
	})
}

// policy allows what the pages are made of and nothing else: no inline script or style, no eval,
// no other host.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), display-capture=()")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// ownHost refuses requests that name another host than this machine. Without it a web page
// elsewhere could point its own name at 127.0.0.1 and read the wall (DNS rebinding).
func (s *Server) ownHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopback(r.Host) {
			s.problem(w, r, http.StatusMisdirectedRequest, "Wrong address", "Open this page by the address 127.0.0.1 or localhost on the recorder itself.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isLoopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// noRoute answers what the table does not hold: no such page, or no such method for the page.
func (s *Server) noRoute(w http.ResponseWriter, r *http.Request, mux *http.ServeMux) {
	probe := &statusOnly{header: http.Header{}}
	mux.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", probe.header.Get("Allow"))
		s.problem(w, r, probe.status, "This cannot be done here", "Go back to the wall and try again from there.")
		return
	}
	s.problem(w, r, http.StatusNotFound, "There is no such page", "Check the address, or go back to the wall.")
}

type statusOnly struct {
	header http.Header
	status int
}

func (p *statusOnly) Header() http.Header         { return p.header }
func (p *statusOnly) Write(b []byte) (int, error) { return len(b), nil }
func (p *statusOnly) WriteHeader(status int)      { p.status = status }

func (s *Server) frame(title string) page.Frame {
	return page.Frame{Title: title, Suite: s.cfg.Suite, Demo: s.cfg.Demo}
}

func (s *Server) wallView() page.Wall {
	v := page.Wall{Frame: s.frame("Live wall"), Build: s.build}
	for i, t := range s.tiles {
		v.Tiles = append(v.Tiles, page.Tile{Index: i, Cell: string(t.Cell), Name: t.Name, Camera: t.Camera})
	}
	return v
}

func (s *Server) wallPage(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, page.ShowWall(s.wallView()))
}

func (s *Server) helpPage(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, page.ShowHelp(s.frame("What the wall says and what to do")))
}

func (s *Server) problem(w http.ResponseWriter, r *http.Request, status int, what, next string) {
	s.show(w, r, status, page.ShowProblem(page.Problem{Frame: s.frame(what), What: what, Next: next}))
}

// show renders a page whole before the first byte goes out, so that a failure is never half a page.
func (s *Server) show(w http.ResponseWriter, r *http.Request, status int, c templ.Component) {
	var b bytes.Buffer
	if err := c.Render(r.Context(), &b); err != nil {
		ref := newReference()
		s.cfg.Log.Error("page not rendered", "reference", ref, "path", r.URL.Path, "err", err)
		http.Error(w, "Internal error. Tell ICT the reference "+ref+".", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes()) // an error here is the browser's going away
}

// health says whether every camera is seen and recorded, for a supervisor on this machine. Its status
// is 200 all the same: the pages are served, and restarting them would mend no camera.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	screens := s.live
	s.mu.Unlock()
	reasons := s.unwell()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(struct {
		OK      bool     `json:"ok"`
		Reasons []string `json:"reasons,omitempty"`
		Version string   `json:"version"`
		Screens int      `json:"screens"`
		Cells   int      `json:"cells"`
	}{len(reasons) == 0, reasons, s.cfg.Version, screens, len(s.tiles)})
}

// unwell says of which cells there is no picture, or none on the disk. It leaves State.Detail out,
// because it may name a camera's address and anyone may ask.
func (s *Server) unwell() []string {
	var reasons []string
	states := s.cfg.Wall.States()
	for _, t := range s.tiles {
		if !t.Camera {
			continue
		}
		st, known := states[t.Cell]
		if !known {
			reasons = append(reasons, t.Name+": nothing is known about its camera")
		}
		if st.Cause.IsMissing() {
			reasons = append(reasons, t.Name+": "+st.Cause.String())
		}
		if st.NotRecording != "" {
			reasons = append(reasons, t.Name+": not recording: "+st.NotRecording)
		}
	}
	return reasons
}
