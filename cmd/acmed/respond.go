package main

import (
	"cmp"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"acmed/internal/daemon"
	"acmed/internal/spec"
)

func (a *app) respondCommand() *cobra.Command {
	var c daemon.ResponderConfig
	cmd := &cobra.Command{
		Use:   "respond",
		Short: "Answer http-01 challenges on port 80, and do nothing else",
		Long: `Answer http-01 challenges from the folder where the daemon puts them, on the socket that acmed-http.socket holds, or
on --listen. It needs no key, no network of its own and no right to write, so that acmed-http.service can take all
that away. Where acmed.yaml can be read, it is only for the defaults of the flags and for how to log.`,
		Args: argsUpTo(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := a.settings()
			if err != nil {
				return &failure{err, exitConfig, "acmed check tells all that is wrong"}
			}
			c.Tokens = cmp.Or(c.Tokens, filepath.Join(config.RuntimeDir, "http-01"))
			c.Fallback = cmp.Or(c.Fallback, config.HTTP.Fallback)
			c.Log, c.Stderr = config.Log, a.stderr
			err = daemon.Respond(cmd.Context(), c)
			if errors.Is(err, daemon.ErrNoSocket) {
				return &failure{err, exitUsage, "systemctl enable --now acmed-http.socket, or acmed respond --listen ADDRESS"}
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.Tokens, "tokens", "", "`FOLDER` of the proofs (default http-01 in the configuration's runtimeDir)")
	flags.Var(oneOf(&c.Fallback, "ANSWER", "notFound", "redirect"), "fallback",
		"what all other requests get, notFound or redirect (default the configuration's http.fallback)")
	flags.StringVar(&c.Listen, "listen", "", "`ADDRESS` with a port to listen on, where systemd hands over no socket")
	return cmd
}

// settings is the configuration for whoever can do without: a file that was named must be good, that of the system is
// left alone while it is not.
func (a *app) settings() (*spec.Config, error) {
	config, err := spec.LoadConfig(cmp.Or(a.config, defaultConfig))
	switch {
	case err == nil:
		return config, nil
	case a.config != "":
		return nil, err
	case !errors.Is(err, fs.ErrNotExist):
		a.say("%v", err)
		a.say("going by the defaults")
	}
	return spec.DefaultConfig(defaultConfig), nil
}
