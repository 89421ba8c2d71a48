package reconcile_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

// accountKey describes the key of the account at "ca".
func (w *world) accountKey() string {
	w.t.Helper()
	_, key, err := w.store.Account("ca")
	if err != nil {
		w.t.Fatal(err)
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return fmt.Sprintf("RSA-%d", k.N.BitLen())
	case *ecdsa.PrivateKey:
		return fmt.Sprintf("ECDSA-%d", k.Curve.Params().BitSize)
	}
	return "none"
}

func keyKind(algorithm string, size int) *spec.PrivateKey {
	return &spec.PrivateKey{Algorithm: algorithm, Size: size}
}

// bound is issuer "ca" with a binding that serves one account, and a kind of account key.
func (w *world) bound(kind *spec.PrivateKey, algorithm string) *spec.Issuer {
	i := w.issuer("ca", letsencrypt())
	i.Binding = &spec.ExternalAccountBinding{KID: "kid", HMACKeyFile: writeKey(w.t, secret()), Algorithm: algorithm}
	i.AccountKey = kind
	return i
}

func secret() []byte { return []byte(strings.Repeat("0123456789abcdef", 4)) }

func binding(c acmetest.Config) acmetest.Config {
	c.RequireEAB, c.EAB = true, map[string][]byte{"kid": secret()}
	return c
}

// TestTheAccountKeyIsOneThatTheCAAccepts registers once, with a binding that serves one account.
func TestTheAccountKeyIsOneThatTheCAAccepts(t *testing.T) {
	for sentence, c := range map[string]struct {
		accepts []string // nil: all
		kind    *spec.PrivateKey
		signed  string // the binding
		want    string
	}{
		"ECDSA at first":                          {nil, nil, "", "ECDSA-256"},
		"RSA where the CA accepts nothing else":   {[]string{"RS256"}, nil, "", "RSA-2048"},
		"the best of those that it accepts":       {[]string{"EdDSA", "PS256", "RS256", "ES384"}, nil, "", "ECDSA-384"},
		"what the issuer says":                    {nil, keyKind("RSA", 3072), "", "RSA-3072"},
		"also ECDSA 384":                          {nil, keyKind("ECDSA", 384), "", "ECDSA-384"},
		"with a binding by HS384":                 {nil, nil, "HS384", "ECDSA-256"},
		"RSA with a binding by HS512":             {[]string{"RS256"}, nil, "HS512", "RSA-2048"},
		"what the issuer says and the CA accepts": {[]string{"RS256"}, keyKind("RSA", 2048), "", "RSA-2048"},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, binding(acmetest.Config{Algorithms: c.accepts, EABSigned: c.signed}), func(w *world) {
				w.put(spec.NewSet([]*spec.Certificate{cert("www")}, []*spec.Issuer{w.bound(c.kind, c.signed)}))
				w.run()
				time.Sleep(time.Minute)
				w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
				url := w.account()
				for range 3 {
					w.stop()
					w.run()
					time.Sleep(time.Hour)
				}
				if got := w.accountKey(); got != c.want || w.account() != url {
					t.Errorf("got %s of %s, want %s of %s", got, w.account(), c.want, url)
				}
				if _, _, err := w.reconciler.Rollover(w.t.Context(), "ca"); err != nil || w.accountKey() != c.want {
					t.Errorf("the next key: %s, %v", w.accountKey(), err)
				}
				w.another()
			})
		})
	}
}

// TestAnAccountKeyThatTheCARefuses cannot be replaced without the operator.
func TestAnAccountKeyThatTheCARefuses(t *testing.T) {
	for sentence, c := range map[string]struct {
		accepts []string
		kind    *spec.PrivateKey
	}{
		"since the operator chose it":         {[]string{"RS256"}, keyKind("ECDSA", 384)},
		"since acmed knows none of the kinds": {[]string{"EdDSA", "HS256"}, nil},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, binding(acmetest.Config{Algorithms: c.accepts}), func(w *world) {
				w.quiet = true
				w.put(spec.NewSet([]*spec.Certificate{cert("www")}, []*spec.Issuer{w.bound(c.kind, "")}))
				w.run()
				time.Sleep(3 * day)
				w.expect("www", reconcile.PhaseBackoff, reconcile.IssuerHold)
				hint := w.record("www").Failures["ca"].Hint
				if !strings.Contains(hint, "accountKey") || !strings.Contains(hint, c.accepts[0]) {
					t.Errorf("got hint %q", hint)
				}
				if kept, _ := filepath.Glob(filepath.Join(w.dir, "archive/*-accounts-ca")); len(kept) > 0 {
					t.Errorf("keys were put into the archive: %q", kept)
				}
				w.ca().Accept("RS256")
				w.put(spec.NewSet([]*spec.Certificate{cert("www")}, []*spec.Issuer{w.bound(keyKind("RSA", 2048), "")}))
				time.Sleep(time.Minute)
				w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
				if got := w.accountKey(); got != "RSA-2048" {
					t.Errorf("got %s", got)
				}
			})
		})
	}
}

// TestAnAccountOutlivesItsKindOfKey edits accountKey, and changes what the CA accepts.
func TestAnAccountOutlivesItsKindOfKey(t *testing.T) {
	t.Run("an edit waits for a rollover", func(t *testing.T) {
		bubble(t, binding(acmetest.Config{}), func(w *world) {
			w.put(spec.NewSet([]*spec.Certificate{cert("www")}, []*spec.Issuer{w.bound(nil, "")}))
			w.run()
			time.Sleep(time.Minute)
			url := w.account()
			w.put(spec.NewSet([]*spec.Certificate{cert("www")}, []*spec.Issuer{w.bound(keyKind("RSA", 2048), "")}))
			w.another()
			if w.account() != url || w.accountKey() != "ECDSA-256" {
				t.Errorf("got %s of %s", w.accountKey(), w.account())
			}
			if _, _, err := w.reconciler.Rollover(w.t.Context(), "ca"); err != nil || w.accountKey() != "RSA-2048" {
				t.Errorf("got %s, %v", w.accountKey(), err)
			}
			w.expectAccount(url)
		})
	})
	t.Run("an account whose answer was lost is found by its key", func(t *testing.T) {
		bubble(t, binding(acmetest.Config{}), func(w *world) {
			w.quiet = true
			w.ca().Lose("newAccount", 1)
			w.put(spec.NewSet([]*spec.Certificate{cert("www")}, []*spec.Issuer{w.bound(nil, "")}))
			w.run()
			time.Sleep(time.Second)
			w.put(spec.NewSet([]*spec.Certificate{cert("www")}, []*spec.Issuer{w.bound(keyKind("RSA", 2048), "")}))
			time.Sleep(time.Hour)
			w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
			if w.accountKey() != "ECDSA-256" {
				t.Errorf("got %s", w.accountKey())
			}
			w.expectAccount(w.account())
		})
	})
	t.Run("a CA that accepts its signatures no more", func(t *testing.T) {
		bubble(t, binding(acmetest.Config{Algorithms: []string{"ES256"}}), func(w *world) {
			w.quiet = true
			w.put(spec.NewSet([]*spec.Certificate{cert("www")}, []*spec.Issuer{w.bound(nil, "")}))
			w.run()
			time.Sleep(time.Minute)
			url := w.account()
			w.ca().Accept("RS256")
			w.want(cert("www"), cert("two"))
			w.scheduler.Wake("two")
			time.Sleep(3 * day)
			w.expect("two", reconcile.PhaseBackoff, reconcile.IssuerHold)
			if hint := w.record("two").Failures["ca"].Hint; !strings.Contains(hint, "issuer of another name") {
				t.Errorf("got hint %q", hint)
			}
			w.ca().Accept("ES256")
			time.Sleep(25 * time.Hour)
			w.expectAccount(url)
			w.another()
		})
	})
}

// TestRegistrationInterruptedAtEveryRequest cuts the connection at each request while the kind of key changes, before it
// reaches the CA or before its answer comes back, and stops acmed or lets it go on. The binding serves one account.
func TestRegistrationInterruptedAtEveryRequest(t *testing.T) {
	for sentence, c := range map[string]struct{ arrives, stops bool }{
		"before":         {},
		"after":          {arrives: true},
		"stopped before": {stops: true},
		"stopped after":  {arrives: true, stops: true},
	} {
		t.Run(sentence, func(t *testing.T) {
			for n, more := 1, true; more && !t.Failed(); n++ {
				bubble(t, binding(acmetest.Config{Algorithms: []string{"RS256"}}), func(w *world) {
					w.quiet = true
					w.put(spec.NewSet([]*spec.Certificate{cert("www")}, []*spec.Issuer{w.bound(nil, "")}))
					var seen atomic.Int64
					cut := make(chan struct{})
					w.cut = func(r *request) error {
						if seen.Add(1) != int64(n) {
							return nil
						}
						if c.arrives {
							if res, err := w.ca().RoundTrip(r); err == nil {
								res.Body.Close()
							}
						}
						close(cut)
						if c.stops {
							return context.Canceled
						}
						return errors.New("connection reset by peer")
					}
					w.run()
					time.Sleep(time.Second)
					synctest.Wait()
					select {
					case <-cut:
						if c.stops {
							w.stop()
							w.run()
						}
					default:
						more = false
					}
					more = more && n < 9      // then it is registered
					time.Sleep(3 * time.Hour) // seen is beyond n
					w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
					if got := w.accountKey(); got != "RSA-2048" {
						t.Errorf("cut at request %d: got %s", n, got)
					}
					if told, _, err := w.reconciler.Account(w.t.Context(), "ca"); err != nil || told.Thumbprint != w.ca().KeyOf(w.account()) {
						t.Errorf("cut at request %d: %+v, %v", n, told, err)
					}
				})
			}
		})
	}
}
