package daemon

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"acmed/internal/acme"
	"acmed/internal/control"
	"acmed/internal/reconcile"
)

// Revoke implements control.Disposals. A certificate whose spec is gone can be revoked too, and is not replaced.
func (a api) Revoke(ctx context.Context, req control.RevokeRequest) (control.RevokeResult, error) {
	reason, err := acme.ParseRevocationReason(req.Reason)
	if err != nil {
		return control.RevokeResult{}, &control.Error{Code: control.Invalid, Message: err.Error(), Hint: "acmed revoke --help"}
	}
	if want := a.d.specs.set().Certificate(req.Name); want != nil && req.Retired {
		return control.RevokeResult{}, &control.Error{Code: control.Conflict, Message: req.Name + " is wanted by " + want.File,
			Hint: "remove that file first, and acmed reload"}
	}
	if err := a.knows(req.Name); err != nil {
		return control.RevokeResult{}, err
	}
	done, err := a.d.reconciler.Revoke(ctx, reconcile.Revocation{Name: req.Name, Revision: req.Revision, Reason: reason, ByKey: req.ByKey})
	if err != nil {
		return control.RevokeResult{}, notRevoked(req, err)
	}
	if done.Reasonless {
		reason = 0
	}
	rev := done.Revision
	return control.RevokeResult{
		Name: req.Name, Revision: rev.Number, Serial: rev.Serial, Issuer: rev.Issuer, Reason: reason.String(), ByKey: done.ByKey,
		Replaced: a.d.specs.set().Certificate(req.Name) != nil && done.Newest, SameKey: wireSameKey(done.SameKey),
	}, nil
}

// SameKey implements control.Disposals.
func (a api) SameKey(_ context.Context, req control.RevokeRequest) ([]control.SameKey, error) {
	if err := a.knows(req.Name); err != nil {
		return nil, err
	}
	found, err := a.d.reconciler.SameKey(reconcile.Revocation{Name: req.Name, Revision: req.Revision})
	if err != nil {
		return nil, notRevoked(req, err)
	}
	return wireSameKey(found), nil
}

// knows is the error of a certificate that nobody knows; nil: there is one.
func (a api) knows(name string) error {
	known, err := a.d.store.Names()
	if err == nil && !slices.Contains(known, name) {
		return a.unknown(name)
	}
	return err
}

func wireSameKey(found []reconcile.SameKey) (out []control.SameKey) {
	for _, s := range found {
		same := control.SameKey{Name: s.Name, CSRFile: s.CSRFile, Replaced: s.Replaced}
		for _, rev := range s.Revisions {
			same.Revisions = append(same.Revisions, rev.Number)
		}
		out = append(out, same)
	}
	return out
}

// notRevoked words why it is not.
func notRevoked(req control.RevokeRequest, err error) error {
	if errors.Is(err, reconcile.ErrNoCertificate) {
		return &control.Error{Code: control.NotFound, Message: err.Error(), Hint: "there is nothing to revoke; acmed status " + req.Name + " tells what it waits for"}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &control.Error{Code: control.NotFound, Message: err.Error(), Hint: "acmed status " + req.Name + " shows the revision in use"}
	}
	if e, ok := errors.AsType[*acme.Error](err); ok {
		return &control.Error{Code: control.Conflict, Message: err.Error(), Hint: e.Hint}
	}
	return asConflict(err)
}
