package spec

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
)

// CSR is a certificate signing request of the operator's own (PKCS #10, RFC 2986). Its private key is elsewhere.
type CSR struct {
	DER    []byte // as it is sent to the CA
	SHA256 string // of DER, hex
	SPKI   string // SHA-256 checksum of its public key (SubjectPublicKeyInfo), hex
}

// asked is what a CSR asks for.
type asked struct {
	csr       CSR
	dnsNames  []string
	addresses []netip.Addr
	key       PrivateKey
}

// beside is a file that a spec names and that is as much a part of it as its own text.
type beside struct {
	path  string // "": there is none
	stamp stamp  // when it was read; zero: it could not be
	again bool   // it has changed too lately to be read
}

// readCSR reads what csrFile names, and settles by it which names and which key the certificate has.
func (p *parser) readCSR(v value, c *Certificate) (b beside) {
	at := v.at("csrFile")
	if c.CSRFile == "" {
		return b
	}
	b.path = c.CSRFile
	read := p.read
	if read == nil {
		read = readStamped
	}
	text, s, err := read(c.CSRFile)
	if err != nil {
		at.fault(csrFault(c.CSRFile, err))
		return b
	}
	b.stamp = s
	a, wrong := parseCSR(text)
	if wrong != nil {
		at.fault(c.CSRFile+" "+wrong.problem, wrong.hint)
		return b
	}
	if v.has("privateKey") {
		v.at("privateKey").fault("the key is that of the CSR", "remove privateKey or csrFile")
	}
	if c.Placeholder && v.has("placeholder") {
		v.at("placeholder").fault("a placeholder needs the private key, which is not here with csrFile", "remove it")
	}
	c.CSR, c.PrivateKey, c.Placeholder = &a.csr, a.key, false
	checkAsked(v, c, a)
	for _, e := range v.at("deploy").at("files").elements() {
		if content := e.at("content"); e.has("content") && holdsKey(content.Value) {
			content.fault("needs the private key, which is not here with csrFile", "write cert, chain or fullchain")
		}
	}
	for _, e := range v.at("deploy").at("run").elements() {
		if e.has("privkey") && strings.EqualFold(e.at("privkey").Value, "true") {
			e.at("privkey").fault("the private key is not here with csrFile", "remove it")
		}
	}
	return b
}

// checkAsked wants the names of the spec, where it has any, to be those of its CSR.
func checkAsked(v value, c *Certificate, a *asked) {
	if !v.has("dnsNames") && !v.has("ipAddresses") {
		c.DNSNames, c.IPAddresses = a.dnsNames, a.addresses
		return
	}
	want, have := &Certificate{DNSNames: c.DNSNames, IPAddresses: c.IPAddresses}, &Certificate{DNSNames: a.dnsNames, IPAddresses: a.addresses}
	where := "dnsNames"
	if !v.has(where) {
		where = "ipAddresses"
	}
	if more := removedNames(want, have); len(more) > 0 {
		v.at(where).fault("the CSR does not ask for "+abridge(more, 5), "bring a CSR for all names, or remove dnsNames and ipAddresses: the names are those of the CSR then")
	} else if less := removedNames(have, want); len(less) > 0 {
		v.at(where).fault("lacks names that the CSR asks for: "+abridge(less, 5), "write them here too, or remove dnsNames and ipAddresses: the names are those of the CSR then")
	}
}

func csrFault(path string, err error) (problem, hint string) {
	if errors.Is(err, fs.ErrNotExist) {
		return path + " does not exist", "put the CSR there"
	}
	f := faultOf(err)
	return path + " " + f.problem, f.hint
}

const showCSR = "openssl req -noout -text -in FILE shows what it holds"

// parseCSR refuses what a CA would refuse, so that the operator hears of it before the CA does. The words continue a
// sentence that begins with the file.
func parseCSR(text []byte) (*asked, *fault) {
	der, wrong := csrDER(text)
	if wrong != nil {
		return nil, wrong
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, &fault{"holds no CSR: " + strings.TrimPrefix(err.Error(), "x509: "), showCSR}
	}
	a := &asked{csr: CSR{DER: der, SHA256: hexSum(der), SPKI: hexSum(req.RawSubjectPublicKeyInfo)}}
	if a.key, wrong = csrKey(req.PublicKey); wrong != nil { // first: no huge key is to be reckoned with
		return nil, wrong
	}
	if err := req.CheckSignature(); err != nil {
		if _, weak := errors.AsType[x509.InsecureAlgorithmError](err); weak {
			return nil, &fault{"is signed with " + req.SignatureAlgorithm.String() + ", which no CA accepts", "sign it with SHA-256"}
		}
		return nil, &fault{"has a signature that is not of its key", "make it anew where the key is"}
	}
	if wrong := checkExtensions(req); wrong != nil {
		return nil, wrong
	}
	return a, a.names(req)
}

// csrDER finds the request in a text: PEM, before which openssl may have written in words what it holds, or DER.
func csrDER(text []byte) ([]byte, *fault) {
	if !bytes.Contains(text, []byte("-----BEGIN ")) {
		return text, nil
	}
	var der []byte
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case strings.Contains(block.Type, "PRIVATE KEY"):
			return nil, &fault{"holds a private key", "keep it where it is safe, and put the CSR alone here"}
		case block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST":
			return nil, &fault{fmt.Sprintf("holds a %.40q and no CSR", block.Type), showCSR}
		case der != nil:
			return nil, &fault{"holds two CSRs", "one certificate has one: write another spec for the other"}
		}
		der = block.Bytes
	}
	if der == nil {
		return nil, &fault{"holds PEM that is torn", "copy it here again"}
	}
	return der, nil
}

// csrKey describes the key as privateKey would ask for it.
func csrKey(key any) (PrivateKey, *fault) {
	k := PrivateKey{RotationPolicy: "Never"}
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		k.Algorithm, k.Size = "ECDSA", key.Curve.Params().BitSize
		if slices.Contains(ecdsaSizes, k.Size) {
			return k, nil
		}
	case *rsa.PublicKey:
		k.Algorithm, k.Size = "RSA", key.N.BitLen()
		if slices.Contains(rsaSizes, k.Size) {
			return k, nil
		}
	default:
		return k, &fault{"has a key that is neither ECDSA nor RSA", "public CAs take ECDSA with 256 or 384 bits and RSA with 2048, 3072 or 4096"}
	}
	return k, &fault{"has a key of type " + k.String(), "public CAs take ECDSA with 256 or 384 bits and RSA with 2048, 3072 or 4096"}
}

// The extensions that CAs look at.
var (
	oidSAN         = asn1.ObjectIdentifier{2, 5, 29, 17}                 // RFC 5280 §4.2.1.6
	oidConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}                 // RFC 5280 §4.2.1.9
	oidTLSFeature  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}   // RFC 7633
	oidTemplate    = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2} // of Microsoft's CA
	sanKinds       = map[int]string{0: "a name of type otherName", 1: "an email address", 4: "a directory name", 6: "a URI", 8: "a registered identifier"}
)

// checkExtensions refuses what a CA that speaks ACME refuses.
func checkExtensions(req *x509.CertificateRequest) *fault {
	for _, e := range req.Extensions {
		switch {
		case e.Id.Equal(oidTLSFeature):
			return &fault{"asks for OCSP must-staple, which CAs refuse", "make the CSR without the extension tlsfeature"}
		case e.Id.Equal(oidTemplate):
			return &fault{"asks for a template of a Microsoft CA", "make the CSR without a template"}
		case e.Id.Equal(oidConstraints):
			var c struct {
				IsCA bool `asn1:"optional"`
				Path int  `asn1:"optional,default:-1"`
			}
			if rest, err := asn1.Unmarshal(e.Value, &c); err != nil || len(rest) > 0 || c.IsCA {
				return &fault{"asks for a certificate of a CA", "make the CSR with basicConstraints=CA:FALSE, or without"}
			}
		case e.Id.Equal(oidSAN):
			if wrong := checkSAN(e.Value); wrong != nil {
				return wrong
			}
		}
	}
	return nil
}

// checkSAN wants names that ACME can prove: of hosts and addresses.
func checkSAN(der []byte) *fault {
	var names []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &names); err != nil || len(rest) > 0 {
		return &fault{"has a subjectAltName that is not well-formed", showCSR}
	}
	for _, n := range names {
		if n.Class != asn1.ClassContextSpecific || n.Tag != 2 && n.Tag != 7 {
			what := cmp.Or(sanKinds[n.Tag], "a name of another kind")
			return &fault{"asks for " + what + " in subjectAltName", "ACME proves host names and IP addresses only: make the CSR with those alone"}
		}
	}
	return nil
}

// names reads the host names and addresses of a CSR. The common name is none by itself.
func (a *asked) names(req *x509.CertificateRequest) *fault {
	for _, n := range req.DNSNames {
		name, wrong := parseDNSName(n)
		if wrong != nil {
			return &fault{"asks for a wrong name: " + wrong.problem, wrong.hint}
		}
		a.dnsNames = append(a.dnsNames, name)
	}
	for _, ip := range req.IPAddresses {
		addr, wrong := parseAddress(ip.String())
		if wrong != nil {
			return &fault{"asks for a wrong address: " + wrong.problem, wrong.hint}
		}
		a.addresses = append(a.addresses, addr)
	}
	a.dnsNames, a.addresses = unique(a.dnsNames), unique(a.addresses)
	switch n := len(a.dnsNames) + len(a.addresses); {
	case n == 0:
		return &fault{"has no subjectAltName", "make the CSR with -addext subjectAltName=DNS:www.example.com: CAs look nowhere else for names"}
	case n > maxNames:
		return &fault{fmt.Sprintf("asks for %d names and addresses", n), fmt.Sprintf("at most %d fit in one certificate: split it", maxNames)}
	}
	return a.checkCommonName(req.Subject.CommonName)
}

func (a *asked) checkCommonName(cn string) *fault {
	if cn == "" {
		return nil
	}
	name, _ := parseDNSName(cn)
	addr, _ := parseAddress(cn)
	if name != "" && slices.Contains(a.dnsNames, name) || addr.IsValid() && slices.Contains(a.addresses, addr) {
		return nil
	}
	return &fault{fmt.Sprintf("has the common name %q, which is not in its subjectAltName", shorten(cn)), "make the CSR without a common name, or with that name in subjectAltName too"}
}

func hexSum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}
