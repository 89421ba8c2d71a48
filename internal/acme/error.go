package acme

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind says what can be done about an error. It is decided once, here, where the cause is known.
type Kind uint8

// The kinds of error.
const (
	Transient   Kind = iota + 1 // the network, a 5xx: it may work soon without any change
	RateLimited                 // the CA asks for patience: RetryAt says until when
	Validation                  // the CA could not verify control, or answered something that acmed does not know
	Permanent                   // it cannot work until the spec, the account or the CA changes
)

// String returns the kind's word for logs, metrics and state files.
func (k Kind) String() string {
	switch k {
	case Transient:
		return "transient"
	case RateLimited:
		return "rateLimited"
	case Validation:
		return "validation"
	case Permanent:
		return "permanent"
	}
	return "unknown"
}

// What a Client does, as Error.Op and as a label of metrics.
const (
	OpDirectory     = "directory"
	OpNonce         = "nonce"
	OpNewAccount    = "newAccount" // registers an account, or finds the account of a key
	OpAccount       = "account"    // reads an account by its own URL
	OpChangeAccount = "changeAccount"
	OpNewOrder      = "newOrder"
	OpOrder         = "order"
	OpAuthorization = "authorization"
	OpChallenge     = "challenge"
	OpFinalize      = "finalize"
	OpCertificate   = "certificate"
	OpRenewalInfo   = "renewalInfo"
	OpRevoke        = "revokeCert"
	OpKeyChange     = "keyChange"
)

// Error is every error of this package.
type Error struct {
	Kind Kind
	Op   string // what was being done: one of the Op constants

	// Problem is a bounded word for metrics and logs: an ACME error type without its prefix ("rateLimited"), or
	// one of acmed's own ("network", "timeout", "canceled", "tls", "http", "tooLarge", "malformedAnswer",
	// "badCertificate", "noChallenge", "noKeyChange", "protocol").
	Problem     string
	Status      int          // HTTP status; 0: there was no answer
	Detail      string       // the CA's own words, sanitised and at most 4 KiB; or the local cause
	Identifier  string       // the name that failed; "" when it concerns them all
	Subproblems []Subproblem // per identifier (RFC 8555 §6.7.1)
	Algorithms  []string     // that the CA accepts instead, of badSignatureAlgorithm (RFC 8555 §6.2)
	RetryAt     time.Time    // absolute, at most a day ahead, or a week for a rate limit of this order alone; zero: the CA did not say
	Final       bool         // the order is over, or one of its authorizations (RFC 8555 §7.1.6): only another order helps
	Whole       bool         // it concerns the account or the CA, not just this order
	Hint        string       // what the operator can do about it, one sentence; "" when there is nothing to do but wait
	Err         error        // the cause; may be nil

	untimed bool // RetryAt is acmed's own: the CA did not send Retry-After with a rate limit
}

// HintName stands in an Error.Hint for the name of the certificate, which this package does not know.
const HintName = "NAME"

// Subproblem is what the CA says of one identifier of an order.
type Subproblem struct {
	Identifier string
	Problem    string
	Detail     string
}

// Error names the operation, the problem and the CA's words. The Hint is left to whoever shows it.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(activity(e.Op))
	if e.Identifier != "" {
		b.WriteString(" for " + e.Identifier)
	}
	b.WriteString(": " + e.Problem)
	if e.Status != 0 {
		fmt.Fprintf(&b, " (%d)", e.Status)
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// activity puts an operation into words.
func activity(op string) string {
	switch op {
	case OpDirectory:
		return "reading the directory"
	case OpNonce:
		return "fetching a nonce"
	case OpNewAccount:
		return "registering the account"
	case OpAccount:
		return "reading the account"
	case OpChangeAccount:
		return "changing the account"
	case OpNewOrder:
		return "ordering"
	case OpOrder:
		return "reading the order"
	case OpAuthorization:
		return "authorizing"
	case OpChallenge:
		return "answering the challenge"
	case OpFinalize:
		return "finalizing"
	case OpCertificate:
		return "fetching the certificate"
	case OpRenewalInfo:
		return "asking when to renew"
	case OpKeyChange:
		return "changing the account's key"
	}
	return op
}

// ErrNoRenewalInfo is the cause of the *Error of RenewalInfo when the CA does not answer RFC 9773 for a certificate.
var ErrNoRenewalInfo = errors.New("the CA offers no renewal information for this certificate")
