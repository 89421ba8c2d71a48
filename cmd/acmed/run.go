package main

import (
	"cmp"
	"errors"

	"github.com/spf13/cobra"

	"acmed/internal/daemon"
)

func (a *app) runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `Run the daemon until SIGTERM or SIGINT, which end it in order: open orders are resumed at the next start. A second
signal ends it at once. SIGHUP makes it read its files again. The exit code is 78 when it cannot run as it is
configured, so that systemd need not try again.`,
		Args: a.noCertificate,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := daemon.Run(cmd.Context(), daemon.Config{
				ConfigFile: cmp.Or(a.config, defaultConfig),
				Version:    readVersion().Version,
				Stderr:     a.stderr,
			})
			if _, ok := errors.AsType[*daemon.ConfigError](err); ok {
				return &failure{err, exitConfig, "acmed check tells all that is wrong"}
			}
			return err
		},
	}
}
