package acmetest_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acmetest"
)

// TestProofsAreWatched plays a client whose proofs come and go at the wrong time.
func TestProofsAreWatched(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  acmetest.Config
		wait time.Duration // after the challenge was accepted, before the proof goes away and the order is polled
		keep bool          // the proof does not go away
		rest time.Duration // after that
		want string        // "": nothing is wrong
	}{
		"gone after validation":              {cfg: acmetest.Config{}},
		"gone after a slow validation":       {cfg: acmetest.Config{ValidateDelay: time.Minute}, wait: time.Minute},
		"gone before a slow validation ends": {cfg: acmetest.Config{ValidateDelay: time.Minute}, wait: time.Minute - 1, rest: time.Hour, want: "went away before it was validated"},
		"left behind":                        {cfg: acmetest.Config{}, keep: true, want: "left behind"},
		"left behind for long":               {cfg: acmetest.Config{}, keep: true, rest: 48 * time.Hour, want: "left behind"},
		"left behind within the grace":       {cfg: acmetest.Config{ProofGrace: time.Minute}, keep: true, rest: time.Minute - 1},
		"left behind after the grace":        {cfg: acmetest.Config{ProofGrace: time.Minute}, keep: true, rest: time.Minute, want: "left behind"},
		"left while validation goes on":      {cfg: acmetest.Config{ValidateDelay: time.Hour}, keep: true},
		"left while the client does not ask": {cfg: acmetest.Config{}, wait: 23 * time.Hour, keep: true},
		"left although nobody will ask":      {cfg: acmetest.Config{}, wait: 24 * time.Hour, keep: true, want: "left behind"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, rec := &web{}, &recorder{}
				c.cfg.Fetch = w.fetch
				r := newRaw(t, acmetest.New(rec, c.cfg))
				o, _ := r.orderFor("", "a.test")
				url, token := r.httpChallenge(o)
				w.pages.Store("a.test "+token, r.keyAuth(token))
				r.post(url, "{}")
				time.Sleep(c.wait)
				if c.wait == c.cfg.ValidateDelay {
					r.post(o.URL, "") // sees the end
				}
				if !c.keep {
					w.pages.Delete("a.test " + token)
				}
				time.Sleep(c.rest)
				if c.rest > 0 {
					r.post(o.URL, "")
				}
				rec.end()
				got := strings.Join(rec.failures, "\n")
				if c.want == "" && got != "" || !strings.Contains(got, c.want) || len(rec.failures) > 1 {
					t.Errorf("caught %q; want %q", got, c.want)
				}
			})
		})
	}
}

// TestGoodManners has no recorder: any complaint fails it.
func TestGoodManners(t *testing.T) {
	for name, c := range map[string]struct {
		cfg acmetest.Config
		do  func(t *testing.T, r *raw)
	}{
		"renewal when two thirds are over": {quick, func(_ *testing.T, r *raw) {
			r.obtain("", "a.test")
			time.Sleep(60 * day)
			r.obtain("", "a.test")
		}},
		"renewal when the CA advises it": {quick, func(_ *testing.T, r *raw) {
			id, _ := r.obtain("", "a.test")
			r.ca.SetRenewalWindow(id, time.Now().Add(day), time.Now().Add(2*day))
			time.Sleep(day)
			r.obtain(`,"replaces":"`+id+`"`, "a.test")
		}},
		"renewal of a revoked certificate": {quick, func(_ *testing.T, r *raw) {
			id, _ := r.obtain("", "a.test")
			r.ca.Revoke(id)
			r.obtain("", "a.test")
		}},
		"an order that the operator asked for": {quick, func(_ *testing.T, r *raw) {
			r.obtain("", "a.test")
			r.ca.AllowRepeat("a.test")
			r.obtain("", "a.test")
		}},
		"another profile": {
			acmetest.Config{Prevalidated: true, Profiles: map[string]time.Duration{"shortlived": 160 * time.Hour}},
			func(t *testing.T, r *raw) {
				r.obtain("", "a.test")
				r.obtain(`,"profile":"shortlived"`, "a.test")
				short := r.ca.Certificates()[1]
				if got := short.NotAfter.Add(time.Second).Sub(short.NotBefore); got != 160*time.Hour {
					t.Errorf("lifetime is %v; want 160 h", got)
				}
			}},
		"a minute after a failure": {acmetest.Config{OrderGap: time.Minute}, func(_ *testing.T, r *raw) {
			r.ca.FailValidation("a.test", "dns", "no such host")
			o, _ := r.orderFor("", "a.test")
			url, _ := r.httpChallenge(o)
			r.post(url, "{}")
			time.Sleep(time.Minute)
			r.orderFor("", "a.test")
		}},
		"an order after the account was held": {quick, func(_ *testing.T, r *raw) {
			r.ca.HoldAccount(time.Now().Add(time.Hour))
			r.orderFor("", "a.test")
			time.Sleep(time.Hour)
			r.obtain("", "a.test")
		}},
		"a replacement within its window is exempt from limits": {limits(acmetest.Limits{OrdersPer3h: 1, CertificatesPerSetWeek: 1}), func(_ *testing.T, r *raw) {
			id, _ := r.obtain("", "a.test")
			for range 3 {
				time.Sleep(time.Second)
				r.ca.SetRenewalWindow(id, time.Now(), time.Now().Add(time.Hour))
				id, _ = r.obtain(`,"replaces":"`+id+`"`, "a.test")
			}
		}},
		"a renewal is exempt from limits of new orders": {
			acmetest.Config{Prevalidated: true, OrderGap: -1, ExemptRenewals: true, Limits: acmetest.Limits{OrdersPer3h: 1, CertificatesPerDomainWeek: 1, CertificatesPerSetWeek: 4}},
			func(_ *testing.T, r *raw) {
				r.obtain("", "a.test")
				for range 3 {
					r.ca.AllowRepeat("a.test")
					r.obtain("", "a.test")
				}
			}},
		"limits refill": {limits(acmetest.Limits{OrdersPer3h: 3}), func(_ *testing.T, r *raw) {
			for _, name := range []string{"a.test", "b.test", "c.test"} {
				r.obtain("", name)
			}
			for _, name := range []string{"d.test", "e.test"} {
				time.Sleep(time.Hour)
				r.obtain("", name)
			}
		}},
		"renewal information in time": {quick, func(_ *testing.T, r *raw) {
			id, _ := r.obtain("", "a.test")
			for range 3 {
				if a := r.get("https://ca.test/renewal-info/" + id); a.Header.Get("Retry-After") != "21600" {
					r.t.Errorf("Retry-After is %q; want 6 h", a.Header.Get("Retry-After"))
				}
				time.Sleep(6 * time.Hour)
			}
		}},
		"renewal information again after the answer got lost": {quick, func(t *testing.T, r *raw) {
			id, _ := r.obtain("", "a.test")
			r.ca.Lose("renewalInfo", 1)
			req, err := http.NewRequest(http.MethodGet, "https://ca.test/renewal-info/"+id, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("User-Agent", "test")
			if _, err := r.ca.RoundTrip(req); err == nil {
				t.Error("the answer arrived")
			}
			time.Sleep(time.Hour)
			r.get("https://ca.test/renewal-info/" + id)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.do(t, newRaw(t, acmetest.New(t, c.cfg))) })
		})
	}
}
