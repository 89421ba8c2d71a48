package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/acme"
	"acmed/internal/control"
)

func (a *app) deleteCommand() *cobra.Command {
	var revoke bool
	var reason string
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Put a certificate away whose spec is gone",
		Long: `Move a certificate whose spec is gone, with its keys and all that is known of it, into the archive of the state directory.
The folder live/NAME is gone then: nothing may read it any more. Copies that acmed has made elsewhere stay, and are named.
Nothing is revoked, unless --revoke is given.`,
		Example: `  rm /etc/acmed/certs.d/old.example.com.yaml && acmed reload
  acmed delete old.example.com
  acmed delete old.example.com --revoke --reason cessationOfOperation`,
		Args:              oneArg("delete what? give a name"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := acme.ParseRevocationReason(reason); err != nil {
				return usagef(cmd, "%v", err)
			}
			if reason != "" && !revoke {
				return usagef(cmd, "a reason is for a revocation: say --revoke")
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			var same []control.SameKey
			if revoke {
				revoked, err := client.Revoke(cmd.Context(), control.RevokeRequest{Name: args[0], Reason: reason, Retired: true})
				if err != nil {
					return err
				}
				same = revoked.SameKey
			}
			result, err := client.Delete(cmd.Context(), control.DeleteRequest{Name: args[0]})
			if err != nil {
				return err
			}
			return a.result(result, func(now time.Time) string { return deletedText(result, now) + sameKeyText(same) })
		},
	}
	cmd.Flags().BoolVar(&revoke, "revoke", false, "have the CA revoke it first, which cannot be undone")
	cmd.Flags().StringVar(&reason, "reason", "", "`WHY` it is revoked, as for acmed revoke")
	_ = cmd.RegisterFlagCompletionFunc("reason", cobra.FixedCompletions(acme.RevocationReasons(), cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	return cmd
}

// deletedText says where everything is now, and what is left to do.
func deletedText(r control.DeleteResult, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is put away, with its keys:\n", control.OneLine(r.Name))
	for _, path := range r.Archived {
		fmt.Fprintf(&b, "  %s\n", control.OneLine(path))
	}
	switch {
	case r.Revoked:
		b.WriteString("it is revoked\n")
	case r.NotAfter.After(now):
		fmt.Fprintf(&b, "it is not revoked, and good until %s\n", moment(r.NotAfter, now))
	}
	if len(r.Remaining) > 0 {
		b.WriteString("copies stay in\n")
		for _, path := range r.Remaining {
			fmt.Fprintf(&b, "  %s\n", control.OneLine(path))
		}
	}
	return b.String()
}
