package spec

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
)

// The comments behind the text of a file that is remembered. A parser ignores both.
const (
	// keptCSR begins the last line, which carries the CSR that the spec was valid with.
	keptCSR = "\n# acmed: csrFile held "
	// keptValue begins the line that carries what the text meant when it was valid, as JSON.
	keptValue = "\n# acmed: was read as "
)

// Remember returns the last valid version of a spec in the form in which it is stored: its text, what the text means, and
// the CSR that it was read with. A later acmed may refuse the text, or not find what the text names.
func Remember(text []byte, c *Certificate) []byte {
	meaning := *c
	if c.CSR == nil {
		return remember(text, &meaning)
	}
	meaning.CSR = &CSR{SHA256: c.CSR.SHA256, SPKI: c.CSR.SPKI}
	return append(remember(text, &meaning), keptCSR+base64.StdEncoding.EncodeToString(c.CSR.DER)+"\n"...)
}

// remember appends the value that a text was read as.
func remember[T any](text []byte, value *T) []byte {
	meaning, err := json.Marshal(value)
	if err != nil {
		return text // only the text is kept
	}
	return slices.Concat(text, []byte(keptValue), meaning, []byte("\n"))
}

// kept is a remembered version, taken apart.
type kept struct {
	text    []byte
	meaning []byte // JSON; nil: an older acmed has stored the version
	csr     []byte // DER; nil: the spec has none
}

func takeApart(stored []byte) kept {
	k := kept{text: stored}
	if at := bytes.LastIndex(k.text, []byte(keptCSR)); at >= 0 {
		k.csr, _ = base64.StdEncoding.DecodeString(strings.TrimSpace(string(k.text[at+len(keptCSR):]))) // invalid base64 is refused as a CSR
		k.text = k.text[:at]
	}
	if at := bytes.LastIndex(k.text, []byte(keptValue)); at >= 0 {
		line := bytes.TrimSuffix(k.text[at+len(keptValue):], []byte("\n"))
		if !bytes.ContainsRune(line, '\n') && json.Valid(line) {
			k.text, k.meaning = k.text[:at], line
		}
	}
	return k
}

// ParseRemembered is ParseCertificate for what Remember has returned. It reads no file. What a check of this version or of
// this machine refuses is no error: the version was valid.
func ParseRemembered(c *Config, file string, stored []byte) (*Certificate, error) {
	d := (&parser{config: c}).remembered(file, stored)
	return d.value, joined(d.problems)
}

// remembered reads the last valid version of a spec. Issuers and DNS providers that are not there now are no problem.
func (p *parser) remembered(file string, stored []byte) draft[Certificate] {
	k := takeApart(stored)
	like := &parser{config: p.config, read: func(string) ([]byte, stamp, error) { return k.csr, stamp{}, nil }}
	d := like.certificate(file, k.text)
	if d.value != nil {
		return d
	}
	if c := restore(k.meaning, usableCertificate); c != nil {
		c.Name, c.File = nameOf(file), file
		if c.CSR != nil {
			c.CSR.DER = k.csr
		}
		return draft[Certificate]{value: c, blank: Blank(k.text), paths: unknownPlaces(c)}
	}
	like.lenient = true
	if d := like.certificate(file, k.text); d.value != nil && usableCertificate(d.value) {
		return d
	}
	return d
}

// rememberedIssuer reads the last valid version of an issuer.
func (p *parser) rememberedIssuer(file string, stored []byte) draft[Issuer] {
	k := takeApart(stored)
	d := p.issuer(file, k.text)
	if d.value != nil {
		return d
	}
	if i := restore(k.meaning, usableIssuer); i != nil {
		i.Name, i.File = nameOf(file), file
		return draft[Issuer]{value: i}
	}
	like := *p
	like.lenient = true
	if d := like.issuer(file, k.text); d.value != nil && usableIssuer(d.value) {
		return d
	}
	return d
}

// rememberedProvider reads the last valid version of a DNS provider.
func rememberedProvider(file string, stored []byte) draft[Provider] {
	k := takeApart(stored)
	d := parseProvider(file, k.text)
	if d.value != nil {
		return d
	}
	if p := restore(k.meaning, usableProvider); p != nil {
		p.Name, p.File = nameOf(file), file
		return draft[Provider]{value: p}
	}
	if d := parseProviderAs(&document{file: file, lenient: true}, k.text); d.value != nil && usableProvider(d.value) {
		return d
	}
	return d
}

// restore returns the value that a version was read as when it was valid; nil if that is not stored, or cannot be used.
func restore[T any](meaning []byte, usable func(*T) bool) *T {
	value := new(T)
	if meaning == nil || json.Unmarshal(meaning, value) != nil || !usable(value) {
		return nil
	}
	return value
}

// usableCertificate reports whether there is enough to renew a certificate.
func usableCertificate(c *Certificate) bool {
	return len(c.DNSNames)+len(c.IPAddresses) > 0 && !slices.Contains(c.DNSNames, "") && len(c.Issuers) > 0 &&
		c.Challenge.Type != "" && c.PrivateKey.Algorithm != "" && c.PrivateKey.Size > 0
}

func usableIssuer(i *Issuer) bool { return i.Directory != "" && i.Limits.OrdersInFlight > 0 }

func usableProvider(p *Provider) bool {
	ways := 0
	for _, set := range []bool{p.RFC2136 != nil, p.ACMEDNS != nil, p.HTTPReq != nil, p.Exec != nil} {
		if set {
			ways++
		}
	}
	return ways == 1
}

// unknownPlaces returns a place for each path of deploy.files, of a version that is not read from its text.
func unknownPlaces(c *Certificate) []place { return make([]place, len(c.Deploy.Files)) }
