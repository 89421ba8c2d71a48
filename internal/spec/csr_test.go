package spec_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acmed/internal/spec"
)

// request makes a CSR in PEM.
func request(t testing.TB, key crypto.Signer, r x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &r, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func ecKey(t testing.TB, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// withCSR parses a spec www.example.com.yaml whose first line names a CSR.
func withCSR(csr []byte, more string) (*spec.Certificate, error) {
	return spec.ParseCertificate(spec.DefaultConfig(""), "/certs/www.example.com.yaml", []byte("csrFile: /hsm/www.csr\n"+more),
		func(string) ([]byte, error) { return csr, nil })
}

func TestACSRSaysWhatIsAskedFor(t *testing.T) {
	p384, www := ecKey(t, elliptic.P384()), []string{"www.example.com"}
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	both := x509.CertificateRequest{Subject: pkix.Name{CommonName: "WWW.example.com"}, DNSNames: []string{"WWW.example.com", "example.com", "example.com"},
		IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1), net.ParseIP("2001:db8::1")}}
	block, _ := pem.Decode(request(t, big, x509.CertificateRequest{DNSNames: www}))
	for sentence, c := range map[string]struct {
		csr   []byte
		more  string
		names []string
		ips   string
		key   string
	}{
		"names and addresses are those of the CSR":      {request(t, p384, both), "", []string{"www.example.com", "example.com"}, "[192.0.2.1 2001:db8::1]", "ECDSA-384"},
		"the same names may be written":                 {request(t, p384, both), "dnsNames: [example.com, www.example.com]\nipAddresses: [\"2001:db8::1\", 192.0.2.1]\n", []string{"example.com", "www.example.com"}, "[2001:db8::1 192.0.2.1]", "ECDSA-384"},
		"DER is as good as PEM":                         {block.Bytes, "", www, "[]", "RSA-2048"},
		"what openssl writes before it does not matter": {slices.Concat([]byte("Certificate Request:\n    Data:\n"), request(t, p384, x509.CertificateRequest{DNSNames: www})), "", www, "[]", "ECDSA-384"},
		"a wildcard by dns-01":                          {request(t, p384, x509.CertificateRequest{DNSNames: []string{"*.example.com"}}), "challenge: {type: dns-01, provider: any}\n", []string{"*.example.com"}, "[]", "ECDSA-384"},
		"certificates alone are delivered":              {request(t, p384, x509.CertificateRequest{DNSNames: www}), "deploy: {files: [{path: /a, content: fullchain}]}\n", www, "[]", "ECDSA-384"},
	} {
		t.Run(sentence, func(t *testing.T) {
			got, err := withCSR(c.csr, c.more)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.DNSNames, c.names) || fmt.Sprint(got.IPAddresses) != c.ips || got.PrivateKey.String() != c.key || got.CSR == nil {
				t.Errorf("got %q %v %v", got.DNSNames, got.IPAddresses, got.PrivateKey)
			}
			if again, err := withCSR(request(t, p384, x509.CertificateRequest{DNSNames: c.names}), "challenge: {type: dns-01, provider: any}\n"); err != nil || again.Request() == got.Request() {
				t.Errorf("another CSR is the same request: %v", err)
			}
			kept := spec.Remember([]byte("csrFile: /gone\n"+c.more), got)
			if again, err := spec.ParseRemembered(spec.DefaultConfig(""), "/certs/www.example.com.yaml", kept); err != nil || again.Request() != got.Request() {
				t.Errorf("remembered as something else: %v", err)
			}
		})
	}
}

func TestCSRsThatNoCAAcceptsAreRefused(t *testing.T) {
	key, www := ecKey(t, elliptic.P256()), []string{"www.example.com"}
	good := request(t, key, x509.CertificateRequest{DNSNames: www})
	_, odd, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	mailto := &url.URL{Scheme: "https", Host: "www.example.com"}
	block, _ := pem.Decode(good)
	forged := slices.Clone(block.Bytes)
	forged[len(forged)-1] ^= 1
	extended := func(oid asn1.ObjectIdentifier, value []byte) []byte {
		return request(t, key, x509.CertificateRequest{DNSNames: www, ExtraExtensions: []pkix.Extension{{Id: oid, Value: value}}})
	}
	for sentence, c := range map[string]struct {
		csr  []byte
		more string
		want string
	}{
		"nothing":                {nil, "", "1:10: csrFile: /hsm/www.csr holds no CSR"},
		"a private key":          {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), "", "/hsm/www.csr holds a private key"},
		"a certificate":          {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), "", `holds a "CERTIFICATE" and no CSR`},
		"two":                    {slices.Concat(good, good), "", "holds two CSRs"},
		"half of one":            {good[:len(good)/2], "", "holds PEM that is torn"},
		"a wrong signature":      {forged, "", "has a signature that is not of its key"},
		"a key that no CA takes": {request(t, odd, x509.CertificateRequest{DNSNames: www}), "", "has a key that is neither ECDSA nor RSA"},
		"a curve that none does": {request(t, ecKey(t, elliptic.P521()), x509.CertificateRequest{DNSNames: www}), "", "has a key of type ECDSA-521"},
		"no names":               {request(t, key, x509.CertificateRequest{Subject: pkix.Name{CommonName: www[0]}}), "", "has no subjectAltName"},
		"another common name":    {request(t, key, x509.CertificateRequest{Subject: pkix.Name{CommonName: "example.com"}, DNSNames: www}), "", `has the common name "example.com", which is not in its subjectAltName`},
		"an email address":       {request(t, key, x509.CertificateRequest{DNSNames: www, EmailAddresses: []string{"a@example.com"}}), "", "asks for an email address"},
		"a URI":                  {request(t, key, x509.CertificateRequest{DNSNames: www, URIs: []*url.URL{mailto}}), "", "asks for a URI"},
		"no DNS name":            {request(t, key, x509.CertificateRequest{DNSNames: []string{"a_b.example.com"}}), "", `asks for a wrong name: "a_b.example.com" is not a DNS name`},
		"must-staple":            {extended(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, []byte{0x30, 3, 2, 1, 5}), "", "asks for OCSP must-staple"},
		"a CA":                   {extended(asn1.ObjectIdentifier{2, 5, 29, 19}, []byte{0x30, 3, 1, 1, 0xff}), "", "asks for a certificate of a CA"},
		"a wildcard by http-01":  {request(t, key, x509.CertificateRequest{DNSNames: []string{"*.example.com"}}), "", `1:10: csrFile: the CSR asks for "*.example.com", and a wildcard needs dns-01`},
		"an address by dns-01":   {request(t, key, x509.CertificateRequest{IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}}), "challenge: {type: dns-01, provider: any}\n", "an address cannot be proved by dns-01"},
		"fewer names":            {good, "dnsNames: [www.example.com, example.com]\n", "2:11: dnsNames: the CSR does not ask for example.com"},
		"more names":             {request(t, key, x509.CertificateRequest{DNSNames: []string{"www.example.com", "example.com"}}), "dnsNames: [www.example.com]\n", "2:11: dnsNames: lacks names that the CSR asks for: example.com"},
		"a key to be made":       {good, "privateKey: {algorithm: RSA}\n", "2:13: privateKey: the key is that of the CSR"},
		"a placeholder":          {good, "placeholder: true\n", "2:14: placeholder: a placeholder needs the private key"},
		"a key to be delivered":  {good, "deploy: {files: [{path: /a, content: combined}]}\n", "2:38: deploy.files[0].content: needs the private key, which is not here"},
	} {
		t.Run(sentence, func(t *testing.T) {
			_, err := withCSR(c.csr, c.more)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "(") {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestAnotherCSRIsNoticed(t *testing.T) {
	for sentence, dir := range map[string]string{"beside the spec": "certs", "elsewhere": "hsm"} {
		t.Run(sentence, func(t *testing.T) {
			s := newSite(t)
			file := filepath.Join(dir, "www.csr")
			path := filepath.Join(s.dir, file)
			if dir != "certs" {
				if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			key := ecKey(t, elliptic.P256())
			s.write("certs/www.example.com.yaml", "csrFile: "+path+"\n")
			s.problems(s.load(), "certs/www.example.com.yaml:1:10: csrFile: "+file+" does not exist (put the CSR there)")
			if !slices.Equal(s.last.Beside, []string{path}) {
				t.Errorf("to be watched: %q", s.last.Beside)
			}

			s.write(file, string(request(t, key, x509.CertificateRequest{DNSNames: []string{"a.example.com"}})))
			s.now = time.Now().Add(time.Hour)
			first := s.loadAfter(time.Second, spec.LoadOptions{Changed: []string{path}})
			s.problems(first)
			if got := first.Certificate("www.example.com").DNSNames; !slices.Equal(got, []string{"a.example.com"}) {
				t.Fatalf("names %q", got)
			}
			if again := s.load(); again != first || len(s.last.Good) != 0 {
				t.Error("a load without changes made a new set")
			}

			s.write(file, string(request(t, key, x509.CertificateRequest{DNSNames: []string{"a.example.com", "b.example.com"}})))
			second := s.loadAfter(time.Second, spec.LoadOptions{Changed: []string{path}})
			if got := diff(first, second); got != "www.example.com edited" || len(s.last.Good) != 1 {
				t.Errorf("got %q, remembered %d", got, len(s.last.Good))
			}

			s.remove(file)
			third := s.loadAfter(time.Second, spec.LoadOptions{Changed: []string{path}})
			if third.Certificate("www.example.com") != second.Certificate("www.example.com") || len(third.Problems) != 1 || !third.Problems[0].Kept {
				t.Errorf("the last good version did not stay: %v", third.Problems)
			}
			s.restart()
			fourth := s.load()
			if c := fourth.Certificate("www.example.com"); c == nil || c.Request() != second.Certificate("www.example.com").Request() {
				t.Errorf("the last good version did not stay over a restart: %v", c)
			}
		})
	}
}

// FuzzCSR holds the parser of CSRs to what everybody else builds on.
func FuzzCSR(f *testing.F) {
	good := request(f, ecKey(f, elliptic.P256()), x509.CertificateRequest{DNSNames: []string{"www.example.com"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}})
	block, _ := pem.Decode(good)
	f.Add(good)
	f.Add(block.Bytes)
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := withCSR(text, "")
		if err != nil {
			checkRefusal(t, err, 0)
			return
		}
		req, err := x509.ParseCertificateRequest(c.CSR.DER)
		if err != nil || req.CheckSignature() != nil || len(c.DNSNames)+len(c.IPAddresses) == 0 {
			t.Fatalf("%v: %q %v", err, c.DNSNames, c.IPAddresses)
		}
	})
}
