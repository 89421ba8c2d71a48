package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acmed/internal/control"
)

// zone is where the golden files were written.
func zone() *time.Location { return time.FixedZone("", 2*60*60) }

func noon() time.Time { return time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC) }

func in(d time.Duration) time.Time { return noon().Add(d) }

const day = 24 * time.Hour

func TestGolden(t *testing.T) {
	good, bad := goodCertificate(), badCertificate()
	renewals := map[string]control.Renewal{
		"ari":       {Due: in(20 * day), Source: "ari", WindowStart: in(19 * day), WindowEnd: in(21 * day), Explanation: "https://ca.example/why"},
		"requested": {Due: in(0), Source: "requested"},
	}
	tests := map[string]string{
		"list":               listText(summaries(), noon()),
		"list-empty":         listText(nil, noon()),
		"status-good":        certificateText(good, noon()),
		"status-bad":         certificateText(bad, noon()),
		"status-targets":     certificateText(deliveredCertificate(), noon()),
		"status-rolled-back": certificateText(rolledBackCertificate(), noon()),
		"status-missing":     certificateText(control.Certificate{Name: "new.example.com", Phase: control.Missing, DNSNames: []string{"new.example.com"}, SpecFile: "new.example.com.yaml"}, noon()),
		"status-placeholder": certificateText(control.Certificate{Name: "new.example.com", Phase: control.Missing, DNSNames: []string{"new.example.com"}, Placeholder: true, Live: "/var/lib/acmed/live/new.example.com", SpecFile: "new.example.com.yaml"}, noon()),
		"overview":           overviewText(overview{sampleInfo(), (&filter{failing: true}).apply(summaries(), noon())}, noon()),
		"overview-calm":      overviewText(overview{Info: control.Info{Version: "v0.1.0", PID: 1, Started: in(-time.Minute), Config: "acmed.yaml", StateDir: "state", HTTP01: "the responder"}}, noon()),
		"overview-many":      overviewText(overview{control.Info{Version: "v0.1.0", Certificates: 12}, slices.Repeat(summaries()[1:2], 12)}, noon()),
		"issuers":            issuersText(sampleIssuers(), noon()),
		"plan":               planText(samplePlan(), noon()),
		"plan-simulated":     planText(control.Plan{Simulation: sampleSimulation()}, noon()),
		"plan-idle":          planText(control.Plan{Simulation: &control.Simulation{From: noon(), Until: in(day)}}, noon()),
		"plan-nothing":       planText(control.Plan{Unchanged: 12}, noon()),
		"reload":             reloadText(control.ReloadResult{Added: []string{"a", "b"}, Edited: []string{"c"}, Removed: many(12)}),
		"reload-nothing":     reloadText(control.ReloadResult{}),
		"check-problems":     checkedText(checked{Files: 3, Problems: sampleInfo().Problems}),
		"check-state":        checkedText(checked{Files: 3, State: []string{"live/a points nowhere", "certs/b has mode 0777"}}),
		"check-good":         checkedText(checked{Files: 1}),
		"version":            versionText(versionInfo{Version: "v0.1.0", Revision: "abc", Go: "go1.26", OS: "linux", Arch: "arm64", ACME: "v0.58.0"}),
		"event-failure":      eventText(control.Event{Cert: "a", Message: "not renewed", Error: "the CA could not connect", Hint: "open port 80", Done: true}),
		"event-waiting":      eventText(control.Event{Cert: "a", Message: "the CA is busy", Error: "the CA is busy"}),
		"hostile-details":    printable("a\x1b[2Jb\rc\u202ed\te\n"),
	}
	for name, r := range renewals {
		c := good
		c.Renewal = &r
		tests["status-"+name] = certificateText(c, noon())
	}
	for name, got := range tests {
		t.Run(name, func(t *testing.T) { golden(t, name, got) })
	}
}

// golden compares with a file; UPDATE=1 in the environment writes it anew.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name+".txt")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// deliveredCertificate has consumers of every kind, in every state.
func deliveredCertificate() control.Certificate {
	c := goodCertificate()
	c.Phase, c.Held = control.DeployFailed, in(3*time.Hour)
	c.Waiting = &control.Revision{Number: 8, Issuer: "letsencrypt", NotAfter: in(89 * day)}
	c.Targets = []control.Target{
		{Key: "file /etc/haproxy/certs/www.pem", Accepted: true, Revision: 7, At: in(-day)},
		{Key: "reload nginx.service", Accepted: true, Revision: 7, At: in(-day), Note: "not running"},
		{Key: "run push-cert", Revision: 6, At: in(-40 * day), Failed: &control.Setback{
			Count: 3, At: in(-5 * time.Minute), RetryAt: in(5 * time.Minute), Problem: "exited with status 7", Hint: "see what it says, and mend it",
			Output: "connecting to 192.0.2.9\npermission denied\n"}},
		{Key: "probe 127.0.0.1:443"},
		{Key: "probe 127.0.0.1:25 smtp", Accepted: true, Revision: 7, At: in(-day), Served: in(60 * day)},
	}
	return c
}

// rolledBackCertificate is at an older revision by the operator's wish.
func rolledBackCertificate() control.Certificate {
	c := goodCertificate()
	c.Held, c.RolledBack = in(23*time.Hour), in(-time.Hour)
	c.Waiting = &control.Revision{Number: 8, Issuer: "letsencrypt", NotAfter: in(89 * day)}
	c.Next = control.Action{Do: "activate", At: c.Held, Reason: "rolled back to revision 7"}
	return c
}

func summaries() []control.Summary {
	return []control.Summary{
		{Name: "www.example.com", Phase: control.Valid, NotAfter: in(60 * day), Renewal: in(30 * day), Next: in(30 * day), Reason: "renewal due", Issuer: "letsencrypt", Revision: 7},
		{Name: "mail.example.com", Phase: control.BackingOff, NotAfter: in(12 * day), Renewal: in(-day), Next: in(10 * time.Minute), Reason: control.AttemptFailed, Error: "connection: no answer from 192.0.2.1", Problem: true},
		{Name: "new.example.com", Phase: control.Missing, Next: in(0), Reason: "no certificate yet"},
		{Name: "old.example.com", Phase: control.Expired, NotAfter: in(-time.Hour), Next: in(100 * time.Second), Problem: true},
	}
}

func TestFilter(t *testing.T) {
	for sentence, tt := range map[string]struct {
		filter filter
		want   string
	}{
		"what needs attention comes first, then what ends first": {filter{}, "old mail new www"},
		"only what somebody should look at":                      {filter{failing: true}, "old mail"},
		"only what is due, which a missing one always is":        {filter{due: deadline{at: in(29 * day)}}, "old mail new"},
		"all that are due within a time from now":                {filter{due: deadline{in: 31 * day}}, "old mail new www"},
		"only those of an issuer":                                {filter{issuer: "letsencrypt"}, "www"},
		"all that is asked for must hold":                        {filter{issuer: "letsencrypt", failing: true}, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			var got []string
			for _, s := range tt.filter.apply(summaries(), noon()) {
				got = append(got, strings.TrimSuffix(s.Name, ".example.com"))
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %v; want %s", got, tt.want)
			}
		})
	}
}

func samplePlan() control.Plan {
	return control.Plan{
		Steps: []control.Step{
			{Name: "mail.example.com", Do: "redeploy", At: in(20 * day), Reason: "consumers have not accepted it as the spec wants it", Targets: []string{"reload dovecot.service"}},
			{Name: "new.example.com", Do: "issue", Issuer: "letsencrypt", Reason: "there is no certificate yet"},
			{Name: "old.example.com", Do: "retire", Reason: "its spec is gone"},
			{Name: "same.example.com", Do: "nothing", At: in(20 * day), Reason: "what was issued is what the spec asks for"},
			{Name: "www.example.com", Do: "reissue", Issuer: "letsencrypt", Reason: "its spec asks for something else than was issued",
				Differs: []string{"dnsNames: + shop.example.com", "privateKey: ECDSA-256 → RSA-2048"}, Targets: []string{"check", "reload nginx.service"}},
		},
		Unchanged: 12,
		Costs: []control.Cost{
			{Issuer: "letsencrypt", Limit: "orders of the account", Needs: 2, Left: 240, Max: 250, Per: 3 * 3600},
			{Issuer: "letsencrypt", Limit: "certificates of example.com", Needs: 2, Left: 1, Max: 45, Per: 7 * 24 * 3600},
		},
		Problems: sampleInfo().Problems,
		Held:     sampleInfo().Held,
	}
}

func sampleSimulation() *control.Simulation {
	orders := control.SimulatedLimit{Limit: "orders of the account", Left: 120, Max: 270, Per: 3 * 3600, At: in(2 * time.Hour)}
	domain := control.SimulatedLimit{Limit: "certificates of example.com", Left: 0, Max: 45, Per: 7 * 24 * 3600, At: in(day)}
	return &control.Simulation{
		From: noon(), Until: in(90 * day), Certificates: 212,
		Issuers: []control.SimulatedIssuer{{
			Issuer: "letsencrypt",
			Total:  control.SimulatedLoad{Orders: 260, New: 150, Exempt: 62, BusiestHour: 150, InFlight: 16, Held: 3, Ended: 1},
			Limits: []control.SimulatedLimit{orders, domain},
			Days: []control.SimulatedDay{
				{Day: "2026-09-01", Load: control.SimulatedLoad{Orders: 150, New: 150, BusiestHour: 150, InFlight: 16}, Limits: []control.SimulatedLimit{orders}},
				{Day: "2026-09-02", Load: control.SimulatedLoad{Orders: 48, BusiestHour: 45, InFlight: 16, Held: 3}, Limits: []control.SimulatedLimit{domain}},
				{Day: "2026-11-20", Load: control.SimulatedLoad{Orders: 62, Exempt: 62, BusiestHour: 12, InFlight: 2, Ended: 1}},
			},
		}},
		Delayed: 12, Ended: 1,
		Delays: []control.SimulatedDelay{
			{Name: "a.example.com", Issuer: "letsencrypt", Limit: "certificates of example.com: 45 in 168h0m0s", Since: in(day), Until: in(3 * day)},
			{Name: "b.example.com", Issuer: "letsencrypt", Limit: "certificates of example.com: 45 in 168h0m0s", Since: in(day)},
		},
		Gaps: []control.SimulatedGap{{Name: "b.example.com", Since: in(80 * day)}},
		Assumptions: []control.SimulatedGrant{
			{Issuer: "letsencrypt", Life: 90 * 24 * 3600, Seen: true, Advises: true},
			{Issuer: "letsencrypt", Profile: "shortlived", Life: 160 * 3600},
		},
	}
}

func goodCertificate() control.Certificate {
	return control.Certificate{
		Name: "www.example.com", Phase: control.Valid,
		DNSNames: []string{"www.example.com", "example.com"}, IPAddresses: []string{"192.0.2.1"},
		Issuers: []string{"letsencrypt", "zerossl"}, Profile: "tlsserver", Key: "ECDSA-256",
		Live: "/var/lib/acmed/live/www.example.com", SpecFile: "/etc/acmed/certs.d/www.example.com.yaml",
		Next: control.Action{Do: "renew", At: in(30 * day), Reason: "one third of its lifetime is left"},
		Current: &control.Revision{Number: 7, Issuer: "letsencrypt", Account: "https://ca.example/acct/1", Key: "ECDSA-256", Serial: "03ab",
			SHA256: "c0ffee", IssuedBy: "R11", NotBefore: in(-30 * day), NotAfter: in(60 * day)},
		Renewal: &control.Renewal{Due: in(30 * day), Source: "lifetime"},
	}
}

func badCertificate() control.Certificate {
	c := goodCertificate()
	c.Phase, c.SpecFile = control.BackingOff, ""
	c.Next = control.Action{Reason: "retired"}
	c.Order = &control.Order{Issuer: "letsencrypt", URL: "https://ca.example/order/9", Status: "pending", Created: in(-time.Minute)}
	c.Failures = []control.Failure{
		{Issuer: "letsencrypt", Kind: "validation", Count: 3, At: in(-5 * time.Minute), RetryAt: in(95 * time.Minute), Op: "challenge", Problem: "connection",
			Identifier: "example.com", Detail: "192.0.2.1: Fetching http://example.com/.well-known/acme-challenge/x: Connection refused",
			Hint:        "open port 80 of example.com to the internet",
			Subproblems: []control.Subproblem{{Identifier: "example.com", Problem: "dns", Detail: "NXDOMAIN"}, {Problem: "caa"}}},
		{Issuer: "zerossl", Kind: "permanent", Count: 1, At: in(-time.Hour)},
	}
	c.SpecProblem = &sampleInfo().Problems[0]
	c.Notes = []string{"something else"}
	c.Current.Granted = "shortlived"
	c.Current.Instead = "zerossl is not asked before 2026-08-03 10:00 UTC: cannot be reached: connection refused"
	c.RevocationList = &control.RevocationList{URL: "http://ca.example/1.crl", Checked: in(-3 * time.Hour), Problem: "http://ca.example/1.crl: the server answers with status 404"}
	return c
}

func sampleInfo() control.Info {
	return control.Info{
		Version: "v0.1.0", PID: 4711, Started: in(-3 * day), Config: "/etc/acmed/acmed.yaml", StateDir: "/var/lib/acmed",
		Certificates: 4, Phases: map[control.Phase]int{control.Valid: 1, control.BackingOff: 1, control.Missing: 1, control.Expired: 1, control.Parked: 0},
		LastReload: in(-2 * time.Hour), HTTP01: "acmed itself, on :80",
		Problems: []control.Problem{
			{File: "/etc/acmed/certs.d/www.yaml", Line: 3, Column: 7, Field: "dnsName", Problem: "unknown key", Hint: "did you mean dnsNames?", Kept: true},
			{File: "/etc/acmed/certs.d/x.yml", Problem: "not read", Hint: "name it x.yaml"},
		},
		Held: &control.Held{Reason: "the files of 3 certificates (a, b, c) vanished; they stay in effect until `acmed reload --accept-removals`", Names: []string{"a", "b", "c"}},
	}
}

func many(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("n%d", i))
	}
	return names
}

func TestRelative(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"now": time.Second - 1, "in 1 second": time.Second, "in 119 seconds": 2*time.Minute - 1, "in 2 minutes": 2 * time.Minute,
		"in 119 minutes": 2*time.Hour - 1, "in 2 hours": 2 * time.Hour, "in 47 hours": 2*day - 1, "in 2 days": 2 * day,
		"1 second ago": -time.Second, "29 days ago": -29 * day,
	} {
		if got := relative(in(d), noon()); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
	if got := relative(time.Time{}, noon()); got != "-" {
		t.Errorf("no time: got %q", got)
	}
}
