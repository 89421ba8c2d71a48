package daemon_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/control"
	"acmed/internal/daemon"
	"acmed/internal/store"
)

// TestMain runs many tests at once: most of their time files have to stand still.
func TestMain(m *testing.M) {
	if config := os.Getenv(childConfig); config != "" {
		os.Exit(runChild(config))
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		log.Fatal(err)
	}
	os.Exit(m.Run())
}

// patience is for what should happen soon, on a machine that may be busy.
const patience = 2 * time.Minute

// site is a machine with acmed on it, in a folder, and a CA that minds its manners.
type site struct {
	t      *testing.T
	dir    string
	host   string // its loopback address
	proofs string // the folder of http-01, if a web server serves it
	ca     *acmetest.CA
	run    *run // nil: acmed does not run
}

// run is the life of one daemon.
type run struct {
	end   func()
	ended chan error
	log   *logbook
	*control.Client
}

const config = `
contact: ["mailto:pki@example.com"]
termsOfServiceAgreed: true
defaults: {issuers: [ca]}
specDir: certs.d
issuerDir: issuers.d
dnsDir: dns.d
stateDir: state
runtimeDir: run
http: {solver: listen, listen: "HOST:5002"}
admin: {listen: "HOST:9402"}
log: {level: info}
workers: 8
`

// newSite has the issuer "ca", which issues at once, and no spec. The daemon does not run yet.
func newSite(t *testing.T, cfg acmetest.Config) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "acmed") //nolint:usetesting // a unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &site{t: t, dir: dir, proofs: "run/http-01/", host: fmt.Sprintf("127.%d.%d.%d", rand.N(256), rand.N(256), 1+rand.N(254))}
	s.configure()
	s.mkdir("certs.d")
	cfg.Fetch = s.fetch
	cfg.OrderGap = cmp.Or(cfg.OrderGap, -1)
	s.ca = s.addCA("ca", cfg, "")
	t.Cleanup(s.end)
	return s
}

// configure writes acmed.yaml with replacements, pairs of old and new.
func (s *site) configure(replacements ...string) {
	s.t.Helper()
	s.write("acmed.yaml", strings.NewReplacer(append(replacements, "HOST", s.host)...).Replace(config))
}

// addCA makes an issuer of that name, described by its directory and more.
func (s *site) addCA(name string, cfg acmetest.Config, more string) *acmetest.CA {
	s.t.Helper()
	server := httptest.NewUnstartedServer(nil)
	cfg.BaseURL = "https://" + server.Listener.Addr().String()
	ca := acmetest.New(s.t, cfg)
	server.Config.Handler = forward(ca)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	s.t.Cleanup(server.Close)
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	s.write(name+".pem", string(root))
	s.write("issuers.d/"+name+".yaml", fmt.Sprintf("directory: %s\ncaBundle: %s\n%s", ca.DirectoryURL(), s.path(name+".pem"), more))
	return ca
}

// forward hands requests to a CA in memory.
func forward(ca *acmetest.CA) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Scheme, r.URL.Host, r.RequestURI = "https", r.Host, ""
		resp, err := ca.RoundTrip(r)
		if err != nil {
			panic(http.ErrAbortHandler) // the connection breaks
		}
		defer resp.Body.Close()
		maps.Copy(w.Header(), resp.Header)
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body) // who asked may be gone
	})
}

// fetch is how the CA sees a proof: from outside; where nobody listens, in the folder that a web server would serve.
func (s *site) fetch(ctx context.Context, host, token string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.host+":5002/.well-known/acme-challenge/"+token, nil)
	if err != nil {
		return "", err
	}
	req.Host = host
	body, status, err := do(req)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		text, err := os.ReadFile(s.path(s.proofs + token))
		return string(text), err
	case err == nil && status != http.StatusOK:
		err = fmt.Errorf("status %d", status)
	}
	return body, err
}

func do(req *http.Request) (body string, status int, err error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), resp.StatusCode, err
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) mkdir(name string) {
	s.t.Helper()
	if err := os.MkdirAll(s.path(name), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

// write makes a file as an editor does it: under another name first.
func (s *site) write(name, text string) {
	s.t.Helper()
	s.mkdir(filepath.Dir(name))
	path := s.path(name)
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"~")
	if err := errors.Join(os.WriteFile(tmp, []byte(text), 0o644), os.Rename(tmp, path)); err != nil {
		s.t.Fatal(err)
	}
}

// spec writes the spec file of a certificate.
func (s *site) spec(name, text string) {
	s.t.Helper()
	s.write("certs.d/"+name+".yaml", text)
}

func (s *site) remove(names ...string) {
	s.t.Helper()
	for _, name := range names {
		if err := os.Remove(s.path("certs.d/" + name + ".yaml")); err != nil {
			s.t.Fatal(err)
		}
	}
}

// start runs the daemon and waits until it is ready.
func (s *site) start() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	r := &run{end: cancel, ended: make(chan error, 1), log: &logbook{}}
	go func() {
		r.ended <- daemon.Run(ctx, daemon.Config{ConfigFile: s.path("acmed.yaml"), Version: "1.2.3", Stderr: r.log})
	}()
	s.awaitReady(r)
}

func (s *site) awaitReady(r *run) {
	s.t.Helper()
	eventually(s.t, "the daemon is ready", func() bool {
		select {
		case err := <-r.ended:
			s.t.Fatalf("the daemon ended at once: %v\n%s", err, r.log)
		default:
		}
		return len(r.log.entries("ready")) > 0
	})
	r.Client = control.Dial(s.path("run/control/acmed.sock"))
	s.run = r
}

// stop ends the daemon in order, and looks at every file that it wrote.
func (s *site) stop() {
	s.t.Helper()
	s.run.end()
	select {
	case err := <-s.run.ended:
		if err != nil {
			s.t.Errorf("the daemon ended: %v", err)
		}
	case <-time.After(patience):
		s.t.Error("the daemon does not end")
	}
	s.run = nil
	for _, err := range store.Check(s.path("state")) {
		s.t.Errorf("state folder: %v", err)
	}
}

// end stops the daemon at the end of a test, and shows its log if that failed.
func (s *site) end() {
	if s.run == nil {
		return
	}
	book := s.run.log
	s.stop()
	if s.t.Failed() {
		s.t.Logf("the daemon's log:\n%s", book)
	}
}

// list is that of `acmed list`, by name.
func (s *site) list() map[string]control.Summary {
	s.t.Helper()
	list, err := s.run.List(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if !slices.IsSortedFunc(list, func(a, b control.Summary) int { return strings.Compare(a.Name, b.Name) }) {
		s.t.Errorf("the list is not sorted: %v", list)
	}
	byName := map[string]control.Summary{}
	for _, c := range list {
		byName[c.Name] = c
	}
	return byName
}

func (s *site) status(name string) control.Certificate {
	s.t.Helper()
	c, err := s.run.Status(s.t.Context(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *site) info() control.Info {
	s.t.Helper()
	info, err := s.run.Info(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return info
}

func (s *site) reload(accept bool) control.ReloadResult {
	s.t.Helper()
	r, err := s.run.Reload(s.t.Context(), control.ReloadRequest{AcceptRemovals: accept})
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// await waits until the certificate is valid and has that revision.
func (s *site) await(name string, revision int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("revision %d of %s is valid", revision, name), func() bool {
		c := s.list()[name]
		return c.Phase == control.Valid && c.Revision == revision
	})
}

// get reads one of the pages for machines.
func (s *site) get(page string) (body string, status int) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.host+":9402"+page, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	body, status, err = do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	return body, status
}

// metric is the value of one series, labels included in its name.
func (s *site) metric(series string) float64 {
	s.t.Helper()
	body, _ := s.get("/metrics")
	for line := range strings.Lines(body) {
		if text, ok := strings.CutPrefix(line, series+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				s.t.Fatalf("reading metrics: %v", err)
			}
			return value
		}
	}
	s.t.Fatalf("there is no metric %s", series)
	return 0
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("after %v it is still not so that %s", patience, what)
		}
	}
}

// logbook keeps a log of JSON lines.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// entries are those with that message.
func (l *logbook) entries(message string) []entry {
	var found []entry
	for line := range strings.Lines(l.String()) {
		var e entry
		if json.Unmarshal([]byte(line), &e) == nil && e.text("message") == message {
			found = append(found, e)
		}
	}
	return found
}

type entry map[string]any

func (e entry) text(field string) string {
	s, _ := e[field].(string)
	return s
}
