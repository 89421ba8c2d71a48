package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/control"
	"acmed/internal/doctor"
	"acmed/internal/newcert"
	"acmed/internal/newfile"
	"acmed/internal/spec"
)

// addition is what `acmed add` is asked for.
type addition struct {
	newcert.Wish
	noWait, dryRun bool
}

func (a *app) addCommand() *cobra.Command {
	var o addition
	cmd := &cobra.Command{
		Use:        "add NAME…",
		Short:      "Create a certificate",
		SuggestFor: []string{"new", "create", "certonly", "obtain"},
		Long: `Create a certificate for DNS names and IP addresses. The command writes a spec to certs.d, never over an existing file,
and waits until acmed has issued and deployed the certificate, or until that has failed. Invalid input is refused before
anything is written.

After a failure or Ctrl-C the spec stays, and acmed continues in the background; the command prints how to undo that.
The exit code is 1 if no certificate was issued, or if it could not be deployed.`,
		Example: `  acmed add www.example.com example.com --reload nginx.service --probe 127.0.0.1:443
  acmed add '*.example.com' --dns mydns
  acmed add 192.0.2.1 --profile shortlived`,
		ValidArgsFunction: cobra.NoFileCompletions,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef(cmd, "missing name for the certificate, such as www.example.com")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Names = strings.Split(strings.Join(args, ","), ",")
			return a.add(cmd.Context(), o)
		},
	}
	o.addFlags(a, cmd)
	return cmd
}

func (o *addition) addFlags(a *app, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&o.Issuers, "issuer", nil, "request it from `ISSUER`; repeat it for fallback issuers (default from acmed.yaml)")
	flags.StringVar(&o.Provider, "dns", "", "validate by dns-01 with `PROVIDER`, a file of dns.d")
	flags.StringVar(&o.Profile, "profile", "", "ACME `PROFILE` to request, such as shortlived")
	flags.StringSliceVar(&o.Reload, "reload", nil, "systemd `UNIT` to reload after each renewal; may be repeated")
	flags.StringSliceVar(&o.Restart, "restart", nil, "systemd `UNIT` to restart after each renewal; may be repeated")
	flags.StringSliceVar(&o.Probe, "probe", nil, "`ADDRESS` with port where the new certificate must be served; may be repeated")
	flags.StringVar(&o.Name, "name", "", "`NAME` of the certificate and its file (default the first name)")
	flags.BoolVar(&o.noWait, "no-wait", false, "return when the spec is written; no daemon is needed")
	flags.BoolVar(&o.dryRun, "dry-run", false, "print the spec and write nothing")
	_ = cmd.RegisterFlagCompletionFunc("issuer", func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return a.completeIssuerName(cmd, nil, prefix) // fails only for a flag that is not there
	})
	_ = cmd.RegisterFlagCompletionFunc("dns", a.completeProviders)
	for _, name := range []string{"profile", "reload", "restart", "probe", "name"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
}

// completeProviders completes the name of a DNS provider.
func (a *app) completeProviders(_ *cobra.Command, _ []string, prefix string) (names []string, _ cobra.ShellCompDirective) {
	config, err := a.configuration()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	files, _ := filepath.Glob(filepath.Join(config.DNSDir, "[^.]*.yaml")) // the pattern is good, unless the directory's name is odd
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".yaml"); strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// added is the answer of `acmed add`.
type added struct {
	Name        string               `json:"name"`                  // of the certificate
	File        string               `json:"file"`                  // of the spec
	Spec        string               `json:"spec"`                  // text of File
	Written     bool                 `json:"written"`               // false with --dry-run
	Certificate *control.Certificate `json:"certificate,omitempty"` // as acmed status NAME shows it; nil with --no-wait and --dry-run
}

func (a *app) add(ctx context.Context, o addition) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	config, info, down, err := a.configurationOf(ctx, client)
	if err != nil {
		return err
	}
	d := newcert.New(config, o.Wish)
	if err := a.refuse(ctx, d); err != nil {
		return err
	}
	if down == nil && !o.dryRun {
		err := a.refresh(ctx, client, config, info, d.Certificate)
		if ctx.Err() != nil {
			return interrupted()
		}
		if err != nil {
			return err
		}
	}
	if err := a.refuseIssuers(ctx, config, d); err != nil {
		return err
	}
	result := added{Name: d.Name, File: d.Path, Spec: d.Text}
	if o.dryRun {
		return a.result(result, func(time.Time) string { return d.Text })
	}
	if down != nil && !o.noWait {
		return &failure{fmt.Errorf("%s; nothing was written", down.Message), exitFailed, down.Hint + ", then run this command again; with --no-wait, acmed add only writes the spec"}
	}
	if err := create(ctx, d); err != nil {
		return err
	}
	a.say("created %s", d.Path)
	result.Written = true
	if o.noWait {
		return a.result(result, func(time.Time) string { return notAwaited(d, down) })
	}
	return a.awaitAdded(ctx, client, result)
}

// configurationOf returns the configuration that the daemon uses, and why the daemon does not respond; nil: it does.
func (a *app) configurationOf(ctx context.Context, client *control.Client) (*spec.Config, control.Info, *control.Error, error) {
	info, err := client.Info(ctx)
	down, _ := errors.AsType[*control.Error](err)
	switch {
	case err != nil && (down == nil || down.Code != control.Unavailable):
		return nil, info, nil, err
	case a.config == "" && down == nil:
		config, err := spec.LoadConfig(info.Config)
		if errors.Is(err, fs.ErrNotExist) {
			config, err = spec.DefaultConfig(info.Config), nil
		}
		return config, info, nil, err
	}
	config, err := a.configuration()
	if err == nil && down == nil && !sameFile(config.File, info.Config) {
		return nil, info, nil, &failure{fmt.Errorf("the daemon uses the configuration %s, not %s; nothing was written", info.Config, config.File), exitFailed, "remove --config, or set --socket to the other daemon"}
	}
	return config, info, down, err
}

// interrupted is returned before the spec is written.
func interrupted() error {
	return &failure{errors.New("interrupted; nothing was written"), exitFailed, ""}
}

// create writes the file of a new spec.
func create(ctx context.Context, d newcert.Draft) error {
	dir := filepath.Dir(d.Path)
	_, err := os.Stat(dir)
	if err == nil {
		err = newfile.Writable(dir)
	}
	if err == nil && ctx.Err() != nil {
		return interrupted()
	}
	if err == nil {
		err = d.Write()
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return &failure{fmt.Errorf("%s exists already; nothing was written", d.Path), exitFailed,
			"edit that file to change the certificate, or pass --name for another certificate; acmed status " + d.Name + " shows it"}
	case errors.Is(err, fs.ErrPermission):
		return &failure{fmt.Errorf("you may not write to %s; nothing was written", dir), exitFailed, "run the command as root: sudo acmed add …"}
	case errors.Is(err, fs.ErrNotExist):
		return &failure{fmt.Errorf("the directory %s does not exist; nothing was written", dir), exitFailed, "create it: install -d -m 0755 " + dir}
	}
	return fmt.Errorf("%w; nothing was written", err)
}

// refuse reports what is wrong with a draft.
func (a *app) refuse(ctx context.Context, d newcert.Draft) error {
	problems := d.Problems
	if d.Certificate != nil && systemdRuns() {
		certs := []*spec.Certificate{d.Certificate}
		problems = append(problems, doctor.Oneshots(ctx, certs, doctor.AskSystemd)...)
		problems = append(problems, doctor.MissingUnits(ctx, certs, doctor.AskSystemd)...)
	}
	if len(problems) == 0 {
		return nil
	}
	for _, p := range problems {
		if p.File != d.Path {
			a.say("%s", problemText(control.Problem(*p)))
			continue
		}
		a.say("%s", joined(": ", flagOf(p.Field), p.Problem))
		if p.Hint != "" {
			a.say("what to do: %s", asFlags(p.Hint))
		}
	}
	a.say("nothing was written")
	return errReported
}

// flagOf returns the flag of acmed add that sets a key of a spec; "": the names do.
func flagOf(field string) string {
	for _, f := range []struct{ field, flag string }{
		{"issuers", "--issuer"}, {"challenge", "--dns"}, {"profile", "--profile"}, {"deploy.reload", "--reload"},
		{"deploy.restart", "--restart"}, {"deploy.probe", "--probe"}, {"name", "--name"},
	} {
		if strings.HasPrefix(field, f.field) {
			return f.flag
		}
	}
	return ""
}

// asFlags returns the hint for an edit of a spec as one for the command line.
func asFlags(hint string) string {
	return strings.NewReplacer(
		"write challenge: {type: dns-01, provider: NAME}", "pass --dns PROVIDER, the name of a file of dns.d",
		"set profile: ", "pass --profile ", "use http-01, or another certificate", "remove --dns, or use another certificate",
	).Replace(hint)
}
