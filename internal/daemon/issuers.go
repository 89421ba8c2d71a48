package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"acmed/internal/control"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// Issuers implements control.Daemon.
func (a api) Issuers(context.Context) ([]control.Issuer, error) {
	return listIssuers(a.d.specs.set(), a.d.store.Reader, time.Now()), nil
}

// Issuers lists the issuers as Issuers of the control socket does, but from the files, for when no daemon runs. What is
// wrong with the files is left to others.
func Issuers(config *spec.Config) ([]control.Issuer, error) {
	set, err := spec.Preview(spec.LoaderConfig{Config: config})
	if err != nil {
		return nil, err
	}
	reader, err := store.OpenReader(config.StateDir)
	if err != nil {
		return withoutState(set, config.StateDir, err), nil
	}
	list := listIssuers(set, reader, time.Now())
	return list, reader.Close()
}

// withoutState is for a state folder that is not there yet, or not for whoever asks.
func withoutState(set *spec.Set, dir string, err error) []control.Issuer {
	unknown := ""
	if !errors.Is(err, fs.ErrNotExist) {
		unknown = fmt.Sprintf("you may not read %s, and no daemon answers", dir)
	}
	list := []control.Issuer{}
	for _, i := range set.Issuers() {
		described := describe(set, i)
		described.Unknown = unknown
		list = append(list, described)
	}
	return list
}

func listIssuers(set *spec.Set, r *store.Reader, now time.Time) []control.Issuer {
	list := []control.Issuer{}
	for _, i := range set.Issuers() {
		described := describe(set, i)
		if err := recall(&described, i, r, now); err != nil {
			described.Unknown = err.Error()
		}
		list = append(list, described)
	}
	return list
}

// describe tells what the files say of an issuer.
func describe(set *spec.Set, i *spec.Issuer) control.Issuer {
	out := control.Issuer{
		Name: i.Name, File: i.File, Directory: i.Directory, Binding: control.NoBinding, Contact: i.Contact,
		TermsOfServiceAgreed: i.TermsOfServiceAgreed, Certificates: users(set, i.Name),
	}
	switch {
	case i.Binding != nil:
		out.Binding = control.GivenBinding
	case i.Credentials != "":
		out.Binding, out.Hint = control.MissingBinding, i.BindingHint()
	}
	if out.Hint == "" && !i.TermsOfServiceAgreed {
		out.Hint = "agree to the CA's terms of service: termsOfServiceAgreed: true in acmed.yaml, or in the issuer's file"
	}
	return out
}

// users counts the specs that name an issuer.
func users(set *spec.Set, issuer string) (n int) {
	for _, c := range set.Certificates() {
		if slices.Contains(c.Issuers, issuer) {
			n++
		}
	}
	return n
}

// recall adds what is on disk about an issuer. With an account there, nothing is lacking any more.
func recall(out *control.Issuer, i *spec.Issuer, r *store.Reader, now time.Time) error {
	account, _, err := r.Account(i.Name)
	if err != nil {
		return err
	}
	if account != nil && account.Directory == i.Directory {
		out.Account = &control.IssuerAccount{URL: account.URL, KID: account.KID, Created: account.Created}
		if account.URL != "" {
			out.Hint, out.Note = "", otherBinding(account, i)
		}
	}
	state, err := r.IssuerState(i.Name)
	if err != nil {
		return err
	}
	if until, why := reconcile.Left(&state, now); !until.IsZero() {
		out.Hold = &control.Hold{Until: until, Reason: why, Promised: state.Promised}
		if !state.Promised && state.Outage == 0 {
			out.Hold.Certificate = state.HoldBy
		}
	}
	for _, a := range reconcile.Allowances(i, &state, now) {
		out.Budgets = append(out.Budgets, control.Budget{Limit: a.Limit, Left: a.Left, Max: a.Max, Per: int64(a.Per / time.Second)})
	}
	return nil
}

// otherBinding tells of a binding that is not used, because the account was made with another one.
func otherBinding(a *store.Account, i *spec.Issuer) string {
	if i.Binding == nil || a.KID == "" || a.KID == i.Binding.KID {
		return ""
	}
	return fmt.Sprintf("its account was made with the binding %s and goes on with that; to use %s, write it to an issuer of another name", a.KID, i.Binding.KID)
}
