package migrate

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
