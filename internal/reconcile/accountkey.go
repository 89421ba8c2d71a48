package reconcile

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"acmed/internal/acme"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// firstAccountKey is the kind of key that an account gets unless its issuer or the CA says otherwise.
func firstAccountKey() spec.PrivateKey { return spec.PrivateKey{Algorithm: "ECDSA", Size: 256} }

// signatures are the kinds of account keys by the signature that they make (RFC 7518 §3.1), the best first.
func signatures() []signature {
	return []signature{{"ES256", firstAccountKey()}, {"ES384", spec.PrivateKey{Algorithm: "ECDSA", Size: 384}}, {"RS256", spec.PrivateKey{Algorithm: "RSA", Size: 2048}}}
}

type signature struct {
	algorithm string
	key       spec.PrivateKey
}

// newAccountKey is the key of a new account.
func newAccountKey(i *spec.Issuer) (crypto.Signer, error) {
	if i.AccountKey != nil {
		return newKey(*i.AccountKey)
	}
	return newKey(firstAccountKey())
}

// nextAccountKey takes the place of an account's key: of the kind that the issuer names, else of the same kind, since the
// CA may accept no other.
func nextAccountKey(i *spec.Issuer, old crypto.Signer) (crypto.Signer, error) {
	if i.AccountKey == nil {
		if kind := kindOf(old); slices.Contains([]int{256, 384, 2048, 3072, 4096}, kind.Size) {
			return newKey(kind)
		}
	}
	return newAccountKey(i)
}

// kindOf describes a key as accountKey does.
func kindOf(key crypto.Signer) spec.PrivateKey {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return spec.PrivateKey{Algorithm: "RSA", Size: k.N.BitLen()}
	case *ecdsa.PrivateKey:
		return spec.PrivateKey{Algorithm: "ECDSA", Size: k.Curve.Params().BitSize}
	}
	return spec.PrivateKey{}
}

// enroll registers an account with the key that is on disk. If the CA does not accept this kind of key, or the issuer names
// another kind by now, another key takes its place, but only where the CA has no account with the first one.
func (r *Reconciler) enroll(ctx context.Context, i *issuer, client *acme.Client, a *store.Account, key crypto.Signer, existing bool) (*acme.Client, error) {
	if kind := i.spec.AccountKey; existing && kind != nil && kindOf(key) != kindOnly(*kind) {
		if _, err := client.Lookup(ctx); acme.NoSuchAccount(err) || refusesKey(err) {
			return r.enrollAnew(ctx, i, a, *kind)
		} else if err != nil {
			return nil, err
		}
	}
	err := r.register(ctx, i, client, a, existing)
	if kind, ok := acceptedKey(i.spec, key, err); ok {
		return r.enrollAnew(ctx, i, a, kind)
	}
	return client, err
}

func kindOnly(k spec.PrivateKey) spec.PrivateKey {
	return spec.PrivateKey{Algorithm: k.Algorithm, Size: k.Size}
}

// enrollAnew registers an account with another key, which is durable before the CA sees it. The key before is in the
// archive.
func (r *Reconciler) enrollAnew(ctx context.Context, i *issuer, a *store.Account, kind spec.PrivateKey) (*acme.Client, error) {
	key, err := newKey(kind)
	if err != nil {
		return nil, err
	}
	if err := r.store.ArchiveAccount(i.spec.Name); err != nil {
		return nil, err
	}
	*a = store.Account{Directory: i.spec.Directory, Contact: i.spec.Contact, Created: time.Now()}
	if err := r.store.CreateAccount(i.spec.Name, *a, key); err != nil {
		return nil, err
	}
	client, err := r.newClient(i.spec, key, "")
	if err != nil {
		return nil, err
	}
	r.log.Info("made another account key", fieldIssuer(i.spec.Name), zap.String("key", kind.String()))
	return client, r.register(ctx, i, client, a, false)
}

func refusesKey(err error) bool {
	e, ok := errors.AsType[*acme.Error](err)
	return ok && e.Status/100 == 4 && e.Problem == "badSignatureAlgorithm"
}

// acceptedKey is the kind of key that a CA accepts which refused the signature of another one (RFC 8555 §6.2). The
// operator's choice is not changed.
func acceptedKey(i *spec.Issuer, refused crypto.Signer, err error) (spec.PrivateKey, bool) {
	e, ok := errors.AsType[*acme.Error](err)
	if !ok || !refusesKey(err) || e.Op != acme.OpNewAccount || i.AccountKey != nil {
		return spec.PrivateKey{}, false
	}
	had := kindOf(refused)
	for _, s := range signatures() {
		if slices.Contains(e.Algorithms, s.algorithm) {
			return s.key, s.key.Algorithm != had.Algorithm || had.Algorithm == "ECDSA" && s.key.Size != had.Size
		}
	}
	return spec.PrivateKey{}, false
}
