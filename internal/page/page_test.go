package page_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/control"
	"acmed/internal/page"
)

const day = 24 * time.Hour

// fleet is a daemon with certificates of every kind.
type fleet struct {
	list []control.Summary
	err  error
}

func (f fleet) Info(context.Context) (control.Info, error) {
	info := control.Info{Version: "1.2.3", Started: time.Now().Add(-3 * day), HTTP01: "port 80 answers from /run/acmed/http-01", Certificates: len(f.list)}
	if len(f.list) > 0 {
		info.Problems = []control.Problem{{File: "/etc/acmed/certs.d/shop.yaml", Line: 3, Column: 1, Problem: "unknown key <b>dnsName</b>", Hint: "did you mean dnsNames?", Kept: true}}
	}
	return info, nil
}

func (f fleet) List(context.Context) ([]control.Summary, error) { return f.list, f.err }

func (f fleet) Issuers(context.Context) ([]control.Issuer, error) {
	return []control.Issuer{
		{Name: "letsencrypt", Directory: "https://acme-v02.api.letsencrypt.org/directory", Certificates: len(f.list),
			Budgets: []control.Budget{{Limit: "orders of the account", Left: 200, Max: 270, Per: 3 * 3600}}},
		{Name: "unused", Directory: "https://unused.example"},
		{Name: "zerossl", Directory: "https://acme.zerossl.com/v2/DV90", Certificates: 1,
			Hold: &control.Hold{Until: time.Now().Add(time.Hour), Reason: "cannot be reached: no such host"}},
	}, nil
}

// newFleet has n certificates; one in ten needs somebody.
func newFleet(n int) fleet {
	now := time.Now()
	var f fleet
	for i := range n {
		s := control.Summary{
			Name: fmt.Sprintf("host%05d.example.com", i), Names: []string{fmt.Sprintf("host%05d.example.com", i)}, Issuer: "letsencrypt", Phase: control.Valid, Revision: 3,
			Issued: now.Add(-time.Duration(i%60) * day), NotAfter: now.Add(time.Duration(90-i%60) * day), Renewal: now.Add(time.Duration(60-i%60) * day),
			Next: now.Add(time.Duration(60-i%60) * day), Reason: "by its lifetime",
		}
		switch i % 40 {
		case 1:
			s.Phase, s.Problem, s.Error, s.Hint = control.BackingOff, true, "dns: DNS problem: NXDOMAIN looking up A for "+s.Name, "make sure that "+s.Name+" resolves to this machine in public DNS"
			s.Next, s.Reason = now.Add(9*time.Minute), control.AttemptFailed
		case 2:
			s.Phase, s.Problem, s.NotAfter, s.Issued = control.Expired, true, now.Add(-time.Hour), now.Add(-90*day)
			s.Error, s.Hint = "rejectedIdentifier: <script>alert(1)</script>", "remove it from the spec"
		case 3:
			s = control.Summary{Name: s.Name, Names: []string{"*.example.com", "example.com", "a.example.com"}, MoreNames: 7, Issuer: "letsencrypt", Phase: control.Missing, Next: now, Reason: "there is no certificate yet"}
		case 4:
			s.Phase, s.Problem, s.Error = control.DeployFailed, true, "reload nginx.service: the job failed"
			s.Next, s.Reason = now.Add(time.Minute), control.DeployBroken
		case 5:
			s.Phase, s.Problem, s.Reason = control.Parked, true, control.RetriedDaily
			s.Error, s.Hint = "externalAccountRequired: an account key is needed", "set externalAccountBinding in the issuer"
		}
		f.list = append(f.list, s)
	}
	return f
}

func ask(t testing.TB, source page.Source, target, host string) *httptest.ResponseRecorder {
	t.Helper()
	h, err := page.New(page.Config{Source: source, Host: "web1"})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Host = host
	w := httptest.NewRecorder()
	page.Guard([]string{"web1"}, nil, h).ServeHTTP(w, r)
	return w
}

func TestGolden(t *testing.T) {
	for name, tt := range map[string]struct {
		n      int
		target string
	}{"none": {0, "/"}, "some": {7, "/"}, "found": {300, "/?q=host0020&page=0"}, "second-leaf": {106, "/?page=1"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // whose clock begins at the same instant every time
				w := ask(t, newFleet(tt.n), tt.target, "127.0.0.1:9402")
				got := strings.TrimSpace(w.Body.String()) + "\n"
				_, got, _ = strings.Cut(got, "</style>")
				file := filepath.Join("testdata", name+".html")
				if os.Getenv("UPDATE") != "" {
					if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if w.Code != http.StatusOK || got != string(want) {
					t.Errorf("%d: the page differs from %s; see the difference, and UPDATE=1 go test ./internal/page", w.Code, file)
				}
			})
		})
	}
}

func TestWhatTheCASaysIsText(t *testing.T) {
	for target, words := range map[string]string{"/": "&lt;script&gt;alert(1)", "/?q=%3Cscript%3E": "“&lt;script&gt;”"} {
		body := ask(t, newFleet(40), target, "localhost").Body.String()
		if strings.Contains(body, "<script") || strings.Contains(body, "<b>dnsName") {
			t.Errorf("%s: words became elements", target)
		}
		if !strings.Contains(body, words) {
			t.Errorf("%s: %s is missing", target, words)
		}
	}
}

// TestAURLOfTheCAIsWholeAndNoLink has one that is 4 KiB long.
func TestAURLOfTheCAIsWholeAndNoLink(t *testing.T) {
	f := newFleet(3)
	url := "https://ca.test/unpause?jwt=" + strings.Repeat("x", 4000)
	f.list[1].Error = "rateLimited: Please visit: " + url
	body := ask(t, f, "/", "localhost").Body.String()
	if text := strings.ReplaceAll(body, "&#43;", "+"); !strings.Contains(text, url) {
		t.Error("the URL is cut")
	}
	if strings.Contains(body, `href="https://ca.test`) {
		t.Error("the URL of a CA is a link")
	}
}

func TestOnlyItsOwnNamesLeadToThePage(t *testing.T) {
	for host, want := range map[string]int{
		"127.0.0.1:9402": 200, "[::1]:9402": 200, "localhost:9402": 200, "localhost": 200, "WEB1:9402": 200, "192.0.2.1": 200,
		"evil.example": 421, "127.0.0.1.evil.example:9402": 421, "": 421,
	} {
		if got := ask(t, newFleet(1), "/", host).Code; got != want {
			t.Errorf("%q is answered with %d; want %d", host, got, want)
		}
	}
}

func TestHeadersKeepOthersOut(t *testing.T) {
	h := ask(t, newFleet(1), "/", "localhost").Header()
	policy := h.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") ||
		h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("got %v", h)
	}
}

func TestOddQueriesDoNoHarm(t *testing.T) {
	for _, q := range []string{"?page=-1", "?page=9999999999999999999", "?page=x", "?q=%00&page=3", "?page=2;q=a"} {
		if w := ask(t, newFleet(250), "/"+q, "localhost"); w.Code != http.StatusOK {
			t.Errorf("%s: %d", q, w.Code)
		}
	}
	if w := ask(t, fleet{err: errors.New("no disk")}, "/", "localhost"); w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "no disk") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func BenchmarkPage(b *testing.B) {
	for _, n := range []int{300, 10000} {
		b.Run(fmt.Sprintf("certificates=%d", n), func(b *testing.B) {
			f := newFleet(n)
			size := 0
			for b.Loop() {
				size = ask(b, f, "/", "localhost").Body.Len()
			}
			b.ReportMetric(float64(size)/1024, "KiB/page")
		})
	}
}

// TestANameBeyondASCIIIsFoundAndShown in both forms.
func TestANameBeyondASCIIIsFoundAndShown(t *testing.T) {
	f := newFleet(3)
	f.list[0].Names, f.list[0].Unicode = []string{"xn--bcher-kva.example"}, control.Unicode{"xn--bcher-kva.example": "bücher.example"}
	for target, want := range map[string]bool{"/": true, "/?q=B%C3%BCcher": true, "/?q=xn--b": true, "/?q=host00002": false} {
		body := ask(t, f, target, "localhost").Body.String()
		if strings.Contains(body, "xn--bcher-kva.example (bücher.example)") != want {
			t.Errorf("%s: %v", target, !want)
		}
	}
}
