package acme

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	xacme "golang.org/x/crypto/acme"
)

// RevocationReason is a reason code of RFC 5280 §5.3.1. The zero value is unspecified.
type RevocationReason int

// KeyCompromise says that others know the private key: no CA certifies it again.
const KeyCompromise RevocationReason = 1

// revocationReasons are those that a subscriber may give (RFC 5280 §5.3.1; Baseline Requirements §7.2.2).
func revocationReasons() map[RevocationReason]string {
	return map[RevocationReason]string{0: "unspecified", KeyCompromise: "keyCompromise", 3: "affiliationChanged", 4: "superseded", 5: "cessationOfOperation"}
}

// RevocationReasons are the names of the reasons, by their codes.
func RevocationReasons() []string {
	return []string{"unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation"}
}

// ParseRevocationReason reads a reason's name, in any case, or its code. "" is unspecified.
func ParseRevocationReason(s string) (RevocationReason, error) {
	if s == "" {
		return 0, nil
	}
	for code, name := range revocationReasons() {
		if strings.EqualFold(s, name) || s == strconv.Itoa(int(code)) {
			return code, nil
		}
	}
	return 0, fmt.Errorf("reading the reason %q: there are %s", s, strings.Join(RevocationReasons(), ", "))
}

// String is the reason's name in RFC 5280.
func (r RevocationReason) String() string { return revocationReasons()[r] }

// RevocationRequest is what a CA is asked to revoke. Leaf is required.
type RevocationRequest struct {
	Leaf   []byte // DER
	Reason RevocationReason
	Key    crypto.Signer // the certificate's own, to sign with; nil: the account's
}

// Revoke has a certificate revoked, by the account that it was issued to or by its own key (RFC 8555 §7.6). One that
// is revoked already is no error. A reason that the CA does not accept is the problem badRevocationReason.
func (c *Client) Revoke(ctx context.Context, r RevocationRequest) (err error) {
	defer c.finish(OpRevoke, &err)
	x, err := c.x(ctx)
	if err != nil {
		return err
	}
	switch d, err := c.directory(ctx); {
	case err != nil:
		return err
	case d.revokeCert == "":
		return &Error{Kind: Permanent, Op: OpRevoke, Problem: problemProtocol, Detail: "the CA's directory names no revokeCert", Hint: "revoke it on the CA's own pages"}
	case r.Key == nil && x.KID == "":
		return errNoAccount(OpRevoke)
	}
	err = x.RevokeCert(withOp(ctx, OpRevoke), r.Key, r.Leaf, xacme.CRLReasonCode(r.Reason))
	if e, ok := errors.AsType[*Error](err); ok && e.Problem == problemAlreadyRevoked {
		return nil
	}
	return err
}

// WithoutReason tells a refusal of the reason, not of the revocation: it may be asked for again without one.
func WithoutReason(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Problem == problemBadRevocationReason
}

// NotTheAccount tells a refusal of who asked: the certificate's own key may do better (RFC 8555 §7.6).
func NotTheAccount(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && slices.Contains([]string{problemUnauthorized, problemAccountDoesNotExist}, e.Problem)
}
