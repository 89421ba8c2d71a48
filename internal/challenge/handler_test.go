package challenge_test

import (
	"bufio"
	"bytes"
	"cmp"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"acmed/internal/challenge"
)

const challengePath = "/.well-known/acme-challenge/"

// tokens answers for the tokens that it holds.
type tokens map[string]string

func (m tokens) KeyAuthorization(token string) (string, bool) {
	keyAuth, ok := m[token]
	return keyAuth, ok
}

func newHandler(t testing.TB, fallback string, m *challenge.Metrics) http.Handler {
	t.Helper()
	h, err := challenge.NewHandler(challenge.HandlerConfig{Tokens: tokens{token: keyAuth}, Fallback: fallback, Metrics: m})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// serve has h answer one request as it would come over the wire.
func serve(t testing.TB, h http.Handler, raw string) *http.Response {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		t.Fatalf("reading %q: %v", raw, err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t testing.TB, resp *http.Response) string {
	t.Helper()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestHandlerAnswers(t *testing.T) {
	const (
		answered = "answered"
		unknown  = "unknown"
		fallback = "fallback"
		refused  = "refused"
	)
	for sentence, tt := range map[string]struct {
		line     string // request line without the version
		headers  string
		fallback string
		want     int
		result   string
		location string
	}{
		"a known token":                {line: "GET " + challengePath + token, want: 200, result: answered},
		"a known token on any host":    {line: "GET " + challengePath + token, headers: "Host: 192.0.2.1:8080", want: 200, result: answered},
		"a known token without a host": {line: "GET " + challengePath + token, headers: "Host:", want: 200, result: answered},
		"a known token, head only":     {line: "HEAD " + challengePath + token, want: 200, result: answered},
		"a known token through a proxy": {
			line: "GET http://example.com" + challengePath + token, want: 200, result: answered},
		"a known token where others are redirected": {
			line: "GET " + challengePath + token, fallback: "redirect", want: 200, result: answered},
		"an unknown token":              {line: "GET " + challengePath + strings.Repeat("a", 43), want: 404, result: unknown},
		"no token":                      {line: "GET " + challengePath, want: 404, result: unknown},
		"a token with a slash":          {line: "GET " + challengePath + token + "/", want: 404, result: unknown},
		"a token behind a dot":          {line: "GET " + challengePath + "./" + token, want: 404, result: unknown},
		"a token behind two slashes":    {line: "GET " + challengePath + "/" + token, want: 404, result: unknown},
		"an encoded token":              {line: "GET " + challengePath + "%65" + token[1:], want: 404, result: unknown},
		"an encoded slash":              {line: "GET " + challengePath + "..%2f" + token, want: 404, result: unknown},
		"an encoded path":               {line: "GET /%2ewell-known/acme-challenge/" + token, want: 404, result: fallback},
		"an unclean path":               {line: "GET /x/.." + challengePath + token, want: 404, result: fallback},
		"the path in capitals":          {line: "GET " + strings.ToUpper(challengePath) + token, want: 404, result: fallback},
		"the folder":                    {line: "GET /.well-known/acme-challenge", want: 404, result: fallback},
		"anything else":                 {line: "GET /", want: 404, result: fallback},
		"a post":                        {line: "POST " + challengePath + token, headers: "Content-Length: 0", want: 405, result: refused},
		"a trace":                       {line: "TRACE /", want: 405, result: refused},
		"an invented method":            {line: "BREW /", want: 405, result: refused},
		"a get with a body":             {line: "GET " + challengePath + token, headers: "Content-Length: 1", want: 400, result: refused},
		"a get with a chunked body":     {line: "GET " + challengePath + token, headers: "Transfer-Encoding: chunked", want: 400, result: refused},
		"an unknown token is not moved": {line: "GET " + challengePath + strings.Repeat("a", 43), fallback: "redirect", want: 404, result: unknown},
		"a post is not moved":           {line: "POST /", headers: "Content-Length: 0", fallback: "redirect", want: 405, result: refused},
		"a page": {
			line: "GET /a%20b//c?q=%0d%0a&r=<x>", headers: "Host: Example.COM", fallback: "redirect",
			want: 301, result: fallback, location: "https://Example.COM/a%20b//c?q=%0d%0a&r=<x>"},
		"a page on a port": {
			line: "HEAD /", headers: "Host: example.com:8080", fallback: "redirect",
			want: 301, result: fallback, location: "https://example.com/"},
		"a page that looks like a host": {
			line: "GET //evil.example/x", headers: "Host: 192.0.2.1", fallback: "redirect",
			want: 301, result: fallback, location: "https://192.0.2.1//evil.example/x"},
	} {
		t.Run(sentence, func(t *testing.T) {
			metrics := challenge.NewMetrics()
			resp := serve(t, newHandler(t, tt.fallback, metrics),
				tt.line+" HTTP/1.1\r\n"+cmp.Or(tt.headers, "Host: example.com")+"\r\n\r\n")
			if resp.StatusCode != tt.want || resp.Header.Get("Location") != tt.location {
				t.Errorf("got %s to %q, want %d to %q", resp.Status, resp.Header.Get("Location"), tt.want, tt.location)
			}
			if resp.StatusCode == http.StatusOK {
				expectProof(t, resp)
			}
			expectResult(t, metrics, tt.result)
		})
	}
}

func expectProof(t *testing.T, resp *http.Response) {
	t.Helper()
	if got := body(t, resp); got != keyAuth {
		t.Errorf("body %q", got)
	}
	for name, want := range map[string]string{
		"Content-Type":           "text/plain",
		"X-Content-Type-Options": "nosniff",
		"Cache-Control":          "no-store",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// expectResult fails unless exactly one request was counted, as result.
func expectResult(t *testing.T, m *challenge.Metrics, result string) {
	t.Helper()
	var want strings.Builder
	want.WriteString("# HELP acmed_http01_requests_total Requests to the http-01 responder by result.\n" +
		"# TYPE acmed_http01_requests_total counter\n")
	for _, known := range []string{"answered", "fallback", "refused", "unknown"} {
		count := " 0\n"
		if known == result {
			count = " 1\n"
		}
		want.WriteString(`acmed_http01_requests_total{result="` + known + `"}` + count)
	}
	if err := testutil.CollectAndCompare(m.Collectors()[0], strings.NewReader(want.String())); err != nil {
		t.Error(err)
	}
}

func TestRefusedMethodSaysWhichAreAllowed(t *testing.T) {
	resp := serve(t, newHandler(t, "", nil), "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n")
	if got := resp.Header.Get("Allow"); got != "GET, HEAD" {
		t.Errorf("Allow: %q", got)
	}
}

func TestNotFoundNeverEchoesTheRequest(t *testing.T) {
	for _, path := range []string{"/<script>", challengePath + "<script>"} {
		resp := serve(t, newHandler(t, "", nil), "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
		if got := body(t, resp); got != "not found\n" {
			t.Errorf("%s: body %q", path, got)
		}
	}
}

func TestHostsThatNobodyIsSentTo(t *testing.T) {
	for _, host := range []string{
		"", ":80", "a:80:80", "a:http", "user@example.com", "example.com/x", "exa mple.com", "[::1]", "a..b", ".a", "a.",
		"<x>", "ex%61mple.com", "b\u00fccher.example", "a\\b", strings.Repeat("a", 64) + ".com", strings.Repeat("a.", 130) + "com",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		newHandler(t, challenge.FallbackRedirect, nil).ServeHTTP(w, r)
		if w.Code != http.StatusNotFound {
			t.Errorf("host %q: %d to %q", host, w.Code, w.Header().Get("Location"))
		}
	}
}

func TestHandlerConfigIsChecked(t *testing.T) {
	if _, err := challenge.NewHandler(challenge.HandlerConfig{}); err == nil {
		t.Error("a handler without tokens")
	}
	_, err := challenge.NewHandler(challenge.HandlerConfig{Tokens: tokens{}, Fallback: "proxy"})
	if err == nil || !strings.Contains(err.Error(), `"proxy"`) {
		t.Errorf("an unknown fallback: %v", err)
	}
}

func TestMetricsAreWellNamed(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(challenge.NewMetrics().Collectors()...)
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) != 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

func FuzzHandler(f *testing.F) {
	for _, seed := range []string{
		"GET " + challengePath + token + " HTTP/1.1\r\nHost: example.com\r\n\r\n",
		"HEAD / HTTP/1.0\r\n\r\n",
		"GET http://a:80//b/../c%2f?d#e HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET * HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\nx\r\n0\r\n\r\n",
		"GET a:b HTTP/1.1\r\nHost: a\xffb\r\n\r\n",
		"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	h := newHandler(f, challenge.FallbackRedirect, nil)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		expectSane(t, r, w.Result())
	})
}

// expectSane checks what must hold of every answer, however odd the request.
func expectSane(t *testing.T, r *http.Request, resp *http.Response) {
	t.Helper()
	content := body(t, resp)
	switch resp.StatusCode {
	case http.StatusOK:
		if r.URL.Path != challengePath+token || content != keyAuth {
			t.Errorf("%s is answered with %q", r.URL, content)
		}
	case http.StatusMovedPermanently:
		location := resp.Header.Get("Location")
		u, err := url.Parse(location)
		if err != nil || u.Scheme != "https" || u.User != nil || u.Port() != "" || u.Host != strings.SplitN(r.Host, ":", 2)[0] {
			t.Errorf("%s %q is sent to %q: %v", r.URL, r.Host, location, err)
		}
		if strings.ContainsAny(location, "\r\n") || content != "" {
			t.Errorf("%s is sent to %q with body %q", r.URL, location, content)
		}
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed:
		if strings.Contains(content, r.URL.Path) && len(r.URL.Path) > 3 {
			t.Errorf("%s is echoed: %q", r.URL, content)
		}
	default:
		t.Errorf("%s gets %s", r.URL, resp.Status)
	}
}
