package challenge_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"acmed/internal/acme"
	"acmed/internal/challenge"
	"acmed/internal/spec"
	"acmed/test/zone"
)

const exampleZone = `
example.com. 60 IN SOA ns1.example.com. hostmaster.example.com. 1 3600 600 86400 60
example.com. 60 IN NS ns1.example.com.
ns1.example.com. 60 IN A 127.0.0.1
example.net. 60 IN SOA ns1.example.com. hostmaster.example.com. 1 3600 600 86400 60
example.net. 60 IN NS ns1.example.com.
dyn.example.net. 60 IN SOA ns1.example.com. hostmaster.example.com. 1 3600 600 86400 60
dyn.example.net. 60 IN NS ns1.example.com.
_acme-challenge.shop.example.com. 60 IN CNAME shop.dyn.example.net.
_acme-challenge.loop.example.com. 60 IN CNAME _acme-challenge.pool.example.com.
_acme-challenge.pool.example.com. 60 IN CNAME _acme-challenge.loop.example.com.
`

func tsigSecret() string {
	return base64.StdEncoding.EncodeToString([]byte("a secret of thirty-two bytes yes"))
}

// rfc2136 is a solver for a server with exampleZone.
func rfc2136(t *testing.T, keyText string) (*challenge.DNS, *zone.Server) {
	t.Helper()
	server := zone.Start(t, zone.Config{Records: exampleZone, TSIG: map[string]string{"acmed.": tsigSecret()}})
	file := filepath.Join(t.TempDir(), "tsig")
	if err := os.WriteFile(file, []byte(keyText), 0o600); err != nil {
		t.Fatal(err)
	}
	return solver(t, server, &spec.Provider{RFC2136: &spec.RFC2136{Server: server.Addr, TSIGKeyName: "acmed", TSIGAlgorithm: "hmac-sha256", TSIGKeyFile: file}}, nil), server
}

func solver(t *testing.T, server *zone.Server, p *spec.Provider, programs challenge.Programs) *challenge.DNS {
	t.Helper()
	p.Name, p.File, p.TTL = "corp", "dns.d/corp.yaml", time.Minute
	p.Propagation = spec.Propagation{Timeout: time.Minute, Check: true, Resolvers: []string{server.Addr}}
	d, err := challenge.NewDNS(challenge.DNSConfig{Provider: p, Programs: programs})
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(server.Addr)
	d.AskAt(port)
	return d
}

func dnsProof(domain, value string) acme.Proof {
	return acme.Proof{Type: "dns-01", Identifier: acme.Identifier{Type: "dns", Value: domain}, Token: "a-token-of-some-length", KeyAuth: "a-token-of-some-length.thumbprint", DNSValue: value}
}

func TestRecordsComeAndGoByUpdates(t *testing.T) {
	for sentence, key := range map[string]string{
		"with a bare key":                 tsigSecret() + "\n",
		"with what tsig-keygen has given": "key \"acmed\" {\n\talgorithm hmac-sha256;\n\tsecret \"" + tsigSecret() + "\";\n};\n",
	} {
		t.Run(sentence, func(t *testing.T) {
			d, server := rfc2136(t, key)
			const at, elsewhere = "_acme-challenge.www.example.com", "shop.dyn.example.net"
			server.Add(at + ". 60 IN TXT \"somebody else's\"")
			apex, wild := dnsProof("www.example.com", "one"), dnsProof("www.example.com", "two")
			for _, p := range []acme.Proof{apex, wild, apex, dnsProof("shop.example.com", "three")} {
				if err := d.Present(t.Context(), p); err != nil {
					t.Fatal(err)
				}
			}
			want(t, server, at, "one", "somebody else's", "two")
			want(t, server, elsewhere, "three")
			for _, p := range []acme.Proof{apex, wild, wild, dnsProof("shop.example.com", "three")} {
				if err := d.CleanUp(t.Context(), p); err != nil {
					t.Fatal(err)
				}
			}
			want(t, server, at, "somebody else's")
			want(t, server, elsewhere)
		})
	}
}

func want(t *testing.T, server *zone.Server, name string, values ...string) {
	t.Helper()
	if got := server.TXT(name); !slices.Equal(got, values) {
		t.Errorf("%s has %q; want %q", name, got, values)
	}
}

func TestWhatAServerRefusesIsExplained(t *testing.T) {
	other := base64.StdEncoding.EncodeToString([]byte("another secret of thirty-two byt"))
	for sentence, tt := range map[string]struct {
		key, domain string
		kind        acme.Kind
		words, hint string
	}{
		"another key":           {other, "www.example.com", acme.Permanent, "does not accept the signature: BADSIG", "is not that of the server's key acmed"},
		"no key at all":         {"no key!", "www.example.com", acme.Permanent, "holds no TSIG key", "tsig-keygen"},
		"CNAMEs in a circle":    {tsigSecret(), "loop.example.com", acme.Permanent, "lead on and on", "at most ten"},
		"a name without a zone": {tsigSecret(), "www.example.org", acme.Permanent, "the zone of _acme-challenge.www.example.org. is not known", "rfc2136.zone"},
	} {
		t.Run(sentence, func(t *testing.T) {
			d, server := rfc2136(t, tt.key)
			wantFailure(t, d.Present(t.Context(), dnsProof(tt.domain, "one")), tt.kind, tt.words, tt.hint)
			if n := server.Updates(); n > 0 {
				t.Errorf("%d updates were made", n)
			}
		})
	}
}

func wantFailure(t *testing.T, err error, kind acme.Kind, words, hint string) {
	t.Helper()
	e, ok := errors.AsType[*acme.Error](err)
	if !ok || e.Kind != kind || !strings.Contains(e.Detail, words) || !strings.Contains(e.Hint, hint) || e.Op != acme.OpChallenge {
		t.Errorf("got %#v; want %s with %q and %q", err, kind, words, hint)
	}
}

func TestPropagationIsWatched(t *testing.T) {
	d, _ := rfc2136(t, tsigSecret())
	p := dnsProof("www.example.com", "one")
	look := func(since time.Time) (string, error) { return d.Visible(t.Context(), p, since) }
	if lacking, err := look(time.Now()); err != nil || lacking != "ns1.example.com (127.0.0.1) to have the TXT record _acme-challenge.www.example.com" {
		t.Errorf("before it is written: %q, %v", lacking, err)
	}
	if err := d.Present(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if lacking, err := look(time.Now()); err != nil || lacking != "" {
		t.Errorf("once it is written: %q, %v", lacking, err)
	}
}

func TestPropagationCanBeWaitedForBlindly(t *testing.T) {
	server := zone.Start(t, zone.Config{})
	p := &spec.Provider{RFC2136: &spec.RFC2136{Server: server.Addr}}
	solver(t, server, p, nil)
	p.Propagation.Check, p.Propagation.Delay = false, time.Minute
	d, err := challenge.NewDNS(challenge.DNSConfig{Provider: p})
	if err != nil {
		t.Fatal(err)
	}
	if lacking, err := d.Visible(t.Context(), dnsProof("a.test", "one"), time.Now()); err != nil || !strings.Contains(lacking, "propagation.delay") {
		t.Errorf("at once: %q, %v", lacking, err)
	}
	if lacking, err := d.Visible(t.Context(), dnsProof("a.test", "one"), time.Now().Add(-2*time.Minute)); err != nil || lacking != "" {
		t.Errorf("later: %q, %v", lacking, err)
	}
}

// service answers as a provider's API and keeps what it was asked.
func service(t *testing.T, status int, body string) (address string, asked *[]string) {
	t.Helper()
	asked = &[]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		user, password, _ := r.BasicAuth()
		*asked = append(*asked, fmt.Sprintf("%s %s:%s %s:%s %s", r.URL.Path, user, password, r.Header.Get("X-Api-User"), r.Header.Get("X-Api-Key"), text))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL, asked
}

func secretFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestHTTPReq(t *testing.T) {
	server := zone.Start(t, zone.Config{Records: exampleZone})
	for mode, body := range map[string]string{
		"default": `{"fqdn":"shop.dyn.example.net.","value":"one"}`,
		"raw":     `{"domain":"shop.example.com","keyAuth":"a-token-of-some-length.thumbprint","token":"a-token-of-some-length"}`,
	} {
		address, asked := service(t, http.StatusOK, "")
		d := solver(t, server, &spec.Provider{HTTPReq: &spec.HTTPReq{URL: address + "/api", Mode: mode, Username: "me", PasswordFile: secretFile(t, "pass\n")}}, nil)
		if err := errors.Join(d.Present(t.Context(), dnsProof("shop.example.com", "one")), d.CleanUp(t.Context(), dnsProof("shop.example.com", "one"))); err != nil {
			t.Fatal(err)
		}
		if want := []string{"/api/present me:pass : " + body, "/api/cleanup me:pass : " + body}; !slices.Equal(*asked, want) {
			t.Errorf("%s: asked %q; want %q", mode, *asked, want)
		}
	}
	for status, kind := range map[int]acme.Kind{http.StatusForbidden: acme.Permanent, http.StatusBadGateway: acme.Transient, http.StatusFound: acme.Transient} {
		address, _ := service(t, status, "go\x1b[31m away")
		d := solver(t, server, &spec.Provider{HTTPReq: &spec.HTTPReq{URL: address, Mode: "default"}}, nil)
		wantFailure(t, d.Present(t.Context(), dnsProof("www.example.com", "one")), kind, fmt.Sprint(status), "")
	}
}

func TestACMEDNS(t *testing.T) {
	server := zone.Start(t, zone.Config{Records: exampleZone})
	address, asked := service(t, http.StatusOK, `{"txt":"one"}`)
	reg := map[string]string{"username": "u", "password": "p", "fulldomain": "shop.dyn.example.net", "subdomain": "shop", "server_url": address}
	one, _ := json.Marshal(reg)
	many, _ := json.Marshal(map[string]any{"other.example.com": map[string]string{}, "shop.example.com": reg})
	for _, text := range []string{string(one), string(many)} {
		*asked = nil
		d := solver(t, server, &spec.Provider{ACMEDNS: &spec.ACMEDNS{AccountFile: secretFile(t, text)}}, nil)
		if err := errors.Join(d.Present(t.Context(), dnsProof("shop.example.com", "one")), d.CleanUp(t.Context(), dnsProof("shop.example.com", "one"))); err != nil {
			t.Fatal(err)
		}
		if want := []string{`/update : u:p {"subdomain":"shop","txt":"one"}`}; !slices.Equal(*asked, want) {
			t.Errorf("asked %q; want %q", *asked, want)
		}
		words, hint := "no registration for www.example.com", "register it"
		if text == string(one) {
			words, hint = "_acme-challenge.www.example.com. does not lead to shop.dyn.example.net", "_acme-challenge.www.example.com. CNAME shop.dyn.example.net."
		}
		wantFailure(t, d.Present(t.Context(), dnsProof("www.example.com", "one")), acme.Permanent, words, hint)
	}
	for text, words := range map[string]string{"[]": "is not the JSON", "": "is not the JSON"} {
		d := solver(t, server, &spec.Provider{ACMEDNS: &spec.ACMEDNS{URL: address, AccountFile: secretFile(t, text)}}, nil)
		wantFailure(t, d.Present(t.Context(), dnsProof("shop.example.com", "one")), acme.Permanent, words, "/register")
	}
}

// TestACMEDNSKeepsTwoValues: a third would push out one that the CA still looks for.
func TestACMEDNSKeepsTwoValues(t *testing.T) {
	server := zone.Start(t, zone.Config{Records: exampleZone + `
_acme-challenge.a.example.com. 60 IN CNAME shop.dyn.example.net.
_acme-challenge.b.example.com. 60 IN CNAME shop.dyn.example.net.`})
	address, asked := service(t, http.StatusOK, "")
	reg, _ := json.Marshal(map[string]string{"fulldomain": "shop.dyn.example.net", "server_url": address})
	d := solver(t, server, &spec.Provider{ACMEDNS: &spec.ACMEDNS{AccountFile: secretFile(t, string(reg))}}, nil)
	first, second := d.For("first"), d.For("second")
	for _, p := range []acme.Proof{dnsProof("shop.example.com", "one"), dnsProof("a.example.com", "two"), dnsProof("a.example.com", "two")} {
		if err := first.Present(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	third := dnsProof("b.example.com", "three")
	wantFailure(t, first.Present(t.Context(), third), acme.Permanent, "more than 2 names of this certificate lead to shop.dyn.example.net.", "register b.example.com by itself")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wantFailure(t, second.Present(ctx, third), acme.Transient, "holds the values of first, and acme-dns keeps 2", "")
	if len(*asked) != 3 {
		t.Errorf("asked %q", *asked)
	}
	done := make(chan error)
	go func() { done <- second.Present(t.Context(), third) }()
	if err := first.CleanUp(t.Context(), dnsProof("a.example.com", "two")); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("once there is room: %v", err)
	}
}

// ownProof is that of dns-account-01.
func ownProof(domain, value string) acme.Proof {
	p := dnsProof(domain, value)
	p.Type, p.DNSLabel = acme.DNSAccount01, "_ujmmovf2vn55tgye"
	return p
}

// TestRecordsOfTheAccountsOwn are beside those of dns-01, of a wildcard as of a name, and where their own CNAME leads.
func TestRecordsOfTheAccountsOwn(t *testing.T) {
	d, server := rfc2136(t, tsigSecret())
	server.Add("_ujmmovf2vn55tgye._acme-challenge.mail.example.com. 60 IN CNAME mail.dyn.example.net.")
	const own = "_ujmmovf2vn55tgye._acme-challenge."
	proofs := []acme.Proof{dnsProof("www.example.com", "usual"), ownProof("www.example.com", "one"), ownProof("*.www.example.com", "two"),
		ownProof("mail.example.com", "three"), ownProof("shop.example.com", "four")}
	for _, p := range proofs {
		if err := d.Present(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	want(t, server, "_acme-challenge.www.example.com", "usual")
	want(t, server, own+"www.example.com", "one", "two")
	want(t, server, "mail.dyn.example.net", "three")
	want(t, server, own+"shop.example.com", "four") // the CNAME of dns-01 is none of its business
	want(t, server, "shop.dyn.example.net")
	for _, p := range proofs {
		if lacking, err := d.Visible(t.Context(), p, time.Now()); err != nil || lacking != "" {
			t.Errorf("%s is not seen: %s, %v", p.DNSValue, lacking, err)
		}
		if err := d.CleanUp(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"_acme-challenge.www.example.com", own + "www.example.com", "mail.dyn.example.net", own + "shop.example.com"} {
		want(t, server, name)
	}
}

// TestWhoFindsTheNameByHimself knows that of dns-01 alone.
func TestWhoFindsTheNameByHimself(t *testing.T) {
	server := zone.Start(t, zone.Config{Records: exampleZone})
	c := &caller{t: t}
	for _, mode := range []string{"raw", "certbot"} {
		d := solver(t, server, &spec.Provider{Exec: &spec.Exec{Command: []string{"hook"}, Mode: mode, Timeout: time.Minute}}, c)
		wantFailure(t, d.Present(t.Context(), ownProof("www.example.com", "one")), acme.Permanent, "knows that of dns-01 alone", "mode: default in dns.d/corp.yaml")
	}
	d := solver(t, server, &spec.Provider{HTTPReq: &spec.HTTPReq{URL: "http://127.0.0.1:1", Mode: "raw"}}, nil)
	wantFailure(t, d.Present(t.Context(), ownProof("www.example.com", "one")), acme.Permanent, "knows that of dns-01 alone", "mode: default in dns.d/corp.yaml")
	if c.called != nil {
		t.Errorf("called %q", c.called)
	}
}

// caller plays those who call programs, and fails the test on what no program may be told.
type caller struct {
	t      *testing.T
	mu     sync.Mutex
	called []string
	busy   bool
	err    error
}

func (c *caller) Present(_ context.Context, r challenge.Record) error { return c.call("present", r) }
func (c *caller) CleanUp(_ context.Context, r challenge.Record) error { return c.call("cleanup", r) }

func (c *caller) call(verb string, r challenge.Record) error {
	c.begin(true)
	defer c.begin(false)
	<-time.After(time.Millisecond) // which others could use
	c.mu.Lock()
	defer c.mu.Unlock()
	c.called = append(c.called, strings.Join([]string{verb, r.Certificate, r.Provider, r.Name, r.Proof.Identifier.Value, r.Proof.DNSValue, r.Proof.KeyAuth}, " "))
	return c.err
}

func (c *caller) begin(busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy && busy {
		c.t.Error("two at once")
	}
	c.busy = busy
}

func TestExec(t *testing.T) {
	server := zone.Start(t, zone.Config{Records: exampleZone})
	c := &caller{t: t}
	d := solver(t, server, &spec.Provider{Exec: &spec.Exec{Command: []string{"hook"}, Mode: "default", Timeout: time.Minute}}, c).For("shop")
	if err := errors.Join(d.Present(t.Context(), dnsProof("shop.example.com", "one")), d.CleanUp(t.Context(), dnsProof("shop.example.com", "one"))); err != nil {
		t.Fatal(err)
	}
	const told = " shop corp shop.dyn.example.net. shop.example.com one a-token-of-some-length.thumbprint"
	if !slices.Equal(c.called, []string{"present" + told, "cleanup" + told}) {
		t.Errorf("called %q", c.called)
	}
	c.err = &challenge.ProgramError{Problem: "hook exited with status 1: no such zone", Hint: "see what it says"}
	wantFailure(t, d.Present(t.Context(), dnsProof("shop.example.com", "one")), acme.Transient, "no such zone", "see what it says")
	c.called = nil
	server.Add("_acme-challenge.evil.example.com. 60 IN CNAME a\\;b.dyn.example.net.")
	wantFailure(t, d.Present(t.Context(), dnsProof("evil.example.com", "one")), acme.Permanent, "is not passed to a program", "CNAME")
	if c.called != nil {
		t.Errorf("called %q", c.called)
	}
}

// TestProgramsAreCalledOneAfterTheOther, also for several certificates; who has no time to wait says so.
func TestProgramsAreCalledOneAfterTheOther(t *testing.T) {
	server := zone.Start(t, zone.Config{Records: exampleZone})
	c := &caller{t: t}
	d := solver(t, server, &spec.Provider{Exec: &spec.Exec{Command: []string{"hook"}, Mode: "default", Timeout: time.Minute}}, c)
	var calls sync.WaitGroup
	for i := range 20 {
		calls.Go(func() {
			if err := d.For(fmt.Sprint(i)).Present(t.Context(), dnsProof("shop.example.com", "one")); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if len(c.called) != 20 {
		t.Errorf("%d calls", len(c.called))
	}
	if wait := d.Busy(); wait != "" {
		t.Errorf("nothing runs, and it waits for %s", wait)
	}
	d.Occupy()
	if wait := d.For("other").Busy(); wait != "its turn with hook, which is called for one record after the other" {
		t.Errorf("it waits for %q", wait)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := d.Present(ctx, dnsProof("shop.example.com", "one")); err == nil || !strings.Contains(err.Error(), "one record after the other") {
		t.Error(err)
	}
}

func TestDNSDoesNotProveAddresses(t *testing.T) {
	d, _ := rfc2136(t, tsigSecret())
	p := dnsProof("192.0.2.1", "one")
	p.Identifier.Type = "ip"
	wantFailure(t, d.Present(t.Context(), p), acme.Transient, "cannot be proved by DNS", "")
}
