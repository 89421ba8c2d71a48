package spec

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Policy is what a public CA is known to refuse. The operator learns of it before the CA is asked; an order is made
// nevertheless, for the CA may have changed.
type Policy struct {
	Profiles map[string]ProfilePolicy // that are known; "" is the CA's default
	Overlap  bool                     // a name beside a wildcard that covers it is accepted
}

// A ProfilePolicy is what a CA accepts with one of its profiles.
type ProfilePolicy struct {
	MostNames int  // names and addresses of a certificate
	Addresses bool // IP addresses are accepted
}

// letsEncrypt returns what Let's Encrypt refuses (https://letsencrypt.org/docs/profiles/; Boulder: ra.NewOrder).
func letsEncrypt() *Policy {
	return &Policy{Profiles: map[string]ProfilePolicy{
		"":           {MostNames: 100},
		"classic":    {MostNames: 100},
		"tlsserver":  {MostNames: 25},
		"shortlived": {MostNames: 25, Addresses: true},
	}}
}

// Refusals returns what built-in issuers are known to refuse of the certificates of these names, in their order; without
// names, of all.
func (s *Set) Refusals(names ...string) []*Problem {
	if names == nil {
		for name := range s.Certificates() {
			names = append(names, name)
		}
	}
	var out []*Problem
	for _, name := range names {
		if c := s.Certificate(name); c != nil {
			out = append(out, c.refusals(s.Issuer)...)
		}
	}
	return out
}

// refusals are those of the issuers that c names.
func (c *Certificate) refusals(issuer func(name string) *Issuer) []*Problem {
	var out []*Problem
	for _, name := range c.Issuers {
		if i := issuer(name); i != nil && i.Policy != nil {
			out = append(out, i.Policy.refusals(c, name)...)
		}
	}
	return out
}

func (p *Policy) refusals(c *Certificate, issuer string) (out []*Problem) {
	add := func(field, problem, hint string) {
		if c.CSRFile != "" {
			field = "csrFile"
		}
		out = append(out, &Problem{File: c.File, Field: field, Problem: issuer + " " + problem, Hint: hint})
	}
	profile, known := p.Profiles[c.Profile]
	if known && len(c.IPAddresses) > 0 && !profile.Addresses {
		add("ipAddresses", "issues for IP addresses only with the profile "+strings.Join(p.addressProfiles(), " or "),
			"set profile: "+p.addressProfiles()[0])
	}
	if n := len(c.DNSNames) + len(c.IPAddresses); known && n > profile.MostNames {
		add("dnsNames", fmt.Sprintf("issues for at most %d names and addresses%s, not %d", profile.MostNames, withProfile(c.Profile), n),
			"split the certificate, or set another profile")
	}
	for _, name := range c.DNSNames {
		if wildcard := covering(name, c.DNSNames); wildcard != "" && !p.Overlap {
			add("dnsNames", fmt.Sprintf("refuses %s beside %s, which covers it", name, wildcard), "remove "+name)
		}
	}
	return out
}

// addressProfiles are the profiles with which IP addresses are accepted, sorted.
func (p *Policy) addressProfiles() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(p.Profiles)), func(name string) bool { return !p.Profiles[name].Addresses })
}

func withProfile(name string) string {
	if name == "" {
		return ""
	}
	return " with the profile " + name
}

// covering returns the wildcard of names that covers name; "": none does.
func covering(name string, names []string) string {
	_, parent, ok := strings.Cut(name, ".")
	if wildcard := "*." + parent; ok && name != wildcard && slices.Contains(names, wildcard) {
		return wildcard
	}
	return ""
}
