package acme

import (
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// refused sharpens a refusal of newOrder by what was asked for.
func refused(err error, r OrderRequest, d *directory) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Kind == Transient {
		return err
	}
	for _, rule := range []func(*Error, OrderRequest) bool{paused, profileForbidden, redundant, tooMany, sparing} {
		if rule(e, r) {
			break
		}
	}
	if addressesForbidden(e, r) {
		e.Hint = d.forAddresses(r.Profile)
	}
	if latest := time.Now().Add(maxRetryAfter); e.Whole && e.RetryAt.After(latest) {
		e.RetryAt = latest
	}
	return e
}

// sparing takes back that a refusal concerns the whole account when it mentions one of the order's names.
func sparing(e *Error, r OrderRequest) bool {
	if !e.Whole || e.Status == http.StatusServiceUnavailable || len(mentioned(e, r)) == 0 {
		return false
	}
	e.Whole = false
	return true
}

// profileForbidden recognizes that the account may not use the profile of an order. A CA that refuses the account does not
// have to say so, but an order without a profile finds that out.
func profileForbidden(e *Error, r OrderRequest) bool {
	if e.Problem != problemUnauthorized || e.Status != http.StatusForbidden || r.Profile == "" || endedAccount.MatchString(e.Detail) {
		return false
	}
	e.Whole = false
	e.Hint = "remove profile " + shortened(r.Profile, 100) + " from the spec, or ask the CA to permit it for the account"
	return true
}

// endedAccount matches what CAs say about an account that has ended.
var endedAccount = regexp.MustCompile(`(?i)\baccount\b.*\b(deactivated|revoked)\b`)

// redundant recognizes that the CA accepts no name beside a wildcard that covers it, which the RFCs allow.
func redundant(e *Error, r OrderRequest) bool {
	if e.Problem != problemMalformed && e.Problem != problemRejectedIdentifier || !redundantName.MatchString(e.Detail) {
		return false
	}
	for _, id := range r.Identifiers {
		_, parent, _ := strings.Cut(id.Value, ".")
		wildcard := Identifier{Type: id.Type, Value: "*." + parent}
		if id.Type == "dns" && id != wildcard && slices.Contains(r.Identifiers, wildcard) {
			e.Kind, e.Identifier = Permanent, id.Value
			e.Hint = "remove " + id.Value + " from the spec: " + wildcard.Value + " covers it"
			return true
		}
	}
	return false
}

var redundantName = regexp.MustCompile(`(?i)\b(redundant|overlap\w*|covered by)\b`)

// tooMany recognizes that the CA accepts fewer names in an order.
func tooMany(e *Error, r OrderRequest) bool {
	found := mostNames.FindStringSubmatch(e.Detail)
	if e.Problem != problemMalformed && e.Problem != problemRejectedIdentifier || found == nil {
		return false
	}
	most, err := strconv.Atoi(found[1])
	if err != nil || most >= len(r.Identifiers) {
		return false
	}
	e.Kind = Permanent
	e.Hint = "split the certificate: the CA accepts at most " + found[1] + " names"
	if r.Profile != "" {
		e.Hint += " with the profile " + shortened(r.Profile, 100)
	}
	return true
}

var mostNames = regexp.MustCompile(`(?i)\b(?:more than|at most|maximum of|max|exceeds)\D{0,12}(\d{1,4}) (?:\w+ )?(?:identifiers|names|domains|sans)\b`)

// addressesForbidden recognizes that the CA does not issue for IP addresses with the profile of an order.
func addressesForbidden(e *Error, r OrderRequest) bool {
	return (e.Problem == problemRejectedIdentifier || e.Problem == problemUnsupportedIdentifier) &&
		strings.Contains(strings.ToLower(e.Detail), "profile") &&
		slices.ContainsFunc(r.Identifiers, func(id Identifier) bool { return id.Type == "ip" })
}

// shortlived is the profile of Let's Encrypt that permits IP addresses.
const shortlived = "shortlived"

// forAddresses says what to do about a profile with which the CA does not issue for IP addresses.
func (d *directory) forAddresses(profile string) string {
	if profile != shortlived && d.offers(shortlived) {
		return "set profile: " + shortlived + " in the spec: the CA issues for IP addresses with it"
	}
	return d.instead(profile)
}

// mentioned are the names of an order that the detail of its refusal holds, as words outside of URLs.
func mentioned(e *Error, r OrderRequest) []Identifier {
	words := map[string]bool{}
	for _, word := range strings.FieldsFunc(anyURL.ReplaceAllString(e.Detail, " "), outsideName) {
		words[strings.ToLower(strings.TrimPrefix(strings.Trim(word, ".:"), "*."))] = true
	}
	return slices.DeleteFunc(slices.Clone(r.Identifiers), func(id Identifier) bool {
		return !words[strings.TrimPrefix(canonical(id).Value, "*.")]
	})
}

var anyURL = regexp.MustCompile(`https?://[^ "<>]+`)

// outsideName reports whether c is no part of a host name or address.
func outsideName(c rune) bool {
	return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("-_.:*", c)
}

// unpausePage finds the page at which Let's Encrypt lets people unpause their account for some names. A link to the
// documentation of a rate limit is no such page.
var unpausePage = regexp.MustCompile(`(?i)please visit:? *https://[^ "<>]+|https://[^ "<>?]*/unpause\b`)

// paused recognizes a rate limit that time does not end: the CA has paused the account for some of the names until
// somebody opens a page. It sends no Retry-After then (Boulder: wfe2.NewOrder, "temporarily prevented").
func paused(e *Error, r OrderRequest) bool {
	if e.Status != http.StatusTooManyRequests || !e.untimed || !unpausePage.MatchString(e.Detail) {
		return false
	}
	names := mentioned(e, r)
	if len(names) == 0 {
		return false
	}
	e.Kind, e.Whole, e.RetryAt, e.untimed = Permanent, false, time.Time{}, false
	if len(names) == 1 {
		e.Identifier = names[0].Value
	}
	e.Hint = "open the URL in the error returned by the CA, then run: acmed renew " + HintName
	return true
}
