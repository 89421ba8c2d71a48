package main

import (
	"fmt"
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
			if !yes {
				return usagef(cmd, "revoking cannot be undone, and browsers reject %s until its successor is served: say --yes if that is what you want", req.Name)
			}
			client, err := a.client()
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
	fmt.Fprintf(&b, "%s: %s has revoked revision %d, serial %s, reason %s\n", r.Name, r.Issuer, r.Revision, r.Serial, r.Reason)
	if asked, _ := acme.ParseRevocationReason(req.Reason); asked.String() != r.Reason { // it was parsed before
		fmt.Fprintf(&b, "the CA does not accept the reason %s\n", asked)
	}
	if r.ByKey && !req.ByKey {
		b.WriteString("the CA did not take the account's word; the certificate's own key signed\n")
	}
	if r.Replaced {
		fmt.Fprintf(&b, "its successor is ordered now, with a new key: acmed status %s --wait\n", r.Name)
	} else {
		b.WriteString("it is not replaced: there is no spec, or a newer revision is in use\n")
	}
	return b.String()
}
