package main

import (
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"acmed/internal/control"
	"acmed/internal/doctor"
	"acmed/internal/migrate"
	"acmed/internal/sectigo"
)

// troubles are rows whose last words matter, with names of a common length.
func troubles() []control.Summary {
	summary := func(name string, phase control.Phase, days int, reason, err string) control.Summary {
		return control.Summary{Name: name, Names: []string{name}, Phase: phase, NotAfter: in(time.Duration(days) * day), Next: in(50 * time.Minute), Reason: reason, Error: err, Problem: true}
	}
	return []control.Summary{
		summary("mail.example.com", control.BackingOff, 12, control.AttemptFailed, "dns: mail.example.com: no valid A records found"),
		summary("imap.example.com", control.DeployFailed, 80, control.DeployBroken, "reload dovecot.service: job failed\nsee journalctl -xe"),
		summary("shop.example.com", control.Parked, 40, control.RetriedDaily, "rejectedIdentifier: shop.example.com: policy forbids it"),
		summary("typo.example.com", control.Parked, 40, control.NeverValid, "line 12: dnsName: unknown key"),
		summary("push.example.com", control.DeployFailed, 80, control.DeployBroken, "run /usr/local/lib/acmed/hooks/push: exited with status 3"),
		summary("held.example.com", control.BackingOff, 40, "cannot be reached: no such host; issuer corp is paused", "cannot be reached: no such host"),
	}
}

// TestANarrowTableKeepsItsLastWords shows each table at the usual widths.
func TestANarrowTableKeepsItsLastWords(t *testing.T) {
	cert := deliveredCertificate()
	cert.Targets[2].Failed.Problem = "exited with status 7"
	issuers := sampleIssuers()
	for what, c := range map[string]struct {
		text  string
		words []string
	}{
		"list":        {listText(troubles(), noon()), []string{"dns: no valid A records", "reload dovecot.service: job", "rejectedIdentifier: policy", "line 12: dnsName: unknown key", "run push: exited with", "cannot be reached: no such"}},
		"status":      {overviewText(overview{sampleInfo(), troubles()}, noon()), []string{"dns: no valid A records", "line 12: dnsName: unknown key"}},
		"status NAME": {certificateText(cert, noon()), []string{"exited with status 7", "not running"}},
		"issuer list": {issuersText(issuers, noon()), []string{"too many orders; paused", "not permitted; paused", "ready, 268 of 270 orders", "what to do: agree to the CA's terms of service"}},
		"plan":        {planText(samplePlan(), noon()), []string{"its spec is gone", "then reload nginx.service", "1 of 45 in 7 days: the"}},
		"import": {importText(&migrate.Plan{Certificates: []migrate.Step{{Name: "wildcard.example.com", Issuer: "letsencrypt", Key: "ECDSA-256", Former: "*.example.com",
			Why: "unknown provider x", NotAfter: in(60 * day)}}}, false, noon()), []string{"not imported: unknown"}},
	} {
		for _, width := range []int{80, 100, 200} {
			got := fit(c.text, width)
			for _, words := range c.words {
				if !strings.Contains(got, words) {
					t.Errorf("acmed %s at %d columns does not say %q:\n%s", what, width, words, got)
				}
			}
			if what == "list" {
				for line := range strings.Lines(got) {
					if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > width {
						t.Errorf("wider than %d: %s", width, line)
					}
				}
			}
		}
	}
	if got := fit(listText(troubles(), noon()), 200); got != listText(troubles(), noon()) {
		t.Errorf("a wide terminal does not show all:\n%s", got)
	}
}

// TestALongNameLeavesRoomForTheCause has one of 36 characters, and errors that begin with a long word, at 80 columns.
func TestALongNameLeavesRoomForTheCause(t *testing.T) {
	list := []control.Summary{
		{Name: "mail.mailservers.eu-west.example.com", Phase: control.Parked, Next: in(day), Error: "rejectedIdentifier: policy forbids it", Problem: true},
		{Name: "shop.example.com", Phase: control.DeployFailed, NotAfter: in(60 * day), Next: in(day), Error: "run /srv/acmed/hook: exited with status 3", Problem: true},
	}
	got := fit(listText(list, noon()), 80)
	for _, words := range []string{"rejectedIdentif", "run hook: exited"} {
		if !strings.Contains(got, words) {
			t.Errorf("it does not say %q:\n%s", words, got)
		}
	}
}

// TestAnErrorIsSaidOnceInALine counts words that a CA or a hook said.
func TestAnErrorIsSaidOnceInALine(t *testing.T) {
	for line := range strings.Lines(listText(troubles(), noon())) {
		for _, words := range []string{"no such host", "job failed", "unknown key", "no valid A", "policy"} {
			if strings.Count(line, words) > 1 {
				t.Errorf("said twice: %s", line)
			}
		}
	}
}

// fill sets every text in v, in whatever it is, and one element of each list.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, text)
		fill(value, text)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(in(time.Hour)))
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() && v.Type().Field(i).Name != "Output" { // has lines of its own, each marked
				fill(v.Field(i), text)
			}
		}
	}
}

func filled[T any](text string) (v T) {
	fill(reflect.ValueOf(&v).Elem(), text)
	return v
}

// everyText is what each command would write of values in which every text is the same.
func everyText(text string) map[string]string {
	plan, simulated := filled[control.Plan](text), filled[control.Plan](text)
	plan.Simulation = nil
	moved, gone := filled[migrate.Plan](text), filled[control.Certificate](text)
	gone.Current, gone.Placeholder = nil, true
	return map[string]string{
		"account show":   acmeAccountText(filled[control.Account](text), noon()),
		"check":          checkedText(filled[checked](text)),
		"delete":         deletedText(filled[control.DeleteResult](text), noon()),
		"doctor":         findingText(filled[doctor.Finding](text)),
		"event":          eventText(filled[control.Event](text)),
		"import":         importText(&moved, false, noon()),
		"issuer list":    issuersText(filled[[]control.Issuer](text), noon()),
		"issuer test":    examinedText(filled[examined](text), noon()),
		"list":           listText(filled[[]control.Summary](text), noon()),
		"plan":           planText(plan, noon()),
		"plan simulated": planText(simulated, noon()),
		"reload":         reloadText(filled[control.ReloadResult](text)),
		"revoke":         sameKeyText(filled[[]control.SameKey](text)),
		"sectigo list":   accountsText(filled[[]account](text)) + serversText(filled[[]sectigo.Server](text)) + domainsText(filled[[]sectigo.Domain](text)),
		"sectigo show":   accountText(filled[account](text)) + changedText(filled[changed](text), text[:4]),
		"status":         overviewText(filled[overview](text), noon()),
		"status NAME":    certificateText(filled[control.Certificate](text), noon()),
		"status none":    certificateText(gone, noon()),
		"version":        versionText(filled[versionInfo](text)),
	}
}

// TestWordsOfOthersStayInTheirCell has a line break, a tab and an escape sequence in every text that a command shows, no matter who
// said it: as many lines as with tame words must come of it, and nothing that moves the cursor.
func TestWordsOfOthersStayInTheirCell(t *testing.T) {
	tame := everyText("some words of others")
	for what, got := range everyText("some\nwords\tof\r\x1b[2J\u202e\u2028others\r\n") {
		if want := strings.Count(tame[what], "\n"); strings.Count(got, "\n") != want {
			t.Errorf("acmed %s has %d lines, and of tame words %d:\n%s", what, strings.Count(got, "\n"), want, got)
		}
		if i := strings.IndexFunc(got, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("acmed %s writes %q", what, got[i:])
		}
	}
}
