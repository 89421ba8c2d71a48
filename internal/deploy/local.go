package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"acmed/internal/spec"
	"acmed/internal/store"
)

var _ Courier = (*Local)(nil)

// executor is the part of an Executor that couriers need.
type executor interface {
	// Deploy answers every job.
	Deploy(ctx context.Context, jobs []Job) []Answer
}

// revisions is what a courier reads of the state folder.
type revisions interface {
	Live(name string) (int, error)
	Files(name string, number int) (store.Files, error)
}

// LocalConfig is what a Local needs; all of it is required.
type LocalConfig struct {
	Certificate func(name string) *spec.Certificate // in force; nil: there is none
	Provider    func(name string) *spec.Provider    // likewise
	State       revisions                           // a store.Reader or store.Store
	StateDir    string
	Executor    executor
}

// Local delivers in the process of who asks, with its rights, and calls the programs of DNS providers there.
type Local struct {
	certificate func(name string) *spec.Certificate
	provider    func(name string) *spec.Provider
	desk
	said sync.Map // what a program wrote when it set a record, by the Record without its KeyAuth
}

// NewLocal touches nothing yet.
func NewLocal(c LocalConfig) (*Local, error) {
	if c.Certificate == nil || c.Provider == nil || c.State == nil || c.StateDir == "" || c.Executor == nil {
		return nil, errors.New("creating a local courier: Certificate, Provider, State, StateDir and Executor are required")
	}
	return &Local{certificate: c.Certificate, provider: c.Provider, desk: desk{c.State, c.StateDir, uint32(os.Geteuid()), c.Executor}}, nil
}

// Present has the program of a DNS provider set a record.
func (l *Local) Present(ctx context.Context, r Record) error {
	said, err := l.call(ctx, verbPresent, r, "")
	if err == nil {
		l.said.Store(r.key(), said)
	}
	return err
}

// CleanUp has it take the record away.
func (l *Local) CleanUp(ctx context.Context, r Record) error {
	known, _ := l.said.Load(r.key())
	said, _ := known.(string)
	_, err := l.call(ctx, verbCleanUp, r, said)
	if err == nil {
		l.said.Delete(r.key())
	}
	return err
}

func (l *Local) call(ctx context.Context, verb string, r Record, said string) (string, error) {
	if err := r.check(verb); err != nil {
		return "", notPassed(err)
	}
	p := l.provider(r.Provider)
	if p == nil || p.Exec == nil {
		return "", &Error{fmt.Errorf("there is no program of the DNS provider %s", r.Provider), "see that its file is in dns.d"}
	}
	h := hook{config: *p.Exec, record: r, user: p.Exec.User}
	if c := l.certificate(r.Certificate); c != nil {
		h.names = c.DNSNames
	}
	return h.call(ctx, verb, said)
}

// Deploy never returns an error: what hinders one certificate is in its answer.
func (l *Local) Deploy(ctx context.Context, orders []Order) ([]Answer, error) {
	return l.deliver(ctx, orders, l.want), nil
}

func (l *Local) want(name string) (*spec.Certificate, error) {
	if c := l.certificate(name); c != nil {
		return c, nil
	}
	return nil, &Error{errors.New("there is no such certificate"), "see that its file is in certs.d"}
}

// desk makes jobs of orders: it is the part that is the same for every courier.
type desk struct {
	state    revisions
	stateDir string
	owner    uint32 // of stateDir
	executor executor
}

// deliver carries out orders and answers them in their order. want finds what is asked for.
func (d *desk) deliver(ctx context.Context, orders []Order, want func(name string) (*spec.Certificate, error)) []Answer {
	answers := map[string]Answer{}
	var jobs []Job
	for _, o := range orders {
		job, err := d.prepare(o, want)
		if err != nil {
			answers[o.Name] = refusal(o.Name, err)
			continue
		}
		jobs = append(jobs, job)
	}
	if len(jobs) > 0 {
		for _, a := range d.executor.Deploy(ctx, jobs) {
			answers[a.Name] = a
		}
	}
	out := make([]Answer, len(orders))
	for i, o := range orders {
		a, ok := answers[o.Name]
		if !ok {
			a = Answer{Name: o.Name, Problem: "there was no time for it", Hint: "it is tried again"}
		}
		out[i] = a
	}
	return out
}

// prepare finds out what to deliver: the revision that live points at, once it is what the spec asks for.
func (d *desk) prepare(o Order, want func(name string) (*spec.Certificate, error)) (Job, error) {
	c, err := want(o.Name)
	if err != nil {
		return Job{}, err
	}
	number, err := d.state.Live(o.Name)
	if err != nil {
		return Job{}, err
	}
	if number == 0 {
		return Job{}, &Error{errors.New("there is no certificate yet"), "acmed status " + o.Name + " tells what it waits for"}
	}
	files, err := d.state.Files(o.Name, number)
	if err != nil {
		return Job{}, err
	}
	leaf, err := Verify(c, files, time.Now())
	if err != nil {
		return Job{}, &Error{fmt.Errorf("revision %d is not what the spec asks for: %w", number, err),
			"acmed status " + o.Name + " tells when it is renewed; acmed renew " + o.Name + " does it at once"}
	}
	return Job{Order: o, Want: c, Leaf: leaf, Files: files, Live: filepath.Join(d.stateDir, "live", o.Name), Owner: d.owner}, nil
}

// refusal is the answer to an order that could not be begun.
func refusal(name string, err error) Answer {
	problem, hint := parts(err)
	return Answer{Name: name, Problem: problem, Hint: hint}
}

// parts takes an error apart: what happened, and what to do.
func parts(err error) (problem, hint string) {
	if e, ok := err.(*Error); ok { //nolint:errorlint // wrapped, it tells both
		return e.Err.Error(), e.Hint
	}
	if b, ok := errors.AsType[*blocked](err); ok {
		hint = b.hint
	}
	return err.Error(), hint
}
