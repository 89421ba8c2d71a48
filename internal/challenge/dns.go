package challenge

import (
	"context"
	"errors"
	"fmt"
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
	resolver    *resolver
	writer      recordWriter
	certificate string
}

// record is a TXT record, and what it proves.
type record struct {
	certificate string // "": nobody has said whose it is
	name        string // fully qualified, after any CNAME
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
	d := &DNS{provider: c.Provider, resolver: &resolver{servers: servers}}
	switch p := c.Provider; {
	case p.RFC2136 != nil:
		d.writer = &updates{config: *p.RFC2136, resolver: d.resolver}
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
	return d.change(ctx, p, d.writer.add)
}

// CleanUp removes the record of p. It is no error when there is none.
func (d *DNS) CleanUp(ctx context.Context, p acme.Proof) error {
	return d.change(ctx, p, d.writer.remove)
}

func (d *DNS) change(ctx context.Context, p acme.Proof, do func(context.Context, record) error) error {
	r, err := d.record(ctx, p)
	if err == nil {
		if d.provider.Exec == nil { // a program has its own time, when it is its turn
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, stepTimeout)
			defer cancel()
		}
		err = do(ctx, r)
	}
	if err != nil {
		return d.failure(p, err)
	}
	return nil
}

// record finds where the proof has to be.
func (d *DNS) record(ctx context.Context, p acme.Proof) (record, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	if p.Type != "dns-01" && p.Type != acme.DNSAccount01 || p.Identifier.Type == "ip" {
		return record{}, fmt.Errorf("%s for %s cannot be proved by DNS", p.Type, p.Identifier.Value)
	}
	if p.DNSLabel != "" && d.namesItself() {
		return record{}, &refusal{"its provider finds the name of the record by itself, and knows that of dns-01 alone", "use mode: default in " + d.provider.File + ", or dns-01"}
	}
	name, err := d.resolver.follow(ctx, challengeName(p))
	return record{certificate: d.certificate, name: name, value: p.DNSValue, ttl: d.provider.TTL, proof: p}, err
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

// Visible tells which server of the zone does not have the record of p yet, which was written at that time; "" when all
// have. After the provider's patience that is an error.
func (d *DNS) Visible(ctx context.Context, p acme.Proof, since time.Time) (lacking string, err error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	waited, how := time.Since(since), d.provider.Propagation
	if waited < how.Delay {
		return fmt.Sprintf("%s, as propagation.delay says", (how.Delay - waited).Round(time.Second)), nil
	}
	if !how.Check {
		return "", nil
	}
	r, err := d.record(ctx, p)
	if err == nil {
		lacking, err = d.resolver.lacking(ctx, r.name, r.value)
	}
	switch {
	case err == nil && lacking == "":
		return "", nil
	case err != nil:
		lacking = err.Error()
	}
	if waited > how.Timeout+how.Delay {
		return "", &acme.Error{Kind: acme.Transient, Op: acme.OpChallenge, Problem: "propagation", Identifier: p.Identifier.Value,
			Detail: fmt.Sprintf("after %s still: %s", how.Timeout, lacking),
			Hint:   "see that every name server of the zone gets the record, or raise propagation.timeout in " + d.provider.File}
	}
	return lacking, nil
}

// failure says what to do about a record that could not be changed.
func (d *DNS) failure(p acme.Proof, err error) error {
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
