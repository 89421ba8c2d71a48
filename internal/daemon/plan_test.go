package daemon_test

import (
	"testing"

	"acmed/internal/acmetest"
	"acmed/internal/control"
)

func TestPlanTellsAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	names := []string{"a.example.com", "b.example.com", "c.example.com", "d.example.com"}
	for _, n := range names {
		s.spec(n, "")
	}
	s.start()
	for _, n := range names {
		s.await(n, 1)
	}
	plan := func(drafts ...control.Draft) control.Plan {
		t.Helper()
		p, err := s.run.Plan(t.Context(), control.PlanRequest{Drafts: drafts})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := plan(); len(p.Steps) > 0 || p.Unchanged != 4 || p.Held != nil {
		t.Errorf("what is in force: %+v", p)
	}
	p := plan(control.Draft{Path: "/draft/a.example.com.yaml", Text: "dnsNames: [a.example.com, www.a.example.com]"},
		control.Draft{Path: "/draft/new.example.com.yaml"}, control.Draft{Path: "/draft/bad.example.com.yaml", Text: "{"})
	if len(p.Steps) != 2 || p.Steps[0].Do != "reissue" || p.Steps[1].Do != "issue" || p.Unchanged != 3 || len(p.Problems) != 1 {
		t.Errorf("drafts: %+v", p)
	}
	address := plan(control.Draft{Path: "/draft/ip.yaml", Text: "{ipAddresses: [192.0.2.1], issuers: [letsencrypt]}"})
	if len(address.Steps) != 1 || address.Steps[0].Do != "issue" || len(address.Problems) != 1 || address.Problems[0].Hint != "set profile: shortlived" {
		t.Errorf("what Let's Encrypt refuses: %+v", address)
	}
	sim, err := s.run.Plan(t.Context(), control.PlanRequest{Simulate: 90 * 86400,
		Drafts: []control.Draft{{Path: "/draft/new.example.com.yaml"}}})
	if err != nil {
		t.Fatal(err)
	}
	if f := sim.Simulation; f == nil || f.Certificates != 5 || len(f.Issuers) != 1 || f.Issuers[0].Issuer != "ca" ||
		f.Issuers[0].Total.New != 1 || f.Issuers[0].Total.Orders < 6 || len(f.Issuers[0].Days) < 2 || len(sim.Steps) > 0 {
		t.Errorf("the next 90 days: %+v", f)
	}
	if _, err := s.run.Plan(t.Context(), control.PlanRequest{Simulate: 1 << 40}); err == nil {
		t.Error("30,000 years were simulated")
	}
	s.spec("bad.example.com", "{")
	s.remove("a.example.com", "b.example.com", "c.example.com")
	if p := plan(); p.Held == nil || len(p.Steps) > 0 || len(p.Problems) != 1 {
		t.Errorf("files that vanished: %+v", p)
	}
	if n := s.ca.Count("newOrder"); n != 4 {
		t.Errorf("%d orders were made", n)
	}
}
