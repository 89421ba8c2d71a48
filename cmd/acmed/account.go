package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/control"
)

func (a *app) accountCommand() *cobra.Command {
	return a.group("account", "Look at the accounts at CAs, keep their contact true, change their keys, and end them", "", a.accountShowCommand(), a.accountUpdateCommand(), a.accountRolloverCommand(), a.accountDeactivateCommand(), a.accountRegisterCommand())
}

func (a *app) accountShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show [ISSUER]",
		Short: "Show what a CA knows of the account",
		Long: `Show what a CA knows of the account of an issuer: its URL, which CAA records with accounturi name (RFC 8657), its status, its
contact, and the terms of service. Without ISSUER, that of every issuer which has one (in JSON: a list). The daemon asks the CA; nothing is
registered or changed. It exits with 1 if one of them has ended, or its CA cannot be asked.`,
		Args:              argsUpTo(1),
		ValidArgsFunction: a.completeIssuerName,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return a.showAccounts(cmd.Context(), client)
			}
			account, err := client.Account(cmd.Context(), control.AccountRequest{Issuer: args[0]})
			if err != nil {
				return err
			}
			if err := a.result(account, func(now time.Time) string { return acmeAccountText(account, now) }); err != nil {
				return err
			}
			return ended(account)
		},
	}
}

// showAccounts shows all that are registered. A CA that does not answer hides no other one's.
func (a *app) showAccounts(ctx context.Context, client *control.Client) error {
	issuers, err := client.Issuers(ctx)
	if err != nil {
		return err
	}
	accounts, errs := []control.Account{}, []error(nil)
	for _, i := range issuers {
		if i.Account == nil || i.Account.URL == "" {
			continue
		}
		account, err := client.Account(ctx, control.AccountRequest{Issuer: i.Name})
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", i.Name, err))
			continue
		}
		accounts, errs = append(accounts, account), append(errs, ended(account))
	}
	err = a.result(accounts, func(now time.Time) string {
		var b strings.Builder
		for _, account := range accounts {
			b.WriteString(acmeAccountText(account, now))
		}
		if len(accounts) == 0 && len(errs) == 0 {
			b.WriteString("no account is registered yet: the first order of a certificate registers one\n")
		}
		return b.String()
	})
	return errors.Join(append(errs, err)...)
}

// ended is the error of an account that no order can be made with; nil: one can.
func ended(c control.Account) error {
	if c.Status == "valid" {
		return nil
	}
	return fmt.Errorf("the account at %s: %s", c.Issuer, c.Status)
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

func (a *app) accountDeactivateCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "deactivate ISSUER",
		Short: "Have a CA end the account, for good",
		Long: `Have a CA end the account of an issuer, for good. Certificates stay valid until they expire. Renewals that name this issuer alone
stop; those that name others too go on there. acmed makes no other account by itself: acmed account register ISSUER does.
Asked for once more, it asks the CA once more.`,
		Example:           "  acmed account deactivate letsencrypt --yes",
		Args:              oneArg("deactivate the account of which issuer? acmed issuer list shows them"),
		ValidArgsFunction: a.completeIssuerName,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if !yes {
				return usagef(cmd, "deactivating cannot be undone, and %s no more: say --yes if that is what you want", a.renewedThere(cmd.Context(), client, args[0]))
			}
			account, err := client.DeactivateAccount(cmd.Context(), control.AccountRequest{Issuer: args[0]})
			if err != nil {
				return err
			}
			return a.result(account, func(now time.Time) string { return acmeAccountText(account, now) })
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "deactivate it")
	return cmd
}

// renewedThere names the certificates of an issuer, as far as the daemon tells.
func (a *app) renewedThere(ctx context.Context, client *control.Client, issuer string) string {
	list, err := client.List(ctx)
	var names []string
	for _, s := range list {
		if s.Issuer == issuer && s.Phase != control.Retired {
			names = append(names, s.Name)
		}
	}
	switch n := len(names); {
	case err != nil:
		return "the certificates that acmed list --issuer " + issuer + " shows are renewed there"
	case n == 0:
		return "it is good for orders"
	case n > dependentsShown:
		return fmt.Sprintf("%s and %d more are renewed there", strings.Join(names[:dependentsShown], ", "), n-dependentsShown)
	default:
		return strings.Join(names, ", ") + map[bool]string{true: " is renewed there", false: " are renewed there"}[n == 1]
	}
}

func (a *app) accountRegisterCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "register ISSUER",
		Short: "Make an account in the place of one that was deactivated",
		Long: `Make an account at a CA in the place of one that was deactivated, which goes into the archive of the state directory, or the
first one. Renewals go on. An account that was not deactivated is not replaced.`,
		Args:              oneArg("register at which issuer? acmed issuer list shows them"),
		ValidArgsFunction: a.completeIssuerName,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			account, err := client.RegisterAccount(cmd.Context(), control.AccountRequest{Issuer: args[0]})
			if err != nil {
				return err
			}
			return a.result(account, func(now time.Time) string { return acmeAccountText(account, now) })
		},
	}
}

// dependentsShown is how many certificates of an account that ended are named in text.
const dependentsShown = 10

// acmeAccountText is the answer of them all.
func acmeAccountText(c control.Account, now time.Time) string {
	var b strings.Builder
	b.WriteString(control.OneLine(c.Issuer+": "+c.Status) + "\n")
	field(&b, "account", c.URL)
	field(&b, "contact", strings.Join(c.Contact, ", "))
	field(&b, "registered", moment(c.Created, now))
	field(&b, "external account", c.KID)
	field(&b, "thumbprint", c.Thumbprint)
	if c.Terms != "" {
		field(&b, "terms", c.Terms+map[bool]string{true: " (agreed)", false: " (not agreed)"}[c.Agreed])
	}
	field(&b, "the CA says", c.Detail)
	if !c.Ended.IsZero() {
		field(&b, "deactivated", moment(c.Ended, now))
	}
	if n := len(c.Dependents); n > 0 {
		names := strings.Join(c.Dependents[:min(n, dependentsShown)], ", ")
		if n > dependentsShown {
			names += fmt.Sprintf(" and %d more", n-dependentsShown)
		}
		field(&b, "not renewed there", names)
	}
	if !c.Ended.IsZero() {
		field(&b, "another one", "acmed account register "+c.Issuer)
	}
	return columns(b.String())
}
