package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/camera/fakecamera"
)

// TestLossOfRecordingReachesTheWall takes the volume's identity away behind the recorder's back: a live
// picture does not mean that it is stored, so wall and health must say so, and recover (REQ-REC-4).
func TestLossOfRecordingReachesTheWall(t *testing.T) {
	t.Parallel()
	sc := scene{size: nvr.Size{Width: 480, Height: 270}, wc: rect{200, 100, 300, 200}, kind: "h264"}
	cam := fakecamera.Start(t, script(t, sc.file(t, "camera")))
	r := startRig(t, rigCamera{url: cam.URL(), mask: sc.masked()})
	r.waitState("cell-01", nvr.Recorded, 15*time.Second)
	deadline := time.Now().Add(15 * time.Second)
	for len(r.files("cell-01")) == 0 {
		if time.Now().After(deadline) {
			t.Fatalf("no file after 15 s\n%s", r.log.tail(20))
		}
		wait(50 * time.Millisecond)
	}
	if err := os.Rename(filepath.Join(r.dir, "one", ".custody", "volume"), filepath.Join(r.dir, "volume-taken")); err != nil {
		t.Fatal(err)
	}
	healthWants(t, r, false, "not recording", 30*time.Second)
	if s := r.main.hub.State("cell-01"); s.Cause != nvr.Recorded || s.NotRecording == "" {
		t.Errorf("the tile says %q, %q: want a live picture that is not recorded", s.Cause, s.NotRecording)
	}
	if err := os.Rename(filepath.Join(r.dir, "volume-taken"), filepath.Join(r.dir, "one", ".custody", "volume")); err != nil {
		t.Fatal(err)
	}
	healthWants(t, r, true, "", 30*time.Second)
}

// healthWants waits until /healthz answers ok or not, with these words in its body.
func healthWants(t *testing.T, r *rig, ok bool, words string, within time.Duration) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		resp, err := http.Get("http://" + r.main.Addr() + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ OK bool }
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if got.OK == ok && strings.Contains(string(body), words) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("health is %s after %v, want ok=%t and %q\n%s", body, within, ok, words, r.log.tail(20))
		}
		wait(100 * time.Millisecond)
	}
}
