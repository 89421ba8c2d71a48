package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/acme"
	"acmed/internal/control"
)

func (a *app) revokeCommand() *cobra.Command {
	var req control.RevokeRequest
	var yes bool
	reasons := acme.RevocationReasons()
	cmd := &cobra.Command{
		Use:   "revoke NAME",
		Short: "Have a certificate revoked by its CA, and replaced",
		Long: `Have the newest certificate of a name revoked by the CA that issued it. That cannot be undone. While there is a spec, the
successor is ordered at once, with a new key, and goes live without waiting for a window; a certificate whose spec is gone
is revoked and not replaced. Where the CA does not take the account's word, the certificate's own key signs; where it does
not accept the reason, none is given.

With --reason keyCompromise the certificate's own key signs, so that the CA can block this key, and the account where the CA
refuses that. The CA then revokes every certificate that has the key. acmed lists the others that it has before it asks for
--yes, and orders each of them again at once, with a new key, whatever its rotationPolicy. The key of a csrFile is yours:
nothing is ordered for it until a CSR with another key is there.

The reasons are ` + strings.Join(reasons, ", ") + `.`,
		Example: `  acmed revoke www.example.com --reason keyCompromise --yes
  acmed status www.example.com --wait`,
		Args:              oneArg("revoke what? give a name"),
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Name = args[0]
			if _, err := acme.ParseRevocationReason(req.Reason); err != nil {
				return usagef(cmd, "%v", err)
			}
			client, err := a.client()
			if !yes {
				return usagef(cmd, "revoking cannot be undone, and browsers reject %s until its successor is served%s: say --yes if that is what you want", req.Name, a.alsoRevoked(cmd.Context(), client, req))
			}
			if err != nil {
				return err
			}
			result, err := client.Revoke(cmd.Context(), req)
			if err != nil {
				return err
			}
			return a.result(result, func(time.Time) string { return revokedText(req, result) })
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&req.Reason, "reason", "", "`WHY`, by name or by its code in RFC 5280")
	flags.IntVar(&req.Revision, "revision", 0, "the `NUMBER` of an older one (default the newest)")
	flags.BoolVar(&req.ByKey, "by-key", false, "sign with the certificate's own key, for when the account is lost")
	flags.BoolVar(&yes, "yes", false, "revoke it")
	_ = cmd.RegisterFlagCompletionFunc("reason", cobra.FixedCompletions(reasons, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	return cmd
}

// revokedText says what was revoked, and what follows.
func revokedText(req control.RevokeRequest, r control.RevokeResult) string {
	var b strings.Builder
	b.WriteString(control.OneLine(fmt.Sprintf("%s: %s has revoked revision %d, serial %s, reason %s", r.Name, r.Issuer, r.Revision, r.Serial, r.Reason)) + "\n")
	if asked, _ := acme.ParseRevocationReason(req.Reason); asked.String() != r.Reason { // it was parsed before
		fmt.Fprintf(&b, "the CA does not accept the reason %s\n", asked)
	}
	b.WriteString(signedText(req, r))
	if r.Replaced {
		fmt.Fprintf(&b, "its successor is ordered now, with a new key: acmed status %s --wait\n", r.Name)
	} else {
		b.WriteString("it is not replaced: there is no spec, or a newer revision is in use\n")
	}
	b.WriteString(sameKeyText(r.SameKey))
	return b.String()
}

// signedText says who signed, where it is not who was expected to.
func signedText(req control.RevokeRequest, r control.RevokeResult) string {
	reason, _ := acme.ParseRevocationReason(req.Reason) // it was parsed before
	switch {
	case r.ByKey && !req.ByKey && reason != acme.KeyCompromise:
		return "the CA did not take the account's word; the certificate's own key signed\n"
	case !r.ByKey && reason == acme.KeyCompromise:
		return "the account signed, and not the certificate's own key: ask the CA whether it blocks this key\n"
	}
	return ""
}

// sameKeyText names the certificates that have a compromised key, and what follows.
func sameKeyText(found []control.SameKey) string {
	var b strings.Builder
	for _, s := range found {
		what := "has the same key and is not replaced: there is no spec, or a newer revision is in use"
		switch {
		case s.CSRFile != "":
			what = "has the same key, which is yours: make a CSR with a new key and replace " + s.CSRFile
		case s.Replaced:
			what = "has the same key and is ordered now, with a new key: acmed status " + s.Name + " --wait"
		}
		b.WriteString(control.OneLine(revisionsOf(s)+" "+what) + "\n")
	}
	return b.String()
}

// revisionsOf names a certificate with its revisions.
func revisionsOf(s control.SameKey) string {
	var numbers []string
	for _, n := range s.Revisions {
		numbers = append(numbers, strconv.Itoa(n))
	}
	switch len(numbers) {
	case 0:
		return s.Name
	case 1:
		return s.Name + " (revision " + numbers[0] + ")"
	}
	return s.Name + " (revisions " + strings.Join(numbers, ", ") + ")"
}

// alsoRevoked names what a CA revokes together with a certificate whose key is compromised, as far as the daemon tells.
func (a *app) alsoRevoked(ctx context.Context, client *control.Client, req control.RevokeRequest) string {
	if reason, _ := acme.ParseRevocationReason(req.Reason); reason != acme.KeyCompromise {
		return ""
	}
	const all = "; the CA revokes whatever has its key"
	if client == nil {
		return all
	}
	found, err := client.SameKey(ctx, req)
	if err != nil || len(found) == 0 {
		return all + choose(err == nil, ", and nothing else here has it", "")
	}
	var names []string
	for _, s := range found {
		name := revisionsOf(s)
		if s.CSRFile != "" {
			name += " by " + s.CSRFile
		}
		names = append(names, name)
	}
	return all + ", also " + strings.Join(names, ", ")
}
