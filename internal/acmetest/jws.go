package acmetest

import (
	"crypto"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// nonces knows which nonces may still be used.
type nonces struct {
	issued uint64
	open   map[string]struct{}
}

func (n *nonces) issue() string {
	n.issued++
	nonce := nonceFor(n.issued)
	n.open[nonce] = struct{}{}
	return nonce
}

func nonceFor(number uint64) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "nonce %012d", number))
}

// wasIssued tells whether the CA made nonce, used or not.
func (n *nonces) wasIssued(nonce string) bool {
	text, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil {
		return false
	}
	var number uint64
	if _, err := fmt.Sscanf(string(text), "nonce %d", &number); err != nil {
		return false
	}
	return number <= n.issued && nonceFor(number) == nonce
}

// signer is the key that signed a request.
type signer struct {
	key        *jose.JSONWebKey // public
	thumbprint string
}

// verify checks the signature of r and everything that RFC 8555 §6 asks of it, and fills in its payload and signer.
func (ca *CA) verify(r *request) *problem {
	if got := r.Header.Get("Content-Type"); got != "application/jose+json" {
		ca.misbehaved("%s: Content-Type is %q (RFC 8555 §6.2)", r.url, got)
		return refuse(http.StatusUnsupportedMediaType, "malformed", "Content-Type must be application/jose+json")
	}
	jws, err := jose.ParseSignedJSON(string(r.body), []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.RS256})
	if err != nil || len(jws.Signatures) != 1 {
		ca.misbehaved("%s: the body is no JWS with one signature: %v", r.url, err)
		return refuse(http.StatusBadRequest, "malformed", "cannot parse the JWS")
	}
	protected := jws.Signatures[0].Protected
	if p := ca.checkAlgorithm(protected.Algorithm); p != nil {
		return p
	}
	if url, _ := protected.ExtraHeaders["url"].(string); url != r.url {
		ca.misbehaved("%s: the protected header says url %q (RFC 8555 §6.4)", r.url, url)
		return refuse(http.StatusUnauthorized, "unauthorized", "the url in the protected header is wrong")
	}
	if p := ca.identify(r, protected); p != nil {
		return p
	}
	if r.payload, err = jws.Verify(r.signer.key); err != nil {
		ca.misbehaved("%s: the signature is wrong: %v", r.url, err)
		return refuse(http.StatusUnauthorized, "unauthorized", "the signature does not verify")
	}
	return ca.spendNonce(r, protected.Nonce)
}

// checkAlgorithm refuses signatures that the CA does not know, and says which it does (RFC 8555 §6.2).
func (ca *CA) checkAlgorithm(algorithm string) *problem {
	accepted := ca.cfg.Algorithms
	if accepted == nil || slices.Contains(accepted, algorithm) {
		return nil
	}
	p := refuse(http.StatusBadRequest, "badSignatureAlgorithm", "%s is not supported", algorithm)
	p.Algorithms = accepted
	return p
}

// identify finds who signed: by kid, but by jwk for the requests that may be signed by a key without account.
func (ca *CA) identify(r *request, protected jose.Header) *problem {
	byKey := r.op == "newAccount" || r.op == "revokeCert"
	switch {
	case protected.JSONWebKey != nil && !byKey:
		ca.misbehaved("%s: signed with jwk instead of kid (RFC 8555 §6.2)", r.url)
		return refuse(http.StatusBadRequest, "malformed", "kid is required")
	case protected.JSONWebKey != nil:
		return ca.identifyKey(r, protected.JSONWebKey)
	case r.op == "newAccount":
		ca.misbehaved("%s: signed with kid instead of jwk (RFC 8555 §7.3)", r.url)
		return refuse(http.StatusBadRequest, "malformed", "jwk is required")
	}
	r.account = ca.accounts[protected.KeyID]
	if r.account == nil {
		return refuse(http.StatusBadRequest, "accountDoesNotExist", "there is no account %q", protected.KeyID)
	}
	r.signer = r.account.signer
	if r.account.Status != "valid" {
		return refuse(http.StatusUnauthorized, "unauthorized", "the account is %s", r.account.Status)
	}
	return nil
}

func (ca *CA) identifyKey(r *request, key *jose.JSONWebKey) *problem {
	thumbprint, err := thumbprintOf(key)
	if err != nil || !key.IsPublic() {
		ca.misbehaved("%s: jwk is no public key: %v", r.url, err)
		return refuse(http.StatusBadRequest, "badPublicKey", "jwk is no public key")
	}
	r.signer = &signer{key, thumbprint}
	r.account = ca.byKey[thumbprint]
	return nil
}

// thumbprintOf is the key's part of a key authorization (RFC 8555 §8.1).
func thumbprintOf(key *jose.JSONWebKey) (string, error) {
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// spendNonce accepts each nonce once, unless the dice refuse it.
func (ca *CA) spendNonce(r *request, nonce string) *problem {
	bad := refuse(http.StatusBadRequest, "badNonce", "JWS has an invalid anti-replay nonce: %q", nonce)
	if _, open := ca.nonces.open[nonce]; !open {
		if ca.nonces.wasIssued(nonce) {
			ca.misbehaved("%s: nonce %q is used a second time", r.url, nonce)
		} else {
			ca.misbehaved("%s: nonce %q is none of ours", r.url, nonce)
		}
		return bad
	}
	delete(ca.nonces.open, nonce)
	if ca.dice.Float64() < ca.cfg.BadNonces {
		return bad
	}
	return nil
}

// wantEmpty checks that a request is a POST-as-GET (RFC 8555 §6.3).
func (ca *CA) wantEmpty(r *request) *problem {
	if len(r.payload) == 0 {
		return nil
	}
	ca.misbehaved("%s: the payload of a POST-as-GET is %.40q instead of empty (RFC 8555 §6.3)", r.url, r.payload)
	return refuse(http.StatusBadRequest, "malformed", "POST-as-GET requests must have an empty payload")
}
