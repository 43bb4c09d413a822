package main

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"custody-nvr/configs"
)

// defaultConfig is where the package puts the suite file.
const defaultConfig = "/etc/custody-nvr/suite.yaml"

func newRun(stderr io.Writer) *cobra.Command {
	var config string
	c := &cobra.Command{
		Use: "run --config suite.yaml", Short: "Record a suite and show its live wall", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := newLog(stderr)
			suite, err := loadSuite(config, log)
			if err != nil {
				return err
			}
			m := &Main{Suite: suite, Log: log}
			if err := m.Open(); err != nil {
				return err
			}
			log.Info("recording", "suite", suite.Name, "cameras", len(suite.Cameras), "wall", "http://"+m.Addr()+"/")
			err = m.Run(cmd.Context())
			if e := m.Close(); err == nil {
				err = e
			}
			return err
		},
	}
	c.Flags().StringVar(&config, "config", defaultConfig, "the suite file")
	return c
}

func loadSuite(path string, log *slog.Logger) (*configs.Suite, error) {
	suite, warnings, err := configs.Load(path)
	if err != nil {
		return nil, fmt.Errorf("the suite file is not accepted, nothing was started:\n%w", err)
	}
	for _, w := range warnings {
		log.Warn(w.Message, "at", fmt.Sprintf("%s:%d", w.File, w.Line), "instead", w.Instead)
	}
	return &suite, nil
}

// newLog writes one line for each event that an operator would act on.
func newLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, nil))
}
