package reconcile_test

import (
	"slices"
	"testing"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

func TestPlan(t *testing.T) {
	limits := spec.Limits{OrdersPer3h: 300, PerDomainPerWeek: 50, PerNameSetPerWeek: 5, OrdersInFlight: 8}
	for sentence, tt := range map[string]struct {
		edit func(*spec.Certificate)
		want reconcile.Plan
		left []int // of the limits, as the costs name them
	}{
		"a spec that stays the same needs nothing": {
			func(*spec.Certificate) {}, reconcile.Plan{Do: reconcile.Wait, Why: reconcile.Lifetime}, nil},
		"other names need another certificate": {
			func(c *spec.Certificate) { c.DNSNames = []string{"www.example.com", "shop.example.com"} },
			reconcile.Plan{Do: reconcile.Issue, Why: reconcile.Edited, Issuer: "ca", Differs: []string{"dnsNames: + shop.example.com"}},
			[]int{300, 5, 49}},
		"so do another key and another profile": {
			func(c *spec.Certificate) { c.PrivateKey.Size, c.Profile = 384, "short" },
			reconcile.Plan{Do: reconcile.Issue, Why: reconcile.Edited, Issuer: "ca", Differs: []string{"privateKey: ECDSA-256 → ECDSA-384", "profile: none → short"}},
			[]int{300, 4, 49}},
		"another reload is another delivery": {
			func(c *spec.Certificate) { c.Deploy.Reload = []string{"nginx.service", "postfix.service"} },
			reconcile.Plan{Do: reconcile.Deploy, Why: reconcile.Behind, Targets: []string{"reload postfix.service"}}, nil},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{}, func(w *world) {
				newConsumers(w)
				www := cert("www")
				www.Renew.ARI = false
				www.Deploy.Reload = []string{"nginx.service"}
				issuer := []*spec.Issuer{w.issuer("ca", limits)}
				w.put(spec.NewSet([]*spec.Certificate{www}, issuer))
				w.run()
				time.Sleep(time.Minute)
				edited := *www
				tt.edit(&edited)
				before := w.record("www")
				got, err := w.reconciler.Plan("www", spec.NewSet([]*spec.Certificate{&edited}, issuer))
				if err != nil {
					t.Fatal(err)
				}
				if got.Do != tt.want.Do || got.Why != tt.want.Why || got.Issuer != tt.want.Issuer ||
					!slices.Equal(got.Differs, tt.want.Differs) || tt.want.Do == reconcile.Deploy && !slices.Equal(got.Targets, tt.want.Targets) {
					t.Errorf("got %+v; want %+v", got, tt.want)
				}
				var left []int
				for _, c := range got.Costs {
					left = append(left, c.Left)
				}
				if !slices.Equal(left, tt.left) {
					t.Errorf("left are %v of %+v; want %v", left, got.Costs, tt.left)
				}
				time.Sleep(time.Minute)
				if after := w.record("www"); !after.Issued.NotAfter.Equal(before.Issued.NotAfter) || w.orders() != 1 {
					t.Errorf("the plan was carried out: %+v", after)
				}
			})
		})
	}
}

func TestPlanOfWhatComesAndGoes(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.want(cert("old"))
		w.run()
		time.Sleep(time.Minute)
		set := spec.NewSet([]*spec.Certificate{cert("new")}, []*spec.Issuer{w.issuer("ca", spec.Limits{OrdersPer3h: 2})})
		var costs []reconcile.Cost
		for name, want := range map[string]reconcile.Action{"old": reconcile.Retire, "new": reconcile.Issue} {
			p, err := w.reconciler.Plan(name, set)
			if err != nil || p.Do != want {
				t.Errorf("%s: got %+v, %v; want %s", name, p, err, want)
			}
			costs = append(costs, p.Costs...)
		}
		if sum := reconcile.Sum(append(costs, costs...)); len(sum) != 1 || sum[0].Needs != 2 || sum[0].Left != 2 || sum[0].Max != 2 {
			t.Errorf("in sum %+v", sum)
		}
	})
}
