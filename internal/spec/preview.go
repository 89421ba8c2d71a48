package spec

import (
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"
)

// Preview returns the set that a reload would put in force now. A Loader at work is not touched by it.
func Preview(c LoaderConfig) (*Set, error) {
	l, err := NewLoader(c)
	if err != nil {
		return nil, err
	}
	l.hasten()
	return l.Load(time.Now(), LoadOptions{Now: true}).Set, nil
}

// hasten has files read at once.
func (l *Loader) hasten() {
	l.issuers.hasty, l.providers.hasty, l.certificates.hasty = true, true, true
}

// Draft returns inForce with what texts, by the path of a file wherever it lies, would add to it or replace there. A
// text with a problem leaves what is in force. The Problems of the set are those of the texts alone; names are those of
// the certificates that the others are about, sorted. With a map for beside, which may be empty, the author of the texts may
// have fewer rights than this process: the files that the texts name are those of beside (ReadBeside), and nothing on the
// disk is looked at. Nil: they are read from the disk.
func Draft(c *Config, inForce *Set, texts map[string][]byte, beside map[string]Beside) (set *Set, names []string, err error) {
	l, err := NewLoader(LoaderConfig{Config: c})
	if err != nil {
		return nil, nil, err
	}
	issuers := map[string]*Issuer{}
	for name, i := range inForce.Issuers() {
		if i.File != "" {
			issuers[name] = i
		}
	}
	var providers []string
	for _, p := range inForce.providers {
		providers = append(providers, p.Name)
	}
	l.parser = l.parser.know(issuers, providers)
	if beside != nil {
		l.parser.read, l.parser.apart = passed(beside), true
	}
	certificates := map[string]*Certificate{}
	for name, cert := range inForce.Certificates() {
		certificates[name] = cert
		for _, file := range cert.Deploy.Files {
			l.writers[file.Path] = name
		}
	}
	var problems []*Problem
	for _, path := range slices.Sorted(maps.Keys(texts)) {
		cert, wrong := l.draft(path, texts[path], certificates)
		problems = append(problems, wrong...)
		if cert != nil {
			certificates[cert.Name] = cert
			names = append(names, cert.Name)
		}
	}
	slices.Sort(names)
	set = NewSet(slices.Collect(maps.Values(certificates)), inForce.issuers, inForce.providers...)
	set.Problems = problems
	return set, slices.Compact(names), nil
}

// ReadFile returns the text of a file that a spec may be in: a regular one, of 64 KiB at most. The error is a *Problem.
func ReadFile(path string) ([]byte, error) {
	text, err := readText(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &Problem{File: path, Problem: "does not exist", Hint: "give the path of a file, such as /etc/acmed/certs.d/NAME.yaml"}
	case err != nil:
		return nil, fileProblem(path, err)
	}
	return text, nil
}

// draft reads one text that is to replace the certificate of its name, if there is one.
func (l *Loader) draft(path string, text []byte, certificates map[string]*Certificate) (*Certificate, []*Problem) {
	base := filepath.Base(path)
	name, ours := nameIn(base)
	switch p := l.certificates.stray(base); {
	case p != nil:
		p.File = path
		return nil, []*Problem{p}
	case !ours:
		return nil, []*Problem{{File: path, Problem: "is not read", Hint: "a spec is called NAME" + suffix}}
	}
	d := l.parser.certificate(path, text)
	if d.value == nil {
		return nil, d.problems
	}
	if conflict := l.claim(certificates[name], &d); conflict != nil {
		return nil, []*Problem{conflict}
	}
	return d.value, nil
}
