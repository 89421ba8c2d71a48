package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"acmed/internal/acme"
	"acmed/internal/challenge"
	"acmed/internal/doctor"
	"acmed/internal/spec"
	"acmed/test/zone"
)

const records = `
www.example.com. 60 IN A 192.0.2.1
www.example.com. 60 IN AAAA 2001:db8::1
away.example.com. 60 IN A 198.51.100.7
allowed.example.com. 60 IN A 192.0.2.1
allowed.example.com. 60 IN CAA 0 issue "ca.example; validationmethods=http-01"
method.example.com. 60 IN A 192.0.2.1
method.example.com. 60 IN CAA 0 issue "ca.example; validationmethods=dns-01"
one.example.com. 60 IN A 192.0.2.1
one.example.com. 60 IN CAA 0 issue "ca.example; accounturi=https://ca.example/acct/1"
two.example.com. 60 IN A 192.0.2.1
two.example.com. 60 IN CAA 0 issue "ca.example; validationmethods=http-01; accounturi=https://ca.example/acct/2"
two.example.com. 60 IN CAA 0 issue "another.example; accounturi=https://ca.example/acct/1"
other.example.org. 60 IN A 192.0.2.1
example.org. 60 IN CAA 0 issue "another.example"
example.org. 60 IN CAA 0 issuewild "ca.example"
`

// patient has one certificate for these names, and a CA that answers well.
func patient(t *testing.T, names ...string) doctor.Config {
	t.Helper()
	server := zone.Start(t, zone.Config{Records: records})
	server.Bogus("bogus.example.com")
	server.Fail("silent.example.com", dns.RcodeRefused)
	responder := httptest.NewServer(notFound(t))
	t.Cleanup(responder.Close)
	c := &spec.Certificate{Name: "one", DNSNames: names, Issuers: []string{"ca"}, Challenge: spec.Challenge{Type: "http-01"}}
	return doctor.Config{
		Settings: spec.DefaultConfig("/etc/acmed/acmed.yaml"),
		Set:      spec.NewSet([]*spec.Certificate{c}, []*spec.Issuer{{Name: "ca", Directory: "https://ca.example/dir", TermsOfServiceAgreed: true}}),
		Examine: func(context.Context, *spec.Issuer) (acme.Examined, error) {
			return acme.Examined{Directory: acme.Directory{CAA: []string{"ca.example"}}, Took: time.Millisecond}, nil
		},
		Resolvers: []string{server.Addr}, Own: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
		Port80: []string{strings.TrimPrefix(responder.URL, "http://")},
		Proc:   t.TempDir(), // no processes
		Unit: func(context.Context, string) (doctor.Unit, error) {
			return doctor.Unit{Loaded: true, Active: "active"}, nil
		},
	}
}

// notFound is acmed's own handler, which has no proofs.
func notFound(t *testing.T) http.Handler {
	t.Helper()
	tokens, err := challenge.OpenFolder(filepath.Join(t.TempDir(), "http-01"))
	if err != nil {
		t.Fatal(err)
	}
	h, err := challenge.NewHandler(challenge.HandlerConfig{Tokens: tokens, Fallback: challenge.FallbackNotFound})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// trouble are the findings that are not good, as "level check subject: text".
func trouble(t *testing.T, c doctor.Config) (out []string) {
	t.Helper()
	err := doctor.Run(t.Context(), c, func(f doctor.Finding) {
		if f.Level != doctor.Good {
			subject := f.Subject
			if f.Count > 0 {
				subject = fmt.Sprintf("%s (%d)", strings.Join(f.Subjects, ", "), f.Count)
			}
			out = append(out, fmt.Sprintf("%s %s %s: %s", f.Level, f.Check, subject, f.Text))
		}
		if (f.Level == doctor.Failure || f.Level == doctor.Warning) && f.Hint == "" {
			t.Errorf("%s does not say what to do", f.Text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"www.example.com":     "",
		"allowed.example.com": "",
		"away.example.com":    "warning name away.example.com: it leads to 198.51.100.7, which no interface of this machine has",
		"none.example.com":    "failure name none.example.com: it has no address, and the CA has to reach it",
		"bogus.example.com":   "failure name bogus.example.com: DNSSEC is broken: ",
		"silent.example.com":  "failure name silent.example.com: querying ",
		"method.example.com":  "failure name method.example.com: the CAA records of method.example.com do not allow ca by http-01",
		"other.example.org":   "failure name other.example.org: the CAA records of example.org do not allow ca by http-01",
	} {
		t.Run(name, func(t *testing.T) {
			got := trouble(t, patient(t, name))
			if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], want)) {
				t.Errorf("got %q; want %q", got, want)
			}
		})
	}
}

func TestWildcardsHaveCAARecordsOfTheirOwn(t *testing.T) {
	c := patient(t)
	wild := &spec.Certificate{Name: "wild", DNSNames: []string{"*.example.org"}, Issuers: []string{"ca"}, Challenge: spec.Challenge{Type: "dns-01"}}
	c.Set = spec.NewSet([]*spec.Certificate{wild}, []*spec.Issuer{{Name: "ca", TermsOfServiceAgreed: true}})
	if got := trouble(t, c); len(got) > 0 {
		t.Errorf("got %q", got)
	}
}

func TestIssuers(t *testing.T) {
	for want, seen := range map[string]acme.Examined{
		"its terms are not agreed to: https://ca.example/terms":                      {Directory: acme.Directory{TermsOfService: "https://ca.example/terms"}},
		"it makes accounts only with an external account binding, and none is given": {Directory: acme.Directory{ExternalAccountRequired: true}},
		"this machine's clock differs from the CA's by 1h0m0s":                       {Skew: time.Hour},
	} {
		c := patient(t, "www.example.com")
		c.Set.Issuer("ca").TermsOfServiceAgreed = false
		c.Examine = func(context.Context, *spec.Issuer) (acme.Examined, error) { return seen, nil }
		if got := trouble(t, c); !slices.Equal(got, []string{"failure issuer ca: " + want}) {
			t.Errorf("got %q; want %q", got, want)
		}
	}
	c := patient(t, "www.example.com")
	c.Examine = func(context.Context, *spec.Issuer) (acme.Examined, error) {
		return acme.Examined{}, &acme.Error{Op: "directory", Detail: "no such host", Hint: "see the network"}
	}
	if got := trouble(t, c); len(got) != 1 || !strings.Contains(got[0], "no such host") {
		t.Errorf("got %q", got)
	}
}

func TestPort80(t *testing.T) {
	nginx := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server", "nginx/1.22")
		w.WriteHeader(http.StatusNotFound)
	}))
	c := patient(t, "www.example.com")
	c.Port80 = []string{strings.TrimPrefix(nginx.URL, "http://")}
	if got := trouble(t, c); len(got) != 1 || !strings.HasPrefix(got[0], "warning port 80") || !strings.Contains(got[0], fmt.Sprintf(`"nginx/1.22" answers; the port is held by doctor.test (%d)`, os.Getpid())) {
		t.Errorf("a web server: %q", got)
	}
	nginx.Close()
	mute, err := net.Listen("tcp", c.Port80[0]) // it accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for conn, err := mute.Accept(); err == nil; conn, err = mute.Accept() {
			_ = conn.Close()
		}
	}()
	if got := trouble(t, c); len(got) != 1 || !strings.Contains(got[0], "nobody answers; the port is held by doctor.test") {
		t.Errorf("no web server: %q", got)
	}
	mute.Close()
	if got := trouble(t, c); len(got) != 1 || !strings.HasPrefix(got[0], "failure port 80") || !strings.HasSuffix(got[0], "nobody answers") {
		t.Errorf("nobody: %q", got)
	}
	c.Settings.HTTP.Solver = "off"
	if got := trouble(t, c); len(got) > 0 {
		t.Errorf("where nobody is to: %q", got)
	}
}

func TestDeliveries(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	c := patient(t, "www.example.com")
	c.Set.Certificate("one").Deploy = spec.Deploy{
		Files: []spec.File{{Path: key, Mode: 0o600}, {Path: dir + "/missing/key"}, {Path: dir + "/new"}},
		Check: []string{dir + "/check"}, Reload: []string{"nginx.service", "nginz.service", "httpd.service", "old.service"},
	}
	c.Unit = func(_ context.Context, unit string) (doctor.Unit, error) {
		switch unit {
		case "nginz.service":
			return doctor.Unit{Active: "inactive"}, nil
		case "httpd.service":
			return doctor.Unit{Loaded: true, Active: "failed"}, nil
		case "old.service":
			return doctor.Unit{}, errors.New("no bus")
		case "acmed-deploy.socket":
			return doctor.Unit{Loaded: true, Active: "inactive"}, nil
		}
		return doctor.Unit{Loaded: true, Active: "active"}, nil
	}
	want := []string{
		"failure delivery one: " + key + " has mode 0644 and not 0600",
		"failure delivery one: " + dir + "/missing does not exist",
		"failure delivery one: " + dir + "/check cannot be run: no such file or directory",
		"failure unit nginz.service: there is no such unit",
		"failure unit httpd.service: it has failed",
		"skipped unit old.service: no bus",
		"failure unit acmed-deploy.socket: it is inactive",
	}
	got := trouble(t, c)
	for i := range got {
		got[i] = strings.ReplaceAll(got[i], "stat "+dir+"/check: ", "")
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestReadersGetAtTheirCopies(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o711), os.Chmod(filepath.Dir(dir), 0o711)); err != nil {
		t.Fatal(err)
	}
	open, closed := filepath.Join(dir, "open"), filepath.Join(dir, "closed")
	for folder, mode := range map[string]os.FileMode{open: 0o755, closed: 0o700} {
		if err := errors.Join(os.Mkdir(folder, 0o755), os.WriteFile(folder+"/key", nil, 0o640), os.Chmod(folder, mode)); err != nil {
			t.Fatal(err)
		}
	}
	self := doctor.Reader{UID: os.Getuid(), Groups: []int{os.Getgid()}}
	other := doctor.Reader{UID: 4242, Groups: []int{4243}}
	member := doctor.Reader{UID: -1, Groups: []int{os.Getgid()}}
	for name, c := range map[string]struct {
		path, want string
		reader     doctor.Reader
	}{
		"the owner reads":                {open + "/key", "", self},
		"the owner passes":               {closed + "/key", "", self},
		"one of the group reads":         {open + "/key", "", member},
		"one of the group does not pass": {closed + "/key", closed, member},
		"others do not read":             {open + "/key", open + "/key", other},
		"others do not pass":             {closed + "/key", closed, other},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := doctor.Barrier(c.path, c.reader); err != nil || got != c.want {
				t.Errorf("stopped by %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestAServerThatIsNotRootNeedsACopy(t *testing.T) {
	c := patient(t, "www.example.com")
	c.Set.Certificate("one").Deploy = spec.Deploy{Reload: []string{"grafana-server.service"}}
	c.Unit = func(context.Context, string) (doctor.Unit, error) {
		return doctor.Unit{Loaded: true, Active: "active", User: "grafana"}, nil
	}
	want := "warning unit grafana-server.service: it runs as grafana, which cannot read the key of one in /var/lib/acmed/live/one"
	if got := trouble(t, c); !slices.Equal(got, []string{want}) {
		t.Errorf("got %q", got)
	}
	c.Set.Certificate("one").Deploy.Files = []spec.File{{Path: filepath.Join(t.TempDir(), "key"), Owner: "root"}}
	if got := trouble(t, c); len(got) > 0 {
		t.Errorf("with a copy: %q", got)
	}
}

func TestItSaysWhatItCannotSee(t *testing.T) {
	c := patient(t, "www.example.com")
	c.Unit = nil
	if got := trouble(t, c); !slices.Equal(got, []string{"skipped unit : no unit was looked at: systemd is not here"}) {
		t.Errorf("got %q", got)
	}
	c.Names = []string{"nobody"}
	if err := doctor.Run(t.Context(), c, func(doctor.Finding) {}); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("got %v", err)
	}
}

func TestProgramsOfProvidersAreThere(t *testing.T) {
	c := patient(t, "www.example.com")
	p := &spec.Provider{Name: "corp", File: "/etc/acmed/dns.d/corp.yaml", Exec: &spec.Exec{Command: []string{"/bin/sh"}, CleanUp: []string{"/no/such/hook"}, User: "nobody-at-all"}}
	cert := c.Set.Certificate("one")
	cert.Challenge = spec.Challenge{Type: "dns-01", Provider: "corp"}
	c.Set = spec.NewSet([]*spec.Certificate{cert}, []*spec.Issuer{c.Set.Issuer("ca")}, p)
	want := []string{
		"failure dns corp: /no/such/hook cannot be run: stat /no/such/hook: no such file or directory",
		"failure dns corp: user: unknown user nobody-at-all",
	}
	if got := trouble(t, c); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	p.Exec.CleanUp, p.Exec.User = nil, "root"
	if got := trouble(t, c); len(got) > 0 {
		t.Errorf("got %q", got)
	}
}
