package spec

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A Setting is one value that is in effect, without secrets.
type Setting struct {
	Key   string // dotted, such as deploy.probe[0].address
	Value any    // a string, number or boolean, a list or mapping of strings; nil: not set
	File  string // that sets it; "": none does
	Line  int    // in File
	// BuiltIn is the built-in issuer that the value is from; "": the value is from File, or it is the default.
	BuiltIn string
}

// Settings returns what the files say in effect: of the configuration, of the issuers that files describe or specs name, or
// of one certificate.
type Settings struct {
	Config  *Config
	set     *Set
	written written // in acmed.yaml
}

// NewSettings reads the files.
func NewSettings(c *Config) (*Settings, error) {
	set, err := Preview(LoaderConfig{Config: c})
	if err != nil {
		return nil, err
	}
	text, err := readText(c.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fileProblem(c.File, err)
	}
	return &Settings{Config: c, set: set, written: writtenIn(c.File, text)}, nil
}

// OfConfig returns the settings of acmed.yaml.
func (s *Settings) OfConfig() []Setting {
	return collect(configKind, s.Config, func(w walker, out *Setting) { s.written.locate(w, "", out) })
}

// Issuers returns the names of the issuers that files describe, that specs name, or that are the default.
func (s *Settings) Issuers() (names []string) {
	used := map[string]bool{}
	for _, name := range s.Config.Defaults.Issuers {
		used[name] = true
	}
	for _, c := range s.set.Certificates() {
		for _, name := range c.Issuers {
			used[name] = true
		}
	}
	for name, i := range s.set.Issuers() {
		if i.File != "" || used[name] {
			names = append(names, name)
		}
	}
	return names
}

// OfIssuer returns the settings of an issuer and the file that describes it, if any.
func (s *Settings) OfIssuer(name string) (file string, settings []Setting) {
	i := s.set.Issuer(name)
	if i == nil {
		return "", nil
	}
	text, _ := readText(i.File) // it was read just now
	own := writtenIn(i.File, text)
	return i.File, collect(issuerKind, i, func(w walker, out *Setting) {
		switch {
		case own.locate(w, "", out):
		case w.path == "contact", w.path == "termsOfServiceAgreed":
			s.written.locate(w, "", out)
		case catalogued(name) != nil && (w.path == "directory" || strings.HasPrefix(w.path, "limits.") && defaultLimits(name) != defaultLimits("")):
			out.BuiltIn = name
		}
	})
}

// OfCertificate returns the settings of a certificate and the file of its spec. The error is a *Problem.
func (s *Settings) OfCertificate(name string) (file string, settings []Setting, err error) {
	file = filepath.Join(s.Config.SpecDir, name+suffix)
	for _, p := range s.set.Problems {
		if p.File == file {
			return file, nil, p
		}
	}
	c := s.set.Certificate(name)
	if c == nil {
		return file, nil, &Problem{File: file, Problem: "does not exist", Hint: "acmed list shows the certificates"}
	}
	text, _ := readText(file) // it was read just now
	own := writtenIn(file, text)
	return file, collect(certificateKind, c, func(w walker, out *Setting) {
		if !own.locate(w, "", out) {
			s.written.locate(w, "defaults.", out)
		}
	}), nil
}

// collect returns each value of t, with its origin.
func collect[T any](k kind[T], t *T, origin func(w walker, out *Setting)) (settings []Setting) {
	w := walker{leaf: func(w walker, v any) {
		s := Setting{Key: w.path, Value: v}
		origin(w, &s)
		settings = append(settings, s)
	}}
	visit(w, k, t)
	return settings
}

// written are the lines of a file in which keys are.
type written struct {
	file  string
	lines map[string]int
}

func writtenIn(file string, text []byte) written {
	w := written{file, map[string]int{}}
	var doc yaml.Node
	if yaml.Unmarshal(text, &doc) == nil && len(doc.Content) > 0 {
		w.note("", doc.Content[0])
	}
	return w
}

func (w written) note(path string, n *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := join(path, n.Content[i].Value)
			w.lines[key] = n.Content[i].Line
			w.note(key, n.Content[i+1])
		}
	case yaml.SequenceNode:
		for _, e := range (value{n, path, nil}).elements() {
			w.lines[e.path] = e.Line
			w.note(e.path, e.Node)
		}
	}
}

// locate notes where the value at w is written below prefix. It reports whether the file decides on the value: it also does
// by a key that replaces all of its default.
func (w written) locate(at walker, prefix string, out *Setting) bool {
	if line, ok := w.lines[prefix+at.path]; ok {
		out.File, out.Line = w.file, line
		return true
	}
	_, replaced := w.lines[prefix+at.fresh]
	return replaced && at.fresh != ""
}
