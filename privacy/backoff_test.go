package privacy

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/wire"

	"pgregory.net/rapid"
)

func lost() ending  { return ending{outage: nvr.Outage{Cause: nvr.CameraLost}} }
func fault() ending { return ending{outage: nvr.Outage{Cause: nvr.MaskerFault}} }
func refusal() ending {
	return ending{outage: nvr.Outage{Cause: nvr.CameraLost}, pace: wire.Slow}
}
func again() ending {
	return ending{outage: nvr.Outage{Cause: nvr.CameraLost}, pace: wire.Again, frames: true, flowed: time.Second}
}
func flowed(d time.Duration) ending {
	return ending{outage: nvr.Outage{Cause: nvr.CameraLost}, frames: true, flowed: d}
}

func TestBackOff(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	for _, c := range []struct {
		name  string
		ends  []ending
		waits []time.Duration
		notes string // of the last
	}{
		{"lost again and again", []ending{lost(), lost(), lost(), lost(), lost(), lost(), lost(), lost()},
			[]time.Duration{500 * ms, s, 2 * s, 3 * s, 3 * s, 3 * s, 3 * s, 3 * s}, ""},
		{"a minute of health forgives", []ending{lost(), lost(), lost(), flowed(time.Minute)}, []time.Duration{500 * ms, s, 2 * s, 500 * ms}, ""},
		{"less does not", []ending{lost(), lost(), lost(), flowed(59 * s)}, []time.Duration{500 * ms, s, 2 * s, 3 * s}, ""},
		{"refused", []ending{refusal(), refusal(), refusal(), refusal(), refusal(), refusal()},
			[]time.Duration{60 * s, 120 * s, 240 * s, 480 * s, 600 * s, 600 * s}, ""},
		{"refused, then lost", []ending{refusal(), lost(), lost()}, []time.Duration{60 * s, 60 * s, 60 * s}, ""},
		{"refused, then let in", []ending{refusal(), flowed(s)}, []time.Duration{60 * s, s}, ""},
		{"SSRC", []ending{again(), again(), again()}, []time.Duration{300 * ms, 300 * ms, 300 * ms}, ""},
		{"SSRC too often", []ending{again(), again(), again(), again()}, []time.Duration{300 * ms, 300 * ms, 300 * ms, 300 * ms}, "camera changes SSRC"},
		{"five faults", []ending{fault(), fault(), fault(), fault(), fault(), fault()},
			[]time.Duration{500 * ms, s, 2 * s, 4 * s, 30 * s, 30 * s}, "masker crashes again and again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := backoff{rand: func() float64 { return 1 }}
			now, note := time.Hour, ""
			for i, e := range c.ends {
				var wait time.Duration
				wait, note = b.next(now, e)
				if wait != c.waits[i] {
					t.Errorf("wait %d is %v, want %v", i+1, wait, c.waits[i])
				}
				now += wait
			}
			if note != c.notes {
				t.Errorf("note %q, want %q", note, c.notes)
			}
		})
	}
}

// Whatever a camera or a child does, a camera that refuses is asked at most eight times in any ten
// minutes, and children are started at most some 300 times.
func TestAttemptsAreBoundedWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := backoff{rand: func() float64 { return rapid.Float64Range(0, 1).Draw(t, "jitter") }}
		now := time.Hour
		var refusals, starts []time.Duration
		kinds := rapid.SliceOfN(rapid.IntRange(0, 4), 100, 200).Draw(t, "endings")
		for _, k := range kinds {
			e := []ending{lost(), fault(), refusal(), again(), flowed(time.Second)}[k]
			starts = append(starts, now)
			if k == 2 {
				refusals = append(refusals, now)
			}
			wait, _ := b.next(now, e)
			if wait < 75*time.Millisecond || wait > 11*time.Minute {
				t.Fatalf("wait %v", wait)
			}
			now += wait
		}
		within := func(times []time.Duration, most int, what string) {
			for i := range times {
				if i >= most && times[i]-times[i-most] < window {
					t.Fatalf("%d %s in %v", most+1, what, times[i]-times[i-most])
				}
			}
		}
		within(refusals, maxRefusals, "refused log-ins")
		within(starts, 300, "starts")
	})
}

// A camera that lets us in for a moment between refusals would otherwise be asked every minute.
func TestRefusalsAreCountedAcrossShortSuccesses(t *testing.T) {
	b := backoff{rand: func() float64 { return 0 }}
	now := time.Hour
	var refusals []time.Duration
	for range 40 {
		for _, e := range []ending{refusal(), again()} {
			if e.pace == wire.Slow {
				refusals = append(refusals, now)
			}
			wait, _ := b.next(now, e)
			now += wait
		}
	}
	for i := maxRefusals; i < len(refusals); i++ {
		if took := refusals[i] - refusals[i-maxRefusals]; took < window {
			t.Fatalf("%d refused log-ins in %v", maxRefusals+1, took)
		}
	}
}

func TestAddressIsPinned(t *testing.T) {
	var found []netip.Addr
	var err error
	a, wrong := newAddress("rtsps://camera.example/x", func(context.Context, string, string) ([]netip.Addr, error) { return found, err })
	if wrong != nil {
		t.Fatal(wrong)
	}
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for _, c := range []struct {
		name  string
		found []netip.Addr
		err   error
		want  string
		words string
	}{
		{"no name server", nil, errors.New("timeout"), "invalid AddrPort", "has no address"},
		{"first", []netip.Addr{one, two}, nil, "192.0.2.1:322", ""},
		{"in another order", []netip.Addr{two, one}, nil, "192.0.2.1:322", ""},
		{"no name server later", nil, errors.New("timeout"), "192.0.2.1:322", ""},
		{"moved", []netip.Addr{two}, nil, "invalid AddrPort", "It now leads to 192.0.2.2 instead of 192.0.2.1"},
		{"back", []netip.Addr{one}, nil, "192.0.2.1:322", ""},
	} {
		found, err = c.found, c.err
		got, out := a.resolve(t.Context())
		if got.String() != c.want || (out == nil) != (c.words == "") || out != nil && !strings.Contains(out.Detail, c.words) {
			t.Errorf("%s: %v, %v", c.name, got, out)
		}
	}
	to := netip.MustParseAddrPort("192.0.2.1:322")
	for asked, ok := range map[string]bool{
		"192.0.2.1:322": true, "camera.example:322": true, "192.0.2.2:322": false, "192.0.2.1:80": false,
		"camera.example:80": false, "[::1]:322": false, "": false, "/run/socket": false,
	} {
		if err := a.allow(to, "tcp", asked); (err == nil) != ok {
			t.Errorf("dial %q: %v", asked, err)
		}
	}
	if a.allow(to, "udp", "192.0.2.1:322") == nil || a.allow(to, "unix", "192.0.2.1:322") == nil {
		t.Error("another network was allowed")
	}
	for asked, ok := range map[string]bool{":0": true, ":5000": true, "0.0.0.0:5000": true, "[::]:5000": true, ":53": false, "192.0.2.1:5000": false, ":99999": false, "x": false} {
		if _, err := allowListen("udp", "udp", asked); (err == nil) != ok {
			t.Errorf("listen on %q: %v", asked, err)
		}
	}
}

func TestQueueBoundsBytesToo(t *testing.T) {
	q := newQueue()
	big := nvr.Frame{Stream: nvr.Archive, Key: true, NALs: [][]byte{make([]byte, 6<<20)}}
	for range 10 {
		q.put(big)
	}
	if q.bytes > queueBytes || q.frames != 2 || q.lost() != 8 {
		t.Errorf("%d bytes, %d frames, %d lost", q.bytes, q.frames, q.lost())
	}
	for range 1000 {
		q.outage(nvr.Outage{Cause: nvr.CameraLost, Detail: "a"})
		q.outage(nvr.Outage{Cause: nvr.CameraLost, Detail: "b"})
	}
	if len(q.items) != 3 {
		t.Errorf("%d items", len(q.items))
	}
}

func TestQueueBeginsAgainOnlyWithAKeyFrame(t *testing.T) {
	q := newQueue()
	frame := func(key bool) nvr.Frame { return nvr.Frame{Stream: nvr.Archive, Key: key, NALs: [][]byte{{1}}} }
	for range queueFrames + 1 {
		q.put(frame(true))
	}
	for range queueFrames + 1 {
		if _, ok := q.pop(); !ok {
			t.Fatal("the queue is short")
		}
	}
	q.put(frame(false))
	if it, ok := q.pop(); ok {
		t.Fatalf("%+v came before a key frame", it)
	}
	q.put(frame(true))
	if it, ok := q.pop(); !ok || !it.frame.Key {
		t.Fatalf("the key frame did not come: %+v", it)
	}
}

func TestAnOutageIsSaidOnceUntilFramesCome(t *testing.T) {
	q := newQueue()
	said := func() (n int) {
		q.outage(nvr.Outage{Cause: nvr.CameraLost, Detail: "gone"})
		for {
			it, ok := q.pop()
			if !ok {
				return n
			}
			if it.outage != nil {
				n++
			}
		}
	}
	if first, second := said(), said(); first != 1 || second != 0 {
		t.Errorf("said %d times, then %d times", first, second)
	}
	q.put(nvr.Frame{Stream: nvr.Archive, Key: true})
	if n := said(); n != 1 {
		t.Errorf("said %d times after a frame", n)
	}
}

func TestTextFromAChildIsHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                     "plain",
		"two\nlines\t":              "two lines",
		"\x1b[2Jgone\x00\x07":       "[2Jgone",
		"a\u202eb\u200f":            "ab",
		"bad \xff\xfe utf":          "bad  utf",
		"the secret is s3cret":      "the secret is ***",
		strings.Repeat("long ", 99): strings.Repeat("long ", 20) + " ...",
	} {
		if got := clean(in, "s3cret", 100); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}
