// Command custody-nvr is the CCTV recorder of one police custody suite.
//
// It parses the command line and wires the parts together: privacy masks the pictures, recorder
// writes them, ui shows them, and here alone the three meet. The same binary is also the masker,
// the sandboxed child that sees a camera's unmasked pictures, and the demo's cameras.
//
// Data goes to stdout, talk to stderr. Exit codes: 0 fine, 1 failed, 2 usage, 3 verification failed.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"custody-nvr/privacy/democamera"
	"custody-nvr/privacy/masker"
)

func main() {
	// The two children first: they have their own descriptors and know no flags.
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "masker":
			os.Exit(masker.Main())
		case "democamera":
			os.Exit(democamera.Main(os.Args[2:], os.Stdout, os.Stderr))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes, part of the command contract (DESIGN section 7).
const (
	exitFine   = 0
	exitFailed = 1
	exitUsage  = 2
)

// errUsage marks what the person who typed the command can mend by typing it differently.
type errUsage struct{ error }

func (e errUsage) Unwrap() error { return e.error }

// run is main without the process: e2e tests call it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot(stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitFine
	}
	if !errors.Is(err, errTold) {
		fmt.Fprintf(stderr, "custody-nvr: %v\n", err)
	}
	if _, usage := errors.AsType[errUsage](err); usage {
		return exitUsage
	}
	return exitFailed
}

// errTold is a failure that the command has already explained.
var errTold = errors.New("told")

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "custody-nvr",
		Short: "The CCTV recorder of one police custody suite",
		Long: `custody-nvr pulls the cell cameras, obscures the toilet area before anything is
written or shown, keeps a rolling record on local disk and shows the live wall.

To see it work:  custody-nvr demo
To run a suite:  custody-nvr config check suite.yaml && custody-nvr run --config suite.yaml`,
		SilenceErrors: true, SilenceUsage: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return errUsage{fmt.Errorf("no command %q; custody-nvr --help lists them", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return errUsage{fmt.Errorf("%w; %s --help explains", err, c.CommandPath())}
	})
	root.AddCommand(newRun(stderr), newDemo(stdout, stderr), newConfig(stdout), newCamera(stdout, stderr), newVersion(stdout))
	return root
}

// noArgs and exactly refuse what cobra would refuse, as a usage error.
func noArgs(c *cobra.Command, args []string) error { return exactly(0, "")(c, args) }

func exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		if n == 0 {
			return errUsage{fmt.Errorf("%s takes no arguments, got %q", c.CommandPath(), args)}
		}
		return errUsage{fmt.Errorf("%s needs %s; %s --help explains", c.CommandPath(), what, c.CommandPath())}
	}
}
