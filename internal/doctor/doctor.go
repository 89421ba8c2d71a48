// Package doctor looks at what certificates depend on, from the machine that needs them: files, CAs, names, port 80,
// consumers, units. It says what is wrong and what to do.
//
// It owns the checks and their words. It changes nothing, orders nothing, needs no daemon, and is only as sure as one
// machine can be of what others see: what it cannot look at, it names.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"acmed/internal/acme"
	"acmed/internal/spec"
)

// Level says how bad a finding is.
type Level string

// The levels.
const (
	Good    Level = "good"
	Skipped Level = "skipped" // it could not be looked at
	Warning Level = "warning" // it may be wrong: another machine sees more
	Failure Level = "failure" // it does not work as it is
)

// Finding is what one check has found.
type Finding struct {
	Check   string `json:"check"`             // "files", "issuer", "account", "name", "port 80", "port 443", "dns", "delivery", "unit"
	Subject string `json:"subject,omitempty"` // what was looked at
	Level   Level  `json:"level"`
	Text    string `json:"text"`
	Hint    string `json:"hint,omitempty"` // what to do; "": nothing
	// Count is the number of subjects with the same finding; 0: it is the only one.
	Count int `json:"count,omitempty"`
	// Subjects are the first of them, with Count.
	Subjects []string `json:"subjects,omitempty"`
}

// Unit is what systemd says of one.
type Unit struct {
	Loaded bool   // there is such a unit
	Active string // "active", "inactive", "failed", …
	User   string // whom its processes run as from the start; "": root
	// Oneshot is a unit that does its work when it is started, and is over then: it is never running.
	Oneshot bool
}

// Config is what a check looks at, and through what. Every field without a stated zero value is required.
type Config struct {
	Settings *spec.Config
	Set      *spec.Set
	Names    []string // certificates to be looked at; empty: all

	// Examine asks a CA what it offers.
	Examine func(context.Context, *spec.Issuer) (acme.Examined, error)
	// Account reads what is stored of the account at an issuer and asks the CA for it; fs.ErrPermission: who asks may not
	// read it. nil: none is looked at.
	Account func(context.Context, *spec.Issuer) (Account, error)
	// Unit asks systemd; nil: there is none.
	Unit func(ctx context.Context, name string) (Unit, error)
	// Resolvers are host:port of DNS; nil: those of /etc/resolv.conf.
	Resolvers []string
	// Own are the addresses of this machine; nil: those of its interfaces.
	Own []netip.Addr
	// Proc is where the kernel shows processes; "": /proc.
	Proc string
	// Port80 is where this machine answers the CA; nil: http.listen, or else every address on which something listens on
	// port 80.
	Port80 []string
}

// mostNames bounds how many names are looked up: a machine may have a hundred thousand.
const mostNames = 200

// check is one run.
type check struct {
	Config
	found []Finding // by the check under way
	certs []*spec.Certificate
	seen  map[string]acme.Examined // by issuer, those that answered
	// accounts are the URLs of the accounts here, by issuer; "": there is none. What could not be seen is not in it.
	accounts map[string]string
}

// Run makes all checks that apply. It reports the findings of each as it ends, equal ones as one. An error means that it could not begin, or that
// ctx has ended.
func Run(ctx context.Context, c Config, report func(Finding)) error {
	if c.Settings == nil || c.Set == nil || c.Examine == nil {
		return errors.New("doctor: Settings, Set and Examine are required")
	}
	k := &check{Config: c, seen: map[string]acme.Examined{}, accounts: map[string]string{}}
	if err := k.prepare(); err != nil {
		return err
	}
	for _, look := range []func(context.Context){k.files, k.readable, k.issuers, k.names, k.port80, k.port443, k.providers, k.deliveries, k.mounts, k.units} {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		k.found = nil
		look(ctx)
		for _, f := range grouped(k.found) {
			report(f)
		}
	}
	return ctx.Err()
}

func (k *check) prepare() (err error) {
	for name, cert := range k.Set.Certificates() {
		if len(k.Names) == 0 || slices.Contains(k.Names, name) {
			k.certs = append(k.certs, cert)
		}
	}
	for _, name := range k.Names {
		if k.Set.Certificate(name) == nil {
			return fmt.Errorf("there is no good spec called %q", name)
		}
	}
	if k.Own == nil {
		if k.Own, err = ownAddresses(); err != nil {
			return err
		}
	}
	k.Proc = cmp.Or(k.Proc, "/proc")
	return nil
}

func ownAddresses() (own []netip.Addr, err error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("listing this machine's addresses: %w", err)
	}
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, p.Addr().Unmap())
		}
	}
	return own, nil
}

func (k *check) good(check, subject, format string, args ...any) {
	k.found = append(k.found, Finding{Check: check, Subject: subject, Level: Good, Text: fmt.Sprintf(format, args...)})
}

func (k *check) bad(level Level, check, subject, hint, format string, args ...any) {
	k.found = append(k.found, Finding{Check: check, Subject: subject, Level: level, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// files tells what the operator wrote.
func (k *check) files(context.Context) {
	for _, p := range k.Set.Problems {
		short := *p
		short.File, short.Hint = filepath.Base(p.File), ""
		k.bad(Failure, "files", "", p.Hint, "%s", short.Error())
	}
	if len(k.Set.Problems) == 0 {
		k.good("files", k.Settings.File, "it and the files of all %d certificates are good", k.Set.Len())
	}
}

// tolerance is how wrong a clock may be before a CA's dates are misread.
const tolerance = time.Minute

// issuers asks each CA that the certificates name.
func (k *check) issuers(ctx context.Context) {
	asked := map[string]bool{}
	for _, c := range k.certs {
		for _, name := range c.Issuers {
			if i := k.Set.Issuer(name); i != nil && !asked[name] {
				asked[name] = true
				k.issuer(ctx, i)
			}
		}
	}
}

func (k *check) issuer(ctx context.Context, i *spec.Issuer) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	seen, err := k.Examine(ctx, i)
	if err != nil {
		hint := "see that this machine reaches the CA"
		switch e, ok := errors.AsType[*acme.Error](err); {
		case ok && e.Hint != "":
			hint = e.Hint
		case ok && e.Status != 0:
			hint = "the CA answers, with an error: try again later, or ask the CA"
		}
		k.bad(Failure, "issuer", i.Name, hint, "%v", err)
		return
	}
	k.seen[i.Name] = seen
	wrong := false
	fail := func(level Level, hint, format string, args ...any) {
		wrong = true
		k.bad(level, "issuer", i.Name, hint, format, args...)
	}
	if seen.Directory.ExternalAccountRequired && i.Binding == nil {
		fail(Failure, i.BindingHint(), "it makes accounts only with an external account binding, and none is given")
	}
	if seen.Directory.TermsOfService != "" && !i.TermsOfServiceAgreed {
		fail(Failure, "read them, and set termsOfServiceAgreed: true in the issuer or in acmed.yaml", "its terms are not agreed to: %s", seen.Directory.TermsOfService)
	}
	if seen.Skew.Abs() > tolerance {
		fail(Failure, "let the machine keep its time, such as with systemd-timesyncd or chrony", "this machine's clock differs from the CA's by %s", seen.Skew.Round(time.Second))
	}
	if !wrong {
		k.good("issuer", i.Name, "answers in %s", seen.Took.Round(time.Millisecond))
	}
	k.account(ctx, i)
}
