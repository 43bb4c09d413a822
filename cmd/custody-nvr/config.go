package main

import (
	"io"

	"github.com/spf13/cobra"

	"custody-nvr/configs"
)

func newConfig(stdout io.Writer) *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Look at the suite file", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	var asJSON bool
	check := &cobra.Command{
		Use: "check FILE", Short: "Say what is wrong with a suite file, without starting anything",
		Args: exactly(1, "the suite file to check"),
		RunE: func(_ *cobra.Command, args []string) error {
			r := configs.Check(args[0])
			write := r.WriteText
			if asJSON {
				write = r.WriteJSON
			}
			if err := write(stdout); err != nil {
				return err
			}
			if !r.OK {
				return errTold
			}
			return nil
		},
	}
	check.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	c.AddCommand(check)
	return c
}
