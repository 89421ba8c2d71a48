package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/sectigo"
)

func (s *scmCommand) accountCommand() *cobra.Command {
	return s.group("account", "Manage the ACME accounts of SCM", "",
		s.createCommand(), s.listAccountsCommand(), s.showCommand(), s.deleteAccountCommand())
}

// organizationFlag is for the commands that are about one organization.
func (s *scmCommand) organizationFlag(cmd *cobra.Command) {
	cmd.Flags().IntVar(&s.flags.Organization, "organization", 0, "`ID` of the organization (default that of sectigo.yaml)")
}

// wish is what to do with an account besides showing it.
type wish struct {
	issuer  issuerFlags
	showKey bool
}

func (w *wish) addTo(cmd *cobra.Command) {
	w.issuer.addTo(cmd)
	cmd.Flags().BoolVar(&w.showKey, "show-key", false, "show the HMAC key")
}

func (s *scmCommand) createCommand() *cobra.Command {
	var server string
	var w wish
	cmd := &cobra.Command{
		Use:   "create NAME --server SERVER",
		Short: "Create an ACME account in SCM, and the issuer for it",
		Long: `Create an ACME account in SCM. With --write-issuer acmed gets a new issuer that uses it: a file of issuers.d, and the
HMAC key of the external account binding among the secrets. An account whose name and server exist already is refused.`,
		Example: `  acmed sectigo account create web --server "OV ACME Server" --write-issuer sectigo-ov
  acmed sectigo account create web --server https://acme.sectigo.com/v2/OV --organization 1841 --dry-run`,
		Args: oneArg("how is the new account to be called?"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if server == "" {
				return usagef(cmd, "at which server? say --server with a name or URL that acmed sectigo server list shows")
			}
			return s.create(cmd.Context(), args[0], server, w)
		},
	}
	cmd.Flags().StringVar(&server, "server", "", "name or URL of the `SERVER`, see acmed sectigo server list")
	cmd.Flags().BoolVar(&s.dryRun, "dry-run", false, "ask SCM, but show what would be sent to change it, and change nothing")
	s.organizationFlag(cmd)
	w.addTo(cmd)
	return cmd
}

func (s *scmCommand) create(ctx context.Context, name, server string, w wish) error {
	if err := w.issuer.check(s.app); err != nil {
		return err
	}
	client, err := s.dial()
	if err != nil {
		return err
	}
	who, err := s.who()
	if err != nil {
		return err
	}
	if who.Organization == 0 {
		return &failure{errors.New("creating the account: of which organization?"), exitFailed,
			"say --organization with the ID that SCM shows under Organizations, or write organization to sectigo.yaml"}
	}
	at, err := client.Server(ctx, server)
	if err != nil {
		return err
	}
	if err := s.unique(ctx, client, who.Organization, name, at); err != nil {
		return err
	}
	called := at.Name
	if strings.Contains(server, "://") {
		called = at.URL
	}
	id, err := client.CreateAccount(ctx, sectigo.NewAccount{Name: name, Server: called, OrganizationID: who.Organization})
	if errors.Is(err, sectigo.ErrRehearsed) {
		s.plan.Files = w.issuer.files(s.app)
		return s.plan.show(s.app)
	}
	if err != nil {
		return err
	}
	s.say("created account %d", id)
	if err := s.present(ctx, client, id, at.URL, w); err != nil {
		s.say("account %d exists now; go on with: acmed sectigo account show %d", id, id)
		return err
	}
	return nil
}

// unique keeps a command that is repeated from making a second account.
func (s *scmCommand) unique(ctx context.Context, client *sectigo.Client, organization int, name string, at sectigo.Server) error {
	accounts, err := client.Accounts(ctx, organization)
	if err != nil {
		return err
	}
	for _, a := range accounts {
		if a.Name == name && (a.Server == at.Name || a.Server == at.URL) {
			return &failure{fmt.Errorf("account %d is called %q already, at the same server", a.ID, name), exitFailed,
				fmt.Sprintf("use it: acmed sectigo account show %d --write-issuer NAME; or give the new one another name", a.ID)}
		}
	}
	return nil
}

func (s *scmCommand) listAccountsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the ACME accounts of SCM",
		Args:  argsUpTo(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := s.dial()
			if err != nil {
				return err
			}
			who, err := s.who()
			if err != nil {
				return err
			}
			accounts, err := client.Accounts(cmd.Context(), who.Organization)
			if err != nil {
				return err
			}
			list := make([]account, len(accounts))
			for i, a := range accounts {
				list[i] = newAccount(a)
			}
			return s.result(list, func(time.Time) string { return accountsText(list) })
		},
	}
	s.organizationFlag(cmd)
	return cmd
}

func (s *scmCommand) showCommand() *cobra.Command {
	var w wish
	cmd := &cobra.Command{
		Use:   "show ACCOUNT",
		Short: "Show an ACME account of SCM, or write the issuer for it",
		Args:  oneArg("show which account? acmed sectigo account list shows the IDs"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseID(cmd, args[0])
			if err != nil {
				return err
			}
			if err := w.issuer.check(s.app); err != nil {
				return err
			}
			client, err := s.dial()
			if err != nil {
				return err
			}
			return s.present(cmd.Context(), client, id, "", w)
		},
	}
	w.addTo(cmd)
	return cmd
}

// present shows an account, and writes the issuer for it if that is wished. The directory "" is asked for.
func (s *scmCommand) present(ctx context.Context, client *sectigo.Client, id int, directory string, w wish) error {
	found, err := client.Account(ctx, id)
	if err != nil {
		return err
	}
	a := newAccount(found)
	if a.Domains, err = client.Domains(ctx, id); err != nil {
		return err
	}
	if a.Directory = directory; directory == "" {
		server, err := client.Server(ctx, found.Server)
		if err != nil {
			return err
		}
		a.Directory = server.URL
	}
	if w.showKey {
		a.Key = string(found.Key)
	}
	b := binding{a.Directory, found.KID, found.Key, fmt.Sprintf("ACME account %d (%s) of Sectigo Certificate Manager.", id, found.Name)}
	if a.Files, err = w.issuer.write(s.app, b); err != nil {
		return err
	}
	return s.result(a, func(time.Time) string { return accountText(a) })
}

func (s *scmCommand) deleteAccountCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete ACCOUNT --yes",
		Short: "Delete an ACME account of SCM",
		Long: `Delete an ACME account of SCM. Every client that uses its external account binding can order no more certificates; those
that there are stay good. It cannot be undone, hence --yes.`,
		Args: oneArg("delete which account? acmed sectigo account list shows the IDs"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseID(cmd, args[0])
			if err != nil {
				return err
			}
			if !yes && !s.dryRun {
				return usagef(cmd, "deleting account %d cannot be undone, and nobody can order with it any more: say --yes", id)
			}
			client, err := s.dial()
			if err != nil {
				return err
			}
			err = client.DeleteAccount(cmd.Context(), id)
			if errors.Is(err, sectigo.ErrRehearsed) {
				return s.plan.show(s.app)
			}
			if err != nil {
				return err
			}
			s.say("deleted account %d", id)
			return nil
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "delete it")
	cmd.Flags().BoolVar(&s.dryRun, "dry-run", false, "show what would be sent, and send nothing")
	return cmd
}
