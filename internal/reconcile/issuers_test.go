package reconcile_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// ten are ten certificates.
func ten() (certs []*spec.Certificate) {
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"} {
		certs = append(certs, cert(name))
	}
	return certs
}

func TestOneProbeForAllAdviceWhileTheCAIsDead(t *testing.T) {
	for sentence, answer := range map[string]func(*http.Request) *http.Response{
		"behind a gateway": gateway(http.StatusServiceUnavailable),
		"as it asked for":  problem("", http.StatusServiceUnavailable, "serverInternal", "maintenance", "3600"),
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{RenewalInfo: true}, func(w *world) {
				w.want(ten()...)
				w.run()
				time.Sleep(day)
				answer, tries := counted(answer)
				w.ca().Intercept(answer)
				time.Sleep(2 * day)
				if n := tries(); n > 70 {
					t.Errorf("ten certificates asked for advice %d times in two days", n)
				}
				w.expect("a", reconcile.PhaseValid, reconcile.NotDue)
				w.ca().Intercept(nil)
				before := w.ca().Count("renewalInfo")
				time.Sleep(9 * time.Hour)
				if n := w.ca().Count("renewalInfo") - before; n < 10 {
					t.Errorf("advice was read %d times after that", n)
				}
			})
		})
	}
}

// TestACAThatAnswersIsReached has step-ca answer 500 to a binding that it does not accept, and a CA that is away.
func TestACAThatAnswersIsReached(t *testing.T) {
	for sentence, c := range map[string]struct {
		answer  func(*http.Request) *http.Response // nil: none
		why     string
		binding bool // is in the hint
	}{
		"500 to a binding": {toBindings(problem("/new-account", 500, "serverInternal", "The server experienced an internal error", "")), "answered HTTP 500: The server experienced", true},
		"502 for anything": {gateway(http.StatusBadGateway), "answered HTTP 502: ", false},
		"no answer":        {nil, "cannot be reached: ", false},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{}, func(w *world) {
				w.quiet = true
				issuer := w.issuer("ca", letsencrypt())
				issuer.Binding = &spec.ExternalAccountBinding{KID: "kid", HMACKeyFile: writeKey(t, []byte("0123456789abcdef0123456789abcdef"))}
				w.put(spec.NewSet([]*spec.Certificate{cert("www")}, []*spec.Issuer{issuer}))
				w.ca().Down(c.answer == nil)
				w.ca().Intercept(c.answer)
				w.run()
				time.Sleep(time.Hour)
				w.expect("www", reconcile.PhaseBackoff, reconcile.IssuerHold)
				if v := w.view("www"); !strings.HasPrefix(v.Detail, c.why) {
					t.Errorf("held since %q, want %q", v.Detail, c.why)
				}
				if hint := w.record("www").Failures["ca"].Hint; strings.Contains(hint, "externalAccountBinding") != c.binding {
					t.Errorf("got hint %q", hint)
				}
				w.ca().Intercept(nil)
			})
		})
	}
}

// toBindings answers only requests that carry an external account binding.
func toBindings(answer func(*http.Request) *http.Response) func(*http.Request) *http.Response {
	return func(r *http.Request) *http.Response {
		if r.Body == nil {
			return nil
		}
		body, _ := io.ReadAll(r.Body) // it is in memory
		r.Body = io.NopCloser(bytes.NewReader(body))
		var jws struct{ Payload string }
		_ = json.Unmarshal(body, &jws) // what is no JWS carries nothing
		payload, _ := base64.RawURLEncoding.DecodeString(jws.Payload)
		if !strings.Contains(string(payload), "externalAccountBinding") {
			return nil
		}
		return answer(r)
	}
}

func TestAHoldOfTheCAHoldsAdviceToo(t *testing.T) {
	bubble(t, acmetest.Config{RenewalInfo: true}, func(w *world) {
		w.want(ten()...)
		w.run()
		time.Sleep(day)
		w.ca().HoldAll(time.Now().Add(20 * time.Hour)) // who is told and asks again fails the test
		time.Sleep(2 * day)
		w.expect("a", reconcile.PhaseValid, reconcile.NotDue)
	})
}

func TestAdviceIsNotAskedForAllTheTime(t *testing.T) {
	bubble(t, acmetest.Config{RenewalInfo: true}, func(w *world) {
		refuse, tries := counted(problem("renewal-info", http.StatusTooManyRequests, "rateLimited", "slow down", "1"))
		w.ca().Intercept(refuse)
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Hour)
		if n := tries(); n < 2 || n > 61 {
			t.Errorf("asked %d times in an hour", n)
		}
	})
}

// TestAdviceForAnotherCertificateIsForgotten fails the first look at the advice for a renewed certificate.
func TestAdviceForAnotherCertificateIsForgotten(t *testing.T) {
	bubble(t, acmetest.Config{RenewalInfo: true}, func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Hour)
		old := w.record("www")
		w.ca().AllowRepeat("www.example.com")
		w.ca().Intercept(problem("renewal-info", http.StatusBadRequest, "malformed", "no", ""))
		w.reconciler.Renew("www", false)
		time.Sleep(time.Hour)
		now := w.record("www")
		if now.ARI.CertID == old.ARI.CertID || !now.ARI.Chosen.IsZero() || now.ARI.NextPoll.Before(time.Now()) {
			t.Errorf("got %+v", now.ARI)
		}
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
	})
}

func TestAHoldFromAClockThatWasAheadIsNotBelieved(t *testing.T) {
	for sentence, change := range map[string]func(*store.IssuerState){
		"an outage":             func(s *store.IssuerState) { s.Outage = 3 },
		"a wish of the CA":      func(s *store.IssuerState) { s.Promised = true },
		"a hold of acmed's own": func(s *store.IssuerState) {},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{}, func(w *world) {
				w.want(cert("www"))
				w.open()
				ledger, err := w.store.Issuer("ca")
				if err != nil {
					t.Fatal(err)
				}
				err = ledger.Update(func(s *store.IssuerState) {
					s.Hold, s.HoldWhy = time.Now().Add(1000*day), "of the future"
					change(s)
				})
				if err != nil {
					t.Fatal(err)
				}
				refuse, tries := counted(problem("", http.StatusServiceUnavailable, "rateLimited", "wait", "3600"))
				w.ca().Intercept(refuse)
				w.settle("www")
				if n := tries(); n != 1 {
					t.Errorf("asked %d times", n)
				}
				w.expect("www", reconcile.PhaseBackoff, reconcile.IssuerHold)
				w.ca().Intercept(nil)
				time.Sleep(61 * time.Minute)
				w.settle("www")
				w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
			})
		})
	}
}

func TestAnEditOfTheIssuerDisturbsNoOrder(t *testing.T) {
	bubble(t, slow(), func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Minute)
		issuer := w.issuer("ca", spec.Limits{OrdersInFlight: 2, OrdersPer3h: 10})
		issuer.Contact = []string{"mailto:pki@example.com"}
		w.put(spec.NewSet([]*spec.Certificate{cert("www")}, []*spec.Issuer{issuer}))
		time.Sleep(3 * time.Hour)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		for op, want := range map[string]int{"newAccount": 1, "newOrder": 1, "finalize": 1} {
			if n := w.ca().Count(op); n != want {
				t.Errorf("%s: %d requests, want %d", op, n, want)
			}
		}
	})
}

func TestAnIssuerThatMovedIsAnotherCA(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.addCA("else", acmetest.Config{})
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Hour)
		moved := w.issuer("ca", letsencrypt())
		moved.Directory = w.cas["else"].DirectoryURL()
		w.put(spec.NewSet([]*spec.Certificate{cert("www")}, []*spec.Issuer{moved}))
		time.Sleep(time.Minute)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if n := w.cas["else"].Count("newOrder"); n != 1 || w.orders() != 1 {
			t.Errorf("ordered %d times at the new place, %d in all at the old", n, w.orders())
		}
	})
}

func TestTheOperatorEndsNoOutageThatTheCAAnnounced(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		announced, tries := counted(problem("", http.StatusInternalServerError, "serverInternal", "maintenance", "7200"))
		w.ca().Intercept(announced)
		w.workers = 1 // else both ask before either is answered
		w.want(cert("a"), cert("b"))
		w.run()
		time.Sleep(time.Hour)
		release := func() {
			if err := w.reconciler.Release(); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		release()
		if n := tries(); n != 1 {
			t.Errorf("asked %d times within its time", n)
		}
		time.Sleep(61 * time.Minute)
		if n := tries(); n != 2 {
			t.Errorf("asked %d times after its time", n)
		}
		silent, more := counted(gateway(http.StatusServiceUnavailable))
		w.ca().Intercept(silent)
		time.Sleep(121 * time.Minute)
		if n := more(); n != 1 {
			t.Errorf("asked %d times after two hours more", n)
		}
		w.ca().Intercept(nil)
		release()
		time.Sleep(time.Second)
		w.expect("a", reconcile.PhaseValid, reconcile.NotDue)
		w.expect("b", reconcile.PhaseValid, reconcile.NotDue)
	})
}
