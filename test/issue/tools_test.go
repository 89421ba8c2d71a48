package issue_test

import (
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"acmed/internal/control"
	"acmed/test/pebble"
	"acmed/test/site"
	"acmed/test/zone"
)

// ward is a live daemon with a certificate in each state that an operator may meet.
type ward struct {
	*site.Site
	t     *testing.T
	ca    *pebble.Server
	zone  *zone.Server
	admin string
}

const wardZone = `
example.com. 60 IN SOA ns1.example.com. hostmaster.example.com. 1 3600 600 86400 60
healthy.example.com. 60 IN A 127.0.0.1
expiring.example.com. 60 IN A 127.0.0.1
revoked.example.com. 60 IN A 127.0.0.1
failing.example.com. 60 IN A 192.0.2.7
`

func newWard(t *testing.T) *ward {
	t.Helper()
	ca := pebble.Start(t, pebble.Options{
		BlockedNames: []string{"parked.example.com", "blocked.example.com"},
		Profiles:     map[string]time.Duration{"long": 90 * 24 * time.Hour, "brief": 20 * time.Minute},
	})
	admin := freeAddr(t)
	w := &ward{site.New(t, ca, site.Options{Admin: admin}), t, ca, zone.Start(t, zone.Config{Records: wardZone}), admin}
	w.Write(t, "issuers.d/pebble-staging.yaml", fmt.Sprintf("directory: %s\ncaBundle: %s\nlimits: {failuresPerNamePerHour: 0}\n", ca.DirectoryURL, ca.RootsFile))
	nobody := t.TempDir() // whom no server serves
	w.Write(t, "deploy.sh", "#!/bin/sh\ntest ! -e "+w.Path("broken")+" || { echo 'the load balancer is away' >&2; exit 3; }\n")
	if err := os.Chmod(w.Path("deploy.sh"), 0o755); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"healthy":  "dnsNames: [healthy.example.com]\nprofile: long\ndeploy: {run: [{command: [" + w.Path("deploy.sh") + "]}]}\n",
		"expiring": "dnsNames: [expiring.example.com]\nprofile: brief\n",
		"revoked":  "dnsNames: [revoked.example.com]\nprofile: long\n",
		"removed":  "dnsNames: [removed.example.com]\nprofile: long\n",
		"parked":   "dnsNames: [parked.example.com]\nprofile: long\n",
		"failing":  "dnsNames: [failing.example.com]\nprofile: long\nchallenge: {webroot: " + nobody + "}\n",
	} {
		w.Spec(t, name, text)
	}
	w.Start(t)
	w.Run(t, "reload")
	w.settle()
	return w
}

// settle brings all certificates where they are to be.
func (w *ward) settle() {
	w.t.Helper()
	for _, name := range []string{"healthy", "expiring", "revoked", "removed"} {
		site.Eventually(w.t, name+" is there", func() bool { return w.Live(w.t, name) == 1 })
	}
	site.Eventually(w.t, "the CA has advised when to renew", func() bool { // which nobody asks of one that is held
		c, err := w.Control.Status(w.t.Context(), "expiring")
		return err == nil && c.Renewal != nil && c.Renewal.Source == "ari"
	})
	w.Run(w.t, "hold", "expiring", "--until", time.Now().Add(24*time.Hour).Format(time.RFC3339))
	// The successor of what is revoked is refused.
	w.Spec(w.t, "revoked", "dnsNames: [revoked.example.com, blocked.example.com]\nprofile: long\n")
	w.Spec(w.t, "typo", "dnsName: [typo.example.com]\n")
	if err := os.Remove(w.Path("certs.d/removed.yaml")); err != nil {
		w.t.Fatal(err)
	}
	w.try("reload") // it names the bad file
	w.await("revoked", control.Parked)
	w.Run(w.t, "revoke", "revoked", "--reason", "superseded", "--yes")
	w.await("revoked", control.Parked)
	w.await("parked", control.Parked)
	w.await("failing", control.BackingOff)
	w.await("removed", control.Retired)
	w.await("healthy", control.Valid)
	site.Eventually(w.t, "all are listed", func() bool {
		list, err := w.Control.List(w.t.Context())
		return err == nil && len(list) == 7
	})
}

func (w *ward) await(name string, phase control.Phase) {
	w.t.Helper()
	site.Eventually(w.t, fmt.Sprint(name, " is ", phase), func() bool {
		c, err := w.Control.Status(w.t.Context(), name)
		return err == nil && c.Phase == phase
	})
}

// try executes a command, and returns what it says and how it ended.
func (w *ward) try(args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "acmed", append(args, "--config", w.Path("acmed.yaml"))...)
	cmd.Env = append(os.Environ(), "TZ=UTC")
	out, _ := cmd.CombinedOutput() // its exit code is told
	return fmt.Sprintf("%sexit %d\n", out, cmd.ProcessState.ExitCode())
}

// get asks the daemon's HTTP server.
func (w *ward) get(path string) string {
	w.t.Helper()
	resp, err := http.Get("http://" + w.admin + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprintf("%s\n%s\n", resp.Status, strings.TrimSpace(string(body)))
}

// TestWhatTheToolsSay uses every tool on one live daemon with healthy, failing, expiring, parked, revoked and removed
// certificates, and compares what each says with testdata/tools.txt, which UPDATE=1 writes anew.
func TestWhatTheToolsSay(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	var b strings.Builder
	say := func(what, text string) {
		fmt.Fprintf(&b, "$ %s\n%s\n", w.timeless(what), w.timeless(text))
	}
	run := func(args ...string) { t.Helper(); say("acmed "+strings.Join(args, " "), w.try(args...)) }
	run("status")
	run("list")
	run("list", "--failing")
	run("list", "--due", "7d")
	run("list", "--issuer", "pebble", "--output", "json")
	for _, name := range []string{"healthy", "failing", "expiring", "parked", "revoked", "removed", "typo"} {
		run("status", name)
	}
	run("status", "healty")
	run("status", "revoked", "--output", "json")
	run("check")
	say("acmed doctor --resolver ADDRESS", wherever(w.try("doctor", "--resolver", w.zone.Addr)))
	run("issuer", "list")
	run("issuer", "test", "pebble")
	run("account", "show")
	w.Write(t, "draft/healthy.yaml", "dnsNames: [healthy.example.com, shop.example.com]\nprofile: long\n")
	run("plan")
	run("plan", w.Path("draft/healthy.yaml"))
	say("acmed plan --simulate 30d", foretold(w.try("plan", "--simulate", "30d")))
	run("renew", "healthy", "--staging")
	run("renew", "parked", "--staging")
	run("hold", "healthy", "--until", "2099-01-01T00:00:00Z")
	run("renew", "healthy", "--wait")
	run("unhold", "healthy")
	run("renew", "failing", "--wait")
	run("renew", "healthy", "--wait")
	run("rollback", "healthy")
	w.Write(t, "broken", "")
	run("deploy", "healthy", "--wait")
	run("status", "healthy")
	run("revoke", "parked", "--yes")
	run("delete", "healthy")
	run("delete", "removed")
	run("reload")
	say("GET /healthz", w.get("/healthz"))
	say("GET /readyz", w.get("/readyz"))
	say("GET / (its words)", words(w.get("/")))
	compare(t, "testdata/tools.txt", b.String())
}

// wherever leaves out what doctor finds on one machine and not on another.
func wherever(findings string) string {
	findings = regexp.MustCompile(`(?m)^\S+ +(port 80|unit) .*\n( +what to do: .*\n)?`).ReplaceAllString(findings, "")
	return regexp.MustCompile(`(?m)^\d+ failures?, \d+ warnings?$`).ReplaceAllString(findings, "N failures, N warnings")
}

// foretold leaves out the numbers of a simulation, which depend on the minute at which it begins.
func foretold(text string) string {
	text = regexp.MustCompile(`(?m)^(\d{4}-\d\d-\d\d|all) .*$`).ReplaceAllString(text, "$1 …")
	text = regexp.MustCompile(`(\d{4}-\d\d-\d\d …\n)+`).ReplaceAllString(text, "$1")
	return regexp.MustCompile(`: \d+ orders(.*) at most \d+ in an hour and \d+ open`).ReplaceAllString(text, ": N orders$1 at most N in an hour and N open")
}

// words are what a reader of a page sees.
func words(page string) string {
	page = regexp.MustCompile(`(?s)<(style|script|title).*?</(style|script|title)>|<!--.*?-->`).ReplaceAllString(page, "")
	page = regexp.MustCompile(`</?(tr|p|h[1-6]|li|section|table|form|dl|dt|div|header|main|footer|nav|ul|article)\b[^>]*>`).ReplaceAllString(page, "\n")
	page = html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, " "))
	var lines []string
	for line := range strings.Lines(page) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// timeless leaves out what is different each time.
func (w *ward) timeless(text string) string {
	text = strings.ReplaceAll(text, w.Dir, "DIR")
	for _, r := range []struct{ pattern, with string }{
		{`/.well-known/acme-challenge/[\w-]+`, "/.well-known/acme-challenge/TOKEN"},
		{`(\.example\.com):\d+`, "$1:PORT"},
		{`\d{8}T\d{6}\.\d{9}Z`, "TIME"},
		{`failed \d+ times?`, "failed N times"},
		{`"count": \d+`, `"count": N`},
		{`process \d+`, "process N"},
		{`thumbprint +[\w-]{43}`, "thumbprint  ID"},
		{`(read|fetched) in \d+ ms`, "$1 in N ms"},
		{`(?m)^(acmed on) .*$`, "$1 HOST"},
		{`\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?( UTC)?`, "TIME"},
		{`\d{4}-\d\d-\d\d`, "DATE"},
		{`\b(\d+ (second|minute|hour|day|week|month)s?|a moment)( ago)?\b`, "SPAN"},
		{`(^|[^-\w])now\b`, "${1}SPAN"},
		{`\b(in +SPAN|SPAN ago)\b`, "SPAN"},
		{`\b\d+(\.\d+)?(ms|µs|ns|s)\b`, "SPAN"},
		{`https://127\.0\.0\.1:\d+`, "https://CA"},
		{`127\.0\.0\.1:\d+`, "127.0.0.1:PORT"},
		{`(Pebble (Intermediate|Root) CA) [0-9a-f]{6}`, "$1 HEX"},
		{`\b[0-9a-f]{64}\b`, "SHA256"},
		{`\b[0-9a-f]{14,16}\b`, "HEX"},
		{`(my-(account|order)|certZ|authZ)/[\w-]+`, "$1/ID"},
		{`"(kid|thumbprint)": "[^"]*"`, `"$1": "ID"`},
		{` {2,}`, "  "},
		{` +\n`, "\n"},
	} {
		text = regexp.MustCompile(r.pattern).ReplaceAllString(text, r.with)
	}
	return text
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if os.Getenv("UPDATE") != "" {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	was, is := strings.Split(string(want), "\n"), strings.Split(got, "\n")
	for i := range min(len(was), len(is)) {
		if was[i] != is[i] {
			t.Fatalf("line %d of %s is\n%s\nand now\n%s\nafter\n%s", i+1, file, was[i], is[i], strings.Join(is[max(0, i-8):i], "\n"))
		}
	}
	t.Fatalf("%s has %d lines, and now there are %d", file, len(was), len(is))
}

// freeAddr is an address of loopback on which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
