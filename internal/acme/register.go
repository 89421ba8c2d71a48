package acme

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// newAccount is the payload of a request for an account (RFC 8555 §7.3).
type newAccount struct {
	OnlyReturnExisting     bool            `json:"onlyReturnExisting,omitempty"`
	TermsOfServiceAgreed   bool            `json:"termsOfServiceAgreed,omitempty"`
	Contact                []string        `json:"contact,omitempty"`
	ExternalAccountBinding json.RawMessage `json:"externalAccountBinding,omitempty"`
}

// register asks for an account. registrable has checked that the terms, if there are any, are agreed to.
func (c *Client) register(ctx context.Context, d *directory, r Registration) (string, error) {
	want := newAccount{Contact: r.Contact, TermsOfServiceAgreed: d.TermsOfService != ""}
	if r.Binding != nil {
		var err error
		if want.ExternalAccountBinding, err = c.bind(d.newAccount, r.Binding); err != nil {
			return "", err
		}
	}
	url, err := c.askAccount(ctx, d, want)
	return url, hintBinding(err, r.Binding != nil)
}

// hintBinding puts the hint of a refused registration right, which depends on whether it carried a binding: step-ca
// answers 500 to a binding that it does not accept.
func hintBinding(err error, bound bool) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Op != OpNewAccount {
		return err
	}
	told := *e // it may be shared
	switch {
	case bound && e.Status/100 == 5:
		told.Hint = "if it stays, check externalAccountBinding in the issuer: some CAs answer like that to a binding that is wrong or was used before, and give the reason in their log"
	case !bound && e.Problem == problemUnauthorized:
		told.Hint = "ask the CA whether this key or machine may have an account"
	}
	return &told
}

func (c *Client) lookup(ctx context.Context) (string, error) {
	d, err := c.directory(ctx)
	if err != nil {
		return "", err
	}
	return c.askAccount(ctx, d, newAccount{OnlyReturnExisting: true})
}

// askAccount uses the account that the CA names from now on. The Location header is the account's URL (RFC 8555 §7.3):
// some CAs send nothing else.
func (c *Client) askAccount(ctx context.Context, d *directory, payload newAccount) (string, error) {
	a, err := c.postAs(ctx, OpNewAccount, d.newAccount, "", payload)
	if err != nil {
		return "", err
	}
	if a.status != http.StatusOK && a.status != http.StatusCreated {
		return "", classify(OpNewAccount, a.status, parseProblem(a.body), retryAfter(a.header), time.Now())
	}
	var w struct{ Status string }
	if len(bytes.TrimSpace(a.body)) > 0 {
		if err := a.decode(OpNewAccount, &w); err != nil {
			return "", err
		}
	}
	return c.use(a.header.Get("Location"), w.Status)
}

// bind makes an external account binding: the account's public key, signed with the key that the CA handed out
// (RFC 8555 §7.3.4). The CA decides how long its key is: go-jose refuses some.
func (c *Client) bind(url string, b *ExternalAccountBinding) (json.RawMessage, error) {
	algorithm := cmp.Or(b.Algorithm, "HS256")
	mac := map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New}[algorithm]
	if mac == nil || len(b.Key) == 0 {
		return nil, badConfig("the external account binding cannot be signed with "+algorithm, "use HS256, HS384 or HS512 and the CA's HMAC key")
	}
	key, err := jose.JSONWebKey{Key: c.key.Public()}.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encoding the account's key: %w", err)
	}
	header, err := json.Marshal(map[string]string{"alg": algorithm, "kid": b.KID, "url": url})
	if err != nil {
		return nil, fmt.Errorf("encoding the external account binding: %w", err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	protected, payload := encode(header), encode(key)
	h := hmac.New(mac, b.Key)
	_, _ = h.Write([]byte(protected + "." + payload)) // never fails
	return json.Marshal(map[string]string{"protected": protected, "payload": payload, "signature": encode(h.Sum(nil))})
}
