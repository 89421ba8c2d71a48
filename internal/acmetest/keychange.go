package acmetest

import (
	"encoding/json"
	"net/http"

	"github.com/go-jose/go-jose/v4"
)

// keyChange serves RFC 8555 §7.3.5. The old key has signed the outer JWS.
func (ca *CA) keyChange(r *request) (*reply, *problem) {
	malformed := refuse(http.StatusBadRequest, "malformed", "the inner JWS is not valid")
	jws, err := jose.ParseSignedJSON(string(r.payload), []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.RS256})
	if err != nil || len(jws.Signatures) != 1 {
		ca.misbehaved("%s: the inner JWS has not one signature: %v (RFC 8555 §7.3.5)", r.url, err)
		return nil, malformed
	}
	protected := jws.Signatures[0].Protected
	if url, _ := protected.ExtraHeaders["url"].(string); url != r.url || protected.Nonce != "" || protected.JSONWebKey == nil {
		ca.misbehaved("%s: the inner JWS has url %q, nonce %q, jwk %t (RFC 8555 §7.3.5)", r.url, url, protected.Nonce, protected.JSONWebKey != nil)
		return nil, malformed
	}
	next := protected.JSONWebKey
	payload, err := jws.Verify(next)
	if err != nil {
		ca.misbehaved("%s: the new key did not sign the inner JWS: %v", r.url, err)
		return nil, malformed
	}
	if p := ca.checkKeyChange(r, payload); p != nil {
		return nil, p
	}
	thumbprint, err := thumbprintOf(next)
	if err != nil || !next.IsPublic() {
		ca.misbehaved("%s: the inner jwk is no public key: %v", r.url, err)
		return nil, refuse(http.StatusBadRequest, "badPublicKey", "the new key is no public key")
	}
	if taken := ca.byKey[thumbprint]; taken != nil {
		return &reply{status: http.StatusConflict, location: taken.url, body: refuse(http.StatusConflict, "malformed", "the new key is in use by %s", taken.url)}, nil
	}
	delete(ca.byKey, r.account.signer.thumbprint)
	r.account.signer = &signer{next, thumbprint}
	ca.byKey[thumbprint] = r.account
	return &reply{status: http.StatusOK, location: r.account.url, body: r.account}, nil
}

// checkKeyChange checks which account the new key is for, and that its old one is known.
func (ca *CA) checkKeyChange(r *request, payload []byte) *problem {
	var change struct {
		Account string          `json:"account"`
		OldKey  jose.JSONWebKey `json:"oldKey"`
	}
	if err := json.Unmarshal(payload, &change); err != nil {
		ca.misbehaved("%s: the inner payload is no key change: %v", r.url, err)
		return refuse(http.StatusBadRequest, "malformed", "cannot parse the key change")
	}
	old, err := thumbprintOf(&change.OldKey)
	if err != nil || change.Account != r.account.url || old != r.account.signer.thumbprint {
		ca.misbehaved("%s: the key change is for the account %q with the key %q: %v", r.url, change.Account, old, err)
		return refuse(http.StatusBadRequest, "malformed", "the key change is for another account or key")
	}
	return nil
}

// KeyOf is the thumbprint (RFC 7638) of the key that an account has; "": there is no such account.
func (ca *CA) KeyOf(url string) string {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if a := ca.accounts[url]; a != nil {
		return a.signer.thumbprint
	}
	return ""
}
