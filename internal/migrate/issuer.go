package migrate

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"acmed/internal/spec"
)

// issuer finds the issuer of a directory, or makes one.
func (p *planner) issuer(directory, bundle string) *spec.Issuer {
	if i := p.issuers[directory]; i != nil {
		return i
	}
	builtin := ""
	for _, i := range p.set.Issuers() {
		switch {
		case i.Directory != directory:
		case p.canAsk(i.Name):
			p.issuers[directory] = i
			return i
		default:
			builtin = i.Name
		}
	}
	name := cmp.Or(builtin, p.freeName(Name(hostOf(directory))))
	i := &spec.Issuer{Name: name, File: p.issuerPath(name), Directory: directory, CABundle: bundle}
	p.issuers[directory] = i
	return i
}

func (p *planner) issuerPath(name string) string {
	return filepath.Join(p.config.IssuerDir, name+".yaml")
}

// freeName is name, or with a number behind it if an issuer or a file has that already.
func (p *planner) freeName(name string) string {
	taken := func(name string) bool {
		return p.set.Issuer(name) != nil || exists(p.issuerPath(name)) ||
			slices.ContainsFunc(slices.Collect(maps.Values(p.issuers)), func(i *spec.Issuer) bool { return i.Name == name })
	}
	free := name
	for n := 2; taken(free); n++ {
		free = fmt.Sprintf("%s-%d", name, n)
	}
	return free
}

// canAsk tells whether specs may name the issuer as it is.
func (p *planner) canAsk(name string) bool {
	text := []byte("{dnsNames: [example.com], issuers: " + flow([]string{name}) + "}")
	set, _, err := spec.Draft(p.config, p.set, map[string][]byte{filepath.Join(p.config.SpecDir, "example.yaml"): text}, nil)
	return err == nil && len(set.Problems) == 0
}
