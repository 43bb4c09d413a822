package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"custody-nvr/configs"
	"custody-nvr/nvr"
	"custody-nvr/privacy"
	"custody-nvr/privacy/wire"
)

// Key intervals that a camera should have (REQ-MASK-5: damage is obscured until the next one).
const (
	keyIntervalFine = 2 * time.Second
	keyIntervalMost = 4 * time.Second
)

func newCamera(stdout, stderr io.Writer) *cobra.Command {
	c := &cobra.Command{Use: "camera", Short: "Look at one camera", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(newProbe(stdout, stderr), newAccept(stdout))
	return c
}

// suiteFlag is the suite file of a command: --config FILE, or --dir of a demo.
type suiteFlag struct{ config, dir string }

func (f *suiteFlag) add(c *cobra.Command) {
	c.Flags().StringVar(&f.config, "config", defaultConfig, "the suite file")
	c.Flags().StringVar(&f.dir, "dir", "", "the folder of a demo, instead of --config")
}

func (f *suiteFlag) load(stderr io.Writer) (*configs.Suite, error) {
	if f.dir != "" {
		f.config = filepath.Join(f.dir, "suite.yaml")
	}
	return loadSuite(f.config, newLog(stderr))
}

func newProbe(stdout, stderr io.Writer) *cobra.Command {
	var (
		from      suiteFlag
		user      string
		password  string
		pin       string
		transport string
		look      time.Duration
		asJSON    bool
	)
	c := &cobra.Command{
		Use: "probe CAMERA|URL", Short: "Say what a camera sends, and what must be set on it",
		Long: `Connects once, looks at the stream in a sandboxed masker and says its size, rate and key
interval. No picture is written or shown. CAMERA is an id of the suite file; a URL (rtsp:// or
rtsps://, without password) needs no suite file.`,
		Example: `  custody-nvr camera probe --config suite.yaml cell-04
  custody-nvr camera probe rtsp://10.1.2.3/stream1 --user viewer --password-file /run/pw`,
		Args: exactly(1, "a camera of the suite file, or a URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if look < time.Second || look > time.Minute {
				return errUsage{fmt.Errorf("--look %v: a look takes 1 s to 1 min", look)}
			}
			cfg := privacy.Config{Log: newLog(stderr), Clock: systemClock()}
			if strings.Contains(args[0], "://") {
				cfg.Camera = privacy.Camera{ID: "probe", URL: args[0], User: user, TLSPin: pin, Transport: transport}
				if transport == "udp" {
					cfg.Camera.UDPReason = "asked for on the command line"
				}
				if password != "" {
					b, err := os.ReadFile(password)
					if err != nil {
						return fmt.Errorf("read the camera's password: %w", err)
					}
					cfg.Camera.Password = strings.TrimRight(string(b), "\r\n")
				}
			} else {
				suite, err := from.load(stderr)
				if err != nil {
					return err
				}
				if cfg.Camera, err = cameraOf(suite, nvr.CameraID(args[0])); err != nil {
					return err
				}
				cfg.SandboxDisabled = suite.Sandbox.Disabled
			}
			return probe(cmd.Context(), cfg, look, asJSON, stdout)
		},
	}
	from.add(c)
	c.Flags().StringVar(&user, "user", "", "user name, with a URL")
	c.Flags().StringVar(&password, "password-file", "", "file that holds the password, with a URL")
	c.Flags().StringVar(&pin, "certificate-sha256", "", "fingerprint of the camera's certificate, with an rtsps URL")
	c.Flags().StringVar(&transport, "transport", "tcp", "tcp or udp, with a URL")
	c.Flags().DurationVar(&look, "look", 10*time.Second, "for how long to look at the stream")
	c.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	return c
}

// cameraOf is a camera of the suite file as the masker takes it.
func cameraOf(suite *configs.Suite, id nvr.CameraID) (privacy.Camera, error) {
	cam, ok := suite.CameraByID(id)
	if !ok {
		return privacy.Camera{}, errUsage{fmt.Errorf("no camera %q in the suite file", id)}
	}
	secret, err := suite.Password(id)
	if err != nil {
		return privacy.Camera{}, err
	}
	return privacy.Camera{
		ID: id, URL: cam.URL, User: cam.User, Password: secret.Reveal(), Transport: cam.Transport,
		UDPReason: cam.UDPReason, TLSPin: cam.CertificateSHA256, Mask: cam.MaskSpec(),
	}, nil
}

func probe(ctx context.Context, cfg privacy.Config, look time.Duration, asJSON bool, stdout io.Writer) error {
	p, err := privacy.Probe(ctx, cfg, look)
	if err != nil {
		return err
	}
	warnings := probeWarnings(p, look)
	if asJSON {
		return json.NewEncoder(stdout).Encode(struct {
			wire.Probed
			Warnings []string `json:"warnings"`
		}{p, append([]string{}, warnings...)})
	}
	fmt.Fprintf(stdout, "stream       %s\n", p.Track)
	fmt.Fprintf(stdout, "picture      %v, pixel aspect %d:%d\n", p.Size, p.AspectW, p.AspectH)
	fmt.Fprintf(stdout, "rate         %.2f pictures a second, %.2f Mbit/s\n", p.Rate, p.Bits/1e6)
	fmt.Fprintf(stdout, "key pictures %d in %v, %s apart\n", p.Keys, look, keyWords(p))
	fmt.Fprintf(stdout, "fingerprint  %s\n", p.Fingerprint)
	if p.Certificate != "" {
		fmt.Fprintf(stdout, "certificate  %s\n", p.Certificate)
	}
	for _, m := range p.Medias {
		fmt.Fprintf(stdout, "not taken    %s\n", m)
	}
	for _, w := range warnings {
		fmt.Fprintf(stdout, "WARNING      %s\n", w)
	}
	return nil
}

// keyWords are the longest time between key pictures, as the figure and the verdict both say it.
func keyWords(p wire.Probed) string {
	if p.KeyAtLeast {
		return fmt.Sprintf("at least %.1f s", p.KeyEvery.Seconds())
	}
	return fmt.Sprintf("at most %.1f s", p.KeyEvery.Seconds())
}

// probeWarnings say what must be set on the camera before it goes into service.
func probeWarnings(p wire.Probed, look time.Duration) []string {
	var w []string
	switch {
	case p.KeyEvery > keyIntervalMost:
		w = append(w, fmt.Sprintf("the camera must be set: %s between key pictures; after any loss the cell would be obscured for as long. Set its key (I-frame) interval to 1 s, at most %v, and switch smart codecs off", keyWords(p), keyIntervalMost))
	case p.KeyEvery > keyIntervalFine:
		w = append(w, fmt.Sprintf("%s between key pictures: after any loss the cell is obscured for as long; set the key (I-frame) interval to at most %v", keyWords(p), keyIntervalFine))
	case p.KeyAtLeast && p.Keys < 2:
		w = append(w, fmt.Sprintf("%d key pictures in %v say too little: look for longer (--look); the key (I-frame) interval must be at most %v", p.Keys, look, keyIntervalFine))
	}
	if p.Rotation != 0 {
		w = append(w, fmt.Sprintf("the camera asks to turn its picture by %d: every picture would be obscured; set its rotation to 0", p.Rotation))
	}
	if p.Gaps > 0 {
		w = append(w, fmt.Sprintf("%d pictures arrived with something missing: check cable, switch and bit rate", p.Gaps))
	}
	if p.Reordered {
		w = append(w, "the camera uses B-frames, which delay the live picture; switch them off")
	}
	if p.Rate < 12 {
		w = append(w, fmt.Sprintf("%.1f pictures a second: at least 12 are advised", p.Rate))
	}
	return w
}

// newAccept is the console's word for a camera that was swapped or set differently on purpose.
func newAccept(stdout io.Writer) *cobra.Command {
	var (
		from        suiteFlag
		fingerprint string
		by          string
		asJSON      bool
	)
	c := &cobra.Command{
		Use: "accept CAMERA --fingerprint F --as NAME", Short: "Accept the stream that a camera sends now",
		Long: `A camera whose stream is not the approved one is obscured. Look at the camera first: is it
the right one, in its place, with its view unchanged? Then accept the fingerprint that the wall's
cause, or "camera probe", names. A running recorder takes it over within seconds.`,
		Args: exactly(1, "a camera of the suite file"),
		RunE: func(_ *cobra.Command, args []string) error {
			if fingerprint == "" || by == "" {
				return errUsage{fmt.Errorf("camera accept needs --fingerprint (camera probe says it) and --as NAME")}
			}
			suite, err := from.load(io.Discard)
			if err != nil {
				return err
			}
			cam, ok := suite.CameraByID(nvr.CameraID(args[0]))
			switch {
			case !ok:
				return errUsage{fmt.Errorf("no camera %q in the suite file", args[0])}
			case cam.Fingerprint != "":
				return fmt.Errorf("camera %s has its fingerprint in the suite file: change it there", cam.ID)
			}
			p, err := openPins(filepath.Join(suite.State, "pins"))
			if err != nil {
				return err
			}
			defer p.Close()
			old, err := p.get(cam.ID)
			if err != nil {
				old = "(unreadable)"
			}
			if err := p.set(cam.ID, fingerprint); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(stdout).Encode(map[string]string{"camera": string(cam.ID), "by": by, "before": old, "now": fingerprint})
			}
			fmt.Fprintf(stdout, "camera %s, accepted by %s (console, no log-in)\n  before: %s\n  now:    %s\n", cam.ID, by, old, fingerprint)
			return nil
		},
	}
	from.add(c)
	c.Flags().StringVar(&fingerprint, "fingerprint", "", "the stream to accept")
	c.Flags().StringVar(&by, "as", "", "who accepts it: rank, number, name")
	c.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	return c
}
