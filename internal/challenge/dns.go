package challenge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"acmed/internal/acme"
	"acmed/internal/spec"
)

// stepTimeout is for one change of a record, and for one look at all servers of a zone.
const stepTimeout = 30 * time.Second

var _ acme.Solver = (*DNS)(nil)

// DNSConfig is what a DNS solver needs.
type DNSConfig struct {
	Provider *spec.Provider // required
	Programs Programs       // required for Provider.Exec
}

// Programs call the programs of providers, which set records and take them away. They know what each is told, and in
// whose name it runs.
type Programs interface {
	Present(ctx context.Context, r Record) error
	CleanUp(ctx context.Context, r Record) error
}

// Record is one that a program sets or takes away.
type Record struct {
	Certificate string // whose proof it is
	Provider    string
	Proof       acme.Proof
	Name        string // where CNAMEs lead; in lower case, with a dot at its end
}

// DNS proves control by TXT records (dns-01, RFC 8555 §8.4; dns-account-01, draft-ietf-acme-dns-account-label), where a
// CNAME of their name leads to. Its methods may
// be called at the same time, and for several values of one name.
type DNS struct {
	provider    *spec.Provider
	locator     *locator
	placed      *placed
	writer      recordWriter
	certificate string
}

// record is a TXT record, and what it proves.
type record struct {
	certificate string // "": nobody has said whose it is
	name        string // fully qualified, after any CNAME
	zone        string // that holds name; "": nobody knows
	value       string
	ttl         time.Duration
	proof       acme.Proof
}

// recordWriter writes TXT records in one way. Both methods are idempotent, and leave other records of the name alone.
type recordWriter interface {
	add(ctx context.Context, r record) error
	remove(ctx context.Context, r record) error
}

// NewDNS reads the servers to ask from /etc/resolv.conf where the provider names none.
func NewDNS(c DNSConfig) (*DNS, error) {
	if c.Provider == nil {
		return nil, errors.New("creating a DNS solver: no provider")
	}
	servers := c.Provider.Propagation.Resolvers
	if len(servers) == 0 {
		var err error
		if servers, err = systemResolvers("/etc/resolv.conf"); err != nil {
			return nil, err
		}
	}
	d := &DNS{provider: c.Provider, placed: &placed{places: map[string]place{}}}
	d.locator = &locator{resolver: &resolver{servers}, zones: c.Provider.Zones, follow: c.Provider.FollowCNAME}
	switch p := c.Provider; {
	case p.RFC2136 != nil:
		primary := &updates{*p.RFC2136}
		d.writer, d.locator.primary = primary, primary
		if p.RFC2136.Zone != "" {
			d.locator.zones = append(slices.Clip(d.locator.zones), p.RFC2136.Zone)
		}
	case p.ACMEDNS != nil:
		d.writer = newACMEDNS(*p.ACMEDNS)
	case p.HTTPReq != nil:
		d.writer = newHTTPReq(*p.HTTPReq)
	case p.Exec != nil && c.Programs != nil:
		d.writer = &program{provider: p, programs: c.Programs, turn: make(chan struct{}, 1)}
	default:
		return nil, fmt.Errorf("DNS provider %s: no way to write records", p.Name)
	}
	return d, nil
}

// For is the same solver, for the proofs of one certificate.
func (d *DNS) For(certificate string) *DNS {
	bound := *d
	bound.certificate = certificate
	return &bound
}

// Busy tells what a proof would wait for if it were presented now, such as programs that are slow; "": nothing.
func (d *DNS) Busy() string {
	if p, ok := d.writer.(*program); ok {
		return p.busy()
	}
	return ""
}

// Present writes the record of p.
func (d *DNS) Present(ctx context.Context, p acme.Proof) error {
	at, err := d.locate(ctx, p)
	if err == nil {
		d.placed.put(p, at)
		err = d.change(ctx, d.record(p, at), d.writer.add)
	}
	return d.failure(p, err)
}

// CleanUp removes the record of p, where it was written if this process did it. It is no error when there is none.
func (d *DNS) CleanUp(ctx context.Context, p acme.Proof) error {
	at, err := d.place(ctx, p)
	if err == nil {
		err = d.change(ctx, d.record(p, at), d.writer.remove)
	}
	if err == nil {
		d.placed.forget(p)
	}
	return d.failure(p, err)
}

func (d *DNS) change(ctx context.Context, r record, do func(context.Context, record) error) error {
	if d.provider.Exec == nil { // a program has its own time, when it is its turn
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, stepTimeout)
		defer cancel()
	}
	return do(ctx, r)
}

func (d *DNS) record(p acme.Proof, at place) record {
	return record{certificate: d.certificate, name: at.name, zone: at.zone, value: p.DNSValue, ttl: d.provider.TTL, proof: p}
}

// place is where the record of p was written, or has to be.
func (d *DNS) place(ctx context.Context, p acme.Proof) (place, error) {
	if at, ok := d.placed.get(p); ok {
		return at, nil
	}
	return d.locate(ctx, p)
}

// locate finds where the record of p has to be.
func (d *DNS) locate(ctx context.Context, p acme.Proof) (place, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	if p.Type != "dns-01" && p.Type != acme.DNSAccount01 || p.Identifier.Type == "ip" {
		return place{}, fmt.Errorf("%s for %s cannot be proved by DNS", p.Type, p.Identifier.Value)
	}
	if p.DNSLabel != "" && d.namesItself() {
		return place{}, &refusal{"its provider finds the name of the record by itself, and knows that of dns-01 alone", "use mode: default in " + d.provider.File + ", or dns-01"}
	}
	return d.locator.locate(ctx, challengeName(p))
}

// namesItself tells whether what writes the record is told of the domain alone.
func (d *DNS) namesItself() bool {
	p := d.provider
	return p.Exec != nil && p.Exec.Mode != "default" || p.HTTPReq != nil && p.HTTPReq.Mode == "raw"
}

// challengeName is where a CA looks first (RFC 8555 §8.4; draft-ietf-acme-dns-account-label).
func challengeName(p acme.Proof) string {
	name := dns.Fqdn("_acme-challenge." + strings.TrimPrefix(p.Identifier.Value, "*."))
	if p.DNSLabel != "" {
		name = p.DNSLabel + "." + name
	}
	return name
}

// failure says what to do about a record that could not be changed; nil if err is.
func (d *DNS) failure(p acme.Proof, err error) error {
	if err == nil {
		return nil
	}
	e := &acme.Error{Kind: acme.Transient, Op: acme.OpChallenge, Problem: "dnsProvider", Identifier: p.Identifier.Value,
		Detail: err.Error(), Hint: "see " + d.provider.File + ", and that the provider answers", Err: err}
	if r, ok := errors.AsType[*refusal](err); ok {
		e.Kind, e.Hint = acme.Permanent, r.hint
	}
	if f, ok := errors.AsType[*ProgramError](err); ok && f.Hint != "" {
		e.Hint = f.Hint
	}
	return e
}

// refusal is a fault that does not go away by itself.
type refusal struct{ problem, hint string }

func (r *refusal) Error() string { return r.problem }
