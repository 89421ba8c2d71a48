//go:build e2e

package cas_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"testing"
	"time"

	"acmed/test/ca"
	"acmed/test/caddy"
	"acmed/test/pebble"
	"acmed/test/stepca"
	"acmed/test/vault"
)

// subject is a CA that runs, of its own for each test.
type subject struct {
	name       string // in cas.CAs
	directory  string
	caBundle   string // PEM file for the issuer's file
	server     ca.Server
	stop       func()
	restart    func(context.Context) error
	revoked    func(context.Context, *x509.Certificate) (bool, error) // nil: the CA does not say
	newAccount string                                                 // expression for its log
	newOrder   string
	signed     string // of every signed request
	bindings   []binding
	roots      string                              // PEM file of the root of what it issues, where a test needs it
	setTerms   func(string) error                  // of step-ca
	moveTo     func(context.Context, string) error // of Vault, whose answers name its address
}

// binding is a key for an external account binding. The key is as an operator gets it.
type binding struct{ kid, key string }

// options are of a subject. The zero value is a CA with its defaults.
type options struct {
	lifetime time.Duration // of its certificates; 0: the CA's default
	bound    bool          // an account needs an external account binding
	onlyRoot bool          // of Vault: the root issues
	profiles map[string]time.Duration
	terms    string
	friendly bool // of Pebble: it takes every nonce and makes nobody wait
}

// starters start each of cas.CAs.
func starters() map[string]func(*testing.T, options) subject {
	return map[string]func(*testing.T, options) subject{
		"Pebble": startPebble, "step-ca": startStepCA, "Caddy": startCaddy, "Vault": startVault,
	}
}

// hmacKeys are keys for CAs that take them from their configuration.
func hmacKeys() map[string][]byte {
	return map[string][]byte{"kid-1": []byte("0123456789abcdef0123456789abcdef"), "kid-2": []byte("fedcba9876543210fedcba9876543210")}
}

func bindingsOf(keys map[string][]byte) (all []binding) {
	for _, kid := range []string{"kid-1", "kid-2"} {
		all = append(all, binding{kid, base64.RawURLEncoding.EncodeToString(keys[kid])})
	}
	return all
}

// startPebble starts a CA that is as hostile as it can be.
func startPebble(t *testing.T, o options) subject {
	t.Helper()
	settings := pebble.Options{
		HTTPPort: 80, TLSPort: 443, DNSServer: nameServer, NonceReject: 20, AuthzReuse: 50, ChainLength: 2,
		RetryAfterOrder: time.Second, RetryAfterAuthz: time.Second, MaxValidationDelay: 2 * time.Second, Profiles: o.profiles,
	}
	if o.friendly {
		settings = pebble.Options{HTTPPort: 80, TLSPort: 443, DNSServer: nameServer}
	}
	if o.lifetime != 0 {
		settings.Profiles = map[string]time.Duration{"short": o.lifetime}
	}
	var bindings []binding
	if o.bound {
		settings.EAB, bindings = hmacKeys(), bindingsOf(hmacKeys())
	}
	s := pebble.Start(t, settings)
	return subject{
		name: "Pebble", directory: s.DirectoryURL, caBundle: s.RootsFile, server: s, stop: s.Stop, restart: s.Restart, revoked: s.Revoked,
		newAccount: `There are now \d+ accounts`, newOrder: `Added order "`, signed: ` POST /\S* -> calling handler`, bindings: bindings,
	}
}

func startStepCA(t *testing.T, o options) subject {
	t.Helper()
	p := stepca.Provisioner{Name: "acme", Lifetime: o.lifetime, Terms: o.terms}
	var bindings []binding
	if o.bound {
		p.Bindings, bindings = hmacKeys(), bindingsOf(hmacKeys())
	}
	s := stepca.Start(t, stepca.Options{Resolver: nameServer, Provisioners: []stepca.Provisioner{p}})
	return subject{
		name: "step-ca", directory: s.DirectoryURL, caBundle: s.RootsFile, server: s, stop: s.Stop, restart: s.Restart, revoked: s.Revoked,
		newAccount: `method=POST .*path=/acme/acme/new-account .*status=201`, newOrder: `method=POST .*path=/acme/acme/new-order .*status=201`,
		signed: `method=POST `, bindings: bindings, setTerms: s.SetTerms,
	}
}

func startCaddy(t *testing.T, o options) subject {
	t.Helper()
	s := caddy.Start(t, caddy.Options{Lifetimes: map[string]time.Duration{"acme": o.lifetime}})
	return subject{
		name: "Caddy", directory: s.Directory("acme"), caBundle: s.RootsFile, server: s, stop: s.Stop, restart: s.Restart,
		newAccount: `"uri":"/acme/local/new-account".*"status":201`, newOrder: `"uri":"/acme/local/new-order".*"status":201`,
		signed: `"method":"POST"`,
	}
}

func startVault(t *testing.T, o options) subject {
	t.Helper()
	s := vault.Start(t, vault.Options{Resolver: nameServer, OnlyRoot: o.onlyRoot, RequireEAB: o.bound})
	role := ""
	if o.lifetime != 0 {
		role = "short"
		if err := s.AddRole(t.Context(), role, o.lifetime); err != nil {
			t.Fatal(err)
		}
	}
	var bindings []binding
	for o.bound && len(bindings) < 2 {
		kid, key, err := s.NewBinding(t.Context(), role)
		if err != nil {
			t.Fatal(err)
		}
		bindings = append(bindings, binding{kid, key})
	}
	return subject{
		name: "Vault", directory: s.Directory(role), caBundle: s.ListenersFile, server: s, stop: s.Stop, restart: s.Restart, revoked: s.Revoked,
		newAccount: `POST \S*acme/new-account 201`, newOrder: `POST \S*acme/new-order 201`, signed: `(?m)^POST \S*acme/\S+ \d+`,
		bindings: bindings, roots: s.RootsFile, moveTo: s.MoveTo,
	}
}
