package deploy_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"acmed/internal/deploy"
	"acmed/internal/spec"
	"acmed/internal/store"
)

const (
	proofToken = "a-token-of-some-length"
	dnsSpec    = "challenge: {type: dns-01, provider: corp}\ndnsNames: [www.example.com, example.com, \"*.example.com\", \"*.wild.example.com\"]\n"
)

// proof is the record of a domain as it is without a CNAME.
func proof(domain string) deploy.Record {
	auth := proofToken + "." + strings.Repeat("T", 43)
	sum := sha256.Sum256([]byte(auth))
	return deploy.Record{
		Certificate: site, Provider: "corp", Domain: domain, Name: "_acme-challenge." + domain + ".",
		Value: base64.RawURLEncoding.EncodeToString(sum[:]), Token: proofToken, KeyAuth: auth,
	}
}

// recordRequest is what a daemon says.
func recordRequest(verb string, r deploy.Record) string {
	text, _ := json.Marshal(map[string]any{"verb": verb, "record": r}) // strings only
	return string(text)
}

// newZone is a realm whose site is proved by a program that writes into log how it was called.
func newZone(t *testing.T, more string) (r *realm, log func() string) {
	t.Helper()
	r = newRealm(t)
	r.no(os.Mkdir(r.path("etc/dns.d"), 0o755))
	r.write("etc/acmed.yaml", "specDir: certs.d\nstateDir: ../var/state\ndnsDir: dns.d\n")
	r.spec(site, dnsSpec)
	r.program("hook", `echo "$*" >>`+r.path("log")+`; env | grep ^CERTBOT_ | sort >>`+r.path("log")+`; echo "id 7"; echo "a warning" >&2`)
	r.provide(more)
	return r, func() string {
		text, _ := os.ReadFile(r.path("log"))
		_ = os.Remove(r.path("log"))
		return string(text)
	}
}

func (r *realm) program(name, script string) {
	r.t.Helper()
	r.no(os.WriteFile(r.path(name), []byte("#!/bin/sh\n"+script+"\n"), 0o755)) //nolint:gosec // it is run
}

func (r *realm) provide(more string) {
	r.t.Helper()
	r.write("etc/dns.d/corp.yaml", "exec: {command: ["+r.path("hook")+", arg]"+more+"}\n")
}

func (r *realm) sets(record deploy.Record) {
	r.t.Helper()
	r.no(r.client().Present(r.t.Context(), record))
}

// wantLog compares what a program was told; VALUE stands for the value of the proof.
func wantLog(t *testing.T, got, want string) {
	t.Helper()
	if want = strings.ReplaceAll(want, "VALUE", proof(site).Value); got != want {
		t.Errorf("called with\n%s\nwant\n%s", got, want)
	}
}

// TestProgramsSetRecords does so through the helper and in the daemon's own process, and wants the same of both.
func TestProgramsSetRecords(t *testing.T) {
	const all = "www.example.com,example.com,wild.example.com"
	auth := proof(site).KeyAuth
	for mode, want := range map[string][2]string{
		"":            {"arg present _acme-challenge.example.com. VALUE\n", "arg cleanup _acme-challenge.example.com. VALUE\n"},
		", mode: raw": {"arg present -- example.com " + proofToken + " " + auth + "\n", "arg cleanup -- example.com " + proofToken + " " + auth + "\n"},
		", mode: certbot, cleanUp: [HOOK, clean]": {
			"arg\nCERTBOT_ALL_DOMAINS=" + all + "\nCERTBOT_AUTH_OUTPUT=\nCERTBOT_DOMAIN=example.com\nCERTBOT_REMAINING_CHALLENGES=0\nCERTBOT_VALIDATION=VALUE\n",
			"clean\nCERTBOT_ALL_DOMAINS=" + all + "\nCERTBOT_AUTH_OUTPUT=id 7\nCERTBOT_DOMAIN=example.com\nCERTBOT_REMAINING_CHALLENGES=0\nCERTBOT_VALIDATION=VALUE\n",
		},
		", mode: certbot": {
			"arg\nCERTBOT_ALL_DOMAINS=" + all + "\nCERTBOT_AUTH_OUTPUT=\nCERTBOT_DOMAIN=example.com\nCERTBOT_REMAINING_CHALLENGES=0\nCERTBOT_VALIDATION=VALUE\n",
			"",
		},
	} {
		r, log := newZone(t, "")
		r.provide(strings.ReplaceAll(mode, "HOOK", r.path("hook")))
		for _, p := range map[string]deploy.Programs{"helper": r.client(), "local": r.local()} {
			r.no(p.Present(t.Context(), proof("example.com")))
			wantLog(t, log(), want[0])
			r.no(p.CleanUp(t.Context(), proof("example.com")))
			wantLog(t, log(), want[1])
		}
		if left, _ := filepath.Glob(r.path("memory/said/*")); len(left) > 0 {
			t.Errorf("%s: left %q", mode, left)
		}
	}
}

// local calls programs in its own process.
func (r *realm) local() *deploy.Local {
	r.t.Helper()
	text, err := os.ReadFile(r.path("etc/dns.d/corp.yaml"))
	r.no(err)
	p, err := spec.ParseProvider("corp.yaml", text)
	r.no(err)
	l, err := deploy.NewLocal(deploy.LocalConfig{
		Certificate: func(name string) *spec.Certificate { return parse(r.t, name, dnsSpec) },
		Provider:    func(string) *spec.Provider { return p },
		State:       r.reader(), StateDir: r.path("var/state"), Executor: r.hands,
	})
	r.no(err)
	return l
}

// TestWhatAProgramSaysIsTold, and what to do.
func TestWhatAProgramSaysIsTold(t *testing.T) {
	r, _ := newZone(t, ", timeout: 1s")
	for script, want := range map[string]string{
		"echo looking; echo no such zone >&2; exit 3": "exited with status 3: looking\nno such zone; see what it says, and mend the cause; acmed renew " + site,
		"sleep 60": "took longer than 1s and was killed; see why it hangs, or give it a longer timeout",
	} {
		r.program("hook", script)
		for _, p := range []deploy.Programs{r.client(), r.local()} {
			if err := p.Present(t.Context(), proof("example.com")); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", script, err)
			}
		}
	}
	r.provide(", user: nobody-at-all")
	if err := r.client().Present(t.Context(), proof("example.com")); err == nil || !strings.Contains(err.Error(), "there is no user nobody-at-all") {
		t.Error(err)
	}
	r.write("etc/dns.d/corp.yaml", "rfc2136: {server: ns1.example.com}\n")
	for _, p := range []deploy.Programs{r.client(), r.local()} {
		if err := p.Present(t.Context(), proof("example.com")); err == nil || !strings.Contains(err.Error(), "program") {
			t.Error(err)
		}
	}
}

// TestARecordNeedsRootsWord has a daemon that was taken over ask for what root has not written down.
func TestARecordNeedsRootsWord(t *testing.T) {
	r, log := newZone(t, ", aliases: [dyn.example.net]")
	r.spec("other.example.com", "challenge: {type: dns-01, provider: another}\n")
	r.spec("web.example.com", "")
	for sentence, c := range map[string]struct {
		change func(p *deploy.Record)
		want   string
	}{
		"a domain that the spec does not name":        {func(p *deploy.Record) { *p = proof("bank.example.com") }, "does not name bank.example.com"},
		"a part of one":                               {func(p *deploy.Record) { *p = proof("ample.com") }, "does not name ample.com"},
		"what is below a wildcard":                    {func(p *deploy.Record) { *p = proof("a.wild.example.com") }, "does not name a.wild"},
		"a certificate that nobody has written":       {func(p *deploy.Record) { p.Certificate = "evil" }, "evil.yaml"},
		"one that another provider proves":            {func(p *deploy.Record) { *p = proof("other.example.com"); p.Certificate = "other.example.com" }, "by the DNS provider corp"},
		"one that is proved by http-01":               {func(p *deploy.Record) { *p = proof("web.example.com"); p.Certificate = "web.example.com" }, "by the DNS provider corp"},
		"a provider that nobody has written":          {func(p *deploy.Record) { p.Provider = "evil" }, "evil.yaml"},
		"a record elsewhere":                          {func(p *deploy.Record) { p.Name = "_acme-challenge.bank.example.com." }, "aliases: [bank.example.com]"},
		"the apex":                                    {func(p *deploy.Record) { p.Name = "example.com." }, "exec.aliases"},
		"a label before it that is no account's":      {func(p *deploy.Record) { p.Name = "_dmarc._acme-challenge.example.com." }, "exec.aliases"},
		"a zone whose name ends as the alias does":    {func(p *deploy.Record) { p.Name = "x.evildyn.example.net." }, "exec.aliases"},
		"the proof of another value":                  {func(p *deploy.Record) { p.Value = strings.Repeat("x", 43) }, "key authorization"},
		"a value that is no checksum":                 {func(p *deploy.Record) { p.Value = "v=spf1 +all" }, "not the value of a proof"},
		"a key authorization of another token":        {func(p *deploy.Record) { p.Token = "another-token-of-some-length" }, "key authorization"},
		"no key authorization":                        {func(p *deploy.Record) { p.KeyAuth = "" }, "key authorization"},
		"a domain with an option":                     {func(p *deploy.Record) { p.Domain = "-x" }, "not a domain"},
		"a domain with a command":                     {func(p *deploy.Record) { p.Domain = "$(id).example.com" }, "not a domain"},
		"a name with a line":                          {func(p *deploy.Record) { p.Name = "a\n.example.com." }, "not the name of a record"},
		"a name that is too long":                     {func(p *deploy.Record) { p.Name = strings.Repeat("a.", 128) }, "not the name of a record"},
		"a provider that is a path":                   {func(p *deploy.Record) { p.Provider = "../certs.d/corp" }, "not the name of a DNS provider"},
		"a certificate that is a path":                {func(p *deploy.Record) { p.Certificate = "../dns.d/corp" }, "not the name of a certificate"},
		"a token that could be several words":         {func(p *deploy.Record) { p.Token = "a b" }, "not a token"},
		"the apex of the alias, in capitals":          {func(p *deploy.Record) { p.Name = "DYN.example.net." }, "not the name of a record"},
		"a name without the dot that makes it a name": {func(p *deploy.Record) { p.Name = "_acme-challenge.example.com" }, "not the name of a record"},
	} {
		p := proof("example.com")
		c.change(&p)
		for _, verb := range []string{"present", "cleanup"} {
			if verb == "cleanup" && p.KeyAuth == "" {
				continue // who cleans up after a restart has none
			}
			if answer := r.ask(recordRequest(verb, p)); !strings.Contains(answer, `"problem"`) || !strings.Contains(answer, c.want) {
				t.Errorf("%s, %s: %s", sentence, verb, answer)
			}
		}
	}
	if said := log(); said != "" {
		t.Errorf("called with %s", said)
	}
	for _, name := range []string{"shop.dyn.example.net.", "dyn.example.net.", "_ujmmovf2vn55tgye._acme-challenge.example.com."} {
		p := proof("example.com")
		p.Name = name
		r.sets(p)
		wantLog(t, log(), "arg present "+name+" VALUE\n")
	}
	r.sets(proof("wild.example.com"))
}

// TestOnlyOneThingIsAsked: neither verb takes what the other ones are for.
func TestOnlyOneThingIsAsked(t *testing.T) {
	record, _ := json.Marshal(proof(site))
	for _, request := range []string{
		`{"verb":"present"}`, `{"verb":"cleanup","orders":[{"name":"a"}]}`, `{"verb":"present","record":` + string(record) + `,"orders":[{"name":"a"}]}`,
		`{"verb":"deploy","orders":[{"name":"a"}],"record":` + string(record) + `}`, `{"verb":"accept","record":` + string(record) + `}`,
	} {
		if verb, _, err := deploy.ReadRecord(strings.NewReader(request)); err == nil {
			t.Errorf("%s is %s", request, verb)
		}
	}
}

// wantRecord holds the decoder to what programs build on.
func wantRecord(t *testing.T, text []byte) {
	t.Helper()
	verb, p, err := deploy.ReadRecord(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{p.Certificate, p.Provider, p.Domain, p.Name} {
		if !regexp.MustCompile(`\A[a-z0-9_][a-z0-9._-]*\z`).MatchString(word) || strings.Contains(word, "..") {
			t.Fatalf("%q", word)
		}
	}
	if verb == "present" && !strings.HasPrefix(p.KeyAuth, p.Token+".") || len(p.Value) != 43 || strings.ContainsAny(p.Token+p.KeyAuth+p.Value, " \x00\n'\"$`\\/;*") {
		t.Fatalf("%+v", p)
	}
}

// TestAProviderIsBelievedAsASpecIs: what somebody else could have written is not, and the last good version is in force.
func TestAProviderIsBelievedAsASpecIs(t *testing.T) {
	r, log := newZone(t, "")
	const file = "etc/dns.d/corp.yaml"
	r.no(os.Chmod(r.path(file), 0o666))
	p := proof("example.com")
	if err := r.client().Present(t.Context(), p); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Error(err)
	}
	r.no(os.Chmod(r.path(file), 0o644))
	r.sets(p)
	wantLog(t, log(), "arg present _acme-challenge.example.com. VALUE\n")
	for _, text := range []string{"exec: {command: [/bin/evil]", "exec: {command: []}\n", ""} {
		r.write(file, text)
		r.sets(p)
		wantLog(t, log(), "arg present _acme-challenge.example.com. VALUE\n")
	}
	r.write(file, "exec: {command: [/bin/evil]}\n")
	r.no(os.Chmod(r.path(file), 0o666))
	r.sets(p)
	wantLog(t, log(), "arg present _acme-challenge.example.com. VALUE\n")
	r.no(os.Remove(r.path(file)))
	if err := r.client().Present(t.Context(), p); !errors.Is(err, fs.ErrNotExist) && (err == nil || !strings.Contains(err.Error(), "no such file")) {
		t.Error(err)
	}
	r.no(os.WriteFile(r.path(file), []byte("exec: {command: ["+r.path("hook")+", half]}\n"), 0o644))
	r.no(os.Remove(r.path("memory/dns/corp.yaml")))
	if err := r.client().Present(t.Context(), p); err == nil || !strings.Contains(err.Error(), "is just being written") {
		t.Error(err)
	}
	if said := log(); said != "" {
		t.Errorf("called with %s", said)
	}
}

// TestWhatWasSetCanBeTakenAway although root has taken the name or the spec away since, and nothing else can.
func TestWhatWasSetCanBeTakenAway(t *testing.T) {
	for sentence, change := range map[string]func(r *realm){
		"the name is gone":        func(r *realm) { r.spec(site, "challenge: {type: dns-01, provider: corp}\n") },
		"it is proved by http-01": func(r *realm) { r.spec(site, "{}\n") },
		"the spec is gone":        func(r *realm) { r.spec("other", "dnsNames: [a.example]\n"); r.no(os.Remove(r.path(r.specFile(site)))) },
	} {
		r, log := newZone(t, "")
		p, other := proof("example.com"), proof("wild.example.com")
		r.sets(p)
		log()
		change(r)
		p.KeyAuth = ""
		if err := r.client().Present(t.Context(), proof("example.com")); err == nil {
			t.Errorf("%s, and it is set once more", sentence)
		}
		if err := r.client().CleanUp(t.Context(), other); err == nil {
			t.Errorf("%s, and what was never set is taken away", sentence)
		}
		wantLog(t, log(), "")
		r.no(r.client().CleanUp(t.Context(), p))
		wantLog(t, log(), "arg cleanup _acme-challenge.example.com. VALUE\n")
		if err := r.client().CleanUp(t.Context(), p); err == nil {
			t.Errorf("%s, and it is taken away twice", sentence)
		}
	}
}

// TestProgramsWaitForEachOther, those of one provider. A delivery waits for none, and none for it.
func TestProgramsWaitForEachOther(t *testing.T) {
	r, _ := newZone(t, "")
	r.spec("other", "challenge: {type: dns-01, provider: slow}\ndnsNames: [other.example.com]\n")
	r.program("hook", `mkdir `+r.path("busy")+` || exit 9; sleep 0.05; rmdir `+r.path("busy"))
	r.program("slow", `while test -e `+r.path("wait")+`; do sleep 0.01; done`)
	r.write("etc/dns.d/slow.yaml", "exec: {command: ["+r.path("slow")+"]}\n")
	r.write("wait", "")
	slow := proof("other.example.com")
	slow.Certificate, slow.Provider = "other", "slow"
	var waiting, calls sync.WaitGroup
	waiting.Go(func() {
		if err := r.client().Present(t.Context(), slow); err != nil {
			t.Error(err)
		}
	})
	for range 5 {
		calls.Go(func() {
			if err := r.client().Present(t.Context(), proof("example.com")); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	r.issue("web.example.com", mint(t, "web.example.com"))
	r.spec("web.example.com", siteSpec)
	r.delivers("web.example.com")
	r.no(os.Remove(r.path("wait")))
	waiting.Wait()
}

// TestMishapsOfRecords lets every change of the helper's folder fail in every way. What was set can be taken away.
func TestMishapsOfRecords(t *testing.T) {
	for sentence, kind := range mishaps() {
		for at := 1; ; at++ {
			r, log := newZone(t, ", mode: certbot")
			r.provide(", mode: certbot, cleanUp: [" + r.path("hook") + ", clean]")
			m := kind
			m.at, r.step = at, m.step
			err := errors.Join(r.client().Present(t.Context(), proof("example.com")), r.client().CleanUp(t.Context(), proof("example.com")))
			if m.count < at {
				if err != nil || at < 10 {
					t.Errorf("%s: %d operations, %v", sentence, m.count, err)
				}
				break
			}
			r.step = nil
			log()
			if err := r.client().Present(t.Context(), proof("example.com")); err != nil || !strings.HasPrefix(log(), "arg\n") {
				t.Errorf("%s at %s: afterwards %v", sentence, m.trace[at-1], err)
			}
			if err := r.client().CleanUp(t.Context(), proof("example.com")); err != nil || !strings.Contains(log(), "clean\n") {
				t.Errorf("%s at %s: afterwards %v", sentence, m.trace[at-1], err)
			}
			if left, _ := filepath.Glob(r.path("memory/*/.*.tmp")); len(left) > 0 {
				t.Errorf("%s at %s: left %q", sentence, m.trace[at-1], left)
			}
		}
	}
}

// TestRecordsThatStayAreForgotten after a week.
func TestRecordsThatStayAreForgotten(t *testing.T) {
	r, _ := newZone(t, "")
	r.sets(proof("example.com"))
	left, err := filepath.Glob(r.path("memory/said/corp.*"))
	if err != nil || len(left) != 1 {
		t.Fatalf("%q, %v", left, err)
	}
	past := time.Now().Add(-8 * 24 * time.Hour)
	r.no(os.Chtimes(left[0], past, past))
	r.write("memory/said/other."+strings.Repeat("0", 64), "")
	r.sets(proof("wild.example.com"))
	now, err := filepath.Glob(r.path("memory/said/*"))
	if err != nil || len(now) != 2 || strings.Contains(fmt.Sprint(now), filepath.Base(left[0])) {
		t.Errorf("%q, %v", now, err)
	}
}

// reader reads the state folder until the test ends.
func (r *realm) reader() *store.Reader {
	r.t.Helper()
	state, err := store.OpenReader(r.path("var/state"))
	r.no(err)
	r.t.Cleanup(func() { state.Close() })
	return state
}
