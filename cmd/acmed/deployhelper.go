package main

import (
	"cmp"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"acmed/internal/daemon"
)

func (a *app) deployHelperCommand() *cobra.Command {
	c := daemon.DeployHelperConfig{Socket: os.Stdin, Stderr: a.stderr}
	cmd := &cobra.Command{
		Use:   "deploy-helper",
		Short: "Deliver certificates as root, for the daemon (systemd starts this)",
		Long: `Carry out one request of the daemon, which is connected to standard input, and exit. acmed-deploy.socket starts this
as root for each request. A request holds nothing but the names of certificates. What becomes of them, the helper reads
itself: acmed.yaml, the specs, every folder on the way to them and every link must belong to root, and nobody else may
be able to write there. What it delivers is what live/NAME in the state folder points at, once key, names, dates and
chain belong together and are those that the spec asks for.

It keeps the last good version of each spec in its own folder, and falls back on it while a spec is bad.

The exit code is 0 once an answer was given, whatever it says; 1 when none was; 2 when standard input is no socket.`,
		Args: argsUpTo(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.ConfigFile = cmp.Or(a.config, defaultConfig)
			err := daemon.DeployHelper(cmd.Context(), c)
			if errors.Is(err, daemon.ErrNotConnected) {
				return &failure{err, exitUsage, "systemctl enable --now acmed-deploy.socket, which starts this when it is needed"}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&c.Folder, "folder", "/var/lib/acmed-deploy", "the helper's own `FOLDER`")
	return cmd
}
