package ui

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// serverProcess makes the test binary a server process of its own, so that it can be stopped from
// outside like a hung recorder.
const serverProcess = "CUSTODY_UI_TEST_SERVER"

func TestServerProcess(t *testing.T) {
	if os.Getenv(serverProcess) == "" {
		return // only a part of TestHungServerIsNoticed
	}
	s := startSuite(t, 4, 0, 10)
	fmt.Println("address " + s.url)
	io.Copy(io.Discard, os.Stdin) // until the parent ends it
}

// startServerProcess returns a suite that only has an address, and its process.
func startServerProcess(t *testing.T) (*suite, *os.Process) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestServerProcess$")
	cmd.Env = append(os.Environ(), serverProcess+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGCONT)
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error("server process:", err)
		}
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if url, ok := strings.CutPrefix(lines.Text(), "address "); ok {
			go io.Copy(io.Discard, out) // ends with the process
			return &suite{url: url}, cmd.Process
		}
	}
	t.Fatal("the server process did not start")
	return nil, nil
}

// F-63: the server hangs, its socket stays open.
func TestHungServerIsNoticed(t *testing.T) {
	s, server := startServerProcess(t)
	ctx := openWall(t, s)
	evaluate[bool](t, ctx, record+`; new MutationObserver(() => { window.nolinkAt ??= performance.timeOrigin + performance.now(); })
		.observe(document.getElementById('nolink'), {attributes: true, attributeFilter: ['hidden']}); true`)
	stopped := time.Now()
	if err := server.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, ctx, 6*time.Second, `[...document.querySelectorAll('a.tile')].every(e => e.dataset.state === 'notlive') && document.body.innerText.includes('NO CONNECTION TO THE RECORDER - CHECK THE CELLS')`)
	banner := change{At: evaluate[float64](t, ctx, `window.nolinkAt`)}
	if d := banner.after(stopped); d > 2200*time.Millisecond {
		t.Errorf("the banner came %s after the server stopped", d)
	}
	for i := range 4 {
		if gone := findChange(t, ctx, cellID(i), "notlive"); gone.after(stopped) > takenAwayBy || !gone.Black {
			t.Errorf("%s: NOT LIVE %s after the server stopped, canvas black: %v", gone.Cell, gone.after(stopped), gone.Black)
		}
	}
	if text := tileText(t, ctx, cellID(0)); !strings.Contains(text, "no connection to the recorder") {
		t.Errorf("the tile says %q", text)
	}
	if err := server.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until(t, ctx, 8*time.Second, `[...document.querySelectorAll('a.tile')].every(e => e.dataset.state === 'live') && document.getElementById('nolink').hidden`)
}

func TestFailingScriptCoversTheScreen(t *testing.T) {
	s := startSuite(t, 1, 0, 10)
	ctx := openBrowser(t)
	do(t, ctx, chromedp.Navigate(s.url))
	const sheet = `getComputedStyle(document.getElementById('deadman')).opacity`
	until(t, ctx, 8*time.Second, stateOf(cellID(0), "live"))
	if got := evaluate[string](t, ctx, sheet); got != "0" {
		t.Errorf("the sheet's opacity is %s while all is well", got)
	}
	evaluate[bool](t, ctx, `document.getElementById('summary').remove(); true`) // now every tick throws
	until(t, ctx, 3*time.Second, sheet+` === '1'`)
}

// F-61: the page's script hangs. Nothing inside the browser can tell then (its own screenshot waits
// for the script), so the X screen is photographed.
func TestHungScriptCoversTheScreen(t *testing.T) {
	display := startScreen(t)
	s := startSuite(t, 4, 0, 10)
	ctx := openWall(t, s, chromedp.Flag("headless", false), chromedp.Flag("kiosk", true), chromedp.WindowSize(1280, 720), chromedp.Env("DISPLAY="+display))
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); {
		if red := sheetShare(t, display); red > 0.02 {
			t.Fatalf("the sheet covers %.0f %% of the screen while all is well", 100*red)
		}
	}
	hung, release := context.WithCancel(ctx)
	ended := make(chan error, 1)
	began := time.Now()
	go func() {
		_, err := chromedp.Run(hung, chromedp.Evaluate[chromedp.Void](`while (true) {}`))
		ended <- err
	}()
	defer func() {
		release()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error("the script did not hang:", err)
		}
	}()
	var red float64
	for time.Since(began) < 3*time.Second && red < 0.5 {
		red = sheetShare(t, display)
	}
	if red < 0.5 {
		t.Fatalf("the sheet covers %.0f %% of the screen %s after the script hung", 100*red, time.Since(began))
	}
	t.Logf("the sheet stood %s after the script hung", time.Since(began))
	<-time.After(2 * time.Second) // the rule: it stays
	if red := sheetShare(t, display); red < 0.5 {
		t.Errorf("the sheet went away by itself")
	}
}

// ear is a worklet: it runs on the audio thread, where a hung script cannot stop it, and writes
// down how loud each 128 samples were.
const ear = `registerProcessor('ear', class extends AudioWorkletProcessor {
	process([input]) {
		let peak = 0;
		for (const channel of input) for (const v of channel) peak = Math.max(peak, Math.abs(v));
		this.port.postMessage([currentTime, peak]);
		return true;
	}
})`

// listen hangs the ear on all that the page plays from its beginning.
const listen = `
	window.played = [];
	window.AudioContext = class extends AudioContext { constructor() { super(); window.audio = this; } };
	const connect = AudioNode.prototype.connect;
	AudioNode.prototype.connect = function (to, ...rest) {
		if (to instanceof AudioDestinationNode) window.played.push(this);
		return connect.call(this, to, ...rest);
	};`

// F-61 for the ear: a script that hangs starts no tones, so one has to sound without it.
func TestHungScriptSoundsTheAlarm(t *testing.T) {
	s := startSuite(t, 1, 0, 10)
	s.server.assets["ear.js"] = asset{body: []byte(ear), etag: `"ear"`, kind: kindOf("ear.js")}
	ctx := openBrowser(t)
	do(t, ctx, chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: listen})
		return err
	}), chromedp.Navigate(s.url))
	until(t, ctx, 8*time.Second, stateOf(cellID(0), "live")+` && document.body.dataset.sound === 'on'`)
	evaluate[bool](t, ctx, `window.heard = []; window.audio.audioWorklet.addModule('/assets/ear.js').then(() => {
		const ear = new AudioWorkletNode(window.audio, 'ear');
		ear.port.onmessage = (m) => window.heard.push(m.data);
		for (const node of window.played) node.connect(ear);
	}); true`)
	until(t, ctx, 5*time.Second, `window.heard.length > 0 && window.heard.at(-1)[0] - window.heard[0][0] > 4`) // longer than the tone waits
	loudest := func(from, to string) float64 {
		return evaluate[float64](t, ctx, `Math.max(0, ...window.heard.filter(([at]) => at >= `+from+` && at < `+to+`).map(([, peak]) => peak))`)
	}
	if peak := loudest("0", "Infinity"); peak > 0 {
		t.Errorf("a tone of %.2f while all is well", peak)
	}
	evaluate[bool](t, ctx, `window.from = window.audio.currentTime; for (const end = performance.now() + 6000; performance.now() < end;); window.to = window.from + 6; true`)
	until(t, ctx, 10*time.Second, `window.heard.at(-1)[0] > window.to + 3`)
	if n := evaluate[int](t, ctx, `window.heard.filter(([at]) => at > window.from && at < window.to).length`); n < 1000 {
		t.Errorf("the audio thread ran %d times while the script hung", n)
	}
	if peak := loudest("window.from", "window.from + 2.3"); peak > 0 {
		t.Errorf("a tone of %.2f at once", peak)
	}
	for _, span := range [][2]string{{"window.from + 3.3", "window.from + 4.5"}, {"window.from + 4.5", "window.from + 5.8"}} {
		if peak := loudest(span[0], span[1]); peak < 0.3 {
			t.Errorf("a tone of %.2f from %s to %s while the script hung", peak, span[0], span[1])
		}
	}
	if peak := loudest("window.to + 1", "Infinity"); peak > 0 {
		t.Errorf("a tone of %.2f after the script came back", peak)
	}
	t.Logf("the tone began %.1f s after the script hung", evaluate[float64](t, ctx, `window.heard.find(([at, peak]) => at > window.from && peak > 0.1)?.[0] - window.from`))
}

// startScreen starts an X server of its own and returns its display.
func startScreen(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"Xvfb", "xwd"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed: the screen cannot be photographed (apt-get install xvfb x11-apps)")
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("Xvfb", "-displayfd", "3", "-screen", "0", "1280x720x24", "-nolisten", "tcp")
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // reports the kill
	})
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal("Xvfb did not say its display:", err)
	}
	return ":" + strings.TrimSpace(line)
}

// sheetShare photographs the screen and returns how much of it has the dead-man sheet's red.
func sheetShare(t *testing.T, display string) float64 {
	t.Helper()
	img, err := exec.Command("xwd", "-silent", "-root", "-display", display).Output()
	if err != nil {
		t.Fatal("photograph the screen:", err)
	}
	field := func(i int) int { return int(binary.BigEndian.Uint32(img[4*i:])) } // of an XWD file header
	header, width, height, bits, line, colours := field(0), field(4), field(5), field(11), field(12), field(19)
	if bits != 32 || width != 1280 || height != 720 {
		t.Fatalf("photograph is %dx%d with %d bits a pixel", width, height, bits)
	}
	pixels := img[header+12*colours:]
	red := 0
	for y := range height {
		for x := range width {
			p := pixels[y*line+4*x:] // blue, green, red
			if near(p[2], 0x8a) && near(p[1], 0x10) && near(p[0], 0x10) {
				red++
			}
		}
	}
	return float64(red) / float64(width*height)
}

func near(a, b byte) bool { return max(a, b)-min(a, b) <= 4 }
