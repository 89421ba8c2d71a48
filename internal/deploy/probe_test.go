package deploy_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"acmed/internal/deploy"
	"acmed/internal/spec"
)

// pairOf is a job's key and chain as a server loads it.
func pairOf(t testing.TB, j deploy.Job) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(j.Files.Fullchain, j.Files.Privkey)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// serveTLS accepts connections at address, has dialogue talk to each, and then speaks TLS with the certificates.
func serveTLS(t testing.TB, address string, dialogue func(net.Conn) bool, c *tls.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if dialogue == nil || dialogue(conn) {
					_ = tls.Server(conn, c).Handshake() // the client tells
				}
			}()
		}
	}()
	return l.Addr().String()
}

// lines is a server that says what follows each line of the client, beginning with "".
func lines(script ...string) func(net.Conn) bool {
	return func(conn net.Conn) bool {
		in := bufio.NewReaderSize(conn, 16)
		for i := 0; i+1 < len(script); i += 2 {
			if script[i] != "" {
				line := make([]byte, len(script[i]))
				if _, err := io.ReadFull(in, line); err != nil || string(line) != script[i] {
					return false
				}
			}
			if _, err := io.WriteString(conn, script[i+1]); err != nil {
				return false
			}
		}
		return in.Buffered() == 0
	}
}

// probed looks at an address for the certificate of j.
func probed(t testing.TB, j deploy.Job, p spec.Probe) deploy.Result {
	t.Helper()
	want := *j.Want
	want.Deploy.Probe = []spec.Probe{p}
	want.PrivateKey.Algorithm = "ECDSA"
	target := want.Deploy.Targets(j.Leaf)[0]
	r := deploy.NewProber(2*time.Second, time.Second).Probe(t.Context(), &want, target, j.Leaf)
	if r.Key != target.Key || r.Fingerprint != target.Fingerprint || r.OK == (r.Problem != "") || r.OK == (r.Hint != "") {
		t.Errorf("the result is %+v", r)
	}
	return r
}

func TestProbes(t *testing.T) {
	j, other := job(t, "www.example.com", spec.Deploy{}), job(t, "other.example.com", spec.Deploy{})
	good := &tls.Config{Certificates: []tls.Certificate{pairOf(t, j)}}
	ldapOK := "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"
	ldapAsk := "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
	for sentence, c := range map[string]struct {
		protocol string
		dialogue func(net.Conn) bool
		config   *tls.Config
		problem  string // the beginning; "": it is served
	}{
		"TLS":                        {config: good},
		"another certificate":        {config: &tls.Config{Certificates: []tls.Certificate{pairOf(t, other)}}, problem: "serves another certificate (serial "},
		"no TLS":                     {dialogue: lines("", "220 hello\r\n"), config: good, problem: "makes no TLS handshake: "},
		"silence":                    {dialogue: func(c net.Conn) bool { _, _ = io.Copy(io.Discard, c); return false }, config: good, problem: "does not answer in time"},
		"an end":                     {dialogue: func(net.Conn) bool { return false }, config: good, problem: "makes no TLS handshake: "},
		"smtp":                       {"smtp", lines("", "220-hello\r\n220 there\r\n", "EHLO acmed.invalid\r\n", "250-a\r\n250 STARTTLS\r\n", "STARTTLS\r\n", "220 go\r\n"), good, ""},
		"smtp, refused":              {"smtp", lines("", "220 hello\r\n", "EHLO acmed.invalid\r\n", "250 a\r\n", "STARTTLS\r\n", "454 not now\r\n"), good, `does not start TLS by smtp: it says "454 not now"`},
		"smtp, closed":               {"smtp", lines("", "554 go away\r\n"), good, `does not start TLS by smtp: it says "554 go away"`},
		"smtp, an endless line":      {"smtp", lines("", strings.Repeat("a", 100000)), good, "does not start TLS by smtp: it sends a line of more than"},
		"smtp, endless lines":        {"smtp", lines("", strings.Repeat("220-a\r\n", 10000)), good, "does not start TLS by smtp: it sends more than"},
		"imap":                       {"imap", lines("", "* OK hello\r\n", "a STARTTLS\r\n", "* CAPABILITY\r\na OK go\r\n"), good, ""},
		"imap, refused":              {"imap", lines("", "* OK hello\r\n", "a STARTTLS\r\n", "a BAD no\r\n"), good, `does not start TLS by imap: it says "a BAD no"`},
		"imap, closed":               {"imap", lines("", "* BYE\r\n"), good, `does not start TLS by imap: it says "* BYE"`},
		"pop3":                       {"pop3", lines("", "+OK hello\r\n", "STLS\r\n", "+OK go\r\n"), good, ""},
		"pop3, refused":              {"pop3", lines("", "+OK hello\r\n", "STLS\r\n", "-ERR no\r\n"), good, `does not start TLS by pop3: it says "-ERR no"`},
		"postgres":                   {"postgres", lines("\x00\x00\x00\x08\x04\xd2\x16\x2f", "S"), good, ""},
		"postgres, refused":          {"postgres", lines("\x00\x00\x00\x08\x04\xd2\x16\x2f", "N"), good, `does not start TLS by postgres: it answers "N"`},
		"ldap":                       {"ldap", lines(ldapAsk, ldapOK), good, ""},
		"ldap, refused":              {"ldap", lines(ldapAsk, strings.Replace(ldapOK, "\x0a\x01\x00", "\x0a\x01\x02", 1)), good, "does not start TLS by ldap: it answers with result code 2"},
		"ldap, of endless length":    {"ldap", lines(ldapAsk, "\x30\x84\xff\xff\xff\xff"), good, "does not start TLS by ldap: its answer is no LDAP"},
		"ldap, nonsense":             {"ldap", lines(ldapAsk, "\x30\x03abc"), good, "does not start TLS by ldap: its answer is no LDAP"},
		"a dialogue that breaks off": {"imap", lines("", "* OK"), good, "does not answer in time"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			r := probed(t, j, spec.Probe{Address: serveTLS(t, "127.0.0.1:0", c.dialogue, c.config), StartTLS: c.protocol})
			if r.OK != (c.problem == "") || !strings.HasPrefix(r.Problem, c.problem) {
				t.Errorf("got %+v", r)
			}
			if c.problem == "" && time.Until(r.NotAfter) < time.Hour {
				t.Errorf("it is said to end at %v", r.NotAfter)
			}
		})
	}
}

func TestEveryAddressHasToServeIt(t *testing.T) {
	j, other := job(t, "www.example.com", spec.Deploy{}), job(t, "other.example.com", spec.Deploy{})
	four := serveTLS(t, "127.0.0.1:0", nil, &tls.Config{Certificates: []tls.Certificate{pairOf(t, j)}})
	_, port, _ := net.SplitHostPort(four)
	serveTLS(t, "[::1]:"+port, nil, &tls.Config{Certificates: []tls.Certificate{pairOf(t, other)}})
	if r := probed(t, j, spec.Probe{Address: "127.0.0.1:" + port}); !r.OK {
		t.Errorf("over IPv4: %+v", r)
	}
	if r := probed(t, j, spec.Probe{Address: "[::1]:" + port}); r.OK || !strings.Contains(r.Problem, "other.example.com") {
		t.Errorf("over IPv6: %+v", r)
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if r := probed(t, job(t, "www.example.com", spec.Deploy{}), spec.Probe{Address: l.Addr().String()}); r.Problem != "refuses the connection" {
		t.Errorf("got %+v", r)
	}
}

func TestTheNameThatIsAskedFor(t *testing.T) {
	j := job(t, "*.example.com", spec.Deploy{})
	asked := make(chan string, 100)
	address := serveTLS(t, "127.0.0.1:0", nil, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		asked <- h.ServerName
		pair := pairOf(t, j)
		return &pair, nil
	}})
	for given, want := range map[string]string{"": "example.com", "b.example.com": "b.example.com"} {
		if r := probed(t, j, spec.Probe{Address: address, ServerName: given}); !r.OK {
			t.Errorf("%+v", r)
		}
		if got := <-asked; got != want {
			t.Errorf("asked for %q, want %q", got, want)
		}
	}
}

func TestAServerThatNeedsAMoment(t *testing.T) {
	j, other := job(t, "www.example.com", spec.Deploy{}), job(t, "other.example.com", spec.Deploy{})
	count := 0
	address := serveTLS(t, "127.0.0.1:0", nil, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		pair := pairOf(t, other)
		if count++; count > 3 { // two looks at two versions of TLS, and then it has reloaded
			pair = pairOf(t, j)
		}
		return &pair, nil
	}})
	want := *j.Want
	want.Deploy.Probe = []spec.Probe{{Address: address}}
	if r := new(deploy.Prober).Probe(t.Context(), &want, want.Deploy.Targets(j.Leaf)[0], j.Leaf); !r.OK {
		t.Errorf("%+v", r)
	}
}

// conversation is a server's part of a dialogue, and takes whatever the client says.
type conversation struct{ io.Reader }

func (conversation) Write(p []byte) (int, error) { return len(p), nil }

func FuzzStartTLS(f *testing.F) {
	for _, protocol := range []string{"smtp", "imap", "pop3", "ldap", "postgres"} {
		for _, seed := range []string{"", "S", "220 a\r\n250 b\r\n220 c\r\n", "* OK\r\na OK\r\n", "+OK\r\n+OK\r\n", "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00", "\x30\x84\xff\xff\xff\xff"} {
			f.Add(protocol, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, protocol string, said []byte) {
		r := bytes.NewReader(said)
		err := deploy.StartTLS(conversation{r}, protocol)
		if err == nil && protocol != "" && len(said) == 0 {
			t.Errorf("a server that says nothing starts TLS by %s", protocol)
		}
	})
}
