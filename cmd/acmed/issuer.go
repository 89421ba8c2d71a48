package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/acme"
	"acmed/internal/control"
	"acmed/internal/daemon"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

func (a *app) issuerCommand() *cobra.Command {
	return a.group("issuer", "Look at the CAs: which there are, and whether they answer", "", a.issuerListCommand(), a.issuerTestCommand())
}

func (a *app) issuerListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the issuers: directory, external account binding, account, what is left",
		Long: `List the issuers, those of issuers.d and those that are built in: whether a spec may name them, the account there, why
one is left alone, and what is left of the limits that acmed keeps to. Where no daemon runs, the files tell.`,
		Args: argsUpTo(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.issuers(cmd.Context())
			if err != nil {
				return err
			}
			return a.result(list, func(now time.Time) string { return issuersText(list, now) })
		},
	}
}

// issuers asks the daemon, and the files where none answers.
func (a *app) issuers(ctx context.Context) ([]control.Issuer, error) {
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	list, err := client.Issuers(ctx)
	if e, ok := errors.AsType[*control.Error](err); !ok || e.Code != control.Unavailable {
		return list, err
	}
	config, err := a.configuration()
	if err != nil {
		return nil, err
	}
	return daemon.Issuers(config)
}

func (a *app) issuerTestCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "test ISSUER",
		Short: "See whether a CA answers, and what it offers",
		Long: `See whether a CA answers, and what it offers: its directory is read and a nonce fetched, by this command itself, as the
issuer's file says. Nothing is registered or ordered. The exit code is 1 when the CA does not answer, or when an order
would not work: for the terms of service, a missing external account binding, or a clock that is wrong.`,
		Args:              oneArg("test which issuer? acmed issuer list shows them"),
		ValidArgsFunction: a.completeIssuerName,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.testIssuer(cmd.Context(), args[0]) },
	}
}

// completeIssuerName completes the one name of an issuer.
func (a *app) completeIssuerName(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second) // a shell must not hang on TAB
	defer cancel()
	var names []string
	list, err := a.issuers(ctx)
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, i := range list {
		if strings.HasPrefix(i.Name, prefix) {
			names = append(names, i.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// examined is the answer of `acmed issuer test`.
type examined struct {
	Name         string            `json:"name"`
	Directory    string            `json:"directory"`
	Milliseconds int64             `json:"directoryMilliseconds"`
	NonceMS      int64             `json:"nonceMilliseconds"`
	TLS          string            `json:"tls,omitempty"`
	IssuedBy     string            `json:"tlsIssuedBy,omitempty"`
	NotAfter     time.Time         `json:"tlsNotAfter,omitzero"`
	Terms        string            `json:"termsOfService,omitempty"`
	Agreed       bool              `json:"termsOfServiceAgreed"`
	Website      string            `json:"website,omitempty"`
	CAA          []string          `json:"caaIdentities,omitempty"`
	NeedsEAB     bool              `json:"externalAccountRequired"`
	HasEAB       bool              `json:"externalAccountGiven"`
	Profiles     map[string]string `json:"profiles,omitempty"`
	ARI          bool              `json:"renewalInfo"`
	SkewSeconds  int64             `json:"clockAheadSeconds"`
	Account      string            `json:"account,omitempty"`
	DNSPersist   string            `json:"dnsPersist01,omitempty"` // the record, where the CA offers that challenge
}

func (a *app) testIssuer(ctx context.Context, name string) error {
	config, err := a.configuration()
	if err != nil {
		return err
	}
	issuer, err := findIssuer(config, name)
	if err != nil {
		return err
	}
	how, err := reconcile.ClientConfig(issuer)
	if err != nil {
		return err
	}
	how.UserAgent = userAgent()
	seen, err := acme.Examine(ctx, how)
	if err != nil {
		return err
	}
	e := newExamined(issuer, seen, a.accountAt(ctx, name))
	if err := a.result(e, func(now time.Time) string { return examinedText(e, now) }); err != nil {
		return err
	}
	return a.complain(e, issuer)
}

// findIssuer returns an issuer as its file says now, whatever a daemon has in force.
func findIssuer(config *spec.Config, name string) (*spec.Issuer, error) {
	set, err := spec.Preview(spec.LoaderConfig{Config: config})
	if err != nil {
		return nil, err
	}
	if i := set.Issuer(name); i != nil {
		return i, nil
	}
	for _, p := range set.Problems {
		if p.File == filepath.Join(config.IssuerDir, name+".yaml") {
			return nil, p
		}
	}
	return nil, &failure{fmt.Errorf("there is no issuer %q", name), exitFailed, "acmed issuer list shows them; a file of issuers.d makes one"}
}

// accountAt returns the URL of acmed's account at an issuer; "" when there is none, or nobody tells.
func (a *app) accountAt(ctx context.Context, name string) string {
	list, err := a.issuers(ctx)
	if err != nil {
		return ""
	}
	for _, i := range list {
		if i.Name == name && i.Account != nil {
			return i.Account.URL
		}
	}
	return ""
}

func newExamined(i *spec.Issuer, seen acme.Examined, account string) examined {
	d := seen.Directory
	e := examined{
		Name: i.Name, Directory: i.Directory, Milliseconds: seen.Took.Milliseconds(), NonceMS: seen.NonceTook.Milliseconds(),
		TLS: seen.TLS, IssuedBy: seen.IssuedBy, NotAfter: seen.NotAfter, Terms: d.TermsOfService, Agreed: i.TermsOfServiceAgreed,
		Website: d.Website, CAA: d.CAA, NeedsEAB: d.ExternalAccountRequired, HasEAB: i.Binding != nil, Profiles: d.Profiles,
		ARI: d.RenewalInfo, SkewSeconds: int64(seen.Skew / time.Second), Account: account,
	}
	if account != "" && len(d.CAA) > 0 {
		e.DNSPersist = fmt.Sprintf("_validation-persist.NAME. IN TXT %q", d.CAA[0]+"; accounturi="+account)
	}
	return e
}

// clockTolerance is how wrong a clock may be before a CA's dates and waits are misread.
const clockTolerance = time.Minute

// complain fails when an order could not work although the CA answers.
func (a *app) complain(e examined, i *spec.Issuer) error {
	skew := time.Duration(e.SkewSeconds) * time.Second
	var wrong error
	for _, c := range []struct {
		is         bool
		what, hint string
	}{
		{
			e.NeedsEAB && !e.HasEAB && e.Account == "", e.Name + " makes accounts only with an external account binding, and none is given",
			i.BindingHint(),
		},
		{
			e.Terms != "" && !e.Agreed && e.Account == "", "the terms of service are not agreed to: " + e.Terms,
			"read them, and set termsOfServiceAgreed: true in the issuer or in acmed.yaml",
		},
		{
			skew.Abs() > clockTolerance, "this machine's clock is " + skewText(skew),
			"let the machine keep its time, such as with systemd-timesyncd or chrony",
		},
	} {
		if c.is {
			a.say("%s", c.what)
			a.say("what to do: %s", c.hint)
			wrong = errReported
		}
	}
	return wrong
}

func skewText(d time.Duration) string {
	switch {
	case d == 0:
		return "that of the CA"
	case d < 0:
		return span(-d) + " behind the CA's"
	default:
		return span(d) + " ahead of the CA's"
	}
}

func examinedText(e examined, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: the CA answers\n", control.OneLine(e.Name))
	field(&b, "directory", fmt.Sprintf("%s, read in %d ms", e.Directory, e.Milliseconds))
	field(&b, "nonce", fmt.Sprintf("fetched in %d ms", e.NonceMS))
	field(&b, "TLS", joined(", ", e.TLS, prefixed("certificate by ", e.IssuedBy), prefixed("until ", moment(e.NotAfter, now))))
	field(&b, "clock", skewText(time.Duration(e.SkewSeconds)*time.Second))
	field(&b, "terms of service", joined(", ", e.Terms, choose(e.Terms != "", choose(e.Agreed, "agreed", "not agreed"), "none")))
	field(&b, "website", e.Website)
	field(&b, "CAA", strings.Join(e.CAA, ", "))
	field(&b, "external account", choose(e.NeedsEAB, "needed, "+choose(e.HasEAB, "given", "not given"), "not needed"))
	field(&b, "profiles", strings.Join(slices.Sorted(maps.Keys(e.Profiles)), ", "))
	field(&b, "renewal advice", choose(e.ARI, "yes (RFC 9773)", "no"))
	field(&b, "account", choose(e.Account != "", e.Account, "none yet"))
	field(&b, "dns-persist-01", prefixed("where the CA offers it: ", e.DNSPersist))
	return columns(b.String())
}

func choose(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}

// issuersText is the answer of `acmed issuer list`. What to do is told for those that somebody uses or has set up; those
// built in that lack a binding are only named.
func issuersText(list []control.Issuer, now time.Time) string {
	var hints strings.Builder
	var others []string
	table := newTable("NAME", "DIRECTORY", "BINDING", "TERMS", "ACCOUNT", "SPECS", "STATE")
	for _, i := range list {
		used := i.File != "" || i.Certificates > 0
		if !used && i.Binding == control.MissingBinding {
			others = append(others, i.Name)
			continue
		}
		table.row(i.Name, i.Directory, i.Binding,
			choose(i.TermsOfServiceAgreed, "agreed", "not agreed"), issuerAccountText(i, now), i.Certificates, issuerStateText(i, now))
		if i.Note != "" {
			fmt.Fprintf(&hints, "%s\n", control.OneLine(i.Name+": "+i.Note))
		}
		if used && i.Hint != "" {
			fmt.Fprintf(&hints, "%s is not ready\n  what to do: %s\n", control.OneLine(i.Name), control.OneLine(i.Hint))
		}
	}
	if len(others) > 0 {
		fmt.Fprintf(&hints, "also built in, but in need of an external account binding: %s\n", control.OneLine(strings.Join(others, ", ")))
	}
	return table.String() + hints.String()
}

func issuerAccountText(i control.Issuer, now time.Time) string {
	switch {
	case i.Unknown != "":
		return "?"
	case i.Account == nil:
		return "none yet"
	case i.Account.URL == "":
		return "being made"
	}
	return "made " + relative(i.Account.Created, now)
}

// holdEnd says how to end a hold that an order caused; "" for another one.
func holdEnd(h *control.Hold) string {
	if h.Certificate == "" {
		return ""
	}
	return "edit or remove its spec, or run acmed reload"
}

func issuerStateText(i control.Issuer, now time.Time) string {
	switch {
	case i.Unknown != "":
		return i.Unknown
	case i.Hold != nil:
		return joined("; ", i.Hold.Reason, "paused, next "+relative(i.Hold.Until, now)) +
			prefixed("; the order for "+i.Hold.Certificate+" was refused: ", holdEnd(i.Hold))
	case i.Hint != "":
		return "not ready"
	}
	var left []string
	for _, b := range i.Budgets {
		left = append(left, fmt.Sprintf("%d of %d %s left in %s", b.Left, b.Max, b.Limit, span(time.Duration(b.Per)*time.Second)))
	}
	if len(left) == 0 {
		return "ready"
	}
	return "ready, " + strings.Join(left, ", ")
}
