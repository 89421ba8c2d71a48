package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/migrate"
	"acmed/internal/spec"
)

func (a *app) importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import CLIENT",
		Short: "Take over from another ACME client: accounts, certificates, what is done with them",
		Long: `Take over from another ACME client: its accounts, its certificates and keys as first revisions, and specs that do what
it was told to do. Nothing is ordered, and nothing of the other client's is changed. What cannot be carried over is
listed. Without --apply it only tells what it would do.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := cmd.CommandPath() + " --help"
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = "did you mean " + strings.Join(near, ", ") + "?"
			}
			return &failure{fmt.Errorf("acmed cannot import from %q", args[0]), exitUsage, hint}
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return usagef(cmd, "import from which client?") },
	}
	cmd.SuggestionsMinimumDistance = 2
	known := migrate.Clients()
	for _, client := range slices.Sorted(maps.Keys(known)) {
		cmd.AddCommand(a.importFrom(client, known[client]))
	}
	return cmd
}

// importFrom is the command for one client, whose folder is dir by itself.
func (a *app) importFrom(client, dir string) *cobra.Command {
	o := migrate.Options{Client: client}
	var apply bool
	cmd := &cobra.Command{
		Use:   client + " [NAME…]",
		Short: "Take over from " + client,
		Long: `Tell what an import of ` + client + `'s certificates would do, all of them or those with the names that it gives them, and do
it with --apply. For that, acmed must be stopped, and whoever runs it must be able to read the keys.`,
		Example: `  acmed import ` + client + `
  systemctl stop acmed && acmed import ` + client + ` --apply && systemctl start acmed`,
		RunE: func(_ *cobra.Command, args []string) error {
			o.Names = args
			return a.takeOver(o, apply)
		},
	}
	cmd.Flags().StringVar(&o.Dir, "dir", dir, placeOf(client))
	if slices.Contains([]string{"caddy", "lego", "traefik"}, client) {
		cmd.Flags().StringVar(&o.Server, "server", "", "the CA's directory `URL`, where "+client+" does not write it down")
	}
	cmd.Flags().BoolVar(&apply, "apply", false, "do it")
	return cmd
}

// placeOf describes the value of --dir.
func placeOf(client string) string {
	if client == "traefik" {
		return "storage `FILE` of Traefik's resolvers, or a directory of them"
	}
	return client + "'s `FOLDER`"
}

// imported is the answer of `acmed import`.
type imported struct {
	*migrate.Plan
	Applied bool `json:"applied"`
}

func (a *app) takeOver(o migrate.Options, apply bool) error {
	config, err := spec.LoadConfig(cmp.Or(a.config, defaultConfig))
	if errors.Is(err, fs.ErrNotExist) {
		return &failure{err, exitFailed, "write it first, or name another with --config"}
	}
	if err != nil {
		return err
	}
	o.Config, o.Now = config, time.Now()
	plan, err := migrate.Look(o)
	if err == nil && apply && plan.Do() {
		err = plan.Apply(a.progress(len(plan.Certificates)))
	}
	if errors.Is(err, fs.ErrPermission) {
		return &failure{err, exitFailed, "run it as root: it reads keys, and writes to acmed's folders"}
	}
	if err != nil {
		return err
	}
	return a.result(imported{plan, apply}, func(now time.Time) string { return importText(plan, apply, now) })
}

// progress tells whoever watches how far an import is, every few seconds.
func (a *app) progress(of int) func(done int) {
	const pause = 5 * time.Second
	next := time.Now().Add(pause)
	return func(done int) {
		if now := time.Now(); now.After(next) {
			next = now.Add(pause)
			a.say("%d of %s", done, count(of, "certificate"))
		}
	}
}
