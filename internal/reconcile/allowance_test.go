package reconcile_test

import (
	"testing"
	"time"

	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

func TestAllowancesAreOrdersAndWhatIsUsedUp(t *testing.T) {
	now := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	issuer := &spec.Issuer{Name: "ca", Limits: spec.Limits{OrdersPer3h: 6, PerDomainPerWeek: 7, PerNameSetPerWeek: 7, FailuresPerNamePerHour: 4}}
	state := &store.IssuerState{Budgets: map[string]time.Time{
		"orders":                    now.Add(time.Hour), // 2 of 6
		"domain:full.example":       now.Add(7 * 24 * time.Hour),
		"domain:free.example":       now.Add(24 * time.Hour),
		"failures:www.full.example": now.Add(time.Hour),
		"set:0123456789abcdef":      now.Add(7 * 24 * time.Hour),
		"accounts":                  now.Add(24 * time.Hour),
	}}
	got := map[string]int{}
	for _, c := range reconcile.Allowances(issuer, state, now) {
		got[c.Limit] = c.Left
	}
	want := map[string]int{"orders of the account": 4, "certificates of full.example": 0, "failed authorizations of www.full.example": 0}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for limit, left := range want {
		if n, ok := got[limit]; !ok || n != left {
			t.Errorf("%s: %d left, %v, want %d", limit, n, ok, left)
		}
	}
	if list := reconcile.Allowances(&spec.Issuer{}, state, now); len(list) > 0 {
		t.Errorf("without limits: %+v", list)
	}
}

func TestLeftAlone(t *testing.T) {
	now := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	for sentence, test := range map[string]struct {
		hold time.Duration
		want bool
	}{
		"over": {-time.Minute, false}, "for an hour": {time.Hour, true}, "a clock was wrong": {1000 * time.Hour, false},
	} {
		until, why := reconcile.Left(&store.IssuerState{Hold: now.Add(test.hold), HoldWhy: "maintenance"}, now)
		if until.IsZero() == test.want || (why != "") != test.want {
			t.Errorf("%s: %v, %q", sentence, until, why)
		}
	}
}
