//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"acmed/test/pebble"
	"acmed/test/site"
)

// fireLive are the alerts that a day of trouble brings.
var fireLive = []string{
	"AcmedCertificateExpired", "AcmedCertificateExpiring", "AcmedCertificateFailing", "AcmedCertificateMissing",
	"AcmedCertificateRetired", "AcmedCertificateRevoked",
	"AcmedCertificatesExpiring", "AcmedDeployBehind", "AcmedDeployFailed", "AcmedDown", "AcmedIssuerOnHold", "AcmedNotificationsFail",
	"AcmedPanics", "AcmedRemovalsHeld", "AcmedRetiredServed", "AcmedSchedulerStalled", "AcmedServedDiffers", "AcmedSpecBroken",
}

// TestEveryAlertFiresLive has a real daemon get into every trouble that there is an alert for, with a real Prometheus looking
// on. The rules do not wait there, and a certificate that waits for a worker for a tenth of a second is late.
func TestEveryAlertFiresLive(t *testing.T) {
	unpack(t)
	ca := pebble.Start(t, pebble.Options{BlockedNames: []string{"failing.example.com"}, Profiles: map[string]time.Duration{"minute": time.Minute, "day": 24 * time.Hour}})
	s := site.New(t, ca, site.Options{Admin: "127.0.0.1:9402"})
	s.Append(t, "acmed.yaml", "workers: 1\nnotify: {command: [/bin/false]}\n")
	s.Write(t, "issuers.d/narrow.yaml", fmt.Sprintf("directory: %s\ncaBundle: %s\nlimits: {ordersPer3h: 1}\n", ca.DirectoryURL, ca.RootsFile))
	s.Spec(t, "first.example.com", "issuers: [narrow]\n")
	s.Spec(t, "missing.example.com", "issuers: [narrow]\n") // one of the two waits for three hours
	s.Spec(t, "minute.example.com", "profile: minute\n")
	s.Spec(t, "failing.example.com", "")
	s.Spec(t, "behind.example.com", "profile: day\ndeploy: {run: [{command: [/bin/false]}]}\n")
	s.Spec(t, "served.example.com", fmt.Sprintf("profile: day\ndeploy: {probe: [{address: %q}]}\n", serveAnother(t)))
	s.Spec(t, "revoked.example.com", "profile: day\n")
	s.Spec(t, "retired.example.com", fmt.Sprintf("profile: day\ndeploy: {probe: [{address: %q}]}\n", serveLive(t, s, "retired.example.com")))
	s.Spec(t, "broken.example.com", "dnsName: wrong\n")
	var crowd []string
	for i := range 101 {
		crowd = append(crowd, fmt.Sprintf("crowd-%03d.example.com", i))
		s.Spec(t, crowd[i], "profile: day\n")
	}
	s.Settle(t)
	startPrometheus(t)
	d := s.Start(t)
	site.Eventually(t, "all have certificates", func() bool {
		return s.Live(t, "minute.example.com") > 0 && s.Live(t, "served.example.com") > 0 &&
			!slices.ContainsFunc(crowd, func(name string) bool { return s.Live(t, name) == 0 })
	})

	revoked := map[string]any{"host": "revoked.example.com."}
	site.Eventually(t, "there is one to be revoked", func() bool { return s.Live(t, "revoked.example.com") > 0 })
	if err := ca.SetDNS(t.Context(), "set-servfail", revoked); err != nil { // its successor does not come
		t.Fatal(err)
	}
	s.Run(t, "revoke", "revoked.example.com", "--yes")

	site.Eventually(t, "there is one to be retired", func() bool { return s.Live(t, "retired.example.com") > 0 })
	if err := os.Remove(s.Path("certs.d", "retired.example.com.yaml")); err != nil { // alone, or it would be held
		t.Fatal(err)
	}
	site.Eventually(t, "the alert fires: AcmedRetiredServed", func() bool { return fired(t, "AcmedRetiredServed") })

	ca.Stop()
	for _, name := range crowd {
		if err := os.Remove(s.Path("certs.d", name+".yaml")); err != nil {
			t.Fatal(err)
		}
	}
	for _, alert := range fireLive {
		if !slices.Contains([]string{"AcmedSchedulerStalled", "AcmedDown", "AcmedPanics"}, alert) {
			site.Eventually(t, "the alert fires: "+alert, func() bool { return fired(t, alert) })
		}
	}
	for _, name := range []string{"one", "other"} { // one hangs at the only worker, and the other waits for it
		s.Write(t, "issuers.d/"+name+".yaml", fmt.Sprintf("directory: https://%s/dir\n", deaf(t)))
		s.Spec(t, name+".example.com", "issuers: ["+name+"]\n")
	}
	site.Eventually(t, "the alert fires: AcmedSchedulerStalled", func() bool { return fired(t, "AcmedSchedulerStalled") })
	d.Stop(t)
	site.Eventually(t, "the alert fires when acmed is down", func() bool { return fired(t, "AcmedDown") })

	faulty(t)
	s.Spec(t, "faulty.example.com", "")
	s.Settle(t)
	d = s.Start(t)
	site.Eventually(t, "the alert fires: AcmedPanics", func() bool { return fired(t, "AcmedPanics") })
	d.Stop(t)
}

// faulty puts an acmed first in PATH that has a fault, which no other has: it panics over one certificate.
func faulty(t *testing.T) {
	t.Helper()
	const healthy = "func (r *Reconciler) Visit(ctx context.Context, name string) (at, deadline time.Time) {\n"
	dir := t.TempDir()
	source, err := filepath.Abs("../../internal/reconcile/reconcile.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil || strings.Count(string(text), healthy) != 1 {
		t.Fatalf("there is no place for a fault in %s: %v", source, err)
	}
	text = []byte(strings.Replace(string(text), healthy, healthy+"\tif name == \"faulty.example.com\" {\n\t\tpanic(\"a fault\")\n\t}\n", 1))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{source: filepath.Join(dir, "reconcile.go")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "reconcile.go"), text, 0o600), os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", filepath.Join(dir, "acmed"), "acmed/cmd/acmed").CombinedOutput(); err != nil {
		t.Fatalf("building a faulty acmed: %v\n%s", err, out)
	}
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
}

// TestEveryAlertIsTriedLive keeps the list of those that are tried the list of those that there are.
func TestEveryAlertIsTriedLive(t *testing.T) {
	rules, err := os.ReadFile("../../deploy/prometheus/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(rules), -1) {
		if !slices.Contains(fireLive, m[1]) {
			t.Errorf("%s is not tried", m[1])
		}
	}
}

// fired tells whether an alert fires or has fired since Prometheus began.
func fired(t *testing.T, alert string) bool {
	return len(query(t, fmt.Sprintf(`count_over_time(ALERTS{alertname=%q, alertstate="firing"}[10m])`, alert))) > 0
}

// deaf accepts connections, and never says a word.
func deaf(t *testing.T) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for conn, err := ln.Accept(); err == nil; conn, err = ln.Accept() {
			t.Cleanup(func() { conn.Close() })
		}
	}()
	return ln.Addr().String()
}

// serveLive is a server that serves what is live of a certificate.
func serveLive(t *testing.T, s *site.Site, name string) (address string) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		live := filepath.Join(s.State, "live", name)
		c, err := tls.LoadX509KeyPair(filepath.Join(live, "fullchain.pem"), filepath.Join(live, "privkey.pem"))
		return &c, err
	}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// serveAnother is a server that was never given the certificate that it is to have: it has one for an hour.
func serveAnother(t *testing.T) (address string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"served.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}
