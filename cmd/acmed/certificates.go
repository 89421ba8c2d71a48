package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/control"
)

func (a *app) listCommand() *cobra.Command {
	var f filter
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the certificates: phase, expiry, next action and why",
		Long: `List the certificates: phase, expiry, next action and why. What somebody should look at comes first, then what
expires first. Flags leave out the others; a certificate must pass all that are given.`,
		Example: `  acmed list --failing
  acmed list --due 7d --issuer letsencrypt`,
		Args: argsUpTo(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.list(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.failing, "failing", false, "only those that somebody should look at")
	flags.Var(&f.due, "due", "only those to be renewed, or to expire, by a `TIME` such as 2026-12-24, or within 7d")
	flags.StringVar(&f.issuer, "issuer", "", "only those of `ISSUER`")
	_ = cmd.RegisterFlagCompletionFunc("issuer", a.completeIssuers) // fails only for a flag that is not there
	return cmd
}

func (a *app) list(ctx context.Context, f filter) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	all, err := client.List(ctx)
	if err != nil {
		return err
	}
	list := f.apply(all, time.Now())
	switch {
	case len(all) == 0:
		a.say("there are no certificates yet; acmed add NAME creates one")
	case len(list) == 0:
		a.say("none of %s is among them", count(len(all), "certificate"))
	}
	return a.result(list, func(now time.Time) string { return listText(list, now) })
}

// filter says which certificates are listed.
type filter struct {
	failing bool
	due     deadline // zero: whenever
	issuer  string   // "": any
}

// apply returns what passes, what needs attention first, and then what ends first.
func (f *filter) apply(all []control.Summary, now time.Time) []control.Summary {
	by := f.due.after(now)
	list := slices.DeleteFunc(slices.Clone(all), func(s control.Summary) bool {
		return f.failing && !s.Problem || f.issuer != "" && s.Issuer != f.issuer || !by.IsZero() && !dueBy(s, by)
	})
	slices.SortStableFunc(list, func(a, b control.Summary) int { return control.Urgency(&a, &b) })
	return list
}

// dueBy tells whether a certificate is to be renewed or ends by then. One that does not exist yet is due; one whose spec
// is gone only ends.
func dueBy(s control.Summary, by time.Time) bool {
	if s.Phase == control.Retired {
		return !s.NotAfter.After(by)
	}
	return s.Renewal.IsZero() || !s.Renewal.After(by) || !s.NotAfter.After(by)
}

func (a *app) statusCommand() *cobra.Command {
	wait := false
	cmd := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show all about one certificate, or how the daemon fares",
		Long: `Show all about one certificate: what it is, what acmed does about it next and when, and after a failure the
CA's own words and what to do. Without a name, show how the daemon fares: what is wrong, and what is urgent.

With --wait, first wait until the certificate is valid and all its consumers have it, or something has failed: then the
exit code is 1. A certificate whose file was written just now is waited for, too.`,
		Example: `  acmed status
  acmed status www.example.com --wait`,
		Args:              argsUpTo(1),
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			switch {
			case len(args) == 1 && wait:
				return a.awaitStatus(cmd.Context(), client, args[0])
			case wait:
				return usagef(cmd, "wait for what? give a name")
			case len(args) == 0:
				return a.overview(cmd.Context(), client)
			}
			cert, err := client.Status(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.result(cert, func(now time.Time) string { return certificateText(cert, now) })
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is valid and delivered, or has failed")
	return cmd
}

const (
	statusEvery = 200 * time.Millisecond // while somebody waits
	unreadYet   = 7 * time.Second        // in which a file that was just written is read
)

// awaitStatus shows a certificate once it has come to rest, and fails when that is in a failure.
func (a *app) awaitStatus(ctx context.Context, client *control.Client, name string) error {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for began := time.Now(); ; {
		cert, err := client.Status(ctx, name)
		e, _ := errors.AsType[*control.Error](err)
		switch {
		case e != nil && e.Code == control.NotFound && time.Since(began) < unreadYet:
		case err != nil:
			return err
		case cert.Phase == control.Valid, failed(cert):
			if err := a.result(cert, func(now time.Time) string { return certificateText(cert, now) }); err != nil {
				return err
			}
			if failed(cert) {
				return errReported
			}
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// failed tells whether the last try to issue a certificate, or to hand it to a consumer, did not work.
func failed(c control.Certificate) bool {
	return len(c.Failures) > 0 || c.Refused != nil || c.Phase == control.Parked ||
		slices.ContainsFunc(c.Targets, func(t control.Target) bool { return t.Failed != nil })
}

// overview is the answer of `acmed status` without a name.
type overview struct {
	control.Info
	Urgent []control.Summary `json:"urgent"`
}

func (a *app) overview(ctx context.Context, client *control.Client) error {
	info, err := client.Info(ctx)
	if err != nil {
		return err
	}
	list, err := client.Troubled(ctx)
	if err != nil {
		return err
	}
	urgent := filter{failing: true}
	o := overview{info, urgent.apply(list, time.Now())}
	return a.result(o, func(now time.Time) string { return overviewText(o, now) })
}

func (a *app) renewCommand() *cobra.Command {
	var req control.RenewRequest
	cmd := &cobra.Command{
		Use:   "renew NAME…",
		Short: "Renew certificates now",
		Long: `Renew certificates now. This clears acmed's own back-off, never a wait that the CA asked for.
With --staging it is only rehearsed: the same order at the issuer's staging twin, of which nothing is kept.
Without --wait the command returns once the request is safely noted.`,
		Example: `  acmed renew www.example.com --wait
  acmed renew www.example.com --staging
  acmed renew --issuer letsencrypt
  acmed renew --revoked`,
		ValidArgsFunction: a.completeNames(-1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Names = args
			if !exactlyOne(len(args) > 0, req.All, req.Issuer != "", req.Revoked) {
				return usagef(cmd, "renew what? give names, or --all, or --issuer, or --revoked: exactly one of them")
			}
			return a.renew(cmd.Context(), req)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&req.All, "all", false, "renew every certificate")
	flags.StringVar(&req.Issuer, "issuer", "", "renew every certificate of `ISSUER`")
	flags.BoolVar(&req.Revoked, "revoked", false, "read all revocation lists now, and renew what CAs have revoked")
	flags.BoolVar(&req.Force, "force", false, "pass the budgets that acmed sets itself")
	flags.BoolVar(&req.Staging, "staging", false, "rehearse at the issuer's staging twin; keep and deploy nothing")
	flags.BoolVar(&req.Wait, "wait", false, "wait until the certificate is there and delivered, or something has failed, and tell what happens")
	_ = cmd.RegisterFlagCompletionFunc("issuer", a.completeIssuers) // fails only for a flag that is not there
	return cmd
}

func exactlyOne(choices ...bool) bool {
	n := 0
	for _, c := range choices {
		if c {
			n++
		}
	}
	return n == 1
}

func (a *app) renew(ctx context.Context, req control.RenewRequest) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	return a.stream(func(report func(control.Event)) error { return client.Renew(ctx, req, report) })
}

// stream shows what ask reports. It fails when one of the certificates does.
func (a *app) stream(ask func(report func(control.Event)) error) error {
	var failed error
	var written error
	heard := false
	err := ask(func(e control.Event) {
		heard = true
		if e.Done && !e.OK {
			failed = errReported
		}
		if err := a.event(e); err != nil {
			written = err
		}
	})
	if err := cmp.Or(err, written, failed); err != nil || heard {
		return err
	}
	a.say("nothing to do")
	return nil
}

// event shows one piece of news: an outcome is a result, all else is talk.
func (a *app) event(e control.Event) error {
	if a.output == "json" {
		return a.json(e, "")
	}
	if e.Done && e.OK {
		return a.print(e.Cert + ": " + e.Message + "\n")
	}
	a.say("%s", eventText(e))
	return nil
}

// completeNames completes up to n names of certificates; -1: any number.
func (a *app) completeNames(n int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if n >= 0 && len(args) >= n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.complete(cmd.Context(), func(s control.Summary) string { return s.Name }, func(name string) bool {
			return strings.HasPrefix(name, prefix) && !slices.Contains(args, name)
		})
	}
}

func (a *app) completeIssuers(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return a.complete(cmd.Context(), func(s control.Summary) string { return s.Issuer }, func(name string) bool {
		return strings.HasPrefix(name, prefix)
	})
}

// complete returns what get finds in the certificates, sorted, once each, and wanted.
func (a *app) complete(ctx context.Context, get func(control.Summary) string, wanted func(string) bool) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second) // a shell must not hang on TAB
	defer cancel()
	client, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	list, err := client.List(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var found []string
	for _, s := range list {
		if name := get(s); wanted(name) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return slices.Compact(found), cobra.ShellCompDirectiveNoFileComp
}
