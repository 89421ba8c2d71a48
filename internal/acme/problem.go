package acme

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	xacme "golang.org/x/crypto/acme"
)

// The problems that the code asks about; the rest is in knownProblems.
const (
	problemAccountDoesNotExist     = "accountDoesNotExist"
	problemAlreadyReplaced         = "alreadyReplaced"
	problemAlreadyRevoked          = "alreadyRevoked"
	problemBadCSR                  = "badCSR"
	problemBadNonce                = "badNonce"
	problemBadRevocationReason     = "badRevocationReason"
	problemBadSignature            = "badSignatureAlgorithm"
	problemCompound                = "compound"
	problemExternalAccountRequired = "externalAccountRequired"
	problemInvalidProfile          = "invalidProfile"
	problemMalformed               = "malformed"
	problemRateLimited             = "rateLimited"
	problemRejectedIdentifier      = "rejectedIdentifier"
	problemServerInternal          = "serverInternal"
	problemUnauthorized            = "unauthorized"
	problemUnsupportedIdentifier   = "unsupportedIdentifier"
	problemUserActionRequired      = "userActionRequired"

	problemBadCertificate  = "badCertificate"  // the chain did not pass Verify
	problemConfiguration   = "configuration"   // New was given what cannot work
	problemHTTP            = "http"            // a refusal without a problem document
	problemMalformedAnswer = "malformedAnswer" // what the CA sent cannot be parsed
	problemNoChallenge     = "noChallenge"     // the CA offers no challenge of the type
	problemNoKeyChange     = "noKeyChange"     // the CA changes no keys of accounts
	problemOther           = "other"           // a type that acmed does not know
	problemProtocol        = "protocol"        // an answer that the RFCs do not allow

	noRetryAfter    = time.Hour // how long a rate limit lasts when the CA does not say
	maxSubproblems  = 100
	maxAlgorithms   = 20
	maxProblemChars = 40
)

// knownProblems are the values that Error.Problem may have in metrics: the error types of RFC 8555 §6.7, of its
// extensions, and acmed's own.
func knownProblems() []string {
	return []string{
		problemAccountDoesNotExist, problemAlreadyReplaced, problemAlreadyRevoked, problemBadCSR, problemBadNonce,
		"badPublicKey", problemBadRevocationReason, problemBadSignature, "caa", problemCompound, "connection", "dns",
		"dnssec", problemExternalAccountRequired, "incorrectResponse", "invalidContact", problemInvalidProfile,
		problemMalformed, "orderNotReady", problemRateLimited, problemRejectedIdentifier, problemServerInternal, "tls",
		problemUnauthorized, "unsupportedContact", problemUnsupportedIdentifier, problemUserActionRequired,
		problemBadCertificate, "canceled", problemConfiguration, problemHTTP, problemMalformedAnswer, "network",
		problemNoChallenge, problemNoKeyChange, problemProtocol, "timeout", "tooLarge",
	}
}

// boundedProblem keeps metrics' labels few.
func boundedProblem(word string) string {
	if slices.Contains(knownProblems(), word) {
		return word
	}
	return problemOther
}

// problem is a problem document (RFC 7807, RFC 8555 §6.7).
type problem struct {
	Type        string
	Detail      string
	Subproblems []subproblem
	Algorithms  []string // that the CA accepts, of badSignatureAlgorithm (RFC 8555 §6.2)
}

type subproblem struct {
	Type       string
	Detail     string
	Identifier Identifier
}

// parseProblem reads the body of a refusal; a body that is no problem document is its own detail.
func parseProblem(body []byte) problem {
	var p problem
	if err := json.Unmarshal(body, &p); err != nil || p.Type == "" && p.Detail == "" {
		return problem{Detail: string(body)}
	}
	return p
}

// problemWord shortens a problem's type to a word: known ones are spelt as in the RFCs, whatever the CA's case.
func problemWord(typ string) string {
	_, word, ok := strings.Cut(typ, ":error:")
	if !ok {
		return problemHTTP
	}
	for _, known := range knownProblems() {
		if strings.EqualFold(known, word) {
			return known
		}
	}
	if base64URL(word, 1, maxProblemChars) {
		return word
	}
	return problemOther
}

// classify turns what a CA said into an *Error: the only place that decides on kinds of problem documents.
// status is 0 when the problem is part of an object, such as a challenge, and not an answer.
func classify(op string, status int, p problem, wait time.Duration, now time.Time) *Error {
	e := &Error{Op: op, Problem: problemWord(p.Type), Status: status, Detail: cleanDetail(p.Detail)}
	e.Detail = cmp.Or(e.Detail, http.StatusText(status))
	for _, s := range p.Subproblems[:min(len(p.Subproblems), maxSubproblems)] {
		e.Subproblems = append(e.Subproblems, Subproblem{
			Identifier: clean(s.Identifier.Value), Problem: problemWord(s.Type), Detail: clean(s.Detail),
		})
	}
	if e.Problem == problemBadSignature {
		for _, name := range p.Algorithms[:min(len(p.Algorithms), maxAlgorithms)] {
			e.Algorithms = append(e.Algorithms, clean(name))
		}
	}
	if len(e.Subproblems) == 1 {
		e.Identifier = e.Subproblems[0].Identifier
	}
	e.Kind = kindOf(e, wait > 0)
	if wait == 0 && e.Kind == RateLimited {
		wait, e.untimed = noRetryAfter, true
	}
	if wait > 0 {
		e.RetryAt = now.Add(wait)
	}
	e.Whole = concernsAll(e)
	e.Hint = hint(e, "")
	return e
}

// kindOf decides what can be done about a refusal. Waits tells that the CA sent Retry-After.
func kindOf(e *Error, waits bool) Kind {
	switch {
	case e.Status == http.StatusServiceUnavailable && !waits:
		return Transient // an overload of the moment, whatever its problem is called
	case e.Problem == problemRateLimited, e.Status == http.StatusTooManyRequests, e.Status == http.StatusServiceUnavailable:
		return RateLimited
	case e.Status >= 500, e.Status != 0 && e.Status < 400:
		return Transient
	case e.Problem == problemHTTP:
		return kindOfStatus(e.Status)
	case e.Problem == problemCompound && len(e.Subproblems) > 0:
		return kindOfAll(e)
	}
	return kindOfProblem(e.Op, e.Problem)
}

func kindOfProblem(op, word string) Kind {
	switch word {
	case problemServerInternal, problemBadNonce, "orderNotReady":
		return Transient
	case problemAccountDoesNotExist, problemBadCSR, "badPublicKey", problemBadSignature, problemExternalAccountRequired,
		"invalidContact", problemInvalidProfile, problemRejectedIdentifier, "unsupportedContact", problemUnsupportedIdentifier,
		problemUserActionRequired:
		return Permanent
	case problemUnauthorized:
		if ofAccount(op) || op == OpNewOrder || op == OpOrder {
			return Permanent
		}
	case problemMalformed:
		if ofAccount(op) {
			return Permanent
		}
	}
	return Validation
}

func kindOfStatus(status int) Kind {
	switch status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusRequestTimeout, http.StatusTooEarly:
		return Transient
	}
	return Validation
}

// kindOfAll is the gravest kind of the subproblems: an order is as good as its worst identifier.
func kindOfAll(e *Error) Kind {
	kind := Transient
	for _, s := range e.Subproblems {
		kind = max(kind, kindOf(&Error{Op: e.Op, Problem: s.Problem}, false))
	}
	return kind
}

// concernsAll decides Error.Whole. A rate limit holds all certificates back only when the CA says so: whoever holds
// back more than the CA asked for lets certificates expire.
func concernsAll(e *Error) bool {
	switch {
	case ofAccount(e.Op), e.Op == OpDirectory, e.Op == OpNonce, e.Status == http.StatusServiceUnavailable:
		return true
	case e.Kind == RateLimited:
		return e.Op == OpNewOrder && limitsAccount(strings.ToLower(e.Detail))
	case e.Op != OpFinalize && e.Op != OpRevoke && (e.Problem == problemBadSignature || e.Problem == "badPublicKey"):
		return e.Kind == Permanent // it is the account's key
	case e.Kind == Permanent:
		return slices.Contains([]string{problemAccountDoesNotExist, problemUnauthorized, problemUserActionRequired,
			problemExternalAccountRequired}, e.Problem)
	}
	return false
}

// ofAccount reports whether an operation is about the account itself.
func ofAccount(op string) bool { return op == OpNewAccount || op == OpAccount || op == OpChangeAccount }

// limitsAccount reads whom a rate limit of new-order is meant for.
func limitsAccount(detail string) bool {
	contains := func(s string) bool { return strings.Contains(detail, s) }
	if slices.ContainsFunc([]string{"exact set", "registered domain", "certificates", "authorizations", "identifier"}, contains) {
		return false
	}
	return slices.ContainsFunc([]string{"account", "ip address", "new orders"}, contains)
}

// oddAnswer is an answer that the RFCs do not allow.
func oddAnswer(op string, status int, detail string) *Error {
	return &Error{Kind: Transient, Op: op, Problem: problemProtocol, Status: status, Detail: clean(detail)}
}

// malformed is an answer that cannot be parsed.
func malformed(op string, status int, err error) *Error {
	return &Error{Kind: Transient, Op: op, Problem: problemMalformedAnswer, Status: status, Detail: clean(err.Error()), Err: err}
}

// asError makes an *Error of whatever a step returned. One that is an *Error already may be shared: it is not touched.
func asError(op string, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*xacme.Error](err); ok {
		return classify(op, e.StatusCode, problemOfX(e), retryAfter(e.Header), time.Now())
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return networkError(op, nil, err)
	}
	return malformed(op, http.StatusOK, err) // x/crypto parses only what came with a 2xx
}

// worst joins the failures of several identifiers into one error of the gravest kind that names them all.
func worst(op string, errs []*Error) *Error {
	gravest := slices.MaxFunc(errs, func(a, b *Error) int { return cmp.Compare(a.Kind, b.Kind) })
	e := *gravest
	e.Op, e.Subproblems = op, nil
	for _, x := range errs[:min(len(errs), maxSubproblems)] {
		detail := x.Detail
		if x != gravest { // a hundred details of 4 KiB would be too much for a record
			detail = clean(detail)
		}
		e.Subproblems = append(e.Subproblems, Subproblem{Identifier: x.Identifier, Problem: x.Problem, Detail: detail})
	}
	return &e
}
