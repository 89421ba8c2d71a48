package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/control"
	"acmed/internal/spec"
)

const (
	defaultConfig = "/etc/acmed/acmed.yaml"
	defaultSocket = "/run/acmed/control/acmed.sock"
)

// app is what all commands share: where they write, and the persistent flags.
type app struct {
	stdout, stderr io.Writer
	args           []string // the command line

	config string // "": defaultConfig
	socket string // "": see controlSocket
	output string // "text" or "json"
}

// command builds the command tree.
func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "acmed",
		Short: "Keep TLS certificates valid, and served",
		Long: `acmed keeps TLS certificates valid, and served. Each file of /etc/acmed/certs.d is one certificate:
acmed obtains it from an ACME CA, installs it, and renews it in time for ever.`,
		Args:          a.unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return a.needsCommand(cmd) },
		Version:       readVersion().Version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SuggestionsMinimumDistance = 2
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetVersionTemplate("acmed {{.Version}}\n")
	root.SetFlagErrorFunc(a.wrongFlag)
	a.output = "text"
	flags := root.PersistentFlags()
	flags.StringVar(&a.config, "config", "", "configuration `FILE` (default "+defaultConfig+")")
	flags.StringVar(&a.socket, "socket", "", "control `SOCKET` (default $ACMED_SOCKET, then the configuration's)")
	flags.Var(oneOf(&a.output, "FORMAT", "text", "json"), "output", "how the result is written, text or json")
	root.AddCommand(a.addCommand(), a.runCommand(), a.respondCommand(), a.deployHelperCommand(), a.listCommand(), a.statusCommand(), a.logsCommand(),
		a.renewCommand(), a.deployCommand(), a.rollbackCommand(), a.holdCommand(), a.unholdCommand(), a.revokeCommand(), a.deleteCommand(), a.reloadCommand(),
		a.checkCommand(), a.configCommand(), a.doctorCommand(), a.planCommand(), a.issuerCommand(), a.accountCommand(), a.sectigoCommand(), a.zeroSSLCommand(), a.importCommand(),
		a.schemaCommand(), a.versionCommand(), a.manCommand())
	return root
}

// needsCommand shows what there is.
func (a *app) needsCommand(root *cobra.Command) error {
	root.SetOut(a.stderr)
	if err := root.Help(); err != nil {
		return err
	}
	return &failure{errReported, exitUsage, ""}
}

// group builds a command that only has others below it.
func (a *app) group(use, short, long string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long,
		Args: a.unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.needsCommand(cmd) },

		SuggestionsMinimumDistance: 2,
	}
	cmd.AddCommand(below...)
	return cmd
}

// configuration returns acmed.yaml, or what goes without one where the system has none.
func (a *app) configuration() (*spec.Config, error) {
	config, err := spec.LoadConfig(cmp.Or(a.config, defaultConfig))
	if a.config == "" && errors.Is(err, fs.ErrNotExist) {
		return spec.DefaultConfig(defaultConfig), nil
	}
	return config, err
}

// client returns the daemon's client.
func (a *app) client() (*control.Client, error) {
	socket, err := a.controlSocket()
	if err != nil {
		return nil, err
	}
	return control.Dial(socket), nil
}

// controlSocket finds the daemon: --socket, $ACMED_SOCKET, --config, the default configuration, the default.
func (a *app) controlSocket() (string, error) {
	if socket := cmp.Or(a.socket, os.Getenv("ACMED_SOCKET")); socket != "" {
		return socket, nil
	}
	if a.config != "" {
		config, err := spec.LoadConfig(a.config)
		if err != nil {
			return "", err
		}
		return config.Control.Socket, nil
	}
	if config, err := spec.LoadConfig(defaultConfig); err == nil {
		return config.Control.Socket, nil
	}
	return defaultSocket, nil // a daemon that runs since before somebody broke the file must stay reachable
}

// result writes v to stdout as JSON, or as the text that render makes of it.
func (a *app) result(v any, render func(now time.Time) string) error {
	if a.output == "json" {
		return a.json(v, "  ")
	}
	return a.print(render(time.Now()))
}

func (a *app) json(v any, indent string) error {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	return e.Encode(v)
}

// print writes the result.
func (a *app) print(s string) error {
	_, err := io.WriteString(a.stdout, terminalOf(a.stdout).show(printable(s)))
	return err
}

// say talks to whoever watches.
func (a *app) say(format string, args ...any) {
	for line := range strings.Lines(printable(fmt.Sprintf(format, args...))) {
		_, _ = fmt.Fprintln(a.stderr, "acmed: "+strings.TrimSuffix(line, "\n")) // there is nobody to tell
	}
}

// word is a flag that takes one of a few words.
type word struct {
	value *string
	name  string // of the value, in the help
	known []string
}

func oneOf(value *string, name string, words ...string) *word { return &word{value, name, words} }

func (w *word) String() string { return *w.value }
func (w *word) Type() string   { return w.name }

func (w *word) Set(s string) error {
	if !slices.Contains(w.known, s) {
		return errors.New("say " + strings.Join(w.known, " or "))
	}
	*w.value = s
	return nil
}
