package migrate_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"acmed/internal/migrate"
	"acmed/internal/spec"
	"acmed/internal/store"
)

const letsencrypt = "https://acme-v02.api.letsencrypt.org/directory"

// world is a machine with another client's folder and acmed's.
type world struct {
	t      *testing.T
	dir    string // the client's
	config *spec.Config
	now    time.Time
	ca     *x509.Certificate
	caKey  *ecdsa.PrivateKey
}

func newWorld(t *testing.T) *world {
	home := t.TempDir()
	c := spec.DefaultConfig(filepath.Join(home, "acmed.yaml"))
	c.SpecDir, c.IssuerDir, c.DNSDir, c.StateDir = filepath.Join(home, "certs.d"), filepath.Join(home, "issuers.d"), filepath.Join(home, "dns.d"), filepath.Join(home, "state")
	w := &world{t: t, dir: filepath.Join(home, "client"), config: c, now: time.Now(), caKey: ecKey(t)}
	for _, dir := range []string{c.SpecDir, c.IssuerDir, w.dir} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ca := &x509.Certificate{
		Subject: pkix.Name{CommonName: "a CA for tests"}, SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: w.now.Add(-time.Hour * 24 * 365), NotAfter: w.now.Add(time.Hour * 24 * 365), KeyUsage: x509.KeyUsageCertSign,
	}
	w.ca = w.sign(ca, ca, w.caKey.Public())
	return w
}

func (w *world) sign(template, parent *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	w.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, w.caKey)
	if err != nil {
		w.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		w.t.Fatal(err)
	}
	return cert
}

// issue makes a certificate of 90 days with so much of them left.
func (w *world) issue(key crypto.Signer, left time.Duration, names ...string) (chainPEM string) {
	w.t.Helper()
	end := w.now.Add(left)
	leaf := &x509.Certificate{
		Subject: pkix.Name{CommonName: names[0]}, SerialNumber: big.NewInt(w.now.UnixNano()),
		NotBefore: end.Add(-90 * 24 * time.Hour), NotAfter: end, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, name)
		}
	}
	return encode("CERTIFICATE", w.sign(leaf, w.ca, key.Public()).Raw) + encode("CERTIFICATE", w.ca.Raw)
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func keyPEM(t *testing.T, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return encode("PRIVATE KEY", der)
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// write puts a file into the client's folder.
func (w *world) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// edit replaces a word in a file of the client's.
func (w *world) edit(name, from, to string) {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	if !strings.Contains(string(text), from) {
		w.t.Fatalf("there is no %q in %s", from, name)
	}
	w.write(name, strings.ReplaceAll(string(text), from, to))
}

func (w *world) link(name, target string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) pipe(name string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), syscall.Mkfifo(path, 0o600)); err != nil {
		w.t.Fatal(err)
	}
}

// look plans an import.
func (w *world) look(client string, names ...string) *migrate.Plan {
	w.t.Helper()
	p, err := migrate.Look(migrate.Options{Client: client, Dir: w.dir, Names: names, Config: w.config, Now: w.now})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// apply imports, and looks whether what it left behind is in order.
func (w *world) apply(client string) *migrate.Plan {
	w.t.Helper()
	before := w.snapshot()
	p := w.look(client)
	if err := p.Apply(func(int) {}); err != nil {
		w.t.Fatal(err)
	}
	w.isSound()
	if after := w.snapshot(); fmt.Sprint(after) != fmt.Sprint(before) {
		w.t.Error("the client's folder was changed")
	}
	return p
}

// isSound checks what acmed has.
func (w *world) isSound() {
	w.t.Helper()
	for _, err := range store.Check(w.config.StateDir) {
		w.t.Error(err)
	}
	for _, p := range spec.CheckFiles(w.config, nil) {
		w.t.Error(p)
	}
}

// remove takes a file of the client's away.
func (w *world) remove(name string) {
	w.t.Helper()
	if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
		w.t.Fatal(err)
	}
}

// acmeSh adds a certificate of acme.sh's.
func (w *world) acmeSh(folder, conf string, names ...string) {
	name, key := strings.TrimSuffix(filepath.Base(folder), "_ecc"), ecKey(w.t)
	w.write(folder+"/"+name+".conf", conf)
	w.write(folder+"/"+name+".key", keyPEM(w.t, key))
	w.write(folder+"/fullchain.cer", w.issue(key, 60*24*time.Hour, names...))
}

// legoCertificate adds a certificate as version 4 of lego writes it: without its further names.
func (w *world) legoCertificate(host string, left time.Duration, about string, names ...string) {
	key, base := ecKey(w.t), "certificates/"+strings.ReplaceAll(host, "*", "_")
	w.write(base+".key", keyPEM(w.t, key))
	w.write(base+".crt", w.issue(key, left, names...))
	w.write(base+".json", `{"domain": "`+host+`", `+about+`"certUrl": "https://acme-v02.api.letsencrypt.org/acme/cert/1"}`)
}

// snapshot is the content of the client's folder.
func (w *world) snapshot() map[string]string {
	files := map[string]string{}
	err := filepath.WalkDir(w.dir, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var text []byte
		if info.Mode().IsRegular() {
			text, err = os.ReadFile(p)
		}
		files[p] = fmt.Sprint(info.Mode(), info.ModTime(), string(text))
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return files
}

// step is what the plan says about a certificate.
func step(t *testing.T, p *migrate.Plan, name string) migrate.Step {
	t.Helper()
	for _, s := range p.Certificates {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no %s in %+v", name, p.Certificates)
	return migrate.Step{}
}

// rsaJWK is a private key as certbot stores that of an account.
func rsaJWK(t *testing.T, key *rsa.PrivateKey) string {
	t.Helper()
	n := func(i *big.Int) string { return base64.RawURLEncoding.EncodeToString(i.Bytes()) }
	text, err := json.Marshal(map[string]string{
		"kty": "RSA", "n": n(key.N), "e": n(big.NewInt(int64(key.E))), "d": n(key.D), "p": n(key.Primes[0]), "q": n(key.Primes[1]),
		"dp": n(key.Precomputed.Dp), "dq": n(key.Precomputed.Dq), "qi": n(key.Precomputed.Qinv),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ecJWK is one on the curve P-256.
func ecJWK(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	d, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return `{"kty": "EC", "crv": "P-256", "d": "` + base64.RawURLEncoding.EncodeToString(d) + `"}`
}

// copyTree copies a directory of testdata.
func (w *world) copyTree(name string) {
	w.t.Helper()
	if err := os.CopyFS(w.dir, os.DirFS(filepath.Join("testdata", name))); err != nil {
		w.t.Fatal(err)
	}
}

// at looks with the directory of a CA.
func (w *world) at(client, server string) *migrate.Plan {
	w.t.Helper()
	p, err := migrate.Look(migrate.Options{Client: client, Dir: w.dir, Server: server, Config: w.config, Now: w.now})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
