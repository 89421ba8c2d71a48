package reconcile_test

import (
	"maps"
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

type (
	request      = http.Request
	response     = http.Response
	roundTripper func(*request) (*response, error)
)

func (f roundTripper) RoundTrip(r *request) (*response, error) { return f(r) }

// ops are the requests of one issuance in a warm daemon.
func ops() map[string]int {
	return map[string]int{"newOrder": 1, "authz": 1, "challenge": 1, "order": 2, "finalize": 1, "certificate": 1}
}

func since(ca *acmetest.CA, before map[string]int) map[string]int {
	now := ca.Counts()
	maps.DeleteFunc(now, func(op string, n int) bool { now[op] -= before[op]; return now[op] == 0 })
	return now
}

func TestACertificateIsIssuedAndRenewedForEver(t *testing.T) {
	t.Parallel()
	cfg := acmetest.Config{RenewalInfo: true, ValidateDelay: 50 * time.Millisecond, FinalizeDelay: 50 * time.Millisecond}
	bubble(t, cfg, func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Second)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		first := w.serial("www")
		before := w.ca().Counts()
		polls := before["renewalInfo"]

		time.Sleep(75 * day) // a third before the end, at the latest
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if first == "" || w.serial("www") == first {
			t.Fatalf("the certificate was not renewed: %q", first)
		}
		got := since(w.ca(), before)
		delete(got, "renewalInfo")
		delete(got, "directory") // read again once a day at most
		delete(got, "newNonce")  // nonces do not keep for two months
		if want := ops(); !maps.Equal(got, want) {
			t.Errorf("a renewal cost %v, want %v", got, want)
		}
		if n := w.ca().Count("renewalInfo") - polls; n < 75 || n > 75*4+10 {
			t.Errorf("the CA's advice was read %d times in 75 days", n)
		}
		time.Sleep(365 * day)
		if n := len(w.ca().Certificates()); n < 7 || n > 9 {
			t.Errorf("got %d certificates in 440 days", n)
		}
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
	})
}

func TestTheCAIsDeadAtStart(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.ca().Down(true)
		w.want(cert("a"), cert("b"), cert("c"), cert("d"), cert("e"))
		w.run()
		time.Sleep(2 * day)
		w.expect("a", reconcile.PhaseBackoff, reconcile.IssuerHold)
		w.ca().Down(false)
		time.Sleep(75 * time.Minute) // an hour and its jitter
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			w.expect(name, reconcile.PhaseValid, reconcile.NotDue)
		}
		if n := w.ca().Count("newAccount"); n > 2 { // the key may have been used: it is looked up first
			t.Errorf("asked for an account %d times", n)
		}
	})
}

func TestOneProbeForAllWhileTheCAIsDead(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		answer, tries := counted(gateway(http.StatusBadGateway))
		w.ca().Intercept(answer)
		var certs []*spec.Certificate
		for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"} {
			certs = append(certs, cert(name))
		}
		w.want(certs...)
		w.run()
		time.Sleep(day)
		if n := tries(); n > 60 {
			t.Errorf("ten certificates asked a dead CA %d times in a day", n)
		}
		w.ca().Intercept(nil)
		time.Sleep(75 * time.Minute)
		for _, c := range certs {
			w.expect(c.Name, reconcile.PhaseValid, reconcile.NotDue)
		}
	})
}

func TestTheOperatorEndsAnOutage(t *testing.T) {
	for name, restart := range map[string]bool{"as it runs": false, "after a restart": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, acmetest.Config{ValidateDelay: time.Minute}, func(w *world) {
				names := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"}
				w.want(cert("a"), cert("b")) // whose orders are open when the CA dies
				w.run()
				time.Sleep(30 * time.Second)
				w.ca().Down(true)
				var certs []*spec.Certificate
				for _, name := range names {
					certs = append(certs, cert(name))
				}
				w.want(certs...)
				time.Sleep(11 * time.Hour) // the next probe is in an hour
				w.expect("a", reconcile.PhaseBackoff, reconcile.IssuerHold)
				w.expect("b", reconcile.PhaseBackoff, reconcile.IssuerHold)
				if restart {
					w.stop()
					w.run()
				}
				w.ca().Down(false)
				if err := w.reconciler.Release(); err != nil {
					t.Error(err)
				}
				time.Sleep(5 * time.Minute)
				for _, name := range names {
					w.expect(name, reconcile.PhaseValid, reconcile.NotDue)
				}
				if n := w.ca().Count("newOrder"); n != len(names) {
					t.Errorf("made %d orders", n)
				}
			})
		})
	}
}

func TestFailingValidationSlowsDown(t *testing.T) {
	bubble(t, acmetest.Config{Limits: acmetest.LetsEncrypt()}, func(w *world) {
		w.ca().FailValidation("www.example.com", "connection", "192.0.2.1: connection refused")
		w.put(spec.NewSet([]*spec.Certificate{cert("www")}, []*spec.Issuer{w.issuer("ca", letsencrypt())}))
		w.run()
		time.Sleep(time.Second)
		w.expect("www", reconcile.PhaseBackoff, reconcile.BackingOff)
		if v := w.view("www"); v.Error != "connection: www.example.com: 192.0.2.1: connection refused" || v.Hint == "" {
			t.Errorf("got error %q, hint %q", v.Error, v.Hint)
		}
		time.Sleep(10 * day)
		if n := w.ca().Count("newOrder"); n < 33 || n > 39 { // once an hour on the first day
			t.Errorf("tried %d times in ten days", n)
		}
		var last time.Time
		for _, e := range w.ca().Log() {
			if e.Op == "newOrder" {
				if gap := e.Time.Sub(last); gap < time.Minute {
					t.Errorf("two attempts within %v", gap)
				}
				last = e.Time
			}
		}
		w.ca().FailValidation("www.example.com", "", "")
		time.Sleep(30 * time.Hour)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if v := w.view("www"); v.Error != "" {
			t.Errorf("the failure is still shown: %q", v.Error)
		}
	})
}

func letsencrypt() spec.Limits {
	return spec.Limits{OrdersPer3h: 270, PerDomainPerWeek: 45, PerNameSetPerWeek: 4, FailuresPerNamePerHour: 4, OrdersInFlight: 16}
}

func TestTheOperatorEndsABackOff(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.ca().FailValidation("www.example.com", "dns", "no A record")
		w.want(cert("www"))
		w.run()
		time.Sleep(3 * time.Hour)
		w.expect("www", reconcile.PhaseBackoff, reconcile.BackingOff)
		w.ca().FailValidation("www.example.com", "", "")
		w.reconciler.Renew("www", false)
		time.Sleep(time.Second)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
	})
}

func TestALimitOfTheAccountHoldsAll(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.want(cert("a"))
		w.run()
		time.Sleep(time.Second)
		until := time.Now().Add(5 * time.Hour)
		w.ca().HoldAccount(until)
		w.want(cert("a"), cert("b"), cert("c"))
		time.Sleep(time.Minute)
		w.expect("b", reconcile.PhaseBackoff, reconcile.IssuerHold)
		w.expect("a", reconcile.PhaseValid, reconcile.NotDue)
		w.reconciler.Renew("b", true) // even so
		time.Sleep(4 * time.Hour)
		w.stop()
		w.run() // not even a restart
		time.Sleep(30 * time.Minute)
		if err := w.reconciler.Release(); err != nil {
			t.Error(err)
		}
		w.expect("c", reconcile.PhaseBackoff, reconcile.IssuerHold)
		time.Sleep(2 * time.Hour)
		w.expect("b", reconcile.PhaseValid, reconcile.NotDue)
		w.expect("c", reconcile.PhaseValid, reconcile.NotDue)
	})
}

func TestARestartResumesTheOrder(t *testing.T) {
	cfg := acmetest.Config{ValidateDelay: time.Hour, FinalizeDelay: time.Hour, RetryAfter: 10 * time.Minute}
	bubble(t, cfg, func(w *world) {
		w.want(cert("www"))
		for range 10 {
			w.run()
			time.Sleep(11 * time.Minute)
			w.expect("www", reconcile.PhaseIssuing, reconcile.AwaitingCA)
			w.stop()
		}
		w.run()
		time.Sleep(2 * time.Hour)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		for op, want := range map[string]int{"newAccount": 1, "newOrder": 1, "challenge": 1, "finalize": 1} {
			if n := w.ca().Count(op); n != want {
				t.Errorf("%s: %d requests, want %d", op, n, want)
			}
		}
	})
}

func TestLostAnswers(t *testing.T) {
	for _, op := range []string{"directory", "newNonce", "newAccount", "newOrder", "authz", "challenge", "order", "finalize", "certificate", "renewalInfo"} {
		for what, script := range map[string]func(*acmetest.CA, string){
			"refused": func(ca *acmetest.CA, op string) { ca.Refuse(op, 1) },
			"lost":    func(ca *acmetest.CA, op string) { ca.Lose(op, 1) },
		} {
			t.Run(op+" "+what, func(t *testing.T) {
				bubble(t, acmetest.Config{RenewalInfo: true}, func(w *world) {
					script(w.ca(), op)
					w.want(cert("www"))
					w.run()
					time.Sleep(30 * time.Minute)
					w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
					if n := len(w.ca().Certificates()); n != 1 {
						t.Errorf("the CA issued %d certificates", n)
					}
				})
			})
		}
	}
}

func TestAnEditIsIssued(t *testing.T) {
	bubble(t, acmetest.Config{RenewalInfo: true}, func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Hour)
		first := w.serial("www")

		more := cert("www")
		more.DNSNames = append(more.DNSNames, "example.com")
		w.want(more)
		time.Sleep(time.Second)
		second := w.serial("www")
		if second == first {
			t.Error("another name: no other certificate")
		}
		deploy := *more
		deploy.Deploy.Reload = []string{"nginx.service"}
		deploy.Renew.Fraction = 0.2
		w.want(&deploy)
		time.Sleep(time.Second)
		if w.serial("www") != second {
			t.Error("another way to deploy: another certificate")
		}
		w.want() // and away with it
		time.Sleep(400 * day)
		if w.serial("www") != second {
			t.Error("a certificate without a spec was renewed")
		}
		if rec, err := w.store.Record("www"); err != nil || rec.Retired.IsZero() {
			t.Errorf("not retired: %+v, %v", rec, err)
		}
	})
}

func TestASpecThatComesBackNeedsNoOrder(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Hour)
		w.want()
		time.Sleep(time.Hour)
		w.want(cert("www"))
		time.Sleep(time.Hour)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if n := w.ca().Count("newOrder"); n != 1 {
			t.Errorf("made %d orders", n)
		}
	})
}

func TestTheSecondIssuerStepsIn(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.addCA("backup", acmetest.Config{})
		w.put(spec.NewSet([]*spec.Certificate{cert("www", "ca", "backup")},
			[]*spec.Issuer{w.issuer("ca", letsencrypt()), w.issuer("backup", letsencrypt())}))
		w.ca().FailValidation("www.example.com", "caa", "CAA record forbids it")
		w.run()
		time.Sleep(time.Second)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if v := w.view("www"); v.Revision != 1 || w.cas["backup"].Count("newOrder") != 1 {
			t.Errorf("got %+v", v)
		}
		w.ca().FailValidation("www.example.com", "", "")
		time.Sleep(75 * day)
		rec, err := w.store.Record("www")
		if err != nil || rec.Issued.Issuer != "ca" {
			t.Errorf("the renewal went to %s, %v", rec.Issued.Issuer, err)
		}
	})
}

func TestDamageIsReplaced(t *testing.T) {
	flip := func(data []byte) []byte { data[len(data)/2] ^= 1; return data }
	cut := func(data []byte) []byte { return data[:len(data)/2] }
	for what, change := range map[string]func([]byte) []byte{"flipped": flip, "cut": cut} {
		for _, file := range []string{"privkey.pem", "cert.pem", "chain.pem", "fullchain.pem"} {
			t.Run(file+" "+what, func(t *testing.T) {
				bubble(t, acmetest.Config{}, func(w *world) {
					w.want(cert("www"))
					w.run()
					time.Sleep(time.Hour)
					w.ca().AllowRepeat("www.example.com")
					w.damage("www", file, change)
					time.Sleep(day)
					w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
					if v := w.view("www"); v.Revision != 2 {
						t.Errorf("got %+v", v)
					}
					w.stop()
					errs := store.Check(w.dir)
					for _, err := range errs {
						if !strings.Contains(err.Error(), "rev/0001") {
							t.Errorf("more than the damaged revision is wrong: %v", err)
						}
					}
					if len(errs) == 0 {
						t.Error("the damage is not found")
					}
					if err := discardRevision(w.dir, "www", "0001"); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

func TestOrdersInFlightAreBounded(t *testing.T) {
	bubble(t, acmetest.Config{ValidateDelay: time.Minute, FinalizeDelay: time.Minute}, func(w *world) {
		var certs []*spec.Certificate
		for i := range 40 {
			certs = append(certs, cert(string(rune('a'+i/10))+string(rune('0'+i%10))))
		}
		w.put(spec.NewSet(certs, []*spec.Issuer{w.issuer("ca", spec.Limits{OrdersInFlight: 4})}))
		w.run()
		time.Sleep(50 * time.Second)
		if n := w.ca().Count("newOrder"); n != 4 {
			t.Errorf("opened %d orders", n)
		}
		time.Sleep(time.Hour)
		if n := len(w.ca().Certificates()); n != 40 {
			t.Errorf("got %d certificates", n)
		}
	})
}

func TestAnAccountThatTheCAForgotIsMadeAgain(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Hour)
		w.ca().ForgetAccounts()
		time.Sleep(75 * day)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if n := w.ca().Count("newAccount"); n != 2 {
			t.Errorf("asked for an account %d times", n)
		}
		if v := w.view("www"); v.Revision != 2 {
			t.Errorf("got %+v", v)
		}
	})
}

func TestAnAccountThatTheCAForgotIsMadeOnceForAll(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		names := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
		var certs []*spec.Certificate
		for _, name := range names {
			certs = append(certs, cert(name))
		}
		w.want(certs...)
		w.run()
		time.Sleep(time.Hour)
		w.ca().ForgetAccounts()
		for _, name := range names {
			w.ca().AllowRepeat(name + ".example.com")
			w.reconciler.Renew(name, false)
		}
		time.Sleep(time.Minute)
		for _, name := range names {
			w.expect(name, reconcile.PhaseValid, reconcile.NotDue)
		}
		if n := w.ca().Count("newAccount"); n != 2 {
			t.Errorf("asked for an account %d times", n)
		}
	})
}

func TestRevocationIsAnsweredWithinAPoll(t *testing.T) {
	bubble(t, acmetest.Config{RenewalInfo: true}, func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(10 * day)
		w.ca().Revoke(acmetest.CertID(w.ca().Certificates()[0]))
		synctest.Wait()
		time.Sleep(6*time.Hour + 10*time.Minute)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if v := w.view("www"); v.Revision != 2 {
			t.Errorf("got %+v", v)
		}
	})
}

func TestPrevalidatedNamesNeedNoChallenge(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	bubble(t, acmetest.Config{Prevalidated: true, RequireEAB: true, EAB: map[string][]byte{"kid": key}}, func(w *world) {
		issuer := w.issuer("ca", letsencrypt())
		issuer.Binding = &spec.ExternalAccountBinding{KID: "kid", HMACKeyFile: writeKey(t, key)}
		w.put(spec.NewSet([]*spec.Certificate{cert("www")}, []*spec.Issuer{issuer}))
		for range 5 {
			w.run()
			time.Sleep(time.Hour)
			w.stop()
		}
		w.run()
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		for op, want := range map[string]int{"newAccount": 1, "newOrder": 1, "challenge": 0, "authz": 0} {
			if n := w.ca().Count(op); n != want {
				t.Errorf("%s: %d requests, want %d", op, n, want)
			}
		}
	})
}

func TestAMissingBindingHoldsTheIssuerUntilItIsMended(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	bubble(t, acmetest.Config{RequireEAB: true, EAB: map[string][]byte{"kid": key}}, func(w *world) {
		w.want(cert("a"), cert("b"))
		w.run()
		time.Sleep(time.Hour)
		w.expect("a", reconcile.PhaseBackoff, reconcile.IssuerHold)
		w.expect("b", reconcile.PhaseBackoff, reconcile.IssuerHold)
		if hint := w.record("a").Failures["ca"].Hint + w.record("b").Failures["ca"].Hint; !strings.Contains(hint, "get one from the CA; write its key identifier") {
			t.Errorf("what to do: %q", hint)
		}
		issuer := w.issuer("ca", letsencrypt())
		issuer.Binding = &spec.ExternalAccountBinding{KID: "kid", HMACKeyFile: writeKey(t, key)}
		w.put(spec.NewSet([]*spec.Certificate{cert("a"), cert("b")}, []*spec.Issuer{issuer}))
		time.Sleep(time.Second)
		w.expect("a", reconcile.PhaseValid, reconcile.NotDue)
		w.expect("b", reconcile.PhaseValid, reconcile.NotDue)
	})
}
