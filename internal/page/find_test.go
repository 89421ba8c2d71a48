package page_test

import (
	"context"
	"html"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"acmed/internal/control"
)

// chip is a link that shows the certificates in one phase.
var chip = regexp.MustCompile(`<a class="chip \w+" href="([^"]*)#all"[^>]*><b>(\d+)</b> ([a-z-]+)</a>`)

// TestAChipShowsAsManyCertificatesAsItCounts, also those with names, issuers and host names that are called like a phase or
// contain one.
func TestAChipShowsAsManyCertificatesAsItCounts(t *testing.T) {
	f := newFleet(40)
	for i, name := range []string{"valid.example.com", "invalid", "parked", "expired.invalid", "deploy-failed", "not-missing.example.com"} {
		f.list[i].Name = name
	}
	f.list[10].Issuer, f.list[11].Issuer, f.list[12].Names = "valid", "parked", []string{"backing-off.example.com"}
	chips := chip.FindAllStringSubmatch(ask(t, f, "/", "localhost").Body.String(), -1)
	if len(chips) != 6 {
		t.Fatalf("got the chips %v", chips)
	}
	all := 0
	for _, c := range chips {
		body := ask(t, f, html.UnescapeString(c[1]), "localhost").Body.String()
		want, _ := strconv.Atoi(c[2])
		all += want
		if got := strings.Count(body, `<tr><th scope="row">`); got != want || strings.Count(body, `">`+c[3]+"</span></td>") != want {
			t.Errorf("%s counts %d and shows %d", c[3], want, got)
		}
		if !strings.Contains(body, " in the phase "+c[3]) || !strings.Contains(body, `aria-current="true"><b>`+c[2]+"</b> "+c[3]) {
			t.Errorf("%s: the page does not say what it shows", c[3])
		}
	}
	if all != len(f.list) {
		t.Errorf("the chips count %d of %d", all, len(f.list))
	}
}

func TestAPhaseIsSearchedAndLeafedThrough(t *testing.T) {
	f := newFleet(400)
	for target, want := range map[string]int{
		"/?phase=valid": 100, "/?phase=valid&page=3": 50, "/?phase=valid&q=host0000": 5, "/?phase=expired&q=host0000": 1,
		"/?phase=Valid": 0, "/?phase=val": 0, "/?phase=%3Cscript%3E": 0, "/?phase=": 100,
	} {
		body := ask(t, f, target, "localhost").Body.String()
		if got := strings.Count(body, `<tr><th scope="row">`); got != want {
			t.Errorf("%s shows %d certificates, want %d", target, got, want)
		}
		if strings.Contains(body, "<script") || strings.Contains(body, "Needs attention") != (target == "/?phase=") {
			t.Errorf("%s: %s", target, body[:strings.Index(body, "<table")])
		}
	}
	if body := ask(t, f, "/?phase=valid&page=1", "localhost").Body.String(); !strings.Contains(body, `href="/?page=2&amp;phase=valid#all"`) {
		t.Error("the next leaf is one of all phases")
	}
}

// broken is a fleet with invalid files beside outages: two of certificates that never had a valid spec, one of a valid
// certificate, one of a certificate that fails as well, and one of an issuer.
type broken struct{ fleet }

func newBroken() broken {
	f := newFleet(6)
	for _, name := range []string{"typo", "torn"} {
		f.list = append(f.list, control.Summary{Name: name, Names: []string{}, Phase: control.Parked, Problem: true, InvalidSpec: true,
			Reason: control.NeverValid, Error: "line 3: dnsName: unknown key", Hint: "did you mean dnsNames?"})
	}
	f.list[0].Problem, f.list[0].InvalidSpec, f.list[0].Error = true, true, "line 1: issuer: unknown key"
	return broken{f}
}

func (b broken) Info(ctx context.Context) (control.Info, error) {
	info, err := b.fleet.Info(ctx)
	info.Problems = []control.Problem{
		{File: "/etc/acmed/certs.d/typo.yaml", Line: 3, Column: 1, Field: "dnsName", Problem: "unknown key", Hint: "did you mean dnsNames?"},
		{File: "/etc/acmed/certs.d/typo.yaml", Line: 9, Column: 5, Field: "key", Problem: "unknown key"},
		{File: "/etc/acmed/certs.d/torn.yaml", Line: 3, Problem: "no YAML"},
		{File: "/etc/acmed/certs.d/host00000.example.com.yaml", Line: 1, Field: "issuer", Problem: "unknown key", Kept: true},
		{File: "/etc/acmed/certs.d/host00001.example.com.yaml", Line: 2, Problem: "no list", Kept: true},
		{File: "/etc/acmed/issuers.d/torn.yaml", Problem: "not read"},
	}
	return info, err
}

func TestEachInvalidFileIsShownOnceBelowTheOutages(t *testing.T) {
	b := newBroken()
	body := ask(t, b, "/", "localhost").Body.String()
	body = body[:strings.Index(body, `id="all"`)]
	info, _ := b.Info(t.Context())
	outages := strings.Index(body, "acmed status host00002.example.com") // expired
	for _, p := range info.Problems {
		at := strings.Index(body, "<code>"+p.File+"</code>")
		if strings.Count(body, p.File) != 1 || at < outages {
			t.Errorf("%s is there %d times, at %d; the outage at %d", p.File, strings.Count(body, p.File), at, outages)
		}
	}
	for _, words := range []string{"line 3, column 1: dnsName: unknown key", "line 9, column 5: key: unknown key", "no YAML", "line 2: no list", "not read"} {
		if strings.Count(body, words) != 1 {
			t.Errorf("%q is there %d times", words, strings.Count(body, words))
		}
	}
	var order []string
	for _, m := range regexp.MustCompile(`<h3>(\S+) `).FindAllStringSubmatch(body, -1) {
		order = append(order, m[1])
	}
	// What has expired, then what expires first. host00003 is on its way, and the others are valid or only their files are not.
	if got := strings.Join(order, " "); got != "host00002.example.com host00005.example.com host00004.example.com host00001.example.com" {
		t.Errorf("got %s", got)
	}
}

func TestManyInvalidFilesLeaveThePageShort(t *testing.T) {
	b := many{newFleet(3)}
	body := ask(t, b, "/", "localhost").Body.String()
	if n := strings.Count(body, `<div class="note`); n != 50 || !strings.Contains(body, "and 70 more: <code>acmed check</code>") {
		t.Errorf("%d files are shown", n)
	}
}

// many is a fleet with 120 invalid files, with two problems each.
type many struct{ fleet }

func (m many) Info(context.Context) (info control.Info, err error) {
	for i := range 240 {
		info.Problems = append(info.Problems, control.Problem{File: "/etc/acmed/certs.d/" + strconv.Itoa(i/2) + ".yaml", Problem: "unknown key"})
	}
	return info, nil
}
