package issue_test

import (
	"encoding/base64"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"acmed/internal/control"
	"acmed/test/pebble"
	"acmed/test/site"
)

// gateway is a proxy that lets those through who log in.
type gateway struct {
	t     *testing.T
	login string // user:password

	mu      sync.Mutex
	mood    string          // "": it works; "forbid" and "drop" are what they say
	targets map[string]bool // that somebody was let through to
}

func (g *gateway) set(mood string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mood = mood
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	mood := g.mood
	g.mu.Unlock()
	switch {
	case r.Method != http.MethodConnect:
		g.t.Errorf("it is asked to %s %s", r.Method, r.URL)
	case mood == "drop":
		panic(http.ErrAbortHandler)
	case mood == "forbid":
		http.Error(w, "no", http.StatusForbidden)
	case r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(g.login)):
		w.Header().Set("Proxy-Authenticate", "Basic")
		http.Error(w, "who are you?", http.StatusProxyAuthRequired)
	default:
		g.connect(w, r)
	}
}

// connect passes all bytes on until either side has ended.
func (g *gateway) connect(w http.ResponseWriter, r *http.Request) {
	out, err := net.Dial("tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer out.Close()
	g.mu.Lock()
	g.targets[r.Host] = true
	g.mu.Unlock()
	w.WriteHeader(http.StatusOK)
	in, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		g.t.Error(err)
		return
	}
	defer in.Close()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(in, out) // one side hangs up
		in.Close()
	})
	_, _ = io.Copy(out, in)
	out.Close()
	back.Wait()
}

// TestAProxyStandsInBetween refuses, demands a password and lets through. What it refuses is told with its name and what
// to do, and the password is nobody's business.
func TestAProxyStandsInBetween(t *testing.T) {
	t.Parallel()
	const name, password = "www.example.com", "correct:horse-battery"
	g := &gateway{t: t, login: "acmed:" + password, targets: map[string]bool{}}
	proxy := httptest.NewServer(g)
	t.Cleanup(proxy.Close)
	ca := pebble.Start(t, pebble.Options{})
	login := filepath.Join(t.TempDir(), "login")
	write := func(text string) {
		if err := os.WriteFile(login, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("acmed:wrong-password\n")
	s := site.New(t, ca, site.Options{Issuer: "proxy: " + proxy.URL + "\nproxyCredentialsFile: " + login + "\n"})
	s.Spec(t, name, "")
	s.Start(t)
	s.Run(t, "reload")
	tells := func(what string, words ...string) {
		t.Helper()
		site.Eventually(t, what, func() bool {
			text := strings.Join(strings.Fields(s.Run(t, "status", name)), " ")
			return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) })
		})
	}
	again := func() { // it does not work, which the status tells
		_ = s.Control.Renew(t.Context(), control.RenewRequest{Names: []string{name}}, func(control.Event) {})
	}
	tells("a wrong password is told", proxy.URL, "407 Proxy Authentication Required", "proxyCredentialsFile")
	write("no colon\n")
	again()
	tells("that the file is no login is told", "does not hold user:password", "write user:password into "+login)
	write(g.login + "\n")
	g.set("forbid")
	again()
	tells("that it may not is told", proxy.URL, "403 Forbidden", "have whoever runs the proxy let this machine connect to 127.0.0.1:")
	g.set("drop")
	again()
	tells("that the proxy hangs up is told", "through the proxy "+proxy.URL)
	if n := s.Live(t, name); n != 0 || len(g.targets) > 0 {
		t.Fatalf("past the proxy came revision %d", n)
	}
	g.set("")
	s.Run(t, "renew", name, "--wait")
	if s.Live(t, name) != 1 {
		t.Error("there is no certificate, and the proxy works")
	}
	if want, _, _ := strings.Cut(strings.TrimPrefix(ca.DirectoryURL, "https://"), "/"); len(g.targets) != 1 || !g.targets[want] {
		t.Errorf("it led to %v, want %s", g.targets, want)
	}
	seen := s.Output(t) + s.Run(t, "status", name, "--output", "json") + s.Run(t, "issuer", "list", "--output", "json")
	err := filepath.WalkDir(s.State, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		seen += string(text)
		return err
	})
	for _, secret := range []string{password, "wrong-password", base64.StdEncoding.EncodeToString([]byte(g.login))} {
		if err != nil || strings.Contains(seen, secret) {
			t.Errorf("%s was written down, %v", secret, err)
		}
	}
}
