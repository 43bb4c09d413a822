package camera_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"custody-nvr/nvr/cliptest"
	"custody-nvr/privacy/camera"
	"custody-nvr/privacy/camera/clip"
	"custody-nvr/privacy/camera/fakecamera"
)

func read(t testing.TB, name string) clip.Clip {
	t.Helper()
	c, err := clip.Read(cliptest.File(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func open(t testing.TB, s camera.Spec) *camera.Session {
	t.Helper()
	session, err := camera.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	return session
}

// collect reads n units.
func collect(t testing.TB, s *camera.Session, n int) []camera.AccessUnit {
	t.Helper()
	return take(t, s, n, func() {})
}

// take reads n units and calls took after each.
func take(t testing.TB, s *camera.Session, n int, took func()) []camera.AccessUnit {
	t.Helper()
	var units []camera.AccessUnit
	for len(units) < n {
		u, err := s.Next(t.Context())
		if err != nil {
			t.Fatalf("after %d of %d units: %v", len(units), n, err)
		}
		units = append(units, u)
		took()
	}
	return units
}

func same(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

func kindOf(t testing.TB, err error) camera.RefusalKind {
	t.Helper()
	r, ok := errors.AsType[*camera.Refusal](err)
	if !ok {
		t.Fatalf("error %v is no Refusal", err)
	}
	return r.Kind
}

// Every clip arrives complete, byte for byte and in order, over both transports.
func TestClipsArriveComplete(t *testing.T) {
	for _, name := range []string{"cros_test-25fps.h264", "cros_test-25fps.h265", "person_768x432_3slice_gop20.h265",
		"wilson_640x480.h265", "intel_one-by-one-person.mp4"} {
		for _, transport := range []string{"tcp", "udp"} {
			t.Run(name+"/"+transport, func(t *testing.T) {
				t.Parallel()
				c := read(t, name)
				c.Units = c.Units[:min(len(c.Units), 300)]
				fake := fakecamera.Start(t, fakecamera.Script{Kind: c.Kind, Units: c.Units, PTS: c.PTS, Window: 8})
				s := open(t, camera.Spec{URL: fake.URL(), Transport: transport})
				if s.Track().Kind != c.Kind || s.Track().SPS == nil {
					t.Errorf("track %+v, want %s with an SPS", s.Track(), c.Kind)
				}
				for i, u := range take(t, s, len(c.Units), fake.Took) {
					if !same(u.NALs, c.Units[i]) || u.Gap || u.Restamped {
						t.Fatalf("unit %d differs: %d NAL units, want %d; gap %v, restamped %v", i, len(u.NALs), len(c.Units[i]), u.Gap, u.Restamped)
					}
					want := time.Duration(i) * 40 * time.Millisecond
					if c.PTS != nil {
						want = c.PTS[i] - c.PTS[0]
					}
					if d := u.PTS - want; d < -time.Millisecond || d > time.Millisecond {
						t.Fatalf("unit %d is at %s, want %s", i, u.PTS, want)
					}
				}
			})
		}
	}
}
