package evilca_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"acmed/internal/acme"
	"acmed/internal/challenge"
	"acmed/internal/reconcile"
	"acmed/internal/scheduler"
	"acmed/internal/spec"
	"acmed/internal/store"
	"acmed/test/evilca"
	"acmed/test/pebble"
)

const (
	issuerName = "evil"
	eabKID     = "kid-1"
	patience   = 2 * time.Minute
	// restful is the time to the next visit from which on a certificate counts as waiting.
	restful = 20 * time.Second
)

// world is what the machines of all cells share: one good CA, one forger, and the web server where it looks for
// proofs.
type world struct {
	ca      *pebble.Server
	forger  *evilca.Forger
	folders sync.Map // token to *challenge.Folder
	eab     []byte
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{eab: []byte("a key of an external account that nobody may see in a log")}
	w.ca = pebble.Start(t, pebble.Options{KeyAlgorithm: "rsa", EAB: map[string][]byte{eabKID: w.eab}})
	forger, err := evilca.NewForger(t.Context(), w.ca)
	if err != nil {
		t.Fatal(err)
	}
	w.forger = forger
	handler, err := challenge.NewHandler(challenge.HandlerConfig{Tokens: w})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", w.ca.HTTPAddr)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close() // what is open is cut off
		<-ended
	})
	return w
}

// KeyAuthorization implements challenge.Answerer for the folders of all machines.
func (w *world) KeyAuthorization(token string) (string, bool) {
	f, ok := w.folders.Load(token)
	if !ok {
		return "", false
	}
	return f.(*challenge.Folder).KeyAuthorization(token)
}

// machine is acmed's own scheduler, reconciler, store and token folder with one certificate and one evil CA.
type machine struct {
	t         *testing.T
	world     *world
	proxy     *evilca.Proxy     // nil: the CA is behind transport
	transport http.RoundTripper // nil: the network
	dir       string            // all that it may write to
	cert      *spec.Certificate
	issuer    *spec.Issuer
	name      string
	log       book
	deaf      atomic.Bool // its web server shows no proof
	secret    []string

	store      *store.Store
	folder     *challenge.Folder
	reconciler *reconcile.Reconciler
	scheduler  *scheduler.Scheduler
	stop       func()
}

// newMachine has a certificate of the good CA already, and runs.
func newMachine(t *testing.T, w *world, rules *evilca.Rules, edit func(*machine)) *machine {
	t.Helper()
	m := &machine{t: t, world: w, proxy: evilca.Start(t, w.ca, rules), dir: workDir(t), name: "www"}
	m.configure(fmt.Sprintf("h%s.example.com", filepath.Base(m.dir)), m.proxy.DirectoryURL)
	m.cert.DNSNames = append(m.cert.DNSNames, "www."+m.cert.DNSNames[0])
	m.issuer.CABundle = m.proxy.RootsFile
	m.issuer.Binding = &spec.ExternalAccountBinding{KID: eabKID, HMACKeyFile: filepath.Join(m.dir, "eab")}
	if edit != nil {
		edit(m)
	}
	encoded := base64.RawURLEncoding.EncodeToString(w.eab)
	if err := os.WriteFile(filepath.Join(m.dir, "eab"), []byte(encoded), 0o600); err != nil {
		t.Fatal(err)
	}
	m.secret = []string{encoded, string(w.eab)}
	m.run()
	t.Cleanup(func() { m.stop() })
	m.await("the first certificate is there", func(v reconcile.View) bool { return v.Revision == 1 })
	return m
}

// configure says what the machine wants: one certificate, of one issuer without limits.
func (m *machine) configure(host, directory string) {
	m.cert = &spec.Certificate{
		Name: m.name, DNSNames: []string{host}, Issuers: []string{issuerName},
		Challenge:  spec.Challenge{Type: "http-01"},
		PrivateKey: spec.PrivateKey{Algorithm: "ECDSA", Size: 256, RotationPolicy: "Always"},
		Renew:      spec.Renew{ARI: true},
	}
	m.issuer = &spec.Issuer{
		Name: issuerName, Directory: directory, TermsOfServiceAgreed: true, Contact: []string{"mailto:pki@example.com"},
		Limits: spec.Limits{OrdersInFlight: 4},
	}
}

// workDir is a folder in memory, if there is such a place: there are no crashes here.
func workDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "evil") //nolint:usetesting // see above
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// run starts what stop has ended, as a restart of the daemon does.
func (m *machine) run() {
	m.t.Helper()
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), &m.log, zapcore.DebugLevel))
	var err error
	if m.store, err = store.Open(store.Config{Dir: filepath.Join(m.dir, "state"), Log: log}); err != nil {
		m.t.Fatal(err)
	}
	if m.folder, err = challenge.OpenFolder(filepath.Join(m.dir, "http-01")); err != nil {
		m.t.Fatal(err)
	}
	m.reconciler, err = reconcile.New(reconcile.Config{
		Store: m.store, Solver: func(string, spec.Challenge) (acme.Solver, error) { return m, nil },
		Wake: func(name string) { m.scheduler.Wake(name) }, Transport: m.transport, Host: "test", Log: log,
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.scheduler, err = scheduler.New(scheduler.Config{Workers: 2, Log: log,
		Visit: func(ctx context.Context, name string) scheduler.Next {
			at, deadline := m.reconciler.Visit(ctx, name)
			return scheduler.Next{At: at, Deadline: deadline}
		},
		Panicked: func(_ string, value any, stack []byte) scheduler.Next {
			m.t.Errorf("a visit panicked: %v\n%s", value, stack)
			return scheduler.Next{}
		}})
	if err != nil {
		m.t.Fatal(err)
	}
	m.reconciler.SetSpecs(spec.NewSet([]*spec.Certificate{m.cert}, []*spec.Issuer{m.issuer}))
	if at, deadline := m.reconciler.Adopt(m.name); !at.IsZero() {
		m.scheduler.Add(m.name, scheduler.Next{At: at, Deadline: deadline})
	}
	ctx, cancel := context.WithCancel(m.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.scheduler.Run(ctx) }()
	m.stop = func() {
		m.stop = func() {}
		cancel()
		if err := errors.Join(<-ended, m.store.Close()); err != nil {
			m.t.Error(err)
		}
	}
}

// Present implements acme.Solver.
func (m *machine) Present(ctx context.Context, p acme.Proof) error {
	if m.world != nil && !m.deaf.Load() {
		m.world.folders.Store(p.Token, m.folder)
	}
	return m.folder.Present(ctx, p)
}

// CleanUp implements acme.Solver.
func (m *machine) CleanUp(ctx context.Context, p acme.Proof) error {
	if m.world != nil {
		m.world.folders.Delete(p.Token)
	}
	return m.folder.CleanUp(ctx, p)
}

// await waits for a view, and for what follows it in the same visit.
func (m *machine) await(what string, good func(reconcile.View) bool) reconcile.View {
	m.t.Helper()
	views, stop := m.reconciler.Watch(m.name)
	defer stop()
	if v := m.reconciler.View(m.name); good(v) {
		return v
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case v := <-views:
			if good(v) {
				return v
			}
		case <-late.C:
			m.t.Fatalf("waited in vain until %s: %+v\n%s", what, m.reconciler.View(m.name), m.log.tail())
		}
	}
}

// renew asks for a renewal and waits until it has come to an end, or to a rest.
func (m *machine) renew() reconcile.View {
	m.t.Helper()
	had, asked := m.reconciler.View(m.name).Revision, time.Now()
	m.reconciler.Renew(m.name, false)
	return m.await("the renewal ends", func(v reconcile.View) bool {
		return v.Revision > had || v.ErrorAt.After(asked) && time.Until(v.Next) > restful ||
			v.Why == reconcile.AwaitingCA && time.Until(v.Next) > 2*time.Second
	})
}

func (m *machine) record() store.Record {
	m.t.Helper()
	have, err := m.store.Record(m.name)
	if err != nil {
		m.t.Fatal(err)
	}
	return have
}

// patienceEnds lets all the time pass that the CA asked for, and that until the next look at its advice.
func (m *machine) patienceEnds() {
	m.t.Helper()
	have := m.record()
	for name, f := range have.Failures {
		f.Promised = time.Time{}
		have.Failures[name] = f
	}
	have.ARI.NextPoll = time.Time{}
	err := m.store.SaveRecord(m.name, have, store.Lazy)
	ledger, lerr := m.store.Issuer(issuerName)
	if lerr == nil {
		lerr = ledger.Update(func(s *store.IssuerState) { s.Hold, s.Promised = time.Time{}, false })
	}
	if err := errors.Join(err, lerr, m.reconciler.Release()); err != nil {
		m.t.Fatal(err)
	}
}

// check ends the machine and looks at everything that it left behind.
func (m *machine) check() {
	m.t.Helper()
	m.secrets()
	m.stop()
	for _, err := range store.Check(filepath.Join(m.dir, "state")) {
		m.t.Errorf("state folder: %v", err)
	}
	m.checkFolder("", "eab", "http-01", "state")
	m.checkFolder("http-01")
	m.checkLog()
}

// checkFolder fails for everything in a folder that does not belong there.
func (m *machine) checkFolder(sub string, want ...string) {
	m.t.Helper()
	entries, err := os.ReadDir(filepath.Join(m.dir, sub))
	if err != nil {
		m.t.Error(err)
	}
	for _, e := range entries {
		if !slices.Contains(want, e.Name()) {
			m.t.Errorf("%s was written into the folder %q", e.Name(), sub)
		}
	}
}

// secrets remembers every line of every key on disk.
func (m *machine) secrets() {
	m.t.Helper()
	err := filepath.WalkDir(m.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".pem" {
			return err
		}
		text, err := os.ReadFile(path)
		block, _ := pem.Decode(text)
		if err != nil || block == nil || !strings.Contains(block.Type, "PRIVATE KEY") {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") {
				m.secret = append(m.secret, line)
			}
		}
		return nil
	})
	if err != nil {
		m.t.Error(err)
	}
}

// checkLog fails for secrets in the log and for what would move a terminal's cursor.
func (m *machine) checkLog() {
	m.t.Helper()
	text := m.log.String()
	secrets := m.secret
	if m.proxy != nil {
		secrets = append(secrets, m.proxy.Signatures()...)
	}
	for _, s := range secrets {
		if len(s) >= 16 && strings.Contains(text, s) {
			m.t.Errorf("a secret is in the log: %.12s…", s)
		}
	}
	for line := range strings.Lines(text) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			m.t.Errorf("a line of the log is not JSON: %v: %q", err, line)
		}
		for field, value := range entry {
			s, _ := value.(string)
			if strings.ContainsFunc(s, unprintable) || len(s) > 4<<10 {
				m.t.Errorf("the log's field %s is not fit to print: %.200q", field, s)
			}
		}
	}
}

// unprintable excepts the line end between two errors: of a CA's text, none is left with CR before it.
func unprintable(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }

// book is a log in memory.
type book struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *book) Sync() error { return nil }

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *book) tail() string {
	lines := strings.SplitAfter(b.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "")
}
