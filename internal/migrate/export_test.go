package migrate

import (
	"maps"
	"slices"
	"time"
)

// Section is a parsed file, for tests.
type Section struct{ s *section }

func ParseConfigObj(file, text string) (Section, error) {
	s, err := parseConfigObj(file, text)
	return Section{s}, err
}

// Words returns a value as it was read, with the sections that lead to it; nil: there is none.
func (s Section) Words(key string, sections ...string) []string {
	at := s.s
	for _, name := range sections {
		if at = at.sections[name]; at == nil {
			return nil
		}
	}
	return at.values[key].words
}

var (
	ParseShell = parseShell
	ParseJWK   = parseJWK
	ParseKey   = parseKey
	Scalar     = scalar
)

// InTraefik returns what a storage of Traefik's holds.
func InTraefik(data []byte, now time.Time) (*Found, error) {
	t := &traefik{reading: &reading{tree: &tree{dir: "/"}, now: now}, found: &Found{}, names: map[string]bool{}}
	stores, err := traefikStores(data)
	for _, resolver := range slices.Sorted(maps.Keys(stores)) {
		t.resolver("acme.json", resolver, stores[resolver])
	}
	return t.found, err
}
