package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"custody-nvr/nvr"
	"custody-nvr/privacy/camera/fakecamera"
	"custody-nvr/privacy/wire"
)

// command runs the real binary's command line in this process.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, talk bytes.Buffer
	code = run(t.Context(), args, &out, &talk)
	return code, out.String(), talk.String()
}

func TestExitCodesAreTheContract(t *testing.T) {
	cases := []struct {
		name string
		args []string
		code int
		says string // somewhere on stdout or stderr
	}{
		{"version", []string{"version"}, exitFine, "custody-nvr"},
		{"version as JSON", []string{"version", "--json"}, exitFine, `"module":"custody-nvr"`},
		{"help", []string{"--help"}, exitFine, "demo"},
		{"unknown command", []string{"frobnicate"}, exitUsage, `no command "frobnicate"`},
		{"unknown flag", []string{"run", "--fast"}, exitUsage, "--fast"},
		{"argument too many", []string{"version", "now"}, exitUsage, "takes no arguments"},
		{"no file to check", []string{"config", "check"}, exitUsage, "the suite file"},
		{"file that is not there", []string{"config", "check", "/nowhere.yaml"}, exitFailed, "/nowhere.yaml"},
		{"run without a suite", []string{"run", "--config", "/nowhere.yaml"}, exitFailed, "nothing was started"},
		{"the shipped example", []string{"config", "check", "../../configs/example-suite.yaml"}, exitFine, "fine"},
		{"too many cells", []string{"demo", "--cells", "99"}, exitUsage, "1 to 32"},
		{"accept without a name", []string{"camera", "accept", "cell-01", "--fingerprint", "x"}, exitUsage, "--as"},
		{"probe of a URL with a password in it", []string{"camera", "probe", "rtsp://a:secret@127.0.0.1/x"}, exitFailed, "password"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			code, out, talk := command(t, c.args...)
			if code != c.code {
				t.Errorf("exit code %d, want %d\n%s%s", code, c.code, out, talk)
			}
			if !strings.Contains(out+talk, c.says) {
				t.Errorf("does not say %q:\n%s%s", c.says, out, talk)
			}
			if strings.Contains(out+talk, "secret") {
				t.Errorf("says the password:\n%s%s", out, talk)
			}
		})
	}
}

func TestProbeSaysWhatMustBeSet(t *testing.T) {
	cases := []struct {
		name string
		gop  string
		warn string // "" for no word of key pictures
	}{
		{"key picture a second", "10", ""},
		{"three seconds", "30", "at most 2s"},
		{"twenty seconds", "200", "must be set"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sc := scene{size: nvr.Size{Width: 480, Height: 270}, wc: rect{200, 100, 300, 200}, kind: "h264", extra: []string{"-g", c.gop}, n: 200}
			s := script(t, sc.file(t, "camera"))
			s.Audio = true
			cam := fakecamera.Start(t, s)
			var out, talk bytes.Buffer
			bin := binary(t)
			cmd := commandOf(t, bin, "camera", "probe", cam.URL(), "--look", "7s", "--json")
			cmd.Stdout, cmd.Stderr = &out, &talk
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v\n%s", err, talk.String())
			}
			var got struct {
				Size     nvr.Size
				Rate     float64
				Pictures int
				Medias   []string
				Warnings []string
			}
			if err := json.Unmarshal(out.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if got.Size != sc.size || got.Rate < 9.5 || got.Rate > 10.5 || got.Pictures < 50 || len(got.Medias) != 1 {
				t.Errorf("probe found %+v", got)
			}
			said := ""
			for _, w := range got.Warnings {
				if strings.Contains(w, "key") {
					said = w
				}
			}
			if (said == "") != (c.warn == "") || !strings.Contains(said, c.warn) {
				t.Errorf("probe warns %q of the key interval, want %q", said, c.warn)
			}
			if d := cam.Counters().Setups["audio"]; d != 0 {
				t.Errorf("the sound track was set up %d times", d)
			}
		})
	}
}

// TestKeyIntervalFigureAndVerdictAgree: the verdict names the figure, and "at least" where the look
// did not see both ends of the interval.
func TestKeyIntervalFigureAndVerdictAgree(t *testing.T) {
	for _, c := range []struct {
		p    wire.Probed
		warn string // how the first warning begins, "" for none
	}{
		{wire.Probed{Keys: 7, KeyEvery: time.Second}, ""},
		{wire.Probed{Keys: 3, KeyEvery: 3 * time.Second}, "at most 3.0 s between key pictures"},
		{wire.Probed{Keys: 1, KeyEvery: 3700 * time.Millisecond, KeyAtLeast: true}, "at least 3.7 s between key pictures"},
		{wire.Probed{Keys: 1, KeyEvery: 5 * time.Second, KeyAtLeast: true}, "the camera must be set: at least 5.0 s"},
		{wire.Probed{Keys: 2, KeyEvery: 5 * time.Second}, "the camera must be set: at most 5.0 s"},
		{wire.Probed{Keys: 1, KeyEvery: time.Second, KeyAtLeast: true}, "1 key pictures in 7s say too little"},
	} {
		c.p.Rate = 25
		got := probeWarnings(c.p, 7*time.Second)
		if (c.warn == "") != (len(got) == 0) || c.warn != "" && !strings.HasPrefix(got[0], c.warn) {
			t.Errorf("%d key pictures, %v, at least %v: %q, want %q", c.p.Keys, c.p.KeyEvery, c.p.KeyAtLeast, got, c.warn)
		}
	}
}

// TestSwappedCameraIsObscuredUntilAccepted puts another camera at the address of the approved one
// (F-49), then has somebody accept it on the console.
func TestSwappedCameraIsObscuredUntilAccepted(t *testing.T) {
	t.Parallel()
	sc := scene{size: nvr.Size{Width: 480, Height: 270}, wc: rect{200, 100, 300, 200}, kind: "h264"}
	other := sc
	other.extra = []string{"-profile:v", "baseline"}
	cam := fakecamera.Start(t, script(t, sc.file(t, "approved")))
	r := startRig(t, rigCamera{url: cam.URL(), mask: sc.masked()})
	s := r.watch()
	s.enlarge(0)
	r.waitState("cell-01", nvr.Recorded, 15*time.Second)
	swapped := script(t, other.file(t, "other"))
	cam.Stop()
	cam.Change(func(s *fakecamera.Script) { s.Units = swapped.Units })
	cam.StartAgain()
	r.waitState("cell-01", nvr.ObscuredViewMoved, 15*time.Second)
	now := r.main.maskers["cell-01"].State().Fingerprint
	code, out, talk := command(t, "camera", "accept", "cell-01", "--config", r.dir+"/suite.yaml", "--fingerprint", now, "--as", "PS 1234 Smith")
	if code != exitFine || !strings.Contains(out, "PS 1234 Smith") {
		t.Fatalf("accept: exit %d\n%s%s", code, out, talk)
	}
	r.waitState("cell-01", nvr.Recorded, 15*time.Second)
	r.halt()
	r.requireNoToilet(s, sc.size, sc.wc, 10)
}
