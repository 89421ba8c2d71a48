// Package acme speaks RFC 8555 and RFC 9773 to one CA on behalf of one account, in single steps.
//
// It owns everything that is the protocol's: the directory, nonces, signatures, the guard in front of the
// network, the checks that an issued chain must pass, and the classification of everything that can go wrong:
// every error that leaves the package is an *Error with a Kind.
//
// It never decides when to act, never sleeps for the future, never touches the disk and never proves control of
// an identifier itself: a Solver does. No other package imports golang.org/x/crypto/acme.
package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"time"
)

// Identifier is one name or address of an order (RFC 8555 §7.1.3, RFC 8738).
type Identifier struct {
	Type  string `json:"type"`  // "dns" or "ip"
	Value string `json:"value"` // an A-label in lower case, or the canonical text of an address
}

// OrderRequest says what to order.
type OrderRequest struct {
	Identifiers []Identifier
	Profile     string // an ACME profile that the directory offers; "" leaves it to the CA
	Replaces    string // CertID of the certificate that this one replaces (RFC 9773 §5); "" for none
}

// Order is the CA's view of an order (RFC 8555 §7.1.3).
type Order struct {
	URL     string
	Status  OrderStatus
	Expires time.Time // zero: the CA did not say
	// NotBefore and NotAfter are the validity that the certificate will have, where the CA fixes it in the order; zero: it
	// does not.
	NotBefore, NotAfter time.Time
	Identifiers         []Identifier
	Profile             string   // that the CA issues by, whoever chose it; "": the CA did not say
	Authorizations      []string // URLs
	FinalizeURL         string
	CertificateURL      string        // set once Status is valid
	Error               *Error        // what the CA says of an invalid order; nil otherwise
	RetryAfter          time.Duration // the CA's wish for the next poll, clamped; zero: not stated
	// ReplacesRefused tells that the CA refused OrderRequest.Replaces and that the order was made without it.
	ReplacesRefused bool
}

// OrderStatus is an order's status (RFC 8555 §7.1.6).
type OrderStatus string

// The order statuses of RFC 8555 §7.1.6.
const (
	StatusPending    OrderStatus = "pending"
	StatusReady      OrderStatus = "ready"
	StatusProcessing OrderStatus = "processing"
	StatusValid      OrderStatus = "valid"
	StatusInvalid    OrderStatus = "invalid"
)

// Challenge is what is still to be proved for one authorization of an order.
type Challenge struct {
	Proof         Proof
	Name          string // the identifier as the order names it: of a wildcard with "*."
	URL           string
	Authorization string // URL
	Accepted      bool   // the CA has been told already and is validating: the proof must be visible, no POST is due
}

// Proof is what a Solver makes visible (RFC 8555 §8, RFC 8737).
type Proof struct {
	Type       string // "http-01", "tls-alpn-01", "dns-01" or "dns-account-01"
	Identifier Identifier
	Token      string           // matches ^[A-Za-z0-9_-]{16,128}$
	KeyAuth    string           // token "." thumbprint
	TLSCert    *tls.Certificate // the tls-alpn-01 certificate with its key (RFC 8737 §3); nil for other types
	DNSValue   string           // value of the TXT record; "" for other types
	DNSLabel   string           // of dns-account-01: stands before _acme-challenge; "" for other types
}

// Solver makes proofs visible to the CA and takes them away. Both methods are idempotent, so that a restart may
// repeat them.
type Solver interface {
	Present(context.Context, Proof) error
	CleanUp(context.Context, Proof) error
}

// RenewalInfo is the CA's advice on when to renew (RFC 9773 §4), validated: Start is before End.
type RenewalInfo struct {
	Start, End     time.Time
	ExplanationURL string        // "" or an https URL
	RetryAfter     time.Duration // until the next poll, within [1 min, 24 h]
}

// ExternalAccountBinding ties a new account to one that the CA knows (RFC 8555 §7.3.4).
type ExternalAccountBinding struct {
	KID       string
	Key       []byte // the decoded HMAC key
	Algorithm string // "HS256", "HS384" or "HS512"; "": HS256
}

// String hides the key.
func (ExternalAccountBinding) String() string { return "redacted" }

// GoString hides the key.
func (ExternalAccountBinding) GoString() string { return "redacted" }

// Registration is what a new account is made from (RFC 8555 §7.3).
type Registration struct {
	Contact              []string
	TermsOfServiceAgreed bool
	Binding              *ExternalAccountBinding // nil: none
	// Existing makes the client ask for an account of this key first and create one only when there is none:
	// set it whenever the key may have been used before.
	Existing bool
}

// Directory is what the CA offers (RFC 8555 §7.1.1).
type Directory struct {
	TermsOfService          string
	Website                 string
	CAA                     []string
	ExternalAccountRequired bool
	Profiles                map[string]string // name to description; nil: the CA has none
	RenewalInfo             bool              // the CA answers RFC 9773
}

// Issued is a chain that passed Verify.
type Issued struct {
	Chain []*x509.Certificate // leaf first
	DER   [][]byte            // the same, encoded
}
