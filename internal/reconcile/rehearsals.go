package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.uber.org/zap"

	"acmed/internal/acme"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// rehearsals are the proofs that rehearsals show, by certificate. They are on disk before anybody sees them: so the
// next start takes away what a kill has left.
type rehearsals struct {
	mu     sync.Mutex // guards the following, and the file
	read   bool
	proofs map[string][]store.Proof
}

// rehearsalShows writes down that a rehearsal of name shows these proofs.
func (r *Reconciler) rehearsalShows(name string, proofs []store.Proof) error {
	return r.changeRehearsals(func(all map[string][]store.Proof) {
		for _, p := range proofs {
			if !slices.Contains(all[name], p) {
				all[name] = append(all[name], p)
			}
		}
	})
}

// rehearsalHid writes down that these are gone.
func (r *Reconciler) rehearsalHid(name string, proofs []store.Proof) error {
	return r.changeRehearsals(func(all map[string][]store.Proof) {
		all[name] = slices.DeleteFunc(all[name], func(p store.Proof) bool { return slices.Contains(proofs, p) })
		if len(all[name]) == 0 {
			delete(all, name)
		}
	})
}

func (r *Reconciler) changeRehearsals(change func(all map[string][]store.Proof)) error {
	s := &r.rehearsals
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := r.readRehearsals(); err != nil {
		return err
	}
	change(s.proofs)
	return r.store.SaveRehearsals(s.proofs)
}

func (r *Reconciler) readRehearsals() error {
	s := &r.rehearsals
	if s.read {
		return nil
	}
	proofs, err := r.store.Rehearsals()
	if damaged, ok := errors.AsType[*store.DamagedError](err); ok && damaged.Archived != "" {
		r.log.Warn("leaving a proof behind", zap.Error(err))
	} else if err != nil {
		return err
	}
	if s.proofs = proofs; s.proofs == nil {
		s.proofs = map[string][]store.Proof{}
	}
	s.read = true
	return nil
}

// TidyRehearsals takes away the proofs of rehearsals that an earlier daemon did not come to take away.
func (r *Reconciler) TidyRehearsals(ctx context.Context) error {
	r.rehearsals.mu.Lock()
	err := r.readRehearsals()
	left := map[string][]store.Proof{}
	for name, proofs := range r.rehearsals.proofs {
		left[name] = slices.Clone(proofs)
	}
	r.rehearsals.mu.Unlock()
	for name, proofs := range left {
		if err == nil && ctx.Err() == nil {
			err = r.hideRehearsal(ctx, name, proofs)
		}
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("taking away proofs of rehearsals: %w", err)
	}
	return nil
}

// hideRehearsal takes proofs away, and forgets those of which that worked.
func (r *Reconciler) hideRehearsal(ctx context.Context, name string, proofs []store.Proof) error {
	var hidden []store.Proof
	for _, p := range proofs {
		if err := r.hide(ctx, name, p); err != nil {
			r.log.Warn("leaving a proof behind", zap.String("cert", name), zap.String("domain", p.Identifier), zap.Error(err))
			continue
		}
		hidden = append(hidden, p)
	}
	return r.rehearsalHid(name, hidden)
}

// hide takes a proof away from where it was shown, wherever the spec wants the next one.
func (r *Reconciler) hide(ctx context.Context, name string, p store.Proof) error {
	solver, err := r.solver(name, spec.Challenge{Type: p.Type, Webroot: p.Webroot, Provider: p.Provider})
	if err != nil {
		return err
	}
	return solver.CleanUp(ctx, acme.Proof{
		Type: p.Type, Token: p.Token, KeyAuth: p.KeyAuth, Identifier: acme.Identifier{Value: p.Identifier}, DNSValue: p.Value, DNSLabel: p.Label,
	})
}

// proofOf is what is written down of a proof.
func proofOf(c acme.Challenge, where spec.Challenge) store.Proof {
	p := store.Proof{
		Type: c.Proof.Type, Identifier: c.Proof.Identifier.Value, Token: c.Proof.Token,
		Webroot: where.Webroot, Provider: where.Provider, Value: c.Proof.DNSValue, Label: c.Proof.DNSLabel,
	}
	if p.Provider != "" {
		p.KeyAuth = c.Proof.KeyAuth
	}
	return p
}
