package evilca_test

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acmed/test/evilca"
)

// stub is a CA that knows Pebble's paths and nothing else, behind a proxy.
type stub struct {
	t      *testing.T
	proxy  *evilca.Proxy
	client *http.Client
	nonces int
}

func newStub(t *testing.T, rules *evilca.Rules) *stub {
	t.Helper()
	orders := 0
	ca := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Replay-Nonce", "fresh")
		switch {
		case r.URL.Path == "/order-plz":
			orders++
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"finalize":"https://%s/finalize-order/%d"}`, r.Host, orders)
		case strings.HasPrefix(r.URL.Path, "/authZ/"):
			io.WriteString(w, `{"status":"invalid","identifier":{"type":"dns","value":"a.test"}}`)
		default:
			fmt.Fprintf(w, `{"host":"https://%s/","path":%q}`, r.Host, r.URL.Path)
		}
	}))
	t.Cleanup(ca.Close)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate().Raw})
	if err := os.WriteFile(roots, text, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := evilca.New(evilca.Config{Upstream: ca.URL + "/dir", RootsFile: roots, Dir: t.TempDir(), Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	s := &stub{t: t, proxy: p, client: ca.Client()} // both use httptest's one certificate
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return s
}

// post asks as a client does that signs; payload is JSON.
func (s *stub) post(path, payload string) (*http.Response, string) {
	s.t.Helper()
	s.nonces++
	return s.send(http.MethodPost, path, payload, fmt.Sprint("nonce", s.nonces))
}

func (s *stub) send(method, path, payload, nonce string) (*http.Response, string) {
	s.t.Helper()
	enc := base64.RawURLEncoding.EncodeToString
	body := fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":"c2ln"}`, enc(fmt.Appendf(nil, `{"nonce":%q}`, nonce)), enc([]byte(payload)))
	req, err := http.NewRequest(method, strings.TrimSuffix(s.proxy.DirectoryURL, "/dir")+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return nil, err.Error()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err.Error()
	}
	return res, string(text)
}

func TestTheProxyPassesOnAndCounts(t *testing.T) {
	s := newStub(t, nil)
	host := strings.TrimSuffix(s.proxy.DirectoryURL, "dir")
	res, body := s.send(http.MethodGet, "/dir", "", "")
	if want := fmt.Sprintf(`{"host":%q,"path":"/dir"}`, host); res == nil || res.StatusCode != http.StatusOK || body != want {
		t.Errorf("got %s, want %s", body, want)
	}
	s.proxy.Spoil(evilca.Directory, evilca.First(1, evilca.Say(http.StatusTeapot, "tea")))
	for _, want := range []int{http.StatusTeapot, http.StatusOK} {
		if res, _ := s.send(http.MethodGet, "/dir", "", ""); res.StatusCode != want {
			t.Errorf("got %d, want %d", res.StatusCode, want)
		}
	}
	if n, hits := s.proxy.Count(evilca.Directory), s.proxy.Hits(evilca.Directory); n != 3 || hits != 2 || s.proxy.Total() != 3 {
		t.Errorf("counted %d requests and %d hits", n, hits)
	}
	s.post("/order-plz", "{}")
	if s.proxy.Misdeeds() != nil || len(s.proxy.Signatures()) != 1 {
		t.Errorf("got %v, %v", s.proxy.Misdeeds(), s.proxy.Signatures())
	}
	s.send(http.MethodPost, "/order-plz", "{}", "nonce1")
	if err := s.proxy.Misdeeds(); err == nil || !strings.Contains(err.Error(), "nonce") {
		t.Errorf("a nonce was used twice: %v", err)
	}
	conn, err := net.Dial("tcp", s.proxy.Elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, conn) // ends when it was counted
	if conn.Close(); s.proxy.Strays() != 1 {
		t.Error("a stray was not counted")
	}
}

func TestFaultsDoWhatTheySay(t *testing.T) {
	for sentence, c := range map[string]struct {
		do    evilca.Fault
		check func(*http.Response, string) bool
	}{
		"an answer of its own has a nonce": {evilca.Say(500, "no"), func(r *http.Response, body string) bool {
			return r.StatusCode == 500 && body == "no" && r.Header.Get("Replay-Nonce") == "fresh"
		}},
		"a problem document": {evilca.Problem(429, "rateLimited", "a \"b\"", "Retry-After", "-1"), func(r *http.Response, body string) bool {
			return r.StatusCode == 429 && strings.Contains(body, `"detail":"a \"b\""`) && r.Header.Get("Retry-After") == "-1"
		}},
		"a redirect": {evilca.Redirect(307, "http://ELSEWHERE"), func(r *http.Response, _ string) bool {
			return r.StatusCode == 307 && strings.HasSuffix(r.Header.Get("Location"), "/sign-me-up") && !strings.Contains(r.Header.Get("Location"), "ELSEWHERE")
		}},
		"URLs that lead away":              {evilca.Move("http://evil"), func(_ *http.Response, body string) bool { return strings.Contains(body, `"http://evil/"`) }},
		"a field that changes":             {evilca.Field(map[string]any{"path": 7, "host": nil}), func(_ *http.Response, body string) bool { return body == `{"path":7}` }},
		"an answer that is lost":           {evilca.Lose, func(r *http.Response, _ string) bool { return r == nil }},
		"an answer that is cut":            {evilca.Cut, func(r *http.Response, _ string) bool { return r == nil }},
		"headers":                          {evilca.Headers(3, 9), func(r *http.Response, _ string) bool { return r.Header.Get("X-Evil-2") == "xxxxxxxxx" }},
		"an answer that drips comes whole": {evilca.Drip(time.Microsecond), func(_ *http.Response, body string) bool { return strings.HasSuffix(body, `"/sign-me-up"}`) }},
	} {
		t.Run(sentence, func(t *testing.T) {
			s := newStub(t, nil)
			s.proxy.Spoil(evilca.NewAccount, c.do)
			if res, body := s.post("/sign-me-up", "{}"); !c.check(res, body) {
				t.Errorf("got %v, %s", res, body)
			}
			s.proxy.Mend()
			if res, body := s.post("/sign-me-up", "{}"); res == nil || res.StatusCode != http.StatusOK {
				t.Errorf("mended: got %v, %s", res, body)
			}
		})
	}
}

func TestRules(t *testing.T) {
	const order, renewal = `{"identifiers":[{"type":"dns","value":"a.test"}]}`, `{"identifiers":[{"type":"dns","value":"a.test"}],"replaces":"x.y"}`
	for sentence, c := range map[string]struct {
		rules *evilca.Rules
		steps []string // path and payload
		want  []int
	}{
		"orders of the account": {&evilca.Rules{OrdersPer3h: 2}, []string{"/order-plz", order, "/order-plz", order, "/order-plz", order}, []int{201, 201, 429}},
		"certificates of a set": {&evilca.Rules{CertsPerSetPerWeek: 1}, []string{"/order-plz", order, "/order-plz", order, "/finalize-order/2", "{}", "/order-plz", order},
			[]int{201, 201, 200, 429}},
		"failed authorizations, each counted once": {&evilca.Rules{FailuresPerHour: 2}, []string{"/authZ/1", "", "/authZ/1", "", "/order-plz", order, "/authZ/2", "", "/order-plz", order},
			[]int{200, 200, 201, 200, 429}},
		"a certificate is replaced once, and that is free": {&evilca.Rules{OrdersPer3h: 1, Replacements: true}, []string{"/order-plz", order, "/order-plz", renewal, "/order-plz", renewal},
			[]int{201, 201, 409}},
	} {
		t.Run(sentence, func(t *testing.T) {
			s := newStub(t, c.rules)
			for i, want := range c.want {
				res, body := s.post(c.steps[2*i], c.steps[2*i+1])
				if res == nil || res.StatusCode != want || want == 429 && res.Header.Get("Retry-After") == "" {
					t.Errorf("step %d: got %v, %s, want %d", i, res, body, want)
				}
			}
		})
	}
}
