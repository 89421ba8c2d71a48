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
	targets := want.Deploy.Targets(j.Leaf)
	target := targets[len(targets)-1]
	r := deploy.NewProber(2*time.Second, time.Second).Probe(t.Context(), &want, target, j.Files)
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
		"ftp":                        {"ftp", lines("", "220-hello\r\n 230 all\r\n220 there\r\n", "AUTH TLS\r\n", "234 go\r\n"), good, ""},
		"ftp, refused":               {"ftp", lines("", "220 hello\r\n", "AUTH TLS\r\n", "530 log in first\r\n"), good, `does not start TLS by ftp: it says "530 log in first"`},
		"ftp, too many users":        {"ftp", lines("", "421 later\r\n"), good, `does not start TLS by ftp: it says "421 later"`},
		"irc":                        {"irc", lines("STARTTLS\r\n", ":irc.test NOTICE * :*** Looking up\r\n:irc.test 670 * :go\r\n"), good, ""},
		"irc, refused":               {"irc", lines("STARTTLS\r\n", ":irc.test 691 * :no\r\n"), good, `does not start TLS by irc: it says ":irc.test 691`},
		"irc, not known":             {"irc", lines("STARTTLS\r\n", ":irc.test 421 * STARTTLS :Unknown command\r\n"), good, "does not start TLS by irc"},
		"irc, closed":                {"irc", lines("STARTTLS\r\n", "ERROR :Closing link\r\n"), good, "does not start TLS by irc"},
		"lmtp":                       {"lmtp", lines("", "220 hello\r\n", "LHLO acmed.invalid\r\n", "250-a\r\n250 STARTTLS\r\n", "STARTTLS\r\n", "220 go\r\n"), good, ""},
		"lmtp, refused":              {"lmtp", lines("", "220 hello\r\n", "LHLO acmed.invalid\r\n", "250 a\r\n", "STARTTLS\r\n", "502 no\r\n"), good, `does not start TLS by lmtp: it says "502 no"`},
		"mysql":                      {"mysql", lines("", mysqlGreeting("8.0", 1<<11|1), mysqlAsks, ""), good, ""},
		"mysql, a long version":      {"mysql", lines("", mysqlGreeting("5.5.5-10.11.6-MariaDB-0+deb12u1-log", 1<<11), mysqlAsks, ""), good, ""},
		"mysql, without TLS":         {"mysql", lines("", mysqlGreeting("8.0", 1)), good, "does not start TLS by mysql: it offers no TLS"},
		"mysql, blocked":             {"mysql", lines("", "\x12\x00\x00\x00\xff\x69\x04Host is blocked"), good, `does not start TLS by mysql: it says "Host is blocked"`},
		"mysql, nonsense":            {"mysql", lines("", "220 hello"), good, "does not start TLS by mysql: its greeting is not that of MySQL"},
		"mysql, no salt":             {"mysql", lines("", "\x05\x00\x00\x00\x0a8.0\x00"), good, "does not start TLS by mysql: its greeting is not that of MySQL"},
		"nntp":                       {"nntp", lines("", "200 hello\r\n", "STARTTLS\r\n", "382 go\r\n"), good, ""},
		"nntp, no posting":           {"nntp", lines("", "201 hello\r\n", "STARTTLS\r\n", "382 go\r\n"), good, ""},
		"nntp, refused":              {"nntp", lines("", "200 hello\r\n", "STARTTLS\r\n", "580 no\r\n"), good, `does not start TLS by nntp: it says "580 no"`},
		"nut":                        {"nut", lines("STARTTLS\n", "OK STARTTLS\n"), good, ""},
		"nut, refused":               {"nut", lines("STARTTLS\n", "ERR FEATURE-NOT-CONFIGURED\n"), good, `does not start TLS by nut: it says "ERR FEATURE-NOT-CONFIGURED"`},
		"sieve":                      {"sieve", lines("", "\"STARTTLS\"\r\nok \"hello\"\r\n", "STARTTLS\r\n", "OK \"go\"\r\n"), good, ""},
		"sieve, refused":             {"sieve", lines("", "OK\r\n", "STARTTLS\r\n", "NO \"no\"\r\n"), good, `does not start TLS by sieve: it says "NO`},
		"sieve, closed":              {"sieve", lines("", "BYE \"later\"\r\n"), good, "does not start TLS by sieve"},
		"xmpp":                       {"xmpp", lines(xmppOpens("client"), xmppFeatures, xmppAsks, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"), good, ""},
		"xmpp, long-winded":          {"xmpp", lines(xmppOpens("client"), xmppFeatures, xmppAsks, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'> </proceed >"), good, ""},
		"xmpp, not offered":          {"xmpp", lines(xmppOpens("client"), strings.ReplaceAll(xmppFeatures, "starttls", "bind")), good, "does not start TLS by xmpp: it does not offer TLS"},
		"xmpp, refused":              {"xmpp", lines(xmppOpens("client"), xmppFeatures, xmppAsks, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"), good, "does not start TLS by xmpp: it answers with <failure>"},
		"xmpp, not that host":        {"xmpp", lines(xmppOpens("client"), "<stream:stream xmlns:stream='s'><stream:error><host-unknown/></stream:error>"), good, "does not start TLS by xmpp: it says <error>"},
		"xmpp, nonsense":             {"xmpp", lines(xmppOpens("client"), "<a></b>"), good, "does not start TLS by xmpp: it says <a>"},
		"xmpp, no XML":               {"xmpp", lines(xmppOpens("client"), "<stream:stream x></"), good, "does not start TLS by xmpp: its answer is no XML"},
		"xmpp, endless":              {"xmpp", lines(xmppOpens("client"), "<stream:stream "+strings.Repeat(" ", 100000)), good, "does not start TLS by xmpp: it says more than 65536 bytes"},
		"xmpp-server":                {"xmpp-server", lines(xmppOpens("server"), xmppFeatures, xmppAsks, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"), good, ""},
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

// mysqlGreeting is the first packet of a server of that version, which offers what the flags say.
func mysqlGreeting(version string, flags uint16) string {
	packet := "\x0a" + version + "\x00" + "\x01\x00\x00\x00" + "12345678\x00" + string([]byte{byte(flags), byte(flags >> 8)}) + "\x21\x02\x00"
	return string([]byte{byte(len(packet)), 0, 0, 0}) + packet
}

// What a client says to MySQL, and in XMPP.
var mysqlAsks = "\x20\x00\x00\x01\x00\x8a\x00\x00\x00\x00\x00\x01\x21" + strings.Repeat("\x00", 23)

const (
	xmppFeatures = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='1'>" +
		"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls><mechanisms xmlns='m'><mechanism>PLAIN</mechanism></mechanisms></stream:features>"
	xmppAsks = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
)

func xmppOpens(kind string) string {
	return "<?xml version='1.0'?><stream:stream to='www.example.com' xmlns='jabber:" + kind + "' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
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
	if r := new(deploy.Prober).Probe(t.Context(), &want, want.Deploy.Targets(j.Leaf)[0], j.Files); !r.OK {
		t.Errorf("%+v", r)
	}
}

// conversation is a server's part of a dialogue, and takes whatever the client says.
type conversation struct{ io.Reader }

func (conversation) Write(p []byte) (int, error) { return len(p), nil }

func FuzzStartTLS(f *testing.F) {
	for _, protocol := range []string{"smtp", "imap", "pop3", "ldap", "postgres", "ftp", "irc", "lmtp", "mysql", "nntp", "nut", "sieve", "xmpp", "xmpp-server"} {
		for _, seed := range []string{"", "S", "220 a\r\n250 b\r\n220 c\r\n", "* OK\r\na OK\r\n", "+OK\r\n+OK\r\n", "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00", "\x30\x84\xff\xff\xff\xff", mysqlGreeting("8", 1<<11), xmppFeatures + "<proceed/>", ":a 670 b\r\n", "OK STARTTLS\n"} {
			f.Add(protocol, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, protocol string, said []byte) {
		r := bytes.NewReader(said)
		err := deploy.StartTLS(conversation{r}, protocol, "www.example.com")
		if err == nil && protocol != "" && len(said) == 0 {
			t.Errorf("a server that says nothing starts TLS by %s", protocol)
		}
	})
}
