package privacy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/nvr/alonetest"
	"custody-nvr/privacy/hangtest"
	"custody-nvr/privacy/wire"
	"custody-nvr/privacy/wire/wiretest"

	"go.uber.org/goleak"
)

// The tests start this test binary again: as a masker that follows a script, or as a parent that
// is going to be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "fake":
			fakeMain(os.Args[2], os.Args[3:])
		case "doomed":
			doomedMain(os.Args[2:])
		}
	}
	alonetest.Wait()
	goleak.VerifyTestMain(m)
}

// A fake is a masker child that follows a script instead of masking.
type fake struct {
	control *wire.Child
	start   wire.Start
	pipe    *os.File
	maker   *wiretest.Maker
	args    []string
}

func fakeMain(name string, args []string) {
	script, ok := scripts[name]
	if !ok {
		os.Exit(99)
	}
	if name == "ignore control" { // not even the end of the pair is seen
		forever()
	}
	control, err := wire.Inherit(wire.ControlFD, os.Exit)
	if err != nil {
		os.Exit(98)
	}
	start, err := control.Start(context.Background())
	if err != nil {
		os.Exit(97)
	}
	f := &fake{control: control, start: start, pipe: os.NewFile(wire.FramesFD, "frames"), args: args,
		maker: &wiretest.Maker{Run: start.Run, Mask: start.Mask.Digest(), Size: start.Mask.Picture}}
	script(f)
	os.Exit(0)
}

func (f *fake) send(m wire.ToParent) {
	if err := f.control.Send(m); err != nil {
		os.Exit(96)
	}
}

func (f *fake) walls() { f.send(wire.ToParent{Walls: &wire.Walls{Seccomp: true, Landlock: 7}}) }

func (f *fake) report() { f.reportAs("camera one", 0) }

func (f *fake) reportAs(fingerprint string, from time.Duration) {
	f.send(wire.ToParent{Report: &wire.Report{Fingerprint: fingerprint, From: from, Geometry: "h264 640x360"}})
}

func (f *fake) frame() *nvr.Frame { return f.maker.Next(monotonic()) }

func (f *fake) write(fr *nvr.Frame) {
	if err := wire.WriteFrame(f.pipe, fr); err != nil {
		os.Exit(95)
	}
}

// pulse sends a status every 100 ms from now on.
func (f *fake) pulse(s wire.Status) {
	f.send(wire.ToParent{Status: &s})
	go func() {
		for range time.Tick(100 * time.Millisecond) {
			f.send(wire.ToParent{Status: &s})
		}
	}()
}

// stream sends frames until it is stopped.
func (f *fake) stream() {
	for range time.Tick(10 * time.Millisecond) {
		f.write(f.frame())
		select {
		case <-f.control.Stopped():
			os.Exit(0)
		default:
		}
	}
}

func (f *fake) begin() {
	f.walls()
	f.pulse(wire.Status{})
	f.report()
}

func (f *fake) raw(b []byte) {
	if _, err := f.pipe.Write(b); err != nil {
		os.Exit(94)
	}
}

// bytesOf is a frame as it goes down the pipe.
func bytesOf(fr *nvr.Frame) []byte {
	var b bytes.Buffer
	if err := wire.WriteFrame(&b, fr); err != nil {
		os.Exit(93)
	}
	return b.Bytes()
}

func forever() { <-make(chan struct{}) }

var scripts = map[string]func(*fake){
	"happy":          func(f *fake) { f.begin(); f.stream() },
	"ignore control": nil,
	"garbage":        func(f *fake) { f.begin(); f.raw(bytes.Repeat([]byte("garbage "), 5000)); forever() },
	"4 GiB": func(f *fake) {
		f.begin()
		b := bytesOf(f.frame())
		copy(b[8:], []byte{255, 255, 255, 255})
		f.raw(b)
		forever()
	},
	"wrong digest": func(f *fake) {
		f.begin()
		f.write(f.frame())
		fr := f.frame()
		fr.Mask[0]++
		f.raw(bytesOf(fr))
		forever()
	},
	"silent":       func(f *fake) { f.walls(); f.report(); f.send(wire.ToParent{Status: &wire.Status{}}); f.stream() },
	"never starts": func(f *fake) { forever() },
	"stopped": func(f *fake) {
		f.begin()
		f.write(f.frame())
		syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		forever()
	},
	// The codec never returns; the status goroutine goes on and says so.
	"spin": func(f *fake) {
		f.walls()
		f.report()
		f.write(f.frame())
		tell(f.args)
		f.pulse(wire.Status{Busy: true, Picture: 7, Since: monotonic()})
		hangtest.Spin()
	},
	"spin and lie": func(f *fake) {
		f.walls()
		f.report()
		f.pulse(wire.Status{Busy: true, Picture: 7, Since: monotonic() + time.Hour})
		hangtest.Spin()
	},
	"orphan": func(f *fake) {
		tell(f.args)
		hangtest.Spin()
	},
	"exit 3": func(f *fake) { os.Exit(3) },
	"crash":  func(f *fake) { syscall.Kill(os.Getpid(), syscall.SIGKILL); forever() },
	"refused": func(f *fake) {
		f.begin()
		f.fault(wire.Fault{Cause: nvr.CameraLost, Detail: "wrong password hunter2\x1b[31m", Pace: wire.Slow})
	},
	"new ssrc": func(f *fake) {
		f.begin()
		f.write(f.frame())
		f.fault(wire.Fault{Cause: nvr.CameraLost, Detail: "SSRC changed", Pace: wire.Again})
	},
	"no walls":  func(f *fake) { f.pulse(wire.Status{}); f.report(); f.stream() },
	"no report": func(f *fake) { f.walls(); f.pulse(wire.Status{}); f.stream() },
	"missing wall": func(f *fake) {
		f.send(wire.ToParent{Walls: &wire.Walls{Seccomp: true, Missing: []string{"no swap"}}})
		forever()
	},
	"dial unwalled":    func(f *fake) { f.dial(f.args[0], "before the walls"); f.begin(); f.stream() },
	"flood of control": func(f *fake) { f.walls(); f.floodControl() },
	"old frames": func(f *fake) {
		f.begin()
		f.write(f.maker.Next(monotonic() - 11*time.Second))
		forever()
	},
	"frames of the future": func(f *fake) { f.begin(); f.write(f.maker.Next(monotonic() + time.Minute)); forever() },
	"other camera": func(f *fake) {
		f.walls()
		f.pulse(wire.Status{})
		f.reportAs("camera two", 0)
		f.stream()
	},
	"other camera, obscured": func(f *fake) {
		f.walls()
		f.pulse(wire.Status{})
		f.reportAs("camera two", 0)
		for range time.Tick(10 * time.Millisecond) {
			fr := f.frame()
			fr.Obscured = nvr.ObscuredViewMoved
			f.write(fr)
		}
	},
	"obscured, nothing to report": func(f *fake) {
		f.walls()
		f.pulse(wire.Status{})
		for range time.Tick(10 * time.Millisecond) {
			fr := f.frame()
			fr.Obscured = nvr.ObscuredWrongSize
			f.write(fr)
		}
	},
	"swapped while running": func(f *fake) {
		f.begin()
		for range 20 {
			f.write(f.frame())
		}
		fr := f.frame()
		f.reportAs("camera two", fr.PTS)
		fr.Obscured = nvr.ObscuredViewMoved
		f.write(fr)
		f.stream() // and then forgets to obscure
	},
	"dial": func(f *fake) {
		f.begin()
		conn, err := f.control.Dial(context.Background(), "tcp", f.args[0])
		if err != nil {
			f.fault(wire.Fault{Cause: nvr.CameraLost, Detail: err.Error()})
		}
		io.WriteString(conn, "OPTIONS")
		f.stream()
	},
	"hang up": func(f *fake) {
		f.begin()
		conn, err := f.control.Dial(context.Background(), "tcp", f.args[0])
		if err != nil {
			f.fault(wire.Fault{Cause: nvr.CameraLost, Detail: err.Error()})
		}
		conn.Close()
		f.stream()
	},
	// Stopped, it cannot see the end of the pair.
	"stopped orphan": func(f *fake) {
		tell(f.args)
		syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		forever()
	},
	"five sockets": func(f *fake) {
		f.begin()
		for range 4 {
			if _, err := f.control.Dial(context.Background(), "tcp", f.args[0]); err != nil {
				f.fault(wire.Fault{Cause: nvr.CameraLost, Detail: "too early: " + err.Error()})
			}
		}
		f.dial(f.args[0], "had its 4 sockets")
		f.fault(wire.Fault{Cause: nvr.CameraLost, Detail: "the fifth was refused"})
	},
	"ask 65 times": func(f *fake) {
		f.begin()
		for range 65 {
			f.control.ListenPacket("udp", ":0")
		}
		forever()
	},
	"udp": func(f *fake) {
		f.begin()
		conn, err := f.control.ListenPacket("udp4", ":0")
		if err != nil {
			f.fault(wire.Fault{Cause: nvr.CameraLost, Detail: err.Error()})
		}
		to, err := net.ResolveUDPAddr("udp", f.args[0])
		if err == nil {
			_, err = conn.WriteTo([]byte("hello"), to)
		}
		if err != nil {
			f.fault(wire.Fault{Cause: nvr.CameraLost, Detail: err.Error()})
		}
		f.stream()
	},
	"tiles": func(f *fake) {
		f.begin()
		tile := *f.maker
		tile.Stream, tile.Size = nvr.Tile, nvr.Size{Width: 320, Height: 180}
		for range time.Tick(10 * time.Millisecond) {
			f.write(f.frame())
			if f.control.Watching() {
				f.write(tile.Next(monotonic()))
			}
		}
	},
	"no picture": func(f *fake) { f.begin(); forever() },
	"stall":      func(f *fake) { f.begin(); f.write(f.frame()); forever() },
	"burst": func(f *fake) {
		f.begin()
		for range 400 {
			f.write(f.frame())
		}
		f.stream()
	},
	"talk": func(f *fake) {
		f.begin()
		fmt.Fprintln(os.Stderr, "password hunter2 \x1b]0;owned\x07")
		for i := range 5000 {
			fmt.Fprintln(os.Stderr, "line", i)
		}
		f.stream()
	},
}

func (f *fake) fault(x wire.Fault) {
	f.send(wire.ToParent{Fault: &x})
	os.Exit(1)
}

// dial must be refused with the words.
func (f *fake) dial(address, words string) {
	_, err := f.control.Dial(context.Background(), "tcp", address)
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte(words)) {
		f.fault(wire.Fault{Cause: nvr.CameraLost, Detail: fmt.Sprintf("dial said %v, not %q", err, words)})
	}
}

func (f *fake) floodControl() {
	for {
		f.send(wire.ToParent{Status: &wire.Status{}})
	}
}

// tell opens the named pipe in args, if any, and says that the script has come so far. It stays
// open until the process is gone.
func tell(args []string) {
	if len(args) == 0 {
		return
	}
	w, err := os.OpenFile(args[0], os.O_WRONLY, 0)
	if err != nil {
		os.Exit(92)
	}
	if _, err := w.WriteString("spinning\n"); err != nil {
		os.Exit(91)
	}
}

// doomedMain is a parent with a masker that spins; the test kills it.
func doomedMain(args []string) {
	m := New(Config{Camera: testCamera("rtsp://127.0.0.1/"), Exec: append([]string{"/proc/self/exe", "fake"}, args...)})
	_ = m.Run(context.Background())
	os.Exit(0)
}

func testCamera(url string) Camera {
	return Camera{
		ID: "cell-01", URL: url, User: "operator", Password: "hunter2", Pin: "camera one",
		Mask: &nvr.MaskSpec{Picture: nvr.Size{Width: 640, Height: 360}, Version: 1, NoToiletInView: "Sgt Test"},
	}
}

func fakeCommand(args ...string) *exec.Cmd {
	return exec.Command("/proc/self/exe", append([]string{"fake"}, args...)...)
}
