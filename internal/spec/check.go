package spec

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"time"
)

// CheckFiles lints as a Loader would read, but at once and without a past. Without files it lints acmed.yaml and
// every file of issuerDir and specDir, and sectigo.yaml, and adds what built-in issuers are known to refuse. A file of issuerDir is an issuer, that of c is acmed.yaml, the
// sectigo.yaml beside it is that, and any other is a certificate wherever it lies.
func CheckFiles(c *Config, files []string) []*Problem {
	l, err := NewLoader(LoaderConfig{Config: c})
	if err != nil {
		return []*Problem{{Problem: err.Error()}}
	}
	l.hasten()
	if len(files) == 0 {
		own := append(checkConfigFile(c.File), checkSectigo(c.SectigoFile())...)
		set := l.Load(time.Time{}, LoadOptions{}).Set
		all := slices.Concat(set.Problems, set.Refusals())
		sortProblems(all)
		return append(own, all...)
	}
	load(l.issuers, l, time.Time{}, LoadOptions{}, &Loaded{})
	load(l.providers, l, time.Time{}, LoadOptions{}, &Loaded{})
	l.know()
	var problems []*Problem
	for _, file := range files {
		problems = append(problems, l.check(file)...)
	}
	sortProblems(problems)
	return problems
}

// checkConfigFile accepts that there is no file.
func checkConfigFile(file string) []*Problem {
	c, err := LoadConfig(file)
	if file == "" || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		return c.Doubts
	}
	return problemsOf(file, err)
}

// checkSectigo accepts that there is no file.
func checkSectigo(file string) []*Problem {
	_, err := LoadSectigo(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return problemsOf(file, err)
}

// problemsOf takes apart what LoadConfig joined.
func problemsOf(file string, err error) []*Problem {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []*Problem
		for _, one := range many.Unwrap() {
			out = append(out, problemsOf(file, one)...)
		}
		return out
	} else if p, ok := errors.AsType[*Problem](err); ok {
		return []*Problem{p}
	} else if err != nil {
		return []*Problem{{File: file, Problem: err.Error()}}
	}
	return nil
}

func (l *Loader) check(file string) []*Problem {
	path, err := filepath.Abs(file)
	if err != nil {
		return []*Problem{fileProblem(file, err)}
	}
	switch path {
	case l.config.File:
		return checkConfigFile(path)
	case l.config.SectigoFile():
		return checkSectigo(path)
	}
	if p := l.certificates.stray(filepath.Base(path)); p != nil {
		p.File = path
		return []*Problem{p}
	}
	text, err := ReadFile(path)
	switch {
	case err != nil:
		return problemsOf(path, err)
	case filepath.Dir(path) == l.config.IssuerDir:
		return l.parser.issuer(path, text).problems
	case filepath.Dir(path) == l.config.DNSDir:
		return parseProvider(path, text).problems
	}
	d := l.parser.certificate(path, text)
	if d.value == nil {
		return d.problems
	}
	if conflict := l.claim(nil, &d); conflict != nil {
		return []*Problem{conflict}
	}
	return d.value.refusals(NewSet(nil, l.usable()).Issuer)
}
