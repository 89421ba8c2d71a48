package evilca_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"acmed/test/evilca"
)

// chains are certificates that acmed did not ask for.
func chains(t *testing.T, f *evilca.Forger) []cell {
	cells := slices.Concat(leaves(t, f), linked(t, f), texts())
	for i := range cells {
		cells[i].at = evilca.Certificate
		cells[i].name = "chain " + cells[i].name
	}
	return cells
}

func leaves(t *testing.T, f *evilca.Forger) (cells []cell) {
	wrong := func(name string, change func(*evilca.Forgery)) {
		cells = append(cells, cell{name: name, do: f.Leaf(change), problem: "badCertificate", kinds: []string{"validation"}})
	}
	key, err := evilca.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	wrong("for another key", func(l *evilca.Forgery) { l.Key = key.Public() })
	wrong("with a name missing", func(l *evilca.Forgery) { l.DNSNames = l.DNSNames[:1] })
	wrong("with a name added", func(l *evilca.Forgery) { l.DNSNames = append(l.DNSNames, "victim.example") })
	wrong("without names", func(l *evilca.Forgery) { l.DNSNames = nil })
	wrong("with another name", func(l *evilca.Forgery) { l.DNSNames[0] = "victim.example" })
	wrong("with an e-mail address", func(l *evilca.Forgery) { l.EmailAddresses = []string{"root@victim.example"} })
	wrong("with a URI", func(l *evilca.Forgery) { l.URIs = []*url.URL{{Scheme: "https", Host: "victim.example"}} })
	wrong("with a thousand names", func(l *evilca.Forgery) { l.DNSNames = append(l.DNSNames, many(1000)...) })
	wrong("that has expired", func(l *evilca.Forgery) {
		l.NotBefore, l.NotAfter = time.Now().AddDate(0, -3, 0), time.Now().Add(-time.Minute)
	})
	wrong("that is not yet valid", func(l *evilca.Forgery) {
		l.NotBefore, l.NotAfter = time.Now().AddDate(0, 0, 2), time.Now().AddDate(0, 3, 0)
	})
	wrong("that ends before it begins", func(l *evilca.Forgery) {
		l.NotBefore, l.NotAfter = time.Now().Add(10*time.Minute), time.Now().Add(5*time.Minute)
	})
	wrong("for clients only", func(l *evilca.Forgery) { l.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	wrong("of a CA", func(l *evilca.Forgery) { l.IsCA = true })
	wrong("with a critical extension", func(l *evilca.Forgery) {
		l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
	})
	cells = append(cells, cell{name: "with 10,000 names", problem: "tooLarge", kinds: transient(),
		do: f.Leaf(func(l *evilca.Forgery) { l.DNSNames = append(l.DNSNames, many(10_000)...) })})
	return cells
}

func many(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("n%d.victim.example", i))
	}
	return names
}

func linked(t *testing.T, f *evilca.Forger) (cells []cell) {
	wrong := func(name, problem string, change func([][]byte) ([][]byte, error)) {
		c := cell{name: name, do: f.Chain(change), problem: problem, kinds: []string{"validation"}}
		if problem == "malformedAnswer" {
			c.kinds = transient()
		}
		cells = append(cells, c)
	}
	stranger := func(like []byte) (*x509.Certificate, error) {
		cert, err := x509.ParseCertificate(like)
		if err != nil {
			return nil, err
		}
		root, _, err := evilca.Root(cert)
		return root, err
	}
	const bad, malformed = "badCertificate", "malformedAnswer"
	wrong("of a leaf alone", bad, func(c [][]byte) ([][]byte, error) { return c[:1], nil })
	wrong("without a leaf", bad, func(c [][]byte) ([][]byte, error) { return append(c[1:], c[1]), nil })
	wrong("reordered", bad, func(c [][]byte) ([][]byte, error) { slices.Reverse(c); return c, nil })
	wrong("with the leaf twice", bad, func(c [][]byte) ([][]byte, error) { return [][]byte{c[0], c[0], c[1]}, nil })
	wrong("with a stranger of the issuer's name", bad, func(c [][]byte) ([][]byte, error) {
		root, err := stranger(c[1])
		if err == nil {
			c[1] = root.Raw
		}
		return c, err
	})
	wrong("with a stranger at its end", bad, func(c [][]byte) ([][]byte, error) {
		root, err := stranger(c[0])
		if err == nil {
			c = append(c, root.Raw)
		}
		return c, err
	})
	wrong("with a broken signature", bad, func(c [][]byte) ([][]byte, error) {
		c[0] = bytes.Clone(c[0])
		c[0][len(c[0])-8] ^= 1
		return c, nil
	})
	wrong("of 50", malformed, func(c [][]byte) ([][]byte, error) { return append(c, slices.Repeat(c[1:], 48)...), nil })
	wrong("of junk", bad, func(c [][]byte) ([][]byte, error) { return [][]byte{[]byte("junk"), []byte("junk")}, nil })
	wrong("of 60 KB of junk", bad, func(c [][]byte) ([][]byte, error) {
		junk := make([]byte, 20<<10)
		_, err := rand.Read(junk)
		return [][]byte{c[0], junk, junk}, err
	})
	cells = append(cells, strangers(t, f), renewedOld(f, false), renewedOld(f, true))
	return cells
}

// strangers is a sound chain of a root that the CA never had: acmed cannot know which roots a CA may have, and has
// the chain from that CA itself.
func strangers(t *testing.T, f *evilca.Forger) cell {
	root, key, err := evilca.Root(f.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	return cell{name: "of another root", harmless: true, do: f.Leaf(func(l *evilca.Forgery) {
		l.Issuer, l.Signer, l.Rest = root, key, [][]byte{root.Raw}
	})}
}

// renewedOld sends the certificate once more that the CA sent first.
func renewedOld(f *evilca.Forger, sameKey bool) cell {
	var mu sync.Mutex
	var first [][]byte
	c := cell{name: "of old", problem: "badCertificate", kinds: []string{"validation"}}
	if sameKey {
		c.name, c.edit = "of old with a key that is kept", keepKey
	}
	c.always = f.Chain(func(c [][]byte) ([][]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if first == nil {
			first = c
		}
		return first, nil
	})
	return c
}

// texts are not what RFC 8555 §9.1 calls a chain.
func texts() (cells []cell) {
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: make([]byte, 120)})
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	end := []byte("-----END CERTIFICATE-----\n")
	for name, change := range map[string]func([]byte) []byte{
		"with junk before":   func(b []byte) []byte { return join([]byte("junk\n"), b) },
		"with junk between":  func(b []byte) []byte { return bytes.Replace(b, end, join(end, []byte("junk\n")), 1) },
		"with junk behind":   func(b []byte) []byte { return join(b, []byte("junk")) },
		"with a key before":  func(b []byte) []byte { return join(key, b) },
		"with a key between": func(b []byte) []byte { return bytes.Replace(b, end, join(end, key), 1) },
		"with a key behind":  func(b []byte) []byte { return join(b, key) },
		"with headers": func(b []byte) []byte {
			return bytes.Replace(b, []byte("CERTIFICATE-----\n"), []byte("CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\n\n"), 1)
		},
		"with an open block": func(b []byte) []byte { return join(b, []byte("-----BEGIN CERTIFICATE-----\nAAAA")) },
		"with a NUL":         func(b []byte) []byte { return join(b, []byte{0}) },
		"in DER":             func(b []byte) []byte { block, _ := pem.Decode(b); return block.Bytes },
		"of trusted certificates": func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte("CERTIFICATE"), []byte("TRUSTED CERTIFICATE"))
		},
	} {
		cells = append(cells, cell{name: name, do: evilca.Body(change), problem: "malformedAnswer", kinds: transient()})
	}
	cells = append(cells, cell{name: "with CRLF", harmless: true, do: evilca.Body(func(b []byte) []byte {
		return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
	})})
	block := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: make([]byte, 1000)}))
	return append(cells,
		cell{name: "without end", do: evilca.Endless(200, "", block), problem: "tooLarge", kinds: transient()},
		cell{name: "of a block without end", do: evilca.Endless(200, "-----BEGIN CERTIFICATE-----\n", "AAAAAAAA\n"), problem: "tooLarge", kinds: transient()})
}
