package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"custody-nvr/nvr"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair returns both ends inside this process, and a channel that gets the child's exit code.
func pair(t *testing.T) (*Parent, *Child, <-chan int) {
	t.Helper()
	p, f, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	exited, over := make(chan int, 1), make(chan struct{})
	c, err := Inherit(uintptr(fd), func(code int) { exited <- code; close(over) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(); <-over; c.s.file.Close() })
	return p, c, exited
}

func TestStartCarriesEverythingUnchanged(t *testing.T) {
	p, c, _ := pair(t)
	var mask nvr.MaskSpec
	for range nvr.MaxAreas {
		var area []nvr.Point
		for i := range nvr.MaxPoints {
			area = append(area, nvr.Point{X: 0.12345678901234567 / float64(i+1), Y: 0.98765432109876543})
		}
		mask.Areas = append(mask.Areas, area)
	}
	mask.Picture, mask.Version = nvr.Size{Width: 1920, Height: 1080}, 7
	want := Start{
		Run: testRun, Mask: mask, Pin: "f", TileWidth: 640, Parent: 1, SandboxDisabled: "no kernel",
		Camera: Camera{ID: "cell-01", URL: "rtsp://192.0.2.1/1", User: "u", Password: "p\x00\"ß", Transport: "tcp"},
		Limits: Limits{MaxPixels: 5},
	}
	if err := p.Send(ToChild{Start: &want}, nil); err != nil {
		t.Fatal(err)
	}
	got, err := c.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) || got.Mask.Digest() != want.Mask.Digest() {
		t.Fatalf("got %+v", got)
	}
}

func TestPasswordIsNeverPrinted(t *testing.T) {
	s := Start{Camera: Camera{ID: "cell-01", User: "op", Password: "hunter2"}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if out := fmt.Sprintf(verb, s); strings.Contains(out, "hunter2") {
			t.Errorf("%s prints %s", verb, out)
		}
	}
}

func TestSocketIsHandedOver(t *testing.T) {
	p, c, _ := pair(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		m, err := p.Receive()
		if err != nil || m.Dial == nil {
			served <- fmt.Errorf("%+v, %v", m, err)
			return
		}
		conn, err := net.Dial(m.Dial.Network, m.Dial.Address)
		if err == nil {
			err = p.Send(ToChild{Answer: &Answer{ID: m.Dial.ID}}, conn.(*net.TCPConn))
			conn.Close()
		}
		served <- err
	}()
	conn, err := c.Dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if _, err := io.WriteString(conn, "DESCRIBE"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 8)
	if _, err := io.ReadFull(peer, b); err != nil || string(b) != "DESCRIBE" {
		t.Fatalf("%q, %v", b, err)
	}
	conn.Close()
	if _, err := peer.Read(b); err != io.EOF {
		t.Fatalf("the socket is still open somewhere: %v", err)
	}
}

func TestRefusedDialSaysWhy(t *testing.T) {
	p, c, _ := pair(t)
	go func() {
		m, _ := p.Receive()
		p.Send(ToChild{Answer: &Answer{ID: m.Dial.ID, Error: "not the camera's address"}}, nil)
	}()
	if _, err := c.Dial(t.Context(), "tcp", "192.0.2.9:80"); err == nil || !strings.Contains(err.Error(), "192.0.2.9:80: not the camera's address") {
		t.Fatal(err)
	}
}

func TestAnswerNobodyWaitsForIsClosed(t *testing.T) {
	p, c, _ := pair(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := c.Dial(ctx, "tcp", "192.0.2.9:80"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := p.Send(ToChild{Answer: &Answer{ID: 1}}, w); err != nil {
		t.Fatal(err)
	}
	w.Close()
	r.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("%v: the descriptor was kept", err)
	}
}

func TestEndOfThePairEndsTheChild(t *testing.T) {
	p, _, exited := pair(t)
	p.Close()
	select {
	case code := <-exited:
		if code != ExitOrphan {
			t.Errorf("exit code %d", code)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the child lives on")
	}
}

func TestWatchAndStopReachTheChild(t *testing.T) {
	p, c, _ := pair(t)
	for _, m := range []ToChild{{Watch: &Watch{Tiles: true}}, {Stop: &Stop{}}} {
		if err := p.Send(m, nil); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-c.Stopped():
	case <-time.After(5 * time.Second):
		t.Fatal("no stop")
	}
	if !c.Watching() {
		t.Error("nobody watches")
	}
}

func TestParentRefusesBrokenMessages(t *testing.T) {
	for _, c := range []struct{ name, message, want string }{
		{"no JSON", "hello", "invalid character"},
		{"unknown member", `{"shell":{}}`, "unknown field"},
		{"unknown member inside", `{"status":{"busy":true,"cmd":1}}`, "unknown field"},
		{"nothing", `{}`, "0 members"},
		{"null", `null`, "0 members"},
		{"two", `{"status":{},"walls":{}}`, "2 members"},
		{"two messages", `{"status":{}}{"status":{}}`, "something after it"},
		{"message for a child", `{"start":{}}`, "unknown field"},
		{"unknown cause", `{"fault":{"cause":77}}`, "cause 77"},
		{"cause that a child cannot know", `{"fault":{"cause":17}}`, "cause 17"},
		{"no cause", `{"fault":{"detail":"x"}}`, "cause 0"},
		{"unknown pace", `{"fault":{"cause":16,"pace":"fast"}}`, `pace "fast"`},
		{"report of nothing", `{"report":{}}`, "fingerprint of 0 bytes"},
		{"negative wall", `{"walls":{"landlock":-1}}`, "walls that cannot be"},
		{"too long", strings.Repeat(" ", MaxMessage+1), "above 65536 bytes"},
		{"far too long", strings.Repeat(" ", MaxMessage+4000), "above 65536 bytes"},
		{"unknown obscured", `{"status":{"obscured":9}}`, "cause 9"},
		{"report from before the start", `{"report":{"fingerprint":"x","from":-1}}`, "media time -1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, f, err := Pair()
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			defer f.Close()
			if _, err := f.WriteString(c.message); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Receive(); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want ErrBroken with %q", err, c.want)
			}
		})
	}
}

func TestParentTakesNoDescriptors(t *testing.T) {
	p, f, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	defer f.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := unix.Sendmsg(int(f.Fd()), []byte(`{"status":{}}`), unix.UnixRights(int(w.Fd())), nil, 0); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, err := p.Receive(); !errors.Is(err, ErrBroken) {
		t.Errorf("%v, want ErrBroken", err)
	}
	r.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%v: the descriptor was kept", err)
	}
}

func TestLongMessageIsNotSent(t *testing.T) {
	p, _, _ := pair(t)
	if err := p.Send(ToChild{Start: &Start{Pin: strings.Repeat("x", MaxMessage)}}, nil); err == nil {
		t.Error("no error")
	}
}

func FuzzControl(f *testing.F) {
	for _, m := range []ToParent{
		{Walls: &Walls{Seccomp: true, Landlock: 7, Missing: []string{"swap"}}},
		{Dial: &Dial{1, "tcp", "192.0.2.1:554"}},
		{Listen: &Dial{2, "udp", ":5000"}},
		{Report: &Report{Fingerprint: "x", Medias: []string{"audio"}}},
		{Status: &Status{Busy: true, Picture: 7}},
		{Fault: &Fault{Cause: nvr.CameraLost, Detail: "gone", Pace: Slow}},
	} {
		b, err := json.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"start":{}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := decode(in, (*ToParent).Validate)
		if err != nil {
			if !errors.Is(err, ErrBroken) {
				t.Fatalf("%v is not ErrBroken", err)
			}
			return
		}
		b, err := encode(&m)
		if err != nil {
			return // hostile text may grow beyond the limit when it is escaped
		}
		again, err := decode(b, (*ToParent).Validate)
		if err != nil {
			t.Fatalf("encoded again it is refused: %v", err)
		}
		c, err := encode(&again)
		if err != nil || !bytes.Equal(b, c) {
			t.Fatalf("%s became %s (%v)", b, c, err)
		}
	})
}
