package acme

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-jose/go-jose/v4"
)

// maxBadNonces bounds how often one request is signed anew.
const maxBadNonces = 10

// post signs and sends a payload for the account, nil being POST-as-GET (RFC 8555 §6.3).
func (c *Client) post(ctx context.Context, op, url string, payload any) (*answer, error) {
	if _, err := c.directory(ctx); err != nil {
		return nil, err
	}
	kid := c.account()
	if kid == "" {
		return nil, errNoAccount(op)
	}
	return c.postAs(ctx, op, url, kid, payload)
}

// postAs signs as the account kid, or, if that is "", as the key itself (RFC 8555 §6.2). Only a bad nonce makes it sign
// and send again.
func (c *Client) postAs(ctx context.Context, op, url, kid string, payload any) (*answer, error) {
	var last error
	for range 1 + maxBadNonces {
		body, err := c.sign(ctx, kid, url, payload)
		if err != nil {
			return nil, err
		}
		a, err := c.do(ctx, op, http.MethodPost, url, body)
		if e, ok := errors.AsType[*Error](err); !ok || e.Problem != problemBadNonce {
			return a, err
		}
		last = err
	}
	return nil, last
}

// sign makes the body of a POST, with a nonce of its own (RFC 8555 §6.2).
func (c *Client) sign(ctx context.Context, kid, url string, payload any) ([]byte, error) {
	body := []byte{} // never nil: go-jose would leave the payload out
	if payload != nil {
		var err error
		if body, err = json.Marshal(payload); err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
	}
	nonce, err := c.nonce(ctx)
	if err != nil {
		return nil, err
	}
	opts := (&jose.SignerOptions{EmbedJWK: kid == ""}).WithHeader("url", url).WithHeader("nonce", nonce)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: c.alg, Key: jose.JSONWebKey{Key: c.key, KeyID: kid}}, opts)
	if err != nil {
		return nil, fmt.Errorf("signing the request: %w", err)
	}
	jws, err := signer.Sign(body)
	if err != nil {
		return nil, fmt.Errorf("signing the request: %w", err)
	}
	return []byte(jws.FullSerialize()), nil
}

// algorithm chooses the signature algorithm of an account's key (RFC 7518 §3.1).
func algorithm(key crypto.Signer) (jose.SignatureAlgorithm, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return jose.RS256, nil
	case *ecdsa.PrivateKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return jose.ES256, nil
		case 384:
			return jose.ES384, nil
		case 521:
			return jose.ES512, nil
		}
	}
	return "", fmt.Errorf("the account's key is a %T, which ACME does not know", key)
}
