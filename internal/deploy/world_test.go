package deploy_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"acmed/internal/deploy"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// folderFor is a folder of the test's own below the system's temporary one, whose path holds no link.
func folderFor(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for d := dir; d != filepath.Clean(os.TempDir()); d = filepath.Dir(d) { // whatever the umask is
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// issue makes a certificate for a name with its key, signed by a CA.
func issue(t testing.TB, name string) (files store.Files, leaf string) {
	t.Helper()
	caKey, caDER := sign(t, nil, nil, "Test CA", true)
	ca, err := x509.ParseCertificate(caDER)
	if err != nil {
		t.Fatal(err)
	}
	key, der := sign(t, ca, caKey, name, false)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files.Privkey = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	files.Cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	files.Chain = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	files.Fullchain = slices.Concat(files.Cert, files.Chain)
	sum := sha256.Sum256(der)
	return files, hex.EncodeToString(sum[:])
}

func sign(t testing.TB, issuer *x509.Certificate, by *ecdsa.PrivateKey, name string, ca bool) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		IsCA: ca, BasicConstraintsValid: ca, SubjectKeyId: []byte(name),
	}
	if !ca {
		template.DNSNames = []string{name}
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	if issuer == nil {
		issuer, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

// units are systemd's. They fail where problems say so.
type units struct {
	mu       sync.Mutex
	problems map[string]string
	reloads  []string
	restarts []string
	changes  []deploy.UnitChange
	hang     string // "": it does not, else the file that says so
}

func (u *units) Change(ctx context.Context, c deploy.UnitChange) func(context.Context) (string, error) {
	note, err := u.change(ctx, c)
	return func(context.Context) (string, error) { return note, err }
}

func (u *units) change(ctx context.Context, c deploy.UnitChange) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	unit := c.Unit
	u.changes = append(u.changes, c)
	if c.Restart {
		u.restarts = append(u.restarts, unit)
	} else {
		u.reloads = append(u.reloads, unit)
	}
	if u.hang != "" {
		err := os.WriteFile(u.hang, nil, 0o600)
		<-ctx.Done()
		return "", errors.Join(ctx.Err(), err)
	}
	if p := u.problems[unit]; p != "" {
		return "", errors.New(p)
	}
	return "", nil
}

func newExecutor(t testing.TB, u *units) *deploy.Executor {
	t.Helper()
	if u == nil {
		u = &units{}
	}
	e, err := deploy.NewExecutor(deploy.ExecutorConfig{Units: u, Copies: []string{"/run/acmed-copies"}})
	if err != nil {
		t.Fatal(err)
	}
	e.CopyTo(folderFor(t) + "/copies")
	e.SetGrace(50 * time.Millisecond)
	return e
}

// job delivers a new certificate for name as d says.
func job(t testing.TB, name string, d spec.Deploy) deploy.Job {
	t.Helper()
	files, leaf := issue(t, name)
	want := &spec.Certificate{Name: name, DNSNames: []string{name}, Deploy: d}
	return deploy.Job{Order: deploy.Order{Name: name}, Want: want, Leaf: leaf, Files: files, Live: "/var/lib/acmed/live/" + name}
}

// one delivers a single job and gives its results by key.
func one(t testing.TB, e *deploy.Executor, j deploy.Job) map[string]deploy.Result {
	t.Helper()
	answers := e.Deploy(t.Context(), []deploy.Job{j})
	if len(answers) != 1 || answers[0].Name != j.Name || answers[0].Problem != "" {
		t.Fatalf("the answers are %+v", answers)
	}
	results := map[string]deploy.Result{}
	for _, r := range answers[0].Results {
		if _, twice := results[r.Key]; twice {
			t.Errorf("%s is answered twice", r.Key)
		}
		results[r.Key] = r
	}
	return results
}

// read gives what a file holds; "": there is none.
func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

func write(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

// names are what is in a folder.
func names(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
