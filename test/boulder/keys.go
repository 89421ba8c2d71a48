package boulder

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// keys are what the configuration holds of keys besides the names of files.
type keys struct {
	internalRoot *x509.Certificate
	logs         []*ecdsa.PrivateKey // of the CT logs
}

// party is a certificate with its private key.
type party struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// writeKeys makes the internal PKI, by which the services know each other, and the CA's hierarchy.
func writeKeys(dir string) (*keys, error) {
	internal, err := writeInternal(filepath.Join(dir, "internal"))
	if err != nil {
		return nil, err
	}
	if err := writeHierarchy(filepath.Join(dir, "hierarchy")); err != nil {
		return nil, err
	}
	k := &keys{internalRoot: internal}
	for range logNames() {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		k.logs = append(k.logs, key)
	}
	return k, nil
}

// writeInternal makes a root, root.pem, and NAME.pem with NAME.key for each name in the calls among services.
func writeInternal(dir string) (*x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	root, err := issue(template("internal root", x509.KeyUsageCertSign), key, nil)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"localhost", "admin", "wfe", "sfe", "publisher", "nonce", "ra", "ca", "sa", "va", "rva", "redis"} {
		if err := writeLeaf(dir, name, root); err != nil {
			return nil, err
		}
	}
	return root.cert, writePEM(filepath.Join(dir, "root.pem"), "CERTIFICATE", root.cert.Raw)
}

func writeLeaf(dir, name string, root *party) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := template(name, x509.KeyUsageDigitalSignature)
	t.IsCA, t.ExtKeyUsage = false, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	t.DNSNames = []string{host(name)}
	if name == "localhost" || name == "redis" {
		t.DNSNames, t.IPAddresses = append(t.DNSNames, "localhost"), []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	leaf, err := issue(t, key, root)
	if err != nil {
		return err
	}
	return leaf.write(filepath.Join(dir, name))
}

// host is the name of a service in its certificate.
func host(name string) string { return name + ".boulder" }

// writeHierarchy makes a root and an intermediate of each kind of key, and an intermediate that both roots have signed, so
// that there is an alternate chain: root-KIND, int-KIND, int-ecdsa-cross.
func writeHierarchy(dir string) error {
	rsaKeys, err := rsaPair()
	if err != nil {
		return err
	}
	ecdsaKeys, err := ecdsaPair()
	if err != nil {
		return err
	}
	var rsaRoot *party
	for _, kind := range []struct {
		name string
		keys [2]crypto.Signer
	}{{"rsa", rsaKeys}, {"ecdsa", ecdsaKeys}} {
		root, err := issue(template("root "+kind.name, x509.KeyUsageCertSign|x509.KeyUsageCRLSign), kind.keys[0], nil)
		if err != nil {
			return err
		}
		intermediate, err := issue(intermediateTemplate(kind.name), kind.keys[1], root)
		if err != nil {
			return err
		}
		if kind.name == "rsa" {
			rsaRoot = root
		}
		err = errors.Join(root.write(filepath.Join(dir, "root-"+kind.name)), intermediate.write(filepath.Join(dir, "int-"+kind.name)))
		if err != nil {
			return err
		}
	}
	cross, err := issue(intermediateTemplate("ecdsa"), ecdsaKeys[1], rsaRoot)
	if err != nil {
		return err
	}
	return cross.write(filepath.Join(dir, "int-ecdsa-cross"))
}

func rsaPair() (pair [2]crypto.Signer, err error) {
	for i := range pair {
		if pair[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return pair, err
		}
	}
	return pair, nil
}

func ecdsaPair() (pair [2]crypto.Signer, err error) {
	for i := range pair {
		if pair[i], err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
			return pair, err
		}
	}
	return pair, nil
}

func template(name string, usage x509.KeyUsage) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{Country: []string{"XX"}, Organization: []string{"test of acmed"}, CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(4 * 365 * 24 * time.Hour),
		KeyUsage:              usage,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
}

// intermediateTemplate has what Boulder and its linter require of an issuer.
func intermediateTemplate(kind string) *x509.Certificate {
	t := template("int "+kind, x509.KeyUsageDigitalSignature|x509.KeyUsageCertSign|x509.KeyUsageCRLSign)
	t.MaxPathLenZero = true
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	t.PolicyIdentifiers = []asn1.ObjectIdentifier{{2, 23, 140, 1, 2, 1}} // domain validated
	t.Policies = []x509.OID{mustOID(2, 23, 140, 1, 2, 1)}
	t.CRLDistributionPoints = []string{"http://crl.example.com/root.crl"}
	t.IssuingCertificateURL = []string{"http://crl.example.com/root.der"}
	return t
}

func mustOID(arcs ...uint64) x509.OID {
	oid, err := x509.OIDFromInts(arcs)
	if err != nil {
		panic(err) // the arcs are constants
	}
	return oid
}

// issue signs t for key; if by is nil, with key itself.
func issue(t *x509.Certificate, key crypto.Signer, by *party) (*party, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		return nil, err
	}
	t.SerialNumber = serial
	if by == nil {
		by = &party{cert: t, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, by.cert, key.Public(), by.key)
	if err != nil {
		return nil, fmt.Errorf("creating the certificate of %s: %w", t.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	return &party{cert, key}, err
}

// write writes PREFIX.pem and PREFIX.key.
func (p *party) write(prefix string) error {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	return errors.Join(err, writePEM(prefix+".pem", "CERTIFICATE", p.cert.Raw), writePEM(prefix+".key", "PRIVATE KEY", der))
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

const redisPassword = "redis password"

// writeSecrets writes what the configuration names as files.
func (l *Lab) writeSecrets() error {
	var random [64]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	secrets := map[string]string{
		"nonce": hex.EncodeToString(random[:32]), "unpause": hex.EncodeToString(random[32:]), "redis": redisPassword,
	}
	for user, database := range map[string]string{"sa": "boulder_sa", "sa_ro": "boulder_sa", "incidents_sa": "incidents_sa"} {
		secrets[user] = fmt.Sprintf("%s@tcp(127.0.0.1:3306)/%s?readTimeout=14s&writeTimeout=14s&timeout=5s", user, database)
	}
	for name, value := range secrets {
		if err := os.WriteFile(l.path("secrets", name), []byte(value), 0o600); err != nil {
			return err
		}
	}
	return nil
}
