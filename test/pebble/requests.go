package pebble

import (
	"maps"
	"regexp"
	"slices"
)

// Requests counts the requests that the CA has handled, by kind: directory,
// newNonce, newAccount, newOrder, authz, challenge, finalize, order, cert,
// renewalInfo, account, orders, keyChange, revokeCert. A challenge counts when
// it is answered and when it is polled.
//
// A request refused for its nonce counts like any other, for Pebble's log
// shows no difference: exact numbers want Options.NonceReject to be zero.
type Requests map[string]int

// Total is the sum over all kinds, less those named.
func (r Requests) Total(except ...string) int {
	total := 0
	for kind, n := range r {
		if !slices.Contains(except, kind) {
			total += n
		}
	}
	return total
}

// Since returns what was counted after an earlier count; kinds without
// requests are absent.
func (r Requests) Since(earlier Requests) Requests {
	later := maps.Clone(r)
	for kind := range later {
		if later[kind] -= earlier[kind]; later[kind] == 0 {
			delete(later, kind)
		}
	}
	return later
}

var handled = regexp.MustCompile(`(?m) ([A-Z]+) (/\S*) -> calling handler\(\)$`)

// Requests reads Pebble's log from its beginning. Pebble writes a request's
// line before it answers, so what a client has seen answered is counted.
func (s *Server) Requests() (Requests, error) {
	log, err := s.Log()
	if err != nil {
		return nil, err
	}
	counts := Requests{}
	for _, match := range handled.FindAllSubmatch(log, -1) {
		if kind := kindOf(string(match[2])); kind != "" {
			counts[kind]++
		}
	}
	return counts, nil
}

// kindOf names Pebble's paths, which are odd on purpose.
func kindOf(path string) string {
	switch path {
	case "/dir":
		return "directory"
	case "/nonce-plz":
		return "newNonce"
	case "/sign-me-up":
		return "newAccount"
	case "/my-account/":
		return "account"
	case "/order-plz":
		return "newOrder"
	case "/my-order/":
		return "order"
	case "/finalize-order/":
		return "finalize"
	case "/authZ/":
		return "authz"
	case "/chalZ/":
		return "challenge"
	case "/certZ/":
		return "cert"
	case "/draft-ietf-acme-ari-03/renewalInfo/":
		return "renewalInfo"
	case "/list-orderz/":
		return "orders"
	case "/rollover-account-key":
		return "keyChange"
	case "/revoke-cert":
		return "revokeCert"
	}
	return "" // the management interface logs too
}
