package deploy_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"slices"
	"testing"
	"time"

	"acmed/internal/deploy"
	"acmed/internal/spec"
)

func TestVerifyBelievesNothing(t *testing.T) {
	good := job(t, "www.example.com", spec.Deploy{})
	other := job(t, "www.example.com", spec.Deploy{})
	now := time.Now()
	keyless := func(of *deploy.Job) func(*deploy.Job) {
		csr := csrOf(t, of.Files.Privkey)
		return func(j *deploy.Job) { j.Want.CSR, j.Files.Privkey = csr, nil }
	}
	for sentence, c := range map[string]struct {
		change func(*deploy.Job)
		at     time.Time
		good   bool
	}{
		"what belongs together":        {func(*deploy.Job) {}, now, true},
		"a CSR, and no key here":       {keyless(&good), now, true},
		"a CSR of another key":         {keyless(&other), now, false},
		"a CSR, and a key here":        {func(j *deploy.Job) { j.Want.CSR = csrOf(t, j.Files.Privkey) }, now, false},
		"another key":                  {func(j *deploy.Job) { j.Files.Privkey = other.Files.Privkey }, now, false},
		"another leaf":                 {func(j *deploy.Job) { j.Files.Cert = other.Files.Cert }, now, false},
		"another chain":                {func(j *deploy.Job) { j.Files.Chain = other.Files.Chain }, now, false},
		"another chain all over":       {func(j *deploy.Job) { rechain(j, other.Files.Chain) }, now, false},
		"a full chain with more":       {func(j *deploy.Job) { j.Files.Fullchain = append(slices.Clone(j.Files.Fullchain), "junk"...) }, now, false},
		"junk in both":                 {func(j *deploy.Job) { rechain(j, append([]byte("junk\n"), j.Files.Chain...)) }, now, false},
		"half a block in both":         {func(j *deploy.Job) { rechain(j, append([]byte("-----BEGIN CERTIFICATE-----\n"), j.Files.Chain...)) }, now, false},
		"another kind of block":        {func(j *deploy.Job) { rechain(j, append(slices.Clone(j.Files.Privkey), j.Files.Chain...)) }, now, false},
		"a block with headers":         {func(j *deploy.Job) { rechain(j, withHeader(j.Files.Chain)) }, now, false},
		"a chain of one line":          {func(j *deploy.Job) { rechain(j, bytes.TrimRight(j.Files.Chain, "\n")) }, now, false},
		"a name more":                  {func(j *deploy.Job) { j.Want.DNSNames = []string{"www.example.com", "b.example.com"} }, now, false},
		"an address more":              {func(j *deploy.Job) { j.Want.IPAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")} }, now, false},
		"another name":                 {func(j *deploy.Job) { j.Want.DNSNames = []string{"b.example.com"} }, now, false},
		"no name":                      {func(j *deploy.Job) { j.Want.DNSNames = nil }, now, false},
		"before it begins":             {func(*deploy.Job) {}, now.Add(-24 * time.Hour), false},
		"after its end":                {func(*deploy.Job) {}, now.Add(91 * 24 * time.Hour), false},
		"no key":                       {func(j *deploy.Job) { j.Files.Privkey = nil }, now, false},
		"a certificate for a key":      {func(j *deploy.Job) { j.Files.Privkey = j.Files.Cert }, now, false},
		"two keys":                     {func(j *deploy.Job) { j.Files.Privkey = slices.Concat(j.Files.Privkey, j.Files.Privkey) }, now, false},
		"a key without its last line":  {func(j *deploy.Job) { j.Files.Privkey = bytes.TrimRight(j.Files.Privkey, "\n") }, now, false},
		"a huge key":                   {func(j *deploy.Job) { j.Files.Privkey = make([]byte, 1<<20) }, now, false},
		"a huge chain":                 {func(j *deploy.Job) { rechain(j, bytes.Repeat(j.Files.Chain, 400)) }, now, false},
		"the leaf twice":               {func(j *deploy.Job) { rechain(j, slices.Concat(j.Files.Cert, j.Files.Chain)) }, now, false},
		"no chain":                     {func(j *deploy.Job) { rechain(j, nil) }, now, false},
		"all of it as the certificate": {func(j *deploy.Job) { j.Files.Cert, j.Files.Chain = j.Files.Fullchain, nil }, now, false},
		"all of it as the chain":       {func(j *deploy.Job) { j.Files.Cert, j.Files.Chain = nil, j.Files.Fullchain }, now, false},
		"cut within a certificate": {func(j *deploy.Job) {
			j.Files.Cert, j.Files.Chain = j.Files.Fullchain[:100], j.Files.Fullchain[100:]
		}, now, false},
	} {
		j := good
		w := *good.Want
		j.Want = &w
		c.change(&j)
		leaf, err := deploy.Verify(j.Want, j.Files, c.at)
		if (err == nil) != c.good || c.good && leaf != good.Leaf {
			t.Errorf("%s: %q, %v", sentence, leaf, err)
		}
		if err != nil && bytes.ContainsAny([]byte(err.Error()), "\n\x00\x1b") {
			t.Errorf("%s: the error is not of one line: %q", sentence, err)
		}
	}
}

// rechain gives a job another chain, in both files.
func rechain(j *deploy.Job, chain []byte) {
	j.Files.Chain, j.Files.Fullchain = chain, slices.Concat(j.Files.Cert, chain)
}

func withHeader(text []byte) []byte {
	block, _ := pem.Decode(text)
	block.Headers = map[string]string{"Comment": "evil"}
	return pem.EncodeToMemory(block)
}

// csrOf is a CSR for a key in PEM.
func csrOf(t *testing.T, text []byte) *spec.CSR {
	t.Helper()
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &spec.CSR{DER: der}
}
