package main

import (
	"testing"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/camera/fakecamera"
)

// TestCameraIsBackWithinFiveSeconds: a camera that reboots at night costs no more than its own
// downtime and five seconds, however long it was gone (F-46).
func TestCameraIsBackWithinFiveSeconds(t *testing.T) {
	t.Parallel()
	sc := scene{size: nvr.Size{Width: 480, Height: 270}, wc: rect{200, 100, 300, 200}, kind: "h264"}
	cam := fakecamera.Start(t, script(t, sc.file(t, "camera")))
	r := startRig(t, rigCamera{url: cam.URL(), mask: sc.masked()})
	r.waitState("cell-01", nvr.Recorded, 15*time.Second)
	cam.Stop()
	r.waitState("cell-01", nvr.CameraLost, 5*time.Second)
	wait(20 * time.Second) // in which attempts grow rare
	cam.StartAgain()
	began := time.Now()
	r.waitState("cell-01", nvr.Recorded, 30*time.Second)
	took := time.Since(began)
	t.Logf("recorded again %.1f s after the camera was back, at attempt %d", took.Seconds(), r.main.maskers["cell-01"].State().Starts)
	if took > 5*time.Second {
		t.Errorf("recorded again %.1f s after the camera was back, want at most 5 s", took.Seconds())
	}
}
