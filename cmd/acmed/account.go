package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/control"
)

func (a *app) accountCommand() *cobra.Command {
	return a.group("account", "Look at the accounts at CAs, keep their contact true, and change their keys", "", a.accountShowCommand(), a.accountUpdateCommand(), a.accountRolloverCommand())
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

func (a *app) accountRolloverCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rollover ISSUER",
		Short: "Change the key of the account",
		Long: `Have a CA put a new key in the place of the account's. Its URL stays, and so do certificates, limits and CAA records. Both keys
are kept until the CA finds the account by the new one, so that the account stays usable whatever interrupts the change. While it
lasts no order begins at this issuer, and those whose names are being validated come first: it waits up to two minutes for them.

The thumbprint of the account is another one afterwards: tell it to web servers that answer http-01 by themselves with it.
A backup from before holds a key that the CA does not accept any more: make a new one. Some CAs do not change keys, such
as step-ca and OpenBao; nothing changes there.`,
		Args:              oneArg("change the key of the account of which issuer? acmed issuer list shows them"),
		ValidArgsFunction: a.completeIssuerName,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			account, err := client.RolloverAccount(cmd.Context(), control.AccountRequest{Issuer: args[0]})
			if err != nil {
				return err
			}
			return a.result(account, func(now time.Time) string {
				return acmeAccountText(account, now) + "it has a new key: make a new backup\n"
			})
		},
	}
}

// acmeAccountText is the answer of them all.
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
