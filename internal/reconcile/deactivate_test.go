package reconcile_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acme"
	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
)

// TestADeactivatedAccountIsNotReplacedUnasked deactivates it, while answers get lost or not, and comes back by Register.
func TestADeactivatedAccountIsNotReplacedUnasked(t *testing.T) {
	for sentence, c := range map[string]struct{ refuse, lose, restart bool }{
		"at once":                     {},
		"asked twice, never arrived":  {refuse: true},
		"asked twice, answer lost":    {lose: true},
		"restarted, never arrived":    {refuse: true, restart: true},
		"restarted, answer lost":      {lose: true, restart: true},
		"restarted after it is ended": {restart: true},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{}, func(w *world) {
				w.quiet = true
				w.want(cert("www"))
				w.run()
				time.Sleep(time.Minute)
				url := w.account()
				if _, _, err := w.reconciler.Register(w.t.Context(), "ca"); !errors.Is(err, reconcile.ErrInUse) {
					t.Errorf("an account in use is replaced: %v", err)
				}
				if c.refuse {
					w.ca().Refuse("account", 1)
				}
				if c.lose {
					w.ca().Lose("account", 1)
				}
				told, have, err := w.reconciler.Deactivate(w.t.Context(), "ca")
				if failed := c.refuse || c.lose; (err != nil) != failed || err == nil && (told.Status != "deactivated" || have.Ended.IsZero()) {
					t.Errorf("got %+v, %+v, %v", told, have, err)
				}
				if c.restart {
					w.stop()
					w.run()
				}
				w.want(cert("www"), cert("two"))
				w.scheduler.Wake("two")
				time.Sleep(26 * time.Hour)
				if v := w.view("two"); v.Phase == reconcile.PhaseValid || w.account() != url {
					t.Errorf("a deactivated account is used or replaced: %+v", v)
				}
				if told, _, err := w.reconciler.Deactivate(w.t.Context(), "ca"); err != nil || told.Status != "deactivated" || told.URL != url {
					t.Errorf("once more: got %+v, %v", told, err)
				}
				if _, _, err := w.reconciler.Account(w.t.Context(), "ca"); acme.EndedAs(err) != "deactivated" {
					t.Errorf("got %v", err)
				}
				if _, _, err := w.reconciler.Rollover(w.t.Context(), "ca"); err == nil {
					t.Error("the key of a deactivated account is changed")
				}
				told, have, err = w.reconciler.Register(w.t.Context(), "ca")
				if err != nil || told.URL == url || told.Status != "valid" || !have.Ended.IsZero() {
					t.Errorf("got %+v, %+v, %v", told, have, err)
				}
				w.scheduler.Wake("two")
				time.Sleep(time.Hour)
				synctest.Wait()
				w.expect("two", reconcile.PhaseValid, reconcile.NotDue)
			})
		})
	}
}

// TestAnAccountEndsWithoutWords has a CA that refuses an ended account as RFC 8555 §7.3.6 wants, and does not say why.
func TestAnAccountEndsWithoutWords(t *testing.T) {
	for sentence, c := range map[string]struct {
		status  int
		problem string
		detail  string
		ours    bool // acmed ended it
		want    string
	}{
		"401 unauthorized, as step-ca answers": {401, "unauthorized", "The client lacks sufficient authorization", true, "deactivated"},
		"403 unauthorized":                     {403, "unauthorized", "", true, "deactivated"},
		"401 unauthorized, ended by the CA":    {401, "unauthorized", "", false, "deactivated"},
		"revoked by the CA":                    {401, "unauthorized", "the account is revoked", false, "revoked"},
		"called revoked, and acmed ended it":   {401, "unauthorized", "the account is revoked", true, "deactivated"},
		"not known any more":                   {400, "accountDoesNotExist", "", true, "does not exist"},
		"another refusal says nothing":         {400, "malformed", "not deactivated", false, ""},
		"nor does an outage":                   {502, "serverInternal", "", true, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{}, func(w *world) {
				w.quiet = true
				w.want(cert("www"))
				w.run()
				time.Sleep(time.Minute)
				url := w.account()
				if c.ours {
					if _, _, err := w.reconciler.Deactivate(w.t.Context(), "ca"); err != nil {
						t.Fatal(err)
					}
				}
				w.ca().Intercept(problem("/account/", c.status, c.problem, c.detail, ""))
				_, have, err := w.reconciler.Account(w.t.Context(), "ca")
				if as := reconcile.EndedAs(have, err); as != c.want || strings.Contains(err.Error(), "registering") {
					t.Errorf("shown as %q, want %q: %v", as, c.want, err)
				}
				told, _, err := w.reconciler.Deactivate(w.t.Context(), "ca")
				if c.want != "" && (err != nil || told.Status != c.want || told.URL != url) {
					t.Errorf("once more: got %+v, %v", told, err)
				}
				if e, ok := errors.AsType[*acme.Error](err); ok && strings.Contains(e.Hint, "externalAccountBinding") {
					t.Errorf("got hint %q", e.Hint)
				}
			})
		})
	}
}
