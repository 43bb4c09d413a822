package camera_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"custody-nvr/privacy/camera"
	"custody-nvr/privacy/camera/fakecamera"
)

var (
	hostileSessions = flag.Int("hostile", 200, "how many hostile sessions TestHostileSessions has")
	hostileFrom     = flag.Uint64("hostile.from", 1, "seed of the first one")
)

// hostileBatch marks the process that has the sessions; its value is "from count".
const hostileBatch = "CAMERA_HOSTILE_BATCH"

// F-52, F-53: whatever a camera says, a session ends in pictures or an error, in bounded time and
// memory. A panic would kill the masker child, so the sessions run in processes of their own, and
// none may panic.
func TestHostileSessions(t *testing.T) {
	if batch := os.Getenv(hostileBatch); batch != "" {
		var from uint64
		var count int
		if _, err := fmt.Sscan(batch, &from, &count); err != nil {
			t.Fatal(err)
		}
		meet(t, from, count)
		return
	}
	t.Parallel()
	const batch = 100
	for done := 0; done < *hostileSessions; done += batch {
		n := min(batch, *hostileSessions-done)
		from := *hostileFrom + uint64(done)
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHostileSessions$", "-test.v", "-test.timeout=120s")
		c.Env = append(os.Environ(), hostileBatch+"="+strconv.FormatUint(from, 10)+" "+strconv.Itoa(n))
		out, err := c.CombinedOutput()
		if err != nil {
			if i := bytes.Index(out, []byte("panic:")); i >= 0 {
				out = out[i:]
			}
			t.Fatalf("sessions %d to %d: %v\n%s", from, from+uint64(n)-1, err, out[:min(len(out), 3000)])
		}
		for line := range strings.Lines(string(out)) {
			if _, said, ok := strings.Cut(line, "met: "); ok {
				t.Logf("sessions %d to %d: %s", from, from+uint64(n)-1, strings.TrimSpace(said))
			}
		}
	}
}

// meet has sessions with hostile cameras.
func meet(t *testing.T, from uint64, count int) {
	script := fakecamera.Script{Units: drawn(camera.H264, 60), FPS: 200, Audio: true, Metadata: true, Unasked: true, Timeout: 10}
	other := script
	other.Kind, other.Units = camera.H265, drawn(camera.H265, 60)
	var mu sync.Mutex
	ends := map[camera.RefusalKind]int{}
	units, opened := 0, 0
	seeds := make(chan uint64)
	var work sync.WaitGroup
	for range 12 {
		work.Go(func() {
			for seed := range seeds {
				s := script
				if seed%2 == 0 {
					s = other
				}
				if seed%5 == 0 {
					s.Auth = fakecamera.Auth{User: "u", Password: "p"}
				}
				s.Hostile = seed
				fake := fakecamera.Start(t, s)
				n, err := visit(t, fake)
				fake.Stop()
				mu.Lock()
				units += n
				if n > 0 {
					opened++
				}
				if err != nil {
					ends[kindOf(t, err)]++
				}
				mu.Unlock()
			}
		})
	}
	for i := range count {
		seeds <- from + uint64(i)
	}
	close(seeds)
	work.Wait()
	peak := peakMemory(t)
	t.Logf("met: %d units in %d sessions, ends %v, %d MiB at most", units, opened, ends, peak>>20)
	if peak > 512<<20 {
		t.Errorf("%d MiB of memory", peak>>20)
	}
}

// visit has one session and reads at most until the camera would be taken for stalled.
func visit(t *testing.T, fake *fakecamera.Camera) (int, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	began := time.Now()
	defer func() {
		if d := time.Since(began); d > 8*time.Second {
			t.Errorf("a session took %s", d)
		}
	}()
	s, err := camera.Open(ctx, camera.Spec{URL: fake.URL(), User: "u", Password: "p"})
	n := 0
	if err == nil {
		defer s.Close()
		for err == nil && n < 500 {
			var u camera.AccessUnit
			if u, err = s.Next(ctx); err == nil {
				n++
				if len(u.NALs) == 0 {
					t.Error("a unit without NAL units")
				}
			}
		}
	}
	if ctx.Err() != nil {
		return n, nil
	}
	return n, err
}

// peakMemory is the most that this process had resident.
func peakMemory(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
