package deploy_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"acmed/internal/deploy"
	"acmed/internal/spec"
	"acmed/internal/store"
)

const site = "www.example.com"

// site is the spec that most tests begin with.
const siteSpec = "deploy: {files: [{path: /srv/site.pem, content: fullchain}], reload: [site.service]}\n"

// A realm is a machine as the helper sees it: what root has written, and the daemon's state folder.
type realm struct {
	t      *testing.T
	dir    string
	config deploy.HelperConfig
	hands  *hands
	logs   *observer.ObservedLogs
	step   func(op, path string, do func() error) error // nil: nothing stands in between
	wait   time.Duration                                // for a request; zero: as long as ever
}

// newRealm has one certificate that is live, and its spec.
func newRealm(t *testing.T) *realm {
	t.Helper()
	r := &realm{t: t, dir: t.TempDir(), hands: &hands{}}
	core, logs := observer.New(zap.InfoLevel)
	r.logs = logs
	r.config = deploy.HelperConfig{
		ConfigFile: r.path("etc/acmed.yaml"), MemoryDir: r.path("memory"),
		Executor: r.hands, TrustedUID: uint32(os.Getuid()), Log: zap.New(core),
	}
	r.no(os.Chmod(r.dir, 0o755)) // whatever the umask
	for _, dir := range []string{"etc", "etc/certs.d", "var"} {
		r.no(os.Mkdir(r.path(dir), 0o755))
	}
	r.write("etc/acmed.yaml", "specDir: certs.d\nstateDir: ../var/state\n")
	r.spec(site, siteSpec)
	r.issue(site, mint(t, site))
	return r
}

func (r *realm) path(name string) string { return filepath.Join(r.dir, name) }

func (r *realm) no(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// write writes what has stood still for an hour.
func (r *realm) write(name, text string) {
	r.t.Helper()
	past := time.Now().Add(-time.Hour)
	r.no(os.WriteFile(r.path(name), []byte(text), 0o644))
	r.no(os.Chtimes(r.path(name), past, past))
}

func (r *realm) specFile(name string) string { return "etc/certs.d/" + name + ".yaml" }

func (r *realm) spec(name, text string) {
	r.t.Helper()
	r.write(r.specFile(name), text)
}

// kept returns the text of the helper's last good version of a spec, without what it means; "": there is none.
func (r *realm) kept(name string) string {
	stored, _ := os.ReadFile(r.path("memory/specs/" + name + ".yaml"))
	text, meaning, _ := strings.Cut(string(stored), "\n# acmed: was read as ")
	if len(stored) > 0 && !strings.HasSuffix(meaning, "}\n") {
		r.t.Errorf("the meaning of %s is not kept: %q", name, stored)
	}
	return text
}

// issue makes a live revision of m.
func (r *realm) issue(name string, m minted) {
	r.t.Helper()
	s, err := store.Open(store.Config{Dir: r.path("var/state")})
	r.no(err)
	defer s.Close()
	r.no(s.Begin(name, m.key, store.Order{Issuer: "ca"}))
	r.no(s.SaveOrder(name, store.Order{Issuer: "ca", URL: "https://ca.example/order"}, store.Lazy))
	rev, err := s.Commit(name, m.chain, store.Revision{})
	r.no(err)
	r.no(s.Activate(name, rev.Number))
}

// revision is the folder of the live revision.
func (r *realm) revision(name string) string {
	return r.path("var/state/certs/" + name + "/rev/0001")
}

// serve has a helper serve what send writes, and returns what it answers.
func (r *realm) serve(send func(conn *net.UnixConn)) string {
	r.t.Helper()
	client, server := connect(r.t)
	var served sync.WaitGroup
	served.Go(func() {
		defer server.Close()
		r.help(server)
	})
	send(client)
	var answer bytes.Buffer
	_, _ = answer.ReadFrom(client) // reset after the answer when the request was not read
	served.Wait()
	return answer.String()
}

// help serves one connection as the helper does.
func (r *realm) help(conn *net.UnixConn) {
	h, err := deploy.NewHelper(r.config)
	if err == nil {
		if r.step != nil {
			h.StepBy(r.step)
		}
		if r.wait != 0 {
			h.WaitFor(r.wait)
		}
		err = h.Serve(context.Background(), conn)
	}
	if err != nil {
		r.t.Errorf("serving: %v", err)
	}
}

// ask sends a request as it is.
func (r *realm) ask(request string) string {
	r.t.Helper()
	return r.serve(func(conn *net.UnixConn) {
		_, _ = conn.Write([]byte(request)) // a helper may refuse before it reads
		_ = conn.CloseWrite()
	})
}

// client returns a client of a helper that serves until the test ends.
func (r *realm) client() *deploy.Client {
	r.t.Helper()
	c, err := deploy.NewClient(deploy.ClientConfig{Socket: listen(r.t, r.help)})
	r.no(err)
	return c
}

// deploy asks for the delivery of one certificate.
func (r *realm) deploy(name string) deploy.Answer {
	r.t.Helper()
	answers, err := r.client().Deploy(r.t.Context(), []deploy.Order{{Name: name}})
	r.no(err)
	return answers[0]
}

// delivers wants the certificate to be delivered as its spec says; what the answer must not hold, see the other one.
func (r *realm) delivers(name string) {
	r.t.Helper()
	before := len(r.hands.jobs)
	if a := r.deploy(name); a.Problem != "" || len(a.Results) == 0 || len(r.hands.jobs) != before+1 {
		r.t.Errorf("not delivered: %+v", a)
	}
}

// refuses wants an answer that holds all the words, and nothing to be delivered.
func (r *realm) refuses(name string, words ...string) {
	r.t.Helper()
	a := r.deploy(name)
	for _, word := range words {
		if !strings.Contains(a.Problem+"; "+a.Hint, word) {
			r.t.Errorf("no %q in %q; %q", word, a.Problem, a.Hint)
		}
	}
	if a.Problem == "" || len(r.hands.jobs) > 0 {
		r.t.Errorf("delivered %d", len(r.hands.jobs))
	}
}

// hands plays the executor: it does nothing and says that it worked.
type hands struct {
	mu   sync.Mutex
	jobs []deploy.Job
	do   func(ctx context.Context, jobs []deploy.Job) []deploy.Answer // nil: see above
}

func (h *hands) Deploy(ctx context.Context, jobs []deploy.Job) []deploy.Answer {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.jobs = append(h.jobs, jobs...)
	if h.do != nil {
		return h.do(ctx, jobs)
	}
	var answers []deploy.Answer
	for _, j := range jobs {
		a := deploy.Answer{Name: j.Name}
		for _, target := range j.Want.Deploy.Targets(j.Leaf) {
			if !slices.Contains(j.Done, target.Fingerprint) {
				a.Results = append(a.Results, deploy.Result{Key: target.Key, Fingerprint: target.Fingerprint, OK: true})
			}
		}
		answers = append(answers, a)
	}
	slices.Reverse(answers) // nobody promises an order
	return answers
}

// connect returns both ends of a connection.
func connect(t *testing.T) (client, server *net.UnixConn) {
	t.Helper()
	accepted := make(chan *net.UnixConn, 1)
	socket := filepath.Join(shortDir(t), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var dialing sync.WaitGroup
	dialing.Go(func() {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Error(err)
			close(accepted)
			return
		}
		accepted <- conn.(*net.UnixConn)
	})
	server, err = l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	dialing.Wait()
	client = <-accepted
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// listen serves each connection to a socket on its own, as systemd does, until the test ends.
func listen(t *testing.T, serve func(conn *net.UnixConn)) (socket string) {
	t.Helper()
	socket = filepath.Join(shortDir(t), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			served.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		served.Wait()
	})
	return socket
}

// shortDir returns a folder for a socket, whose path must be short.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "acmed") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// minted is a key with a certificate from a CA of its own.
type minted struct {
	key   *ecdsa.PrivateKey
	chain [][]byte
}

// mint makes one for names that is good for an hour and more.
func mint(t testing.TB, names ...string) minted {
	return mintUntil(t, time.Now().Add(24*time.Hour), names...)
}

func mintUntil(t testing.TB, end time.Time, names ...string) minted {
	t.Helper()
	ca, key := newKey(t), newKey(t)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: end.Add(-48 * time.Hour), NotAfter: end.Add(48 * time.Hour)}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: end.Add(-48 * time.Hour), NotAfter: end}
	return minted{key, [][]byte{signed(t, leaf, root, key, ca), signed(t, root, root, ca, ca)}}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signed(t testing.TB, cert, parent *x509.Certificate, key, ca *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key.Public(), ca)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// parse returns a spec with all defaults but what text says.
func parse(t *testing.T, name, text string) *spec.Certificate {
	t.Helper()
	c, err := spec.ParseCertificate(spec.DefaultConfig("/acmed.yaml"), "/certs.d/"+name+".yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
