package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"custody-nvr/configs"
	"custody-nvr/nvr"
	"custody-nvr/nvr/durable"
)

// What a demo keeps: enough to look at, never enough to fill a disk.
const (
	demoKeep     = time.Hour
	demoMaxBytes = 4 << 30
)

func newDemo(stdout, stderr io.Writer) *cobra.Command {
	d := demo{stdout: stdout, stderr: stderr}
	c := &cobra.Command{
		Use: "demo", Short: "Run a whole simulated suite on this machine",
		Long: `Starts drawn cell cameras in a process of their own, a recorder that masks and records
them, and the live wall. Nothing leaves this machine. Ctrl-C ends it.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) },
	}
	c.Flags().StringVar(&d.dir, "dir", "", "keep the demo's state and footage in this folder (default: a temporary one, removed at the end)")
	c.Flags().StringVar(&d.listen, "listen", configs.DefaultListen, "address of the wall; this machine's own only")
	c.Flags().IntVar(&d.cells, "cells", 6, "number of cells with a camera, 1 to 32; above six the cameras send 640x360")
	c.Flags().StringVar(&d.clip, "clip", "", "stream this H.264 or H.265 file (.h264, .h265, .mp4) instead of the drawn cells")
	return c
}

// A demo is a simulated suite: its own cameras, then the same recorder as everywhere.
type demo struct {
	dir, listen, clip string
	cells             int
	stdout, stderr    io.Writer
}

func (d *demo) run(ctx context.Context) error {
	if d.cells < 1 || d.cells > 32 {
		return errUsage{fmt.Errorf("--cells %d: a demo has 1 to 32 cells", d.cells)}
	}
	if err := checkDemoListen(d.listen); err != nil {
		return errUsage{err}
	}
	dir, done, err := d.folder()
	if err != nil {
		return err
	}
	defer done()
	fmt.Fprintf(d.stderr, "Drawing %s ...\n", cellCount(d.cells))
	command := []string{"/proc/self/exe", "democamera", "--cells", fmt.Sprint(d.cells)}
	if d.clip != "" {
		command = append(command, "--clip", d.clip)
	}
	cams, err := startDemoCameras(ctx, command, d.stderr)
	if err != nil {
		return err
	}
	defer cams.Close()
	suite, err := demoSuite(dir, d.listen, cams)
	if err != nil {
		return err
	}
	m := &Main{Suite: suite, Demo: true, Keep: demoKeep, MaxBytes: demoMaxBytes, Log: newLog(d.stderr)}
	if err := m.Open(); err != nil {
		return err
	}
	d.welcome(m.Addr(), dir, cams.Cells)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := errors.New("the demo's camera process ended by itself: start the demo again")
	go func() {
		select {
		case <-cams.gone:
			cancel(ended)
		case <-ctx.Done():
		}
	}()
	err = m.Run(ctx)
	if errors.Is(context.Cause(ctx), ended) {
		err = errors.Join(ended, err)
	}
	return errors.Join(err, m.Close())
}

// checkDemoListen refuses what could not be listened on later, or by others.
func checkDemoListen(listen string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("--listen %q is not an address with a port, such as %s", listen, configs.DefaultListen)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("--listen %q: the port is a number up to 65535", listen)
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fmt.Errorf("--listen %q: a demo is shown on this machine only, such as on %s", listen, configs.DefaultListen)
	}
	return nil
}

// cellCount is "1 cell" or "6 cells".
func cellCount(n int) string {
	if n == 1 {
		return "1 cell"
	}
	return fmt.Sprintf("%d cells", n)
}

// folder is where the demo lives, taken from every other demo, and how to give it back.
func (d *demo) folder() (dir string, done func(), err error) {
	if d.dir == "" {
		dir, err = os.MkdirTemp("", "custody-nvr-demo-")
		return dir, func() {
			if err := os.RemoveAll(dir); err != nil {
				fmt.Fprintf(d.stderr, "custody-nvr: the demo's folder could not be removed: %v\n", err)
			}
		}, err
	}
	if dir, err = filepath.Abs(d.dir); err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", nil, err
	}
	defer root.Close()
	lock, err := durable.Lock(root, ".demo-lock")
	if err != nil {
		return "", nil, fmt.Errorf("the demo's folder %s: %w", dir, err)
	}
	return dir, func() { lock.Close() }, nil
}

func (d *demo) welcome(addr, dir string, cells []demoCell) {
	size := cells[0].Size
	fmt.Fprintf(d.stdout, "The live wall: http://%s/\n", addr)
	look := "Open the wall. The grey block in each cell is the mask: the WC lies under it."
	if d.clip != "" {
		look = "Open the wall. Every cell plays your clip, and nothing of it is masked."
	}
	fmt.Fprintf(d.stdout, `
This is a simulated suite: %s, %v each, taken through the masker before anything is written.
  - %s
  - Click a cell, or Tab to it and press Enter, for the full picture; Esc goes back.
  - Footage is in %s, a fragment a second, ten minutes a file; any player opens it.
  - Kill a masker (pgrep -f 'custody-nvr masker'): its cell says so and comes back.
  - It keeps one hour within 4 GiB. Ctrl-C ends it.
`, cellCount(len(cells)), size, look, filepath.Join(dir, "archive"))
	if len(cells) > 6 {
		fmt.Fprintf(d.stdout, "More than six cells: the cameras send %v so that two processor cores are enough.\n", size)
	}
}

// A demoCell is what the camera process says of one of its cells.
type demoCell struct {
	ID   nvr.CellID   `json:"id"`
	Path string       `json:"path"`
	Size nvr.Size     `json:"size"`
	WC   [][2]float64 `json:"wc"` // polygon around the WC, in fractions; empty where none is drawn
}

// demoCameras is the process with the cameras. It ends when its standard input does.
type demoCameras struct {
	Address string     `json:"address"`
	Cells   []demoCell `json:"cells"`

	cmd   *exec.Cmd
	stdin io.Closer
	gone  chan struct{} // closed when the process is
	err   error         // of Wait, once gone is closed
}

// startDemoCameras starts the process with the cameras and waits until they can be reached.
func startDemoCameras(ctx context.Context, command []string, stderr io.Writer) (*demoCameras, error) {
	c := &demoCameras{cmd: exec.Command(command[0], command[1:]...), gone: make(chan struct{})}
	c.cmd.Args[0] = "custody-nvr" // so that people find it by its name
	c.cmd.Stderr = stderr
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the demo's cameras: %w", err)
	}
	c.stdin = stdin
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the demo's cameras: %w", err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the demo's cameras: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { stdin.Close() })
	defer stop()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	go func() { // Wait closes the pipe, so it comes after the line
		c.err = c.cmd.Wait()
		close(c.gone)
	}()
	if err == nil {
		err = json.Unmarshal(line, c)
	}
	if err == nil && len(c.Cells) == 0 {
		err = errors.New("they have no cells")
	}
	if err != nil {
		c.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("the demo's cameras did not start: %w", err)
	}
	return c, nil
}

// Close ends the cameras and waits for them.
func (c *demoCameras) Close() error {
	c.stdin.Close()
	<-c.gone
	return c.err
}

// demoSuite writes the demo's suite file, and reads it back through the same strict parser as any.
func demoSuite(dir, listen string, cams *demoCameras) (*configs.Suite, error) {
	s := &configs.Suite{
		Name: "Demo suite", State: filepath.Join(dir, "state"),
		Network: configs.Network{Listen: listen},
		Volumes: []configs.Volume{{ID: "archive", Path: filepath.Join(dir, "archive")}},
	}
	for i, c := range cams.Cells {
		s.Cells = append(s.Cells, configs.Cell{ID: c.ID, Name: fmt.Sprintf("Cell %d", i+1)})
		s.Cameras = append(s.Cameras, configs.Camera{
			ID: nvr.CameraID(c.ID), Cell: c.ID, URL: "rtsp://" + cams.Address + c.Path, Mask: demoMask(c),
		})
	}
	n := len(cams.Cells) + 1
	s.Cells = append(s.Cells, configs.Cell{ID: nvr.CellID(fmt.Sprintf("cell-%02d", n)), Name: fmt.Sprintf("Cell %d", n)})
	return writeSuite(filepath.Join(dir, "suite.yaml"), s)
}

// demoMask hides the drawn WC. Only where none is drawn does the demo declare that none is in view.
func demoMask(c demoCell) *configs.Mask {
	m := &configs.Mask{Version: 1, Picture: c.Size.String()}
	if len(c.WC) == 0 {
		m.NoToiletInView = &configs.NoToiletInView{DeclaredBy: "the demo", Reason: "no WC is drawn in this clip"}
		return m
	}
	area := make([]configs.Point, len(c.WC))
	for i, p := range c.WC {
		area[i] = configs.Point(p)
	}
	m.Areas = [][]configs.Point{area}
	return m
}

func writeSuite(path string, s *configs.Suite) (*configs.Suite, error) {
	for _, v := range s.Volumes {
		if err := os.MkdirAll(v.Path, 0o700); err != nil {
			return nil, err
		}
	}
	text := append([]byte("# Written by custody-nvr demo at each start.\n"), s.Marshal()...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return nil, fmt.Errorf("write the demo's suite file: %w", err)
	}
	suite, _, err := configs.Load(path)
	if err != nil {
		return nil, err
	}
	return &suite, nil
}
