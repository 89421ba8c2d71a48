package acmetest

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// account is RFC 8555 §7.1.2.
type account struct {
	Status  string   `json:"status"`
	Contact []string `json:"contact,omitempty"`
	Agreed  bool     `json:"termsOfServiceAgreed"`
	Orders  string   `json:"orders"`

	url    string
	signer *signer
}

// newAccount serves RFC 8555 §7.3.
func (ca *CA) newAccount(r *request) (*reply, *problem) {
	var want struct {
		Contact      []string        `json:"contact"`
		Agreed       bool            `json:"termsOfServiceAgreed"`
		OnlyExisting bool            `json:"onlyReturnExisting"`
		EAB          json.RawMessage `json:"externalAccountBinding"`
	}
	if p := ca.decode(r, &want); p != nil {
		return nil, p
	}
	switch {
	case r.account != nil && r.account.Status != "valid":
		return nil, refuse(http.StatusUnauthorized, "unauthorized", "the account is %s", r.account.Status)
	case r.account != nil:
		if want.EAB != nil {
			ca.misbehaved("%s: an external account binding is sent for a key that has an account already", r.url)
		}
		return &reply{status: http.StatusOK, location: r.account.url, body: r.account}, nil
	case want.OnlyExisting:
		return nil, refuse(http.StatusBadRequest, "accountDoesNotExist", "no account has this key")
	case !want.Agreed:
		return nil, refuse(http.StatusForbidden, "userActionRequired", "must agree to the terms of service")
	}
	if p := checkContacts(want.Contact); p != nil {
		return nil, p
	}
	if p := ca.bind(r, want.EAB); p != nil {
		return nil, p
	}
	url := ca.url("account")
	a := &account{
		Status: "valid", Contact: want.Contact, Agreed: true, Orders: url + "/orders", url: url, signer: r.signer,
	}
	ca.accounts[url], ca.byKey[r.signer.thumbprint] = a, a
	return &reply{status: http.StatusCreated, location: url, body: a}, nil
}

func checkContacts(contacts []string) *problem {
	for _, c := range contacts {
		if !strings.HasPrefix(c, "mailto:") || !strings.Contains(c, "@") {
			return refuse(http.StatusBadRequest, "unsupportedContact", "contact %q is not a mailto: address", c)
		}
	}
	return nil
}

// bind checks an external account binding (RFC 8555 §7.3.4), of which each serves one account.
func (ca *CA) bind(r *request, eab json.RawMessage) *problem {
	if eab == nil {
		if ca.cfg.RequireEAB {
			return refuse(http.StatusForbidden, "externalAccountRequired", "an external account binding is required")
		}
		return nil
	}
	unauthorized := refuse(http.StatusForbidden, "unauthorized", "the external account binding is not valid")
	algorithm := cmp.Or(jose.SignatureAlgorithm(ca.cfg.EABSigned), jose.HS256)
	jws, err := jose.ParseSignedJSON(string(eab), []jose.SignatureAlgorithm{algorithm})
	if err != nil || len(jws.Signatures) != 1 {
		ca.misbehaved("%s: the external account binding is no JWS with %s: %v", r.url, algorithm, err)
		return unauthorized
	}
	protected := jws.Signatures[0].Protected
	key, known := ca.cfg.EAB[protected.KeyID]
	if !known {
		return unauthorized
	}
	if url, _ := protected.ExtraHeaders["url"].(string); url != r.url || protected.Nonce != "" {
		ca.misbehaved("%s: the external account binding has url %q, nonce %q", r.url, url, protected.Nonce)
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return unauthorized
	}
	var bound jose.JSONWebKey
	if err := bound.UnmarshalJSON(payload); err != nil {
		ca.misbehaved("%s: the external account binding is for no key: %v", r.url, err)
		return unauthorized
	}
	if thumbprint, _ := thumbprintOf(&bound); thumbprint != r.signer.thumbprint {
		ca.misbehaved("%s: the external account binding is for another key", r.url)
		return unauthorized
	}
	if ca.bound[protected.KeyID] != "" {
		ca.misbehaved("%s: the external account %q is bound a second time", r.url, protected.KeyID)
		return unauthorized
	}
	ca.bound[protected.KeyID] = r.signer.thumbprint
	return nil
}

// serveAccount serves RFC 8555 §7.3.2 and §7.3.6.
func (ca *CA) serveAccount(r *request) (*reply, *problem) {
	if r.url != r.account.url {
		ca.misbehaved("%s: asked for by %s", r.url, r.account.url)
		return nil, refuse(http.StatusForbidden, "unauthorized", "this is another account")
	}
	if len(r.payload) > 0 {
		var change struct {
			Status  string   `json:"status"`
			Contact []string `json:"contact"`
		}
		if p := ca.decode(r, &change); p != nil {
			return nil, p
		}
		if p := checkContacts(change.Contact); p != nil {
			return nil, p
		}
		if change.Contact != nil {
			r.account.Contact = change.Contact
		}
		if change.Status == "deactivated" {
			r.account.Status = change.Status
		}
	}
	return &reply{status: http.StatusOK, body: r.account}, nil
}

// decode reads the payload into v.
func (ca *CA) decode(r *request, v any) *problem {
	if err := json.Unmarshal(r.payload, v); err != nil {
		ca.misbehaved("%s: the payload is no JSON: %v", r.url, err)
		return refuse(http.StatusBadRequest, "malformed", "cannot parse the payload")
	}
	return nil
}
