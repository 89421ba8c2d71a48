package acmetest

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// certificate is one that the CA issued.
type certificate struct {
	der       []byte
	id        string // RFC 9773 §4.1
	serial    *big.Int
	names     []string
	account   *account
	profile   string
	notBefore time.Time
	notAfter  time.Time

	fetched     bool // a client has it
	revoked     bool
	revokedAt   time.Time
	reason      int    // of RFC 5280 §5.3.1
	replacement *order // that was made to replace it; nil: none was
	window      window
	nextPoll    time.Time // before which nobody asks for its renewal information
}

// window is when a certificate should be renewed.
type window struct{ start, end time.Time }

// csr is what a client wants to have certified.
type csr struct {
	key   any
	names []string
	ips   []net.IP
}

// authority signs.
type authority struct {
	root, intermediate *x509.Certificate
	key                *ecdsa.PrivateKey // of the intermediate
	pem                []byte            // of the intermediate; nil: the root issues
}

func newAuthority(now time.Time, direct bool, life time.Duration) (*authority, error) {
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	root, err := signCA("acmetest root", 1, now, now.AddDate(100, 0, 0), nil, rootKey, rootKey)
	if err != nil {
		return nil, err
	}
	if direct {
		return &authority{root: root, intermediate: root, key: rootKey}, nil
	}
	ends := now.AddDate(100, 0, 0)
	if life > 0 {
		ends = now.Add(life)
	}
	intermediate, err := signCA("acmetest intermediate", 2, now, ends, root, key, rootKey)
	if err != nil {
		return nil, err
	}
	return &authority{root: root, intermediate: intermediate, key: key, pem: encodePEM(intermediate.Raw)}, nil
}

// signCA makes a CA certificate for key; a nil parent makes it a root.
func signCA(
	name string, serial int64, now, ends time.Time, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey,
) (*x509.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(serial),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-24 * time.Hour),
		NotAfter:              ends,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func (a *authority) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.root)
	return pool
}

func encodePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// parseCSR reads the CSR of a finalize request and checks that it asks for what was ordered.
func (ca *CA) parseCSR(r *request, o *order) (*csr, *problem) {
	var body struct {
		CSR string `json:"csr"`
	}
	if p := ca.decode(r, &body); p != nil {
		return nil, p
	}
	bad := func(format string, args ...any) (*csr, *problem) {
		ca.misbehaved("finalize for %s: %s", o.set.key, fmt.Sprintf(format, args...))
		return nil, refuse(http.StatusBadRequest, "badCSR", format, args...)
	}
	der, err := base64.RawURLEncoding.DecodeString(body.CSR)
	if err != nil {
		return bad("decoding the CSR: %v", err)
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return bad("parsing the CSR: %v", err)
	}
	if err := req.CheckSignature(); err != nil {
		return bad("the CSR's signature: %v", err)
	}
	names := slices.Clone(req.DNSNames)
	for _, ip := range req.IPAddresses {
		names = append(names, ip.String())
	}
	if cn := req.Subject.CommonName; cn != "" && !slices.Contains(names, cn) {
		return bad("the CSR's common name %q is none of its names", cn)
	}
	if keyOf(names) != o.set.key {
		return bad("the CSR is for %s", keyOf(names))
	}
	if k, ok := o.account.signer.key.Key.(interface{ Equal(crypto.PublicKey) bool }); ok && k.Equal(req.PublicKey) {
		return bad("the CSR has the account's key")
	}
	if ca.blocked[string(req.RawSubjectPublicKeyInfo)] {
		return bad("the CSR has a key that is known to be compromised")
	}
	return &csr{key: req.PublicKey, names: req.DNSNames, ips: req.IPAddresses}, nil
}

// lifetime is how long certificates of a profile live.
func (ca *CA) lifetime(profile string) time.Duration {
	if l, ok := ca.cfg.Profiles[profile]; ok {
		return l
	}
	return ca.cfg.Lifetime
}

// issue makes the certificate of an order that is processing, as of the moment that it was promised for.
func (ca *CA) issue(o *order) {
	lifetime := ca.lifetime(o.Profile)
	c := &certificate{
		serial: serialFor(len(ca.issued)), names: valuesOf(o.Identifiers), account: o.account, profile: o.Profile,
		notBefore: o.issueAt.Truncate(time.Second),
	}
	if c.notAfter = c.notBefore.Add(lifetime); ca.cfg.Dated {
		c.notAfter = o.NotAfter
	}
	if ends := ca.authority.intermediate.NotAfter; c.notAfter.After(ends) {
		c.notAfter = ends
	}
	c.window = window{c.notBefore.Add(lifetime * 62 / 100), c.notBefore.Add(lifetime * 68 / 100)}
	if err := ca.authority.sign(c, o.request, ca.crlURL()); err != nil {
		ca.fail(o, refuse(http.StatusBadRequest, "badCSR", "signing: %v", err), o.issueAt)
		return
	}
	o.issued = c
	o.Status, o.Certificate = "valid", fmt.Sprintf("%s/certificate/%d", ca.cfg.BaseURL, len(ca.issued))
	ca.issued = append(ca.issued, c)
	ca.byID[c.id] = c
	o.set.current, o.set.quiet = c, time.Time{}
	ca.spendIssued(o, o.issueAt)
}

// sign fills in what the signature brings.
func (a *authority) sign(c *certificate, r *csr, list string) (err error) {
	template := &x509.Certificate{
		SerialNumber: c.serial,
		NotBefore:    c.notBefore,
		NotAfter:     c.notAfter.Add(-time.Second), // both ends belong to the lifetime (RFC 5280 §4.1.2.5)
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     r.names,
		IPAddresses:  r.ips,
	}
	if list != "" {
		template.CRLDistributionPoints = []string{list}
	}
	c.id = idOf(a.intermediate.SubjectKeyId, c.serial)
	c.der, err = x509.CreateCertificate(rand.Reader, template, a.intermediate, r.key, a.key)
	return err
}

// serialFor makes every other serial need a leading zero byte in DER, which a CertID must keep.
func serialFor(n int) *big.Int {
	serial := new(big.Int).Lsh(big.NewInt(int64(2+n%2)), 126)
	return serial.Add(serial, big.NewInt(int64(n)))
}

// CertID is how RFC 9773 §4.1 names a certificate.
func CertID(cert *x509.Certificate) string { return idOf(cert.AuthorityKeyId, cert.SerialNumber) }

func idOf(authorityKeyID []byte, serial *big.Int) string {
	octets := serial.Bytes()
	if octets[0]&0x80 != 0 {
		octets = append([]byte{0}, octets...)
	}
	return base64.RawURLEncoding.EncodeToString(authorityKeyID) + "." + base64.RawURLEncoding.EncodeToString(octets)
}

// Issued is how many certificates the CA issued.
func (ca *CA) Issued() int {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return len(ca.issued)
}

// Certificates returns the leaves that the CA issued, the oldest first.
func (ca *CA) Certificates() []*x509.Certificate {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	leaves := make([]*x509.Certificate, len(ca.issued))
	for i, c := range ca.issued {
		leaf, err := x509.ParseCertificate(c.der)
		if err != nil {
			ca.t.Fatalf("acmetest: parsing a certificate of our own: %v", err)
		}
		leaves[i] = leaf
	}
	return leaves
}

// SetRenewalWindow advises when to renew the certificate with that CertID.
func (ca *CA) SetRenewalWindow(certID string, start, end time.Time) {
	ca.change(certID, func(c *certificate) { c.window = window{start, end} })
}

// Revoke revokes the certificate with that CertID, which may then be renewed at once.
func (ca *CA) Revoke(certID string) {
	ca.change(certID, func(c *certificate) { c.revoke(time.Now(), 0) })
}

// Revoked tells whether the certificate with that CertID is revoked.
func (ca *CA) Revoked(certID string) (revoked bool) {
	ca.change(certID, func(c *certificate) { revoked = c.revoked })
	return revoked
}

func (ca *CA) change(certID string, f func(*certificate)) {
	ca.t.Helper()
	ca.mu.Lock()
	defer ca.mu.Unlock()
	c := ca.byID[certID]
	if c == nil {
		ca.t.Errorf("acmetest: no certificate has the ID %q", certID)
		return
	}
	f(c)
}

func (c *certificate) revoke(now time.Time, reason int) {
	c.revoked, c.revokedAt, c.reason = true, now, reason
	c.window = window{now.Add(-time.Hour), now.Add(-30 * time.Minute)}
}

// serveCertificate serves RFC 8555 §7.4.2.
func (ca *CA) serveCertificate(r *request) (*reply, *problem) {
	n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/certificate/"))
	if err != nil || n < 0 || n >= len(ca.issued) || ca.issued[n].account != r.account {
		return nil, refuse(http.StatusNotFound, "malformed", "no such certificate")
	}
	if p := ca.wantEmpty(r); p != nil {
		return nil, p
	}
	c := ca.issued[n]
	r.told = func() { c.fetched = true }
	return &reply{status: http.StatusOK, body: append(encodePEM(c.der), ca.authority.pem...)}, nil
}

// pollInterval is the Retry-After of renewal information.
const pollInterval = 6 * time.Hour

// serveRenewalInfo serves RFC 9773 §4.
func (ca *CA) serveRenewalInfo(r *request) (*reply, *problem) {
	c := ca.byID[strings.TrimPrefix(r.URL.Path, "/renewal-info/")]
	if c == nil || !ca.cfg.RenewalInfo {
		return nil, refuse(http.StatusNotFound, "malformed", "no such certificate")
	}
	switch {
	case r.now.Before(c.nextPoll):
		ca.misbehaved("renewalInfo for %s: %v before its Retry-After ended", keyOf(c.names), c.nextPoll.Sub(r.now))
	case !r.now.Before(c.notAfter):
		ca.misbehaved("renewalInfo for %s: the certificate has expired", keyOf(c.names))
	case c.replacement != nil && c.replacement.Status == "valid":
		ca.misbehaved("renewalInfo for %s: the certificate was replaced", keyOf(c.names))
	}
	again := cmp.Or(ca.cfg.RenewalPoll, pollInterval)
	r.told = func() { c.nextPoll = r.now.Add(again) }
	body := map[string]any{"suggestedWindow": map[string]time.Time{"start": c.window.start, "end": c.window.end}}
	if c.revoked {
		body["explanationURL"] = ca.cfg.BaseURL + "/revoked"
	}
	return &reply{status: http.StatusOK, retryAfter: again, body: body}, nil
}

// revokeCert serves RFC 8555 §7.6, for the account that has the certificate and for its own key.
func (ca *CA) revokeCert(r *request) (*reply, *problem) {
	var want struct {
		Certificate string `json:"certificate"`
		Reason      int    `json:"reason"`
	}
	if p := ca.decode(r, &want); p != nil {
		return nil, p
	}
	der, err := base64.RawURLEncoding.DecodeString(want.Certificate)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "malformed", "decoding the certificate: %v", err)
	}
	i := slices.IndexFunc(ca.issued, func(c *certificate) bool { return bytes.Equal(c.der, der) })
	if i < 0 {
		return nil, refuse(http.StatusNotFound, "malformed", "no such certificate")
	}
	c := ca.issued[i]
	byKey := signedBy(c, r.signer.key)
	switch {
	case c.account != r.account && !byKey:
		return nil, refuse(http.StatusForbidden, "unauthorized", "neither the account nor the key is the certificate's")
	case c.revoked && (!byKey || want.Reason != keyCompromise || c.reason == keyCompromise):
		return nil, refuse(http.StatusBadRequest, "alreadyRevoked", "the certificate is revoked already")
	case !slices.Contains([]int{0, 1, 3, 4, 5}, want.Reason):
		return nil, refuse(http.StatusBadRequest, "badRevocationReason", "reason %d is not allowed", want.Reason)
	}
	c.revoke(r.now, want.Reason)
	if byKey && want.Reason == keyCompromise {
		ca.block(c, r.now)
	}
	return &reply{status: http.StatusOK}, nil
}

const keyCompromise = 1 // RFC 5280 §5.3.1

// block does what Let's Encrypt does once a certificate's own key has signed that it is compromised: no other certificate
// gets the key, and all that have it are revoked.
func (ca *CA) block(c *certificate, now time.Time) {
	spki := spkiOf(c)
	ca.blocked[spki] = true
	for _, other := range ca.issued {
		if !other.revoked && spkiOf(other) == spki {
			other.revoke(now, keyCompromise)
		}
	}
}

func spkiOf(c *certificate) string {
	leaf, err := x509.ParseCertificate(c.der)
	if err != nil {
		panic(err) // it is our own
	}
	return string(leaf.RawSubjectPublicKeyInfo)
}

// signedBy tells whether key is the one in c.
func signedBy(c *certificate, key *jose.JSONWebKey) bool {
	leaf, err := x509.ParseCertificate(c.der)
	if err != nil {
		return false
	}
	a, errA := x509.MarshalPKIXPublicKey(leaf.PublicKey)
	b, errB := x509.MarshalPKIXPublicKey(key.Key)
	return errA == nil && errB == nil && sha256.Sum256(a) == sha256.Sum256(b)
}
