package main

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/sectigo"
	"acmed/internal/spec"
)

// scmCommand is what the commands below `acmed sectigo` share: how to ask Sectigo Certificate Manager. They run in the
// command's own process, without the daemon.
type scmCommand struct {
	*app
	flags  spec.Sectigo // over those of sectigo.yaml
	dryRun bool
	plan   rehearsal
}

func (a *app) sectigoCommand() *cobra.Command {
	s := &scmCommand{app: a}
	cmd := a.group("sectigo", "Manage ACME accounts and their domains in Sectigo Certificate Manager",
		`Manage ACME accounts and their domains in Sectigo Certificate Manager (SCM), over its REST API. An ACME account of
SCM is an external account binding, and the domains that may be ordered with it. No daemon is needed.

Who asks is read from sectigo.yaml beside acmed.yaml; flags come before it. The password is in a file of its own, never
on the command line or in the environment:

    # /etc/acmed/sectigo.yaml
    customerUri: example
    login: acme-robot
    passwordFile: /etc/acmed/secrets/scm
    organization: 1841`,
		s.serverCommand(), s.accountCommand(), s.domainCommand())
	flags := cmd.PersistentFlags()
	flags.StringVar(&s.flags.URL, "url", "", "the API's `URL` (default "+sectigo.DefaultURL+")")
	flags.StringVar(&s.flags.CustomerURI, "customer-uri", "", "the last part of the `URI` at which you log in")
	flags.StringVar(&s.flags.Login, "login", "", "`NAME` of an administrator who may use the API")
	flags.StringVar(&s.flags.PasswordFile, "password-file", "", "`FILE` that holds the password")
	return cmd
}

func (s *scmCommand) serverCommand() *cobra.Command {
	list := &cobra.Command{
		Use:   "list",
		Short: "List the ACME servers that SCM offers you",
		Args:  argsUpTo(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := s.dial()
			if err != nil {
				return err
			}
			servers, err := client.Servers(cmd.Context())
			if err != nil {
				return err
			}
			return s.result(servers, func(time.Time) string { return serversText(servers) })
		},
	}
	return s.group("server", "Look at the ACME servers of SCM", "", list)
}

// dial returns a client of SCM.
func (s *scmCommand) dial() (*sectigo.Client, error) {
	who, err := s.who()
	if err != nil {
		return nil, err
	}
	password, err := readSecret(who.PasswordFile)
	if err != nil {
		return nil, err
	}
	c := sectigo.Config{
		URL: who.URL, CustomerURI: who.CustomerURI, Login: who.Login, Password: password, UserAgent: userAgent(),
	}
	if s.dryRun {
		c.Rehearse = s.plan.request
	}
	return sectigo.New(c)
}

// who reads sectigo.yaml, which need not exist, and puts the flags over it.
func (s *scmCommand) who() (*spec.Sectigo, error) {
	config, err := s.configuration()
	if err != nil {
		return nil, err
	}
	file := config.SectigoFile()
	who, err := spec.LoadSectigo(file)
	if errors.Is(err, fs.ErrNotExist) {
		who, err = &spec.Sectigo{}, nil
	}
	if err != nil {
		return nil, err
	}
	who.URL = cmp.Or(s.flags.URL, who.URL)
	who.CustomerURI = cmp.Or(s.flags.CustomerURI, who.CustomerURI)
	who.Login = cmp.Or(s.flags.Login, who.Login)
	who.PasswordFile = cmp.Or(s.flags.PasswordFile, who.PasswordFile)
	who.Organization = cmp.Or(s.flags.Organization, who.Organization)
	return who, complete(who, file)
}

// complete names all that SCM has to be told and is not.
func complete(who *spec.Sectigo, file string) error {
	var keys, flags []string
	for _, need := range [][3]string{
		{who.CustomerURI, "customerUri", "--customer-uri"}, {who.Login, "login", "--login"},
		{who.PasswordFile, "passwordFile", "--password-file"},
	} {
		if need[0] == "" {
			keys, flags = append(keys, need[1]), append(flags, need[2])
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return &failure{
		errors.New("SCM wants to know who asks, but not said is: " + strings.Join(keys, ", ")), exitFailed,
		"write " + strings.Join(keys, ", ") + " to " + file + ", or say " + strings.Join(flags, ", "),
	}
}

func userAgent() string { return "acmed/" + readVersion().Version }

// parseID reads the ID of an account.
func parseID(cmd *cobra.Command, arg string) (int, error) {
	id, err := strconv.Atoi(arg)
	if err != nil || id <= 0 {
		return 0, usagef(cmd, "%q is not the ID of an account: a number, which acmed sectigo account list shows", arg)
	}
	return id, nil
}

func (s *scmCommand) domainCommand() *cobra.Command {
	list := &cobra.Command{
		Use:   "list ACCOUNT",
		Short: "List the domains of an account",
		Args:  oneArg("list the domains of which account? acmed sectigo account list shows the IDs"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseID(cmd, args[0])
			if err != nil {
				return err
			}
			client, err := s.dial()
			if err != nil {
				return err
			}
			domains, err := client.Domains(cmd.Context(), id)
			if err != nil {
				return err
			}
			return s.result(domains, func(time.Time) string { return domainsText(domains) })
		},
	}
	add := s.changeCommand("add ACCOUNT DOMAIN…", "Let an account order for domains", "added", (*sectigo.Client).AddDomains,
		"in SCM, add the domain, delegate it to the organization of the account, and complete its validation (DCV)")
	remove := s.changeCommand("remove ACCOUNT DOMAIN…", "Let an account order for domains no longer", "removed", (*sectigo.Client).RemoveDomains,
		"acmed sectigo domain list shows the domains that the account has")
	return s.group("domain", "Manage the domains of an ACME account of SCM", "", list, add, remove)
}

// changed is what became of each domain of a change.
type changed struct {
	Account int      `json:"account"`
	Done    []string `json:"done"`
	NotDone []string `json:"notDone"`
}

// changeCommand builds a command that changes the domains of an account. SCM's answer to it may be a success and yet
// name domains with which it did not work: each of them is a failure here.
func (s *scmCommand) changeCommand(use, short, done string, change func(*sectigo.Client, context.Context, int, []string) ([]string, error), hint string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  twoArgs("name an account, which acmed sectigo account list shows, and domains"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseID(cmd, args[0])
			if err != nil {
				return err
			}
			names, err := domainNames(cmd, args[1:])
			if err != nil {
				return err
			}
			client, err := s.dial()
			if err != nil {
				return err
			}
			failed, err := change(client, cmd.Context(), id, names)
			if errors.Is(err, sectigo.ErrRehearsed) {
				return s.plan.show(s.app)
			}
			if err != nil {
				return err
			}
			return s.changed(names, changed{Account: id, Done: []string{}, NotDone: failed}, done, hint)
		},
	}
	cmd.Flags().BoolVar(&s.dryRun, "dry-run", false, "show what would be sent, and send nothing")
	return cmd
}

// changed tells what became of each domain.
func (s *scmCommand) changed(names []string, c changed, done, hint string) error {
	for _, name := range names {
		if !slices.Contains(c.NotDone, name) {
			c.Done = append(c.Done, name)
		}
	}
	err := s.result(c, func(time.Time) string { return changedText(c, done) })
	if err != nil || len(c.NotDone) == 0 {
		return err
	}
	for _, name := range c.NotDone {
		s.say("%s was not %s", name, done)
	}
	s.say("what to do: %s", hint)
	return errReported
}

// domainNames reads domains as specs write them.
func domainNames(cmd *cobra.Command, args []string) ([]string, error) {
	names := make([]string, len(args))
	for i, arg := range args {
		name, err := spec.ParseDNSName(arg)
		if err != nil {
			return nil, usagef(cmd, "%v", err)
		}
		names[i] = name
	}
	return names, nil
}
