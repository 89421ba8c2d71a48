package reconcile_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// retryable is a CA that leaves challenges pending whose validation failed, as step-ca and Caddy do.
func retryable() acmetest.Config { return acmetest.Config{Retryable: true} }

func TestAChallengeThatFailsIsAcceptedAgainAndItsErrorIsShown(t *testing.T) {
	for sentence, restart := range map[string]bool{"as it runs": false, "after a restart": true} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, retryable(), func(w *world) {
				core, logs := observer.New(zapcore.WarnLevel)
				w.core, w.quiet = core, true
				w.ca().FailValidation("www.example.com", "connection", "connection refused")
				w.want(cert("www"))
				w.run()
				time.Sleep(30 * time.Second)
				w.expect("www", reconcile.PhaseIssuing, reconcile.AwaitingCA)
				v := w.view("www")
				if !strings.Contains(v.Error, "connection refused") || !strings.Contains(v.Hint, "port 80") || v.ErrorAt.IsZero() ||
					!strings.Contains(v.Detail, "www.example.com") {
					t.Errorf("the reason is not shown: %+v", v)
				}
				if n := logs.FilterMessage("domain validation failed, the order stays pending").Len(); n != 1 {
					t.Errorf("logged %d times", n)
				}
				if restart {
					w.stop()
					w.run()
				}
				w.ca().FailValidation("www.example.com", "", "")
				time.Sleep(90 * time.Second)
				w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
				if n := w.orders(); n != 1 {
					t.Errorf("ordered %d times", n)
				}
				if v := w.view("www"); v.Error != "" {
					t.Errorf("the error is still shown: %s", v.Error)
				}
			})
		})
	}
}

func TestWhatFailedIsNotShownOnceItIsValidated(t *testing.T) {
	bubble(t, acmetest.Config{Retryable: true, FinalizeDelay: time.Hour}, func(w *world) {
		w.quiet = true
		w.ca().FailValidation("www.example.com", "connection", "connection refused")
		w.want(cert("www"))
		w.run()
		time.Sleep(10 * time.Second)
		w.ca().FailValidation("www.example.com", "", "")
		time.Sleep(10 * time.Minute)
		w.expect("www", reconcile.PhaseIssuing, reconcile.AwaitingCA)
		if v := w.view("www"); v.Error != "" || v.Detail != "" {
			t.Errorf("got %q, waiting for %q", v.Error, v.Detail)
		}
		time.Sleep(time.Hour)
	})
}

func TestAChallengeIsAcceptedOnlySoOften(t *testing.T) {
	bubble(t, retryable(), func(w *world) {
		w.quiet = true
		w.ca().FailValidation("www.example.com", "dns", "no such host")
		w.want(cert("www"))
		w.run()
		time.Sleep(9 * time.Minute)
		if n := w.ca().Count("challenge"); n != 5 {
			t.Errorf("accepted %d times within ten minutes, want once and then after 5 s, 15 s, 1 min and 5 min", n)
		}
		w.want()
		time.Sleep(time.Minute)
	})
}

func TestAnAttemptWhoseChallengesFailEndsAfterTenMinutes(t *testing.T) {
	for sentence, restart := range map[string]bool{"as it runs": false, "although acmed restarts": true} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, retryable(), func(w *world) {
				w.quiet = true
				w.addCA("second", acmetest.Config{})
				w.ca().FailValidation("www.example.com", "connection", "connection refused")
				w.put(spec.NewSet([]*spec.Certificate{cert("www", "ca", "second")}, []*spec.Issuer{w.issuer("ca", spec.Limits{OrdersInFlight: 8}), w.issuer("second", spec.Limits{OrdersInFlight: 8})}))
				w.run()
				time.Sleep(9 * time.Minute)
				w.expect("www", reconcile.PhaseIssuing, reconcile.AwaitingCA)
				if restart {
					w.stop()
					w.run()
				}
				time.Sleep(90 * time.Second)
				w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
				if v := w.view("www"); v.Issuer != "second" {
					t.Errorf("issued by %s", v.Issuer)
				}
			})
		})
	}
}

func TestOrdersThatHangKeepNoOtherWaiting(t *testing.T) {
	for sentence, ca := range map[string]acmetest.Config{
		"that fail and may be tried again": retryable(),
		"that people approve":              {ValidateDelay: 20 * time.Hour},
		"that take long to issue":          {FinalizeDelay: 20 * time.Hour},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, ca, func(w *world) {
				w.quiet = true
				certs := []*spec.Certificate{cert("good")}
				for i := range 6 {
					c := cert(fmt.Sprintf("hangs%d", i))
					if ca.Retryable {
						w.ca().FailValidation(c.DNSNames[0], "dns", "no such host")
					}
					certs = append(certs, c)
				}
				w.put(spec.NewSet(certs[1:], []*spec.Issuer{w.issuer("ca", spec.Limits{OrdersInFlight: 2})}))
				w.run()
				time.Sleep(10 * time.Second)
				w.put(spec.NewSet(certs, []*spec.Issuer{w.issuer("ca", spec.Limits{OrdersInFlight: 2})}))
				w.ca().DelayValidation("good.example.com", 0)
				time.Sleep(4 * time.Minute)
				if ca.FinalizeDelay > 0 { // it hangs too, but its turn has come
					w.expect("good", reconcile.PhaseIssuing, reconcile.AwaitingCA)
				} else {
					w.expect("good", reconcile.PhaseValid, reconcile.NotDue)
				}
				if v := w.view("hangs0"); v.Why != reconcile.AwaitingCA || ca.ValidateDelay > 0 && !strings.Contains(v.Detail, "neither validated nor refused") {
					t.Errorf("got %+v", v)
				}
				for _, c := range certs {
					w.ca().FailValidation(c.DNSNames[0], "", "")
				}
				time.Sleep(22 * time.Hour)
				for _, c := range certs {
					w.expect(c.Name, reconcile.PhaseValid, reconcile.NotDue)
				}
				if n := w.orders(); n > 2*len(certs) || !ca.Retryable && n != len(certs) {
					t.Errorf("ordered %d times", n)
				}
			})
		})
	}
}

func TestTheResponsesOfOtherNamesStayUntilTheCAHasValidatedThem(t *testing.T) {
	for sentence, terse := range map[string]bool{"at a CA that lists authorizations to the end": false, "at a CA that does not": true} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{AuthzReuse: 30 * day, Terse: terse}, func(w *world) {
				w.quiet = true
				c := cert("three")
				c.DNSNames = []string{"good1.example.com", "good2.example.com", "bad.example.com"}
				w.ca().DelayValidation("good1.example.com", 5*time.Second)
				w.ca().DelayValidation("good2.example.com", 20*time.Second)
				w.ca().FailValidation("bad.example.com", "dns", "SERVFAIL")
				w.put(spec.NewSet([]*spec.Certificate{c}, []*spec.Issuer{w.issuer("ca", spec.Limits{OrdersInFlight: 8, FailuresPerNamePerHour: 5})}))
				w.run()
				time.Sleep(40 * time.Second)
				w.expect("three", reconcile.PhaseBackoff, reconcile.BackingOff)
				if v := w.view("three"); !strings.Contains(v.Error, "bad.example.com") || strings.Contains(v.Error, "good") {
					t.Errorf("got %q", v.Error)
				}
				if f := w.record("three").Failures["ca"]; len(f.Subs) != 1 || f.Subs[0].Identifier != "bad.example.com" {
					t.Errorf("got %+v", f)
				}
				if got := charged(w, "failures:"); !slices.Equal(got, []string{"bad.example.com"}) {
					t.Errorf("charged %v", got)
				}
				w.ca().FailValidation("bad.example.com", "", "")
				before := w.ca().Count("challenge")
				time.Sleep(5 * time.Minute)
				w.expect("three", reconcile.PhaseValid, reconcile.NotDue)
				if n := w.ca().Count("challenge") - before; n != 1 {
					t.Errorf("the next order validates %d names, want the one that failed", n)
				}
			})
		})
	}
}

func TestTheResponsesStayUntilTheCAHasValidatedAlthoughNobodyWantsTheOrderAnyMore(t *testing.T) {
	for sentence, change := range map[string]func(*world){
		"when the names change": func(w *world) {
			c := cert("www")
			c.DNSNames = append(c.DNSNames, "more.example.com")
			w.want(c)
		},
		"when the spec goes away":    func(w *world) { w.want() },
		"when the webroot moves":     func(w *world) { w.want(challenged("www", "/srv/new")) },
		"when the challenge changes": func(w *world) { c := cert("www"); c.Challenge.Type = "dns-01"; w.want(c) },
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{AuthzReuse: day, OrderGap: -1}, func(w *world) {
				w.quiet = true
				w.ca().DelayValidation("www.example.com", 20*time.Second)
				w.want(challenged("www", "/srv/old"))
				w.run()
				time.Sleep(5 * time.Second)
				change(w)
				time.Sleep(5 * time.Second)
				if n := w.proofs.count(); n != 1 {
					t.Errorf("showing %d responses", n) // and the CA complains
				}
				time.Sleep(30 * time.Second)
				if n := w.proofs.count(); n != 0 {
					t.Errorf("still showing %d responses", n)
				}
			})
		})
	}
}

func TestTheResponsesStayAlthoughAcmedRestarts(t *testing.T) {
	bubble(t, acmetest.Config{AuthzReuse: 30 * day}, func(w *world) {
		w.quiet = true
		c := cert("two")
		c.DNSNames = []string{"good.example.com", "bad.example.com"}
		w.ca().DelayValidation("good.example.com", 20*time.Second)
		w.ca().FailValidation("bad.example.com", "dns", "SERVFAIL")
		w.put(spec.NewSet([]*spec.Certificate{c}, []*spec.Issuer{w.issuer("ca", spec.Limits{OrdersInFlight: 8, FailuresPerNamePerHour: 5})}))
		w.run()
		time.Sleep(5 * time.Second)
		w.stop()
		w.run()
		time.Sleep(10 * time.Second)
		if n := w.proofs.count(); n == 0 {
			t.Error("the responses are gone") // and the CA complains
		}
		time.Sleep(25 * time.Second)
		if got := charged(w, "failures:"); !slices.Equal(got, []string{"bad.example.com"}) {
			t.Errorf("charged %v", got)
		}
		w.want()
		time.Sleep(2 * time.Minute)
	})
}

func TestEachNameThatFailedIsReported(t *testing.T) {
	bubble(t, acmetest.Config{AuthzReuse: 30 * day}, func(w *world) {
		w.quiet = true
		c := cert("three")
		c.DNSNames = []string{"a.example.com", "b.example.com", "c.example.com"}
		for i, name := range c.DNSNames[1:] {
			w.ca().DelayValidation(name, time.Duration(i)*7*time.Second)
			w.ca().FailValidation(name, "dns", "SERVFAIL")
		}
		w.want(c)
		w.run()
		time.Sleep(30 * time.Second)
		var names []string
		for _, s := range w.record("three").Failures["ca"].Subs {
			names = append(names, s.Identifier)
		}
		if !slices.Equal(names, []string{"b.example.com", "c.example.com"}) {
			t.Errorf("got %v", names)
		}
		w.want()
		time.Sleep(time.Minute)
	})
}

// charged are the names whose bucket of the issuer's budgets is in use.
func charged(w *world, prefix string) (names []string) {
	w.t.Helper()
	l, err := w.store.Issuer("ca")
	if err != nil {
		w.t.Fatal(err)
	}
	l.View(func(s *store.IssuerState) {
		for key, at := range s.Budgets {
			if name, ok := strings.CutPrefix(key, prefix); ok && at.After(time.Now()) {
				names = append(names, name)
			}
		}
	})
	slices.Sort(names)
	return names
}

func TestAnInvalidOrderIsOverWhateverItsProblem(t *testing.T) {
	for _, word := range []string{"serverInternal", "rateLimited", "badNonce", "orderNotReady", "connection", "unauthorized", "userActionRequired"} {
		t.Run(word+" of an authorization", func(t *testing.T) {
			bubble(t, acmetest.Config{Terse: true}, func(w *world) {
				w.quiet = true
				w.ca().FailValidation("www.example.com", word, "During secondary validation")
				w.want(cert("www"))
				w.run()
				time.Sleep(time.Second)
				if v := w.view("www"); !strings.Contains(v.Error, word) {
					t.Errorf("got %q", v.Error)
				}
				w.ca().FailValidation("www.example.com", "", "")
				time.Sleep(2 * time.Minute)
				if word == "rateLimited" { // the CA did not say how long: an hour
					time.Sleep(time.Hour)
				}
				w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
				if n := w.orders(); n != 2 {
					t.Errorf("ordered %d times", n)
				}
			})
		})
		t.Run(word+" of the order, while it issues", func(t *testing.T) {
			bubble(t, acmetest.Config{AuthzReuse: day, FinalizeDelay: time.Second}, func(w *world) {
				w.quiet = true
				first := ""
				w.meddle = edit(func(o map[string]any) {
					if url := o["finalize"].(string); o["status"] == "processing" && (first == "" || first == url) {
						first = url
						o["status"], o["error"] = "invalid", map[string]string{"type": "urn:ietf:params:acme:error:" + word, "detail": "no SCT"}
					}
				})
				w.want(cert("www"))
				w.run()
				time.Sleep(2 * time.Second)
				if v := w.view("www"); !strings.Contains(v.Error, "no SCT") {
					t.Errorf("got %q", v.Error)
				}
				w.ca().AllowRepeat("www.example.com")
				time.Sleep(25 * time.Hour)
				w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
				if n := w.orders(); n != 2 {
					t.Errorf("ordered %d times", n)
				}
			})
		})
	}
}

func TestAnOrderWhoseOwnEndIsNearIsMadeAgain(t *testing.T) {
	bubble(t, acmetest.Config{Dated: true, Lifetime: time.Hour}, func(w *world) {
		w.quiet = true
		free := time.Now().Add(35 * time.Minute)
		w.crowded = func() string {
			if time.Now().Before(free) {
				return "its turn"
			}
			return ""
		}
		w.want(cert("www"))
		w.run()
		time.Sleep(45 * time.Minute)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if v := w.view("www"); v.NotAfter.Sub(v.Committed) < 50*time.Minute {
			t.Errorf("the certificate has %v left", v.NotAfter.Sub(v.Committed))
		}
		if n := w.orders(); n != 2 {
			t.Errorf("ordered %d times", n)
		}
	})
}

func TestAnOrderThatCannotBeFinalizedIsMadeAgain(t *testing.T) {
	bubble(t, acmetest.Config{AuthzReuse: day, OrderGap: -1}, func(w *world) {
		w.quiet = true
		first := ""
		answer, tries := counted(func(r *http.Request) *http.Response {
			if !strings.HasSuffix(r.URL.Path, "/finalize") || first != "" && r.URL.Path != first {
				return nil
			}
			first = r.URL.Path
			return gateway(http.StatusInternalServerError)(r)
		})
		w.ca().Intercept(answer)
		w.want(cert("www"))
		w.run()
		time.Sleep(12 * time.Minute)
		if v := w.view("www"); v.Why != reconcile.BackingOff || !strings.Contains(v.Error, "http") || tries() != 3 {
			t.Errorf("after %d tries: %+v", tries(), v)
		}
		time.Sleep(75 * time.Minute)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if n := w.orders(); n != 2 {
			t.Errorf("ordered %d times", n)
		}
	})
}

func TestAKeyIsChangedWhileValidationFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, retryable())
		w.quiet = true
		w.ca().FailValidation("www.example.com", "dns", "no such host")
		w.want(cert("www"))
		w.run()
		time.Sleep(30 * time.Second)
		if _, _, err := w.reconciler.Rollover(t.Context(), "ca"); err != nil {
			t.Fatal(err)
		}
		w.ca().FailValidation("www.example.com", "", "")
		time.Sleep(2 * time.Minute)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		w.check()
	})
}

func TestTheEndOfTheCAItselfIsReported(t *testing.T) {
	for sentence, life := range map[string]time.Duration{"before the certificate would end": 10 * day, "long after it": 0} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{IssuerLife: life, EarliestRenewal: 1e-6}, func(w *world) {
				core, logs := observer.New(zapcore.WarnLevel)
				w.core, w.quiet = core, true
				w.want(cert("www"))
				w.run()
				time.Sleep(time.Hour)
				w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
				reported := logs.FilterMessage("the certificate of the CA ends with the one it issued").Len() > 0
				if ends := w.record("www").Issued.IssuerEnds; reported != (life > 0) || ends.IsZero() == reported {
					t.Errorf("reported %t, the CA ends at %v", reported, ends)
				}
			})
		})
	}
}
