package boulder

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Requests counts the requests that the front end has answered, by kind: newAccount, newOrder, authorization, challenge,
// finalize, order, certificate, renewalInfo, account, keyChange, revokeCert. Directories and nonces are not counted: Boulder
// does not log them.
type Requests map[string]int

// Total is the sum over all kinds.
func (r Requests) Total() (total int) {
	for _, n := range r {
		total += n
	}
	return total
}

// Since returns what was counted after an earlier count; kinds without requests are absent.
func (r Requests) Since(earlier Requests) Requests {
	later := maps.Clone(r)
	for kind := range later {
		if later[kind] -= earlier[kind]; later[kind] == 0 {
			delete(later, kind)
		}
	}
	return later
}

// String lists the kinds by name, as in "1 authorization, 2 order".
func (r Requests) String() string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(r)) {
		parts = append(parts, fmt.Sprintf("%d %s", r[kind], kind))
	}
	return strings.Join(parts, ", ")
}

// answered matches the line that the front end logs after each answer: method, endpoint, account, status, milliseconds.
var answered = regexp.MustCompile(`(?m) (?:GET|POST|POST-as-GET) (/\S*) \d+ \d{3} \d+ \S+ JSON=`)

// Requests reads the front end's log.
func (l *Lab) Requests() (Requests, error) {
	log, err := l.Log(WFE)
	if err != nil {
		return nil, err
	}
	counts := Requests{}
	for _, match := range answered.FindAllStringSubmatch(log, -1) {
		if kind := kindOf(match[1]); kind != "" {
			counts[kind]++
		}
	}
	return counts, nil
}

func kindOf(path string) string {
	switch path {
	case "/acme/new-acct":
		return "newAccount"
	case "/acme/new-order":
		return "newOrder"
	case "/acme/acct/":
		return "account"
	case "/acme/order/":
		return "order"
	case "/acme/authz/":
		return "authorization"
	case "/acme/chall/":
		return "challenge"
	case "/acme/finalize/":
		return "finalize"
	case "/acme/cert/":
		return "certificate"
	case "/acme/renewal-info/":
		return "renewalInfo"
	case "/acme/key-change":
		return "keyChange"
	case "/acme/revoke-cert":
		return "revokeCert"
	}
	return "" // what this package asks itself
}
