package spec

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// CheckNew checks the text of a spec that is to be created at path, as CheckFiles does, together with the files that exist. It also
// refuses names that another certificate has. The certificate is nil if the text is invalid.
func CheckNew(c *Config, path string, text []byte) (*Certificate, []*Problem) {
	l, err := NewLoader(LoaderConfig{Config: c})
	if err != nil {
		return nil, []*Problem{{Problem: err.Error()}}
	}
	l.hasten()
	set := l.Load(time.Now(), LoadOptions{Now: true}).Set
	if p := l.certificates.stray(filepath.Base(path)); p != nil {
		p.File = path
		return nil, []*Problem{p}
	}
	d := l.parser.certificate(path, text)
	if d.value == nil {
		if behind := l.behind(set, text); len(behind) > 0 {
			return nil, behind
		}
		return nil, d.problems
	}
	problems := set.taken(d.value)
	if conflict := l.claim(set.Certificate(d.value.Name), &d); conflict != nil {
		problems = append(problems, conflict)
	}
	return d.value, append(problems, d.value.refusals(set.Issuer)...)
}

// behind returns the problems of the invalid files of issuers and DNS providers that text names: they are the reason why
// those are unknown.
func (l *Loader) behind(set *Set, text []byte) (out []*Problem) {
	c := (&parser{config: l.config}).certificate("any"+suffix, text).value
	if c == nil {
		return nil
	}
	var files []string
	for _, name := range c.Issuers {
		files = append(files, l.issuers.file(name))
	}
	if c.Challenge.Provider != "" {
		files = append(files, l.providers.file(c.Challenge.Provider))
	}
	for _, p := range set.Problems {
		if slices.Contains(files, p.File) {
			out = append(out, p)
		}
	}
	return out
}

// taken returns a problem for each name of c that another certificate has.
func (s *Set) taken(c *Certificate) (out []*Problem) {
	for _, other := range s.certificates {
		if other.Name == c.Name {
			continue
		}
		for i, name := range c.DNSNames {
			if slices.Contains(other.DNSNames, name) {
				out = append(out, takenBy(c, other, fmt.Sprintf("dnsNames[%d]", i), name))
			}
		}
		for i, a := range c.IPAddresses {
			if slices.Contains(other.IPAddresses, a) {
				out = append(out, takenBy(c, other, fmt.Sprintf("ipAddresses[%d]", i), a.String()))
			}
		}
	}
	return out
}

func takenBy(c, other *Certificate, field, name string) *Problem {
	return &Problem{
		File: c.File, Field: field, Problem: fmt.Sprintf("%s is a name of the certificate %s", name, other.Name),
		Hint: "edit " + other.File + " to change that certificate; to have two certificates for one name, write the second file yourself",
	}
}
