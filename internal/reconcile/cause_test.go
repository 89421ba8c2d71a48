package reconcile_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

func TestAProfileThatTheAccountMayNotUseIsItsOwnFailure(t *testing.T) {
	bubble(t, acmetest.Config{Profiles: map[string]time.Duration{"tlsserver": 45 * day}}, func(w *world) {
		w.ca().Intercept(refusing("new-order", http.StatusForbidden, "unauthorized",
			"account ID 1 is not permitted to use certificate profile tlsserver"))
		bad := cert("bad")
		bad.Profile = "tlsserver"
		w.want(bad)
		w.run()
		time.Sleep(time.Minute)
		w.expect("bad", reconcile.PhaseParked, reconcile.Parked)
		if want := "remove profile tlsserver from the spec, or ask the CA to permit it for the account"; w.view("bad").Hint != want {
			t.Errorf("got the hint %q", w.view("bad").Hint)
		}
		w.ca().Intercept(nil)
		w.want(bad, cert("good"))
		time.Sleep(time.Minute)
		w.expect("good", reconcile.PhaseValid, reconcile.NotDue)
		w.want(cert("bad"), cert("good"))
		time.Sleep(time.Minute)
		w.expect("bad", reconcile.PhaseValid, reconcile.NotDue)
	})
}

// TestAHoldEndsWithTheOrderThatCausedIt has an issuer held since it refuses the account because of one certificate.
func TestAHoldEndsWithTheOrderThatCausedIt(t *testing.T) {
	refuse := refusing("new-order", http.StatusForbidden, "userActionRequired", "agree to something")
	edited := func() *spec.Certificate {
		c := cert("bad")
		c.DNSNames = []string{"other.example.com"}
		return c
	}
	for sentence, tt := range map[string]struct {
		change func(w *world)
		ends   bool
	}{
		"its spec is edited":                                    {func(w *world) { w.want(edited(), cert("good")) }, true},
		"its spec is removed":                                   {func(w *world) { w.want(cert("good")) }, true},
		"it goes to another issuer":                             {func(w *world) { w.want(cert("bad", "else"), cert("good")) }, true},
		"its spec is edited while stopped":                      {func(w *world) { w.stop(); w.want(edited(), cert("good")); w.run() }, true},
		"its spec is removed while stopped, and its record too": {func(w *world) { w.stop(); w.want(cert("good")); w.forgetRecord("bad"); w.run() }, true},
		"acmed is restarted":                                    {func(w *world) { w.stop(); w.run() }, false},
		"the spec of another one is edited":                     {func(w *world) { c := cert("good"); c.Renew.Fraction = 0.3; w.want(cert("bad"), c) }, false},
		"what consumers get is edited":                          {func(w *world) { c := cert("bad"); c.Deploy.Reload = []string{"x.service"}; w.want(c, cert("good")) }, false},
		"time passes, and it is not a day so far":               {func(*world) { time.Sleep(20 * time.Hour) }, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{}, func(w *world) {
				w.addCA("else", acmetest.Config{Prevalidated: true}) // two CAs have the same tokens
				w.set = spec.NewSet(nil, []*spec.Issuer{w.issuer("ca", letsencrypt()), w.issuer("else", letsencrypt())})
				w.ca().Intercept(refuse)
				w.want(cert("bad"))
				w.run()
				time.Sleep(time.Minute)
				w.ca().Intercept(nil)
				w.want(cert("bad"), cert("good"))
				time.Sleep(time.Minute)
				w.expect("good", reconcile.PhaseBackoff, reconcile.IssuerHold)
				tt.change(w)
				time.Sleep(time.Minute)
				synctest.Wait()
				if ended := w.view("good").Phase == reconcile.PhaseValid; ended != tt.ends {
					t.Errorf("the hold ended: %t; %+v", ended, w.view("good"))
				}
			})
		})
	}
}

// TestAHoldThatTheCAAskedForStays although the order that met it is gone.
func TestAHoldThatTheCAAskedForStays(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.ca().HoldAccount(time.Now().Add(5 * time.Hour)) // who is told and asks again fails the test
		w.want(cert("bad"))
		w.run()
		time.Sleep(time.Minute)
		w.want(cert("good"))
		time.Sleep(time.Hour)
		w.expect("good", reconcile.PhaseBackoff, reconcile.IssuerHold)
		time.Sleep(5 * time.Hour)
		w.expect("good", reconcile.PhaseValid, reconcile.NotDue)
	})
}
