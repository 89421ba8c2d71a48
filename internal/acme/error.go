package acme

import "time"

// Kind says what can be done about an error. It is decided once, here, where the cause is known.
type Kind uint8

// The kinds of error.
const (
	Transient   Kind = iota + 1 // the network, a 5xx: it may work soon without any change
	RateLimited                 // the CA asks for patience: RetryAt says until when
	Validation                  // the CA could not verify control, or answered something that acmed does not know
	Permanent                   // it cannot work until the spec, the account or the CA changes
)

// Error is every error of this package.
type Error struct {
	Kind Kind
	Op   string // what was being done: "directory", "account", "order", "authorization", "challenge", "finalize", "certificate", "renewalInfo"

	// Problem is a bounded word for metrics and logs: an ACME error type without its prefix ("rateLimited"), or
	// one of acmed's own ("network", "timeout", "tls", "http", "tooLarge", "malformedAnswer", "badCertificate", "protocol").
	Problem     string
	Status      int          // HTTP status; 0: there was no answer
	Detail      string       // the CA's own words, sanitised and at most 512 bytes; or the local cause
	Identifier  string       // the name that failed; "" when it concerns them all
	Subproblems []Subproblem // per identifier (RFC 8555 §6.7.1)
	RetryAt     time.Time    // absolute, clamped to [now+1 s, now+24 h]; zero: the CA did not say
	Whole       bool         // it concerns the account or the CA, not just this order
	Hint        string       // what the operator can do about it
	Err         error        // the cause; may be nil
}

// Subproblem is what the CA says of one identifier of an order.
type Subproblem struct {
	Identifier string
	Problem    string
	Detail     string
}
