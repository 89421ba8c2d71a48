package acme

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// Rollover asks the CA to put another key in the place of the account's (RFC 8555 §7.3.5). The Client goes on with the one
// that it has: what the answer says is not always what happened, so Lookup with a Client of each key tells which of them
// the account has now.
func (c *Client) Rollover(ctx context.Context, next crypto.Signer) (err error) {
	defer c.finish(OpKeyChange, &err)
	d, err := c.directory(ctx)
	if err != nil {
		return err
	}
	if d.keyChange == "" {
		return noKeyChange(0, "the CA's directory names no keyChange")
	}
	inner, err := c.signKeyChange(d.keyChange, next)
	if err != nil {
		return err
	}
	_, err = c.post(ctx, OpKeyChange, d.keyChange, json.RawMessage(inner))
	if e, ok := errors.AsType[*Error](err); ok && slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented}, e.Status) {
		return noKeyChange(e.Status, e.Detail)
	}
	return err
}

// noKeyChange is for CAs that cannot do it, among them some whose directory says that they can.
func noKeyChange(status int, detail string) *Error {
	return &Error{Kind: Permanent, Op: OpKeyChange, Problem: problemNoKeyChange, Status: status, Detail: detail,
		Hint: "this CA does not change the keys of accounts, and the account keeps the one that it has"}
}

// signKeyChange makes the request that the new key signs, to be signed by the old one once more.
func (c *Client) signKeyChange(url string, next crypto.Signer) ([]byte, error) {
	alg, err := algorithm(next)
	if err != nil {
		return nil, err
	}
	payload, err := json.Marshal(struct {
		Account string          `json:"account"`
		OldKey  jose.JSONWebKey `json:"oldKey"`
	}{c.account(), jose.JSONWebKey{Key: c.key.Public()}})
	if err != nil {
		return nil, fmt.Errorf("encoding the request: %w", err)
	}
	opts := (&jose.SignerOptions{EmbedJWK: true}).WithHeader("url", url)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: next}, opts)
	if err != nil {
		return nil, fmt.Errorf("signing the request: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return nil, fmt.Errorf("signing the request: %w", err)
	}
	return []byte(jws.FullSerialize()), nil
}

// NoSuchAccount tells that the CA has no account with the key that asked.
func NoSuchAccount(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Problem == problemAccountDoesNotExist
}
