package scale_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"acmed/internal/acme"
	"acmed/internal/spec"
	"acmed/internal/store"
	"acmed/test/site"
)

const (
	lifetime = 90 * 24 * time.Hour
	oldest   = 50 * 24 * time.Hour // none is due for renewal
	weekly   = 4                   // certificates of the same names that the issuer's limits allow
)

// eightLines is a spec as operators write them.
const eightLines = `# yaml-language-server: $schema=/usr/share/acmed/certificate.schema.json
dnsNames: [%[1]s, www.%[1]s]
issuers: [pebble]
privateKey: {algorithm: ECDSA, size: 256}
renew: {before: 33%%}
labels: {team: web}
deploy:
  reload: [nginx.service]
`

// A fleet is a site whose certificates have all been issued in the last weeks, and their specs read: the daemon has
// run for a while, and was stopped.
type fleet struct {
	*site.Site
	ca      *ca
	issuing *x509.Certificate
	key     *ecdsa.PrivateKey
	leafKey *ecdsa.PrivateKey // of all: what keys cost is not the question
	privkey []byte
	chain   []byte
	size    int
	now     time.Time
}

func newFleet(t testing.TB, admin string, size int) *fleet {
	t.Helper()
	authority := newCA(t)
	f := &fleet{
		Site: site.New(t, authority.described(t), site.Options{
			Admin:  admin,
			Limits: fmt.Sprintf("ordersPer3h: 270, certificatesPerDomainPerWeek: 45, certificatesPerNameSetPerWeek: %d", weekly),
		}),
		ca: authority, size: size, now: time.Now(),
	}
	if err := errors.Join(f.mint(), f.fill()); err != nil {
		t.Fatal(err)
	}
	return f
}

// mint makes the keys and the certificate that issues.
func (f *fleet) mint() (err error) {
	for _, key := range []**ecdsa.PrivateKey{&f.key, &f.leafKey} {
		if *key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return err
		}
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(f.leafKey)
	if err != nil {
		return err
	}
	f.privkey = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Scale CA"}, SubjectKeyId: []byte("scale"),
		NotBefore: f.now.Add(-lifetime), NotAfter: f.now.Add(2 * lifetime), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, f.key.Public(), f.key)
	if err != nil {
		return err
	}
	f.chain = encode(der)
	f.issuing, err = x509.ParseCertificate(der)
	return err
}

func encode(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// fill writes what a daemon leaves behind: through the store what costs no fsync each, and the rest by itself.
func (f *fleet) fill() (err error) {
	state, err := store.Open(store.Config{Dir: f.State})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	account := store.Account{Directory: f.directory(), URL: f.account(), Created: f.now.Add(-lifetime)}
	if err := state.CreateAccount("pebble", account, f.key); err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	specs := make([]store.Spec, f.size)
	for i := range f.size {
		group.Go(func() (err error) {
			specs[i], err = f.add(state, i)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	issuer, err := f.issuer()
	return errors.Join(err, state.Remember(append(specs, issuer)), f.charge(state))
}

// issuer is what a daemon remembers of the issuer's file. One that is as fresh as this would not be read yet at the
// start, and without its issuer no spec counts.
func (f *fleet) issuer() (store.Spec, error) {
	file := f.Path("issuers.d", "pebble.yaml")
	text, err := os.ReadFile(file)
	info, serr := os.Stat(file)
	if err := errors.Join(err, serr); err != nil {
		return store.Spec{}, err
	}
	return store.Spec{Key: "issuers/pebble.yaml", Text: text, ModTime: info.ModTime()}, nil
}

func (f *fleet) directory() string { return f.ca.server.URL + "/dir" }
func (f *fleet) account() string   { return f.ca.server.URL + "/account/1" }

// name of certificate i: ten to a registered domain.
func name(i int) string { return fmt.Sprintf("host%d.domain%05d.com", i%10, i/10) }

// spread gives each certificate its place in an interval, other neighbours in each interval.
func (f *fleet) spread(i, prime int, over time.Duration) time.Duration {
	return time.Duration(float64(over) * (float64(i*prime%f.size) + 0.5) / float64(f.size))
}

func (f *fleet) issued(i int) time.Time { return f.now.Add(-f.spread(i, 7919, oldest)) }

// add writes one certificate with its spec, which it returns.
func (f *fleet) add(state *store.Store, i int) (store.Spec, error) {
	rev, err := f.revise(name(i), i)
	if err != nil {
		return store.Spec{}, err
	}
	due := rev.NotBefore.Add(lifetime * 2 / 3)
	record := store.Record{Issued: &rev, ARI: store.ARI{
		CertID: rev.CertID, Start: due.Add(-24 * time.Hour), End: due.Add(24 * time.Hour), Chosen: due,
		NextPoll: f.now.Add(f.spread(i, 104729, advisedPoll)),
	}}
	record.Targets = accepted(&rev)
	s := store.Spec{Key: "certs/" + name(i) + ".yaml", Text: fmt.Appendf(nil, eightLines, name(i)), ModTime: rev.NotBefore.Add(-time.Hour)}
	file := f.Path("certs.d", name(i)+".yaml")
	return s, errors.Join(
		state.SaveRecord(name(i), record, store.Lazy),
		os.WriteFile(file, s.Text, 0o644),
		os.Chtimes(file, s.ModTime, s.ModTime),
	)
}

// accepted is what consumers have of a revision, as eightLines names them: all has been delivered.
func accepted(rev *store.Revision) map[string]store.Target {
	targets := map[string]store.Target{}
	for _, t := range (&spec.Deploy{Reload: []string{"nginx.service"}}).Targets(rev.SHA256) {
		targets[t.Key] = store.Target{Accepted: t.Fingerprint, Revision: rev.Number, At: rev.Committed}
	}
	return targets
}

// revise writes revision 1 of a certificate and makes it live.
func (f *fleet) revise(name string, i int) (store.Revision, error) {
	at := f.issued(i).UTC().Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1<<62 + int64(i)), DNSNames: []string{name, "www." + name},
		NotBefore: at, NotAfter: at.Add(lifetime),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, f.issuing, f.leafKey.Public(), f.key)
	if err != nil {
		return store.Revision{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return store.Revision{}, err
	}
	files := map[string][]byte{"privkey.pem": f.privkey, "cert.pem": encode(der), "chain.pem": f.chain}
	files["fullchain.pem"] = append(encode(der), f.chain...)
	rev := store.Revision{
		Number: 1, Issuer: "pebble", Directory: f.directory(), Account: f.account(), Order: fmt.Sprint(f.ca.server.URL, "/order/", i),
		DNSNames: leaf.DNSNames, Key: "ECDSA-256", Serial: fmt.Sprintf("%x", leaf.SerialNumber), SHA256: sum(der),
		CertID: acme.CertID(leaf), IssuedBy: leaf.Issuer.CommonName, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
		Committed: at, Sums: map[string]string{},
	}
	for base, data := range files {
		rev.Sums[base] = sum(data)
	}
	if files["meta.json"], err = seal(rev); err != nil {
		return store.Revision{}, err
	}
	dir := filepath.Join(f.State, "certs", name, "rev", "0001")
	err = os.MkdirAll(dir, 0o711)
	for base, data := range files {
		mode := os.FileMode(0o644)
		if base == "privkey.pem" {
			mode = 0o600
		}
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, base), data, mode))
	}
	return rev, errors.Join(err, os.Symlink(filepath.Join("../certs", name, "rev/0001"), filepath.Join(f.State, "live", name)))
}

func sum(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

// seal is docs/state-directory.md's.
func seal(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	return fmt.Appendf(nil, `{"sha256":"%s","data":%s}`+"\n", sum(data), data), err
}

// charge leaves in the issuer's ledger what the latest certificates used of its limits.
func (f *fleet) charge(state *store.Store) error {
	ledger, err := state.Issuer("pebble")
	if err != nil {
		return err
	}
	return ledger.Update(func(s *store.IssuerState) {
		for i := range f.size {
			s.Budgets["set:"+sum([]byte(name(i)))[:16]] = f.issued(i).Add(7 * 24 * time.Hour / weekly)
		}
	})
}
