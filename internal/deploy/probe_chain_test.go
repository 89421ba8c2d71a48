package deploy_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"

	"acmed/internal/deploy"
	"acmed/internal/spec"
)

// tower is a leaf below intermediates, the topmost of which a root has signed: the keys, and the certificates in DER.
func tower(t testing.TB, names ...string) (keys []*ecdsa.PrivateKey, ders [][]byte) {
	t.Helper()
	var issuer *x509.Certificate
	var by *ecdsa.PrivateKey
	for i, name := range slices.Backward(names) {
		key, der := sign(t, issuer, by, name, i > 0)
		by, keys, ders = key, append([]*ecdsa.PrivateKey{key}, keys...), append([][]byte{der}, ders...)
		var err error
		if issuer, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
	}
	return keys, ders
}

// towerJob has a chain of two intermediates and their root.
func towerJob(t testing.TB) (j deploy.Job, keys []*ecdsa.PrivateKey, ders [][]byte) {
	t.Helper()
	keys, ders = tower(t, "www.example.com", "R2", "R1", "Root")
	j = job(t, "www.example.com", spec.Deploy{})
	j.Files.Fullchain = nil
	for _, der := range ders {
		j.Files.Fullchain = append(j.Files.Fullchain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return j, keys, ders
}

func TestTheServerHasToSendTheChain(t *testing.T) {
	j, keys, ders := towerJob(t)
	_, others := tower(t, "R2", "R1", "Another root") // of the same names: older, or signed by another root
	leaf, r2, r1, root := ders[0], ders[1], ders[2], ders[3]
	for sentence, c := range map[string]struct {
		sent    [][]byte
		problem []string // parts of it
	}{
		"all of it":                            {sent: [][]byte{leaf, r2, r1}},
		"with the root":                        {sent: [][]byte{leaf, r2, r1, root}},
		"in another order":                     {sent: [][]byte{leaf, r1, r2}},
		"with a second cross-sign":             {sent: [][]byte{leaf, others[0], r2, r1, others[1]}},
		"twice":                                {sent: [][]byte{leaf, r2, r2, r1, leaf}},
		"without the topmost":                  {[][]byte{leaf, r2}, []string{"does not send the intermediate R1"}},
		"without any":                          {[][]byte{leaf}, []string{"does not send the intermediate R2; does not send the intermediate R1"}},
		"without the lower one, with the root": {[][]byte{leaf, r1, root}, []string{"does not send the intermediate R2"}},
		"that of the certificate before":       {[][]byte{leaf, others[0], others[1]}, []string{"sends another R2 (serial ", "sends another R1 (serial ", "than it was issued with"}},
		"an old one, and one of two":           {[][]byte{leaf, others[0], r1}, []string{"sends another R2 (serial "}},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			config := &tls.Config{Certificates: []tls.Certificate{{Certificate: c.sent, PrivateKey: keys[0]}}}
			r := probed(t, j, spec.Probe{Address: serveTLS(t, "127.0.0.1:0", nil, config)})
			if r.OK != (c.problem == nil) || r.NotAfter.IsZero() {
				t.Errorf("got %+v", r)
			}
			for _, part := range c.problem {
				if !strings.Contains(r.Problem, part) {
					t.Errorf("got %q, want %q in it", r.Problem, part)
				}
			}
		})
	}
}

func TestAServerThatWantsACertificateOfTheClient(t *testing.T) {
	j, other := job(t, "www.example.com", spec.Deploy{}), job(t, "other.example.com", spec.Deploy{})
	for sentence, c := range map[string]struct {
		config *tls.Config
		served bool
	}{
		"by TLS 1.2":                           {&tls.Config{MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert}, true},
		"by TLS 1.2, any":                      {&tls.Config{MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert}, true},
		"by TLS 1.2, if there is one":          {&tls.Config{MaxVersion: tls.VersionTLS12, ClientAuth: tls.VerifyClientCertIfGiven}, true},
		"by TLS 1.3":                           {&tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert}, true},
		"by TLS 1.2, and shows another":        {&tls.Config{MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert, Certificates: []tls.Certificate{pairOf(t, other)}}, false},
		"by a policy of its own, after a look": {&tls.Config{MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert, VerifyConnection: func(tls.ConnectionState) error { return errors.New("no") }}, true},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			if c.config.Certificates == nil {
				c.config.Certificates = []tls.Certificate{pairOf(t, j)}
			}
			r := probed(t, j, spec.Probe{Address: serveTLS(t, "127.0.0.1:0", nil, c.config)})
			if r.OK != c.served || r.NotAfter.IsZero() {
				t.Errorf("got %+v", r)
			}
		})
	}
}

// liar signs with another key than its certificate's.
type liar struct {
	crypto.Signer
	public crypto.PublicKey
}

func (l liar) Public() crypto.PublicKey { return l.public }

func TestTheNewCertificateWithAnotherKeyIsNotServed(t *testing.T) {
	j := job(t, "www.example.com", spec.Deploy{})
	pair, other := pairOf(t, j), pairOf(t, job(t, "www.example.com", spec.Deploy{}))
	key := pair.PrivateKey.(crypto.Signer)
	pair.PrivateKey = liar{other.PrivateKey.(crypto.Signer), key.Public()}
	for sentence, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		for _, auth := range []tls.ClientAuthType{tls.NoClientCert, tls.RequireAnyClientCert} {
			config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: version, MaxVersion: version, ClientAuth: auth}
			r := probed(t, j, spec.Probe{Address: serveTLS(t, "127.0.0.1:0", nil, config)})
			if r.OK || !strings.HasPrefix(r.Problem, "shows the certificate, but the handshake fails: ") {
				t.Errorf("%s: %+v", sentence, r)
			}
		}
	}
}

func TestTheHintOfAServerThatKeepsItsOldCertificate(t *testing.T) {
	j, old, other := job(t, "www.example.com", spec.Deploy{}), job(t, "www.example.com", spec.Deploy{}), job(t, "other.example.com", spec.Deploy{})
	restart, names := "restart: in place of reload: for its unit (vsftpd.service, unbound.service)", "see that its configuration names the files"
	for sentence, c := range map[string]struct {
		serves deploy.Job
		deploy spec.Deploy
		hint   string
	}{
		"a reload did not do":                       {old, spec.Deploy{Reload: []string{"vsftpd.service", "unbound.service"}}, restart},
		"it is not reloaded":                        {old, spec.Deploy{}, names},
		"it is restarted":                           {old, spec.Deploy{Restart: []string{"vsftpd.service"}}, names},
		"it serves the certificate of another site": {other, spec.Deploy{Reload: []string{"vsftpd.service"}}, names},
	} {
		want := *j.Want
		want.Deploy = c.deploy
		j := j
		j.Want = &want
		r := probed(t, j, spec.Probe{Address: serveTLS(t, "127.0.0.1:0", nil, &tls.Config{Certificates: []tls.Certificate{pairOf(t, c.serves)}})})
		if r.OK || !strings.Contains(r.Hint, c.hint) {
			t.Errorf("%s: %+v", sentence, r)
		}
	}
}
