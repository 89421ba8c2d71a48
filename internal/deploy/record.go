package deploy

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"acmed/internal/spec"
)

// Record is a TXT record that proves control of a name, for a program of a DNS provider's to set or to take away.
type Record struct {
	Certificate string `json:"certificate"`
	Provider    string `json:"provider"`          // a file of dns.d
	Domain      string `json:"domain"`            // what is proved; of a wildcard what follows *.
	Name        string `json:"name"`              // where the record is, with a dot at its end
	Value       string `json:"value"`             // the checksum of KeyAuth, in base64url (RFC 8555 §8.4)
	Token       string `json:"token"`             // of the challenge
	KeyAuth     string `json:"keyAuth,omitempty"` // the key authorization; "": only a record to be taken away has none
}

var (
	recordName   = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+$`)
	recordValue  = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	recordToken  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	accountLabel = regexp.MustCompile(`^_[a-z2-7]{16}\.`) // draft-ietf-acme-dns-account-label
)

// key is the same before a restart and after, when the key authorization is not known any more.
func (r Record) key() Record {
	r.KeyAuth = ""
	return r
}

// check refuses what is no proof, or could be taken for something else by a program.
func (r *Record) check(verb string) error {
	token, thumbprint, _ := strings.Cut(r.KeyAuth, ".")
	sum := sha256.Sum256([]byte(r.KeyAuth))
	for _, part := range []struct {
		good bool
		what string
	}{
		{spec.ValidName(r.Certificate), fmt.Sprintf("%.140q is not the name of a certificate", r.Certificate)},
		{spec.ValidName(r.Provider), fmt.Sprintf("%.140q is not the name of a DNS provider", r.Provider)},
		{len(r.Domain) <= 253 && recordName.MatchString(r.Domain+"."), fmt.Sprintf("%.300q is not a domain", r.Domain)},
		{len(r.Name) <= 254 && recordName.MatchString(r.Name), fmt.Sprintf("%.300q is not the name of a record", r.Name)},
		{recordValue.MatchString(r.Value), fmt.Sprintf("%.140q is not the value of a proof", r.Value)},
		{recordToken.MatchString(r.Token), fmt.Sprintf("%.140q is not a token", r.Token)},
		{verb == verbCleanUp && r.KeyAuth == "" ||
			token == r.Token && recordValue.MatchString(thumbprint) && base64.RawURLEncoding.EncodeToString(sum[:]) == r.Value,
			"the key authorization is not that of the token and the value"},
	} {
		if !part.good {
			return errors.New(part.what)
		}
	}
	return nil
}

// permits tells why p's program is not called for r: the certificate is not proved by it, does not hold the domain, or
// the record is neither where proofs of the domain are nor where the provider says that they are led to.
func permits(c *spec.Certificate, p *spec.Provider, r Record) error {
	switch {
	case !c.Challenge.ByDNS() || c.Challenge.Provider != r.Provider:
		return &Error{fmt.Errorf("%s does not prove its names by the DNS provider %s", c.File, r.Provider), "acmed reload, if the file has changed"}
	case !slices.Contains(c.DNSNames, r.Domain) && !slices.Contains(c.DNSNames, "*."+r.Domain):
		return &Error{fmt.Errorf("%s does not name %s", c.File, r.Domain), "acmed reload, if the file has changed"}
	case p.Exec.Mode != "default": // which finds the record by itself
		return nil
	}
	home := "_acme-challenge." + r.Domain + "."
	if r.Name == home || accountLabel.ReplaceAllString(r.Name, "") == home {
		return nil
	}
	for _, zone := range p.Exec.Aliases {
		if r.Name == zone+"." || strings.HasSuffix(r.Name, "."+zone+".") {
			return nil
		}
	}
	return &Error{fmt.Errorf("a CNAME leads from %s to %s, and %s does not say so", home, r.Name, p.File),
		"if the CNAME is yours, add its zone to exec.aliases there, such as aliases: [" + zoneOf(r.Name) + "]"}
}

// zoneOf is a guess at the zone of a record.
func zoneOf(name string) string {
	_, zone, _ := strings.Cut(strings.TrimSuffix(name, "."), ".")
	return zone
}
