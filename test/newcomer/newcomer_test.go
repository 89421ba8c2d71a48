package newcomer

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestANewcomerGetsACertificateOrIsToldWhatToDoNext(t *testing.T) {
	acmed, ca := program(t), startCA(t)
	open := newSite(t, acmed, ca, ca.HTTPAddr)
	closed := newSite(t, acmed, startCA(t), freePort(t))
	for sentence, try := range map[string]func(*testing.T){
		"one command is a certificate with its files":           func(*testing.T) { open.addsACertificate() },
		"a wildcard needs a provider, and nothing is written":   func(*testing.T) { open.addsAWildcard() },
		"a closed port 80 is named, and what stays":             func(*testing.T) { closed.addsBehindAClosedPort() },
		"a server that keeps the old certificate is found":      func(*testing.T) { open.addsWithAReloadThatDoesNothing() },
		"Ctrl-C ends the wait and not the request, and says so": func(*testing.T) { open.pressesCtrlC() },
		"a log is followed until Ctrl-C":                        func(*testing.T) { open.followsALog() },
		"a program gets the result as JSON":                     func(*testing.T) { open.addsForPrograms() },
	} {
		t.Run(sentence, func(t *testing.T) {
			open.t, closed.t = t, t
			try(t)
		})
	}
	open.t, closed.t = t, t
}

func (s *site) addsACertificate() {
	code, stdout, stderr := s.types("add", "www.example.com", "shop.example.com")
	if code != 0 {
		s.t.Errorf("exit code %d", code)
	}
	s.expect(stderr, "acmed: created "+s.path("certs.d/www.example.com.yaml"), "acmed: www.example.com: order at pebble")
	s.expect(stdout, "www.example.com: valid\n", "expires ", "renewal ", "certificate  "+s.path("state/live/www.example.com/fullchain.pem")+"\n",
		"key          "+s.path("state/live/www.example.com/privkey.pem")+"\n", "Set the certificate and the key above in the configuration of your server.", "deploy: {reload: [UNIT]")
	if _, err := tls.LoadX509KeyPair(s.path("state/live/www.example.com/fullchain.pem"), s.path("state/live/www.example.com/privkey.pem")); err != nil {
		s.t.Errorf("the files that it names: %v", err)
	}

	code, stdout, stderr = s.types("logs", "www.example.com", "--output", "json")
	s.expect(stdout, `"message":"certificate issued"`, `{"key":"revision","value":"1"}`)
	if code != 0 {
		s.t.Errorf("logs: exit code %d: %s", code, stderr)
	}
	_, stdout, _ = s.types("config", "show", "www.example.com")
	s.expect(stdout, "www.example.com.yaml:3  dnsNames ", "acmed.yaml:3 ", "[pebble]")

	code, _, stderr = s.types("add", "www.example.com")
	if s.expect(stderr, "exists already; nothing was written", "what to do: edit that file"); code != 1 {
		s.t.Errorf("added twice with exit code %d", code)
	}
	code, _, stderr = s.types("add", "new.example.com", "SHOP.example.com")
	if s.expect(stderr, "shop.example.com is a name of the certificate www.example.com", "nothing was written"); code != 1 {
		s.t.Errorf("a name was added twice with exit code %d", code)
	}
}

func (s *site) addsAWildcard() {
	code, stdout, stderr := s.types("add", "*.example.com")
	s.expect(stderr, "a wildcard needs dns-01", "what to do: pass --dns PROVIDER", "nothing was written")
	if _, err := os.Stat(s.path("certs.d/wildcard.example.com.yaml")); code != 1 || stdout != "" || !errors.Is(err, os.ErrNotExist) {
		s.t.Errorf("exit code %d, %q, the file: %v", code, stdout, err)
	}
}

func (s *site) addsBehindAClosedPort() {
	code, stdout, stderr := s.types("add", "closed.example.com")
	if code != 1 {
		s.t.Errorf("exit code %d", code)
	}
	s.expect(stdout, "closed.example.com: backing-off", "connection refused", "what to do", "port 80")
	s.expect(stderr, "no certificate was issued\n", s.path("certs.d/closed.example.com.yaml")+" stays, and acmed tries again in ",
		"run: acmed renew closed.example.com --wait", "to undo it, run: rm "+s.path("certs.d/closed.example.com.yaml"))
	_, stdout, _ = s.types("logs", "closed.example.com")
	s.expect(stdout, "warn: issuance failed", "connection refused", "what to do: ")
}

func (s *site) addsWithAReloadThatDoesNothing() {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{oldCertificate(s.t)}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the probe hangs up
	server.StartTLS()
	defer server.Close()
	code, stdout, stderr := s.types("add", "old.example.com", "--probe", server.Listener.Addr().String())
	if code != 1 {
		s.t.Errorf("exit code %d", code)
	}
	s.expect(stdout, "old.example.com: deploy-failed", "certificate  "+s.path("state/live/old.example.com/fullchain.pem"), "probe "+server.Listener.Addr().String(), "what to do")
	s.expect(stderr, "the certificate was issued, but its deployment failed", "first set the certificate and the key above in the configuration of the server",
		"run: acmed deploy old.example.com --wait", "&& acmed reload && acmed delete old.example.com")
	_, stdout, _ = s.types("logs", "old.example.com")
	s.expect(stdout, "certificate issued", "warn: deployment failed")
}

// oldCertificate is what the server has served so far.
func oldCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"old.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (s *site) pressesCtrlC() {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	cmd := s.command(ctx, "add", "slow.example.com", "--issuer", "silent")
	said, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	lines := bufio.NewReader(said)
	for line := ""; line != "acmed: created "+s.path("certs.d/slow.example.com.yaml")+"\n"; {
		if line, err = lines.ReadString('\n'); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		s.t.Fatal(err)
	}
	rest, err := io.ReadAll(lines)
	if err != nil {
		s.t.Fatal(err)
	}
	s.expect(string(rest), "interrupted; acmed continues in the background, and "+s.path("certs.d/slow.example.com.yaml")+" stays",
		"acmed status slow.example.com --wait waits again; to undo it, run: rm "+s.path("certs.d/slow.example.com.yaml"))
	if exit, ok := errors.AsType[*exec.ExitError](cmd.Wait()); !ok || exit.ExitCode() != 1 {
		s.t.Errorf("it ended with %v", exit)
	}
	if _, err := os.Stat(s.path("certs.d/slow.example.com.yaml")); err != nil {
		s.t.Error(err)
	}
}

func (s *site) followsALog() {
	if code, _, stderr := s.types("add", "follow.example.com"); code != 0 {
		s.t.Fatal(stderr)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	cmd := s.command(ctx, "logs", "follow.example.com", "--follow")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	if err != nil {
		s.t.Fatal(err)
	}
	s.expect(first, "certificate issued")
	if code, _, stderr := s.types("renew", "follow.example.com", "--wait"); code != 0 {
		s.t.Error(stderr)
	}
	for line := ""; !strings.Contains(line, "certificate issued"); {
		if line, err = lines.ReadString('\n'); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, lines); err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		s.t.Errorf("Ctrl-C is how it ends, and it fails: %v", err)
	}
}

func (s *site) addsForPrograms() {
	code, stdout, stderr := s.types("add", "json.example.com", "--output", "json", "--issuer", "pebble")
	var answer struct {
		Name, File, Spec string
		Written          bool
		Certificate      struct{ Phase, Live string }
	}
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil || code != 0 {
		s.t.Fatalf("exit code %d: %v\n%s%s", code, err, stdout, stderr)
	}
	text, err := os.ReadFile(answer.File)
	if err != nil || string(text) != answer.Spec || !answer.Written || answer.Certificate.Phase != "valid" ||
		!strings.HasSuffix(answer.Certificate.Live, "/live/json.example.com") {
		s.t.Errorf("the answer is %+v, error %v", answer, err)
	}
}
