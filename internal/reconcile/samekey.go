package reconcile

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"acmed/internal/acme"
	"acmed/internal/store"
)

// SameKey is a certificate that has the public key of a revoked one.
type SameKey struct {
	Name      string
	Revisions []store.Revision // that have the key and have not expired, the newest first; none: only CSRFile has it
	CSRFile   string           // the key is the operator's, in this request; "": it is here
	Replaced  bool             // acmed orders it again, with a new key
}

// SameKey finds the certificates here that have the public key of the revision which q means, except for this revision.
func (r *Reconciler) SameKey(q Revocation) ([]SameKey, error) {
	have, err := r.store.Record(q.Name)
	if err != nil {
		return nil, err
	}
	rev, err := r.revision(q, have)
	if err != nil {
		return nil, err
	}
	return r.sameKey(q.Name, rev)
}

func (r *Reconciler) sameKey(name string, rev store.Revision) ([]SameKey, error) {
	leaf, err := r.store.Leaf(name, rev.Number)
	if err != nil {
		return nil, err
	}
	names, err := r.store.Names()
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var found []SameKey
	for _, other := range names {
		same, err := r.withKey(other, spkiOf(leaf), rev.SHA256)
		if err != nil {
			return nil, err
		}
		if len(same.Revisions) > 0 || same.CSRFile != "" && other != name {
			found = append(found, same)
		}
	}
	return found, nil
}

// withKey finds the key among the revisions of one certificate, and in its CSR. A damaged revision counts for nothing: it
// is not served.
func (r *Reconciler) withKey(name, spki, but string) (SameKey, error) {
	out := SameKey{Name: name}
	revisions, err := r.store.Revisions(name)
	if _, damaged := errors.AsType[*store.DamagedError](err); err != nil && !damaged {
		return out, err
	}
	have, err := r.store.Record(name)
	if _, damaged := errors.AsType[*store.DamagedError](err); err != nil && !damaged {
		return out, err
	}
	for _, rev := range revisions {
		if rev.SHA256 == but || !time.Now().Before(rev.NotAfter) {
			continue
		}
		if leaf, err := r.store.Leaf(name, rev.Number); err == nil && spkiOf(leaf) == spki {
			out.Revisions = append(out.Revisions, rev)
		}
	}
	want := r.specs.Load().Certificate(name)
	if want != nil && want.CSR != nil && want.CSR.SPKI == spki {
		out.CSRFile = want.CSRFile
	}
	newest := len(out.Revisions) > 0 && have.Issued != nil && out.Revisions[0].SHA256 == have.Issued.SHA256
	out.Replaced = want != nil && newest && out.CSRFile == ""
	return out, nil
}

// spkiOf is what store.Revision.SPKI holds.
func spkiOf(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// compromise has the next visit of a certificate write down that its key is compromised, and does not wait for it. The CA
// revokes each certificate that has the key, sooner or later.
func (r *Reconciler) compromise(s SameKey, spki string) {
	for _, rev := range s.Revisions {
		r.log.Warn("revoked the key of another certificate", zap.String("cert", s.Name), fieldIssuer(rev.Issuer),
			zap.Int("revision", rev.Number), zap.String("serial", rev.Serial))
		rev.SPKI = spki
		r.wishFor(s.Name, func(v *visit) error {
			v.revoked(rev, acme.KeyCompromise.String())
			if have := &v.in.Have; have.Live != nil && have.Live.SHA256 == rev.SHA256 {
				have.Hurried = v.now // its replacement may be here already
			}
			return nil
		})
	}
}

// leaked reports whether the key of the pending order is known to be compromised: it was the key of a certificate before.
func (v *visit) leaked() (bool, error) {
	for _, dead := range v.in.Have.Revoked {
		if dead.Reason != acme.KeyCompromise.String() || dead.SPKI == "" || v.pending == nil {
			continue
		}
		key, err := v.pending.Public()
		if _, damaged := errors.AsType[*store.DamagedError](err); damaged {
			return false, nil // the order ends for that
		}
		if err != nil {
			return false, err
		}
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return false, err
		}
		if sum := sha256.Sum256(der); hex.EncodeToString(sum[:]) == dead.SPKI {
			return true, nil
		}
	}
	return false, nil
}

// rekey gives an order that is not finalized another key, if its key is compromised: the CA does not know the key yet, and
// goes on with its validations.
func (v *visit) rekey(o store.Order) error {
	if !v.in.Leaked || o.CSR != nil {
		return nil
	}
	key, err := newKey(v.in.Want.PrivateKey)
	if err == nil {
		err = v.r.store.Begin(v.name, key, o)
	}
	if err == nil {
		v.in.Leaked = false
		v.log.Info("gave the order another key: the key is compromised", fieldIssuer(o.Issuer))
	}
	return err
}
