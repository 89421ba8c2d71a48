package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/control"
)

func (a *app) accountCommand() *cobra.Command {
	return a.group("account", "Look at the accounts at CAs, and keep their contact true", "", a.accountShowCommand(), a.accountUpdateCommand())
}

func (a *app) accountShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ISSUER",
		Short: "Show what a CA knows of the account",
		Long: `Show what a CA knows of the account of an issuer: its URL, which CAA records with accounturi name (RFC 8657), its status, its
contact. The daemon asks the CA; nothing is registered or changed.`,
		Args:              oneArg("show the account of which issuer? acmed issuer list shows them"),
		ValidArgsFunction: a.completeIssuerName,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			account, err := client.Account(cmd.Context(), control.AccountRequest{Issuer: args[0]})
			if err != nil {
				return err
			}
			return a.result(account, func(now time.Time) string { return acmeAccountText(account, now) })
		},
	}
}

func (a *app) accountUpdateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "update ISSUER",
		Short: "Give a CA the contact that the files have now",
		Long: `Give a CA the contact that the issuer's file has now, or acmed.yaml where it has none. That of an account is sent when it is
registered, and not again by itself. Many CAs keep no contact and show none.`,
		Args:              oneArg("update the account of which issuer? acmed issuer list shows them"),
		ValidArgsFunction: a.completeIssuerName,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			account, err := client.UpdateAccount(cmd.Context(), control.AccountRequest{Issuer: args[0]})
			if err != nil {
				return err
			}
			return a.result(account, func(now time.Time) string { return acmeAccountText(account, now) })
		},
	}
}

// acmeAccountText is the answer of both.
func acmeAccountText(c control.Account, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", c.Issuer, c.Status)
	field(&b, "account", c.URL)
	field(&b, "contact", strings.Join(c.Contact, ", "))
	field(&b, "registered", moment(c.Created, now))
	field(&b, "external account", c.KID)
	field(&b, "thumbprint", c.Thumbprint)
	return columns(b.String())
}
