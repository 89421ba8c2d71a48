package migrate

import (
	"slices"
	"strings"
)

// section is a section of a file as Python's ConfigObj writes it, which certbot uses.
type section struct {
	values   map[string]setting
	sections map[string]*section
}

// setting is a value: a word, or a list of them.
type setting struct {
	words []string
	list  bool // it was written with a comma
	line  int
}

func (s setting) String() string { return strings.Join(s.words, ", ") }

func newSection() *section {
	return &section{values: map[string]setting{}, sections: map[string]*section{}}
}

// maxDepth of sections; certbot has two.
const maxDepth = 8

// parseConfigObj reads the part of the format that ConfigObj writes. Interpolation is refused.
func parseConfigObj(file, text string) (*section, error) {
	p := &configObj{file: file, lines: strings.Split(text, "\n"), open: []*section{newSection()}}
	for p.next() {
		if err := p.statement(); err != nil {
			return nil, err
		}
	}
	return p.open[0], nil
}

// configObj is a file that is being read.
type configObj struct {
	file  string
	lines []string // those to come
	at    int      // the number of the line below
	line  string
	key   string     // that is being read; "": none
	open  []*section // from the outermost to the one that keys go to
}

func (p *configObj) next() bool {
	if len(p.lines) == 0 {
		return false
	}
	p.line, p.lines = strings.TrimSpace(p.lines[0]), p.lines[1:]
	p.at++
	p.key = ""
	return true
}

func (p *configObj) fault(problem string) error {
	return &SyntaxError{File: p.file, Line: p.at, Key: p.key, Problem: problem}
}

func (p *configObj) statement() error {
	switch {
	case p.line == "" || p.line[0] == '#':
		return nil
	case p.line[0] == '[':
		return p.header()
	}
	return p.assignment()
}

// header begins the section that [name] or [[name]] names.
func (p *configObj) header() error {
	inner := strings.TrimLeft(p.line, "[")
	depth := len(p.line) - len(inner)
	name, rest, closed := strings.Cut(inner, strings.Repeat("]", depth))
	name, rest = strings.TrimSpace(name), strings.TrimSpace(rest)
	switch {
	case !closed || rest != "" && rest[0] != '#' || strings.ContainsAny(name, "[]"):
		return p.fault("not the head of a section")
	case depth > len(p.open) || depth > maxDepth:
		return p.fault("a section that is too deep")
	}
	name, err := p.unquote(name)
	if err != nil {
		return err
	}
	parent := p.open[depth-1]
	if parent.sections[name] != nil {
		return p.fault("a section of that name again")
	}
	s := newSection()
	parent.sections[name] = s
	p.open = append(p.open[:depth], s)
	return nil
}

func (p *configObj) assignment() error {
	key, value, found := p.cutKey()
	if !found {
		return p.fault("neither a section nor a key with a value")
	}
	key, err := p.unquote(key)
	if err != nil {
		return err
	}
	p.key = keyName(key)
	s := p.open[len(p.open)-1]
	if _, twice := s.values[key]; twice {
		return p.fault("set again")
	}
	at := p.at
	v, err := p.value(strings.TrimSpace(value))
	if err != nil {
		return err
	}
	if slices.ContainsFunc(v.words, func(w string) bool { return strings.Contains(w, "%(") }) {
		return p.fault("a %(…)s in it, which is not supported: write out what it stands for")
	}
	v.line = at
	s.values[key] = v
	return nil
}

// cutKey cuts a line at the = behind its key, which may be quoted.
func (p *configObj) cutKey() (key, value string, found bool) {
	if q := p.line[0]; q == '"' || q == '\'' {
		end := strings.IndexByte(p.line[1:], q)
		if end < 0 {
			return "", "", false
		}
		rest := strings.TrimSpace(p.line[end+2:])
		value, found = strings.CutPrefix(rest, "=")
		return p.line[:end+2], value, found
	}
	key, value, found = strings.Cut(p.line, "=")
	key = strings.TrimSpace(key)
	return key, value, found && key != ""
}

// unquote takes the quotes off a key or a name.
func (p *configObj) unquote(s string) (string, error) {
	if s == "" || s[0] != '"' && s[0] != '\'' {
		return s, nil
	}
	if len(s) < 2 || s[len(s)-1] != s[0] {
		return "", p.fault("a quote without its end")
	}
	return s[1 : len(s)-1], nil
}

// value reads what is behind the =, of which a triple quote may go on over further lines.
func (p *configObj) value(s string) (setting, error) {
	for _, quote := range []string{`"""`, `'''`} {
		if rest, ok := strings.CutPrefix(s, quote); ok {
			return p.long(rest, quote)
		}
	}
	var v setting
	for s != "" && s[0] != '#' {
		word, rest, err := p.word(s)
		if err != nil {
			return v, err
		}
		if word != nil {
			v.words = append(v.words, *word)
		}
		rest = strings.TrimSpace(rest)
		if s, v.list = strings.CutPrefix(rest, ","); !v.list {
			if rest != "" && rest[0] != '#' {
				return v, p.fault("text behind a value")
			}
			break
		}
		s = strings.TrimSpace(s)
	}
	if v.list = v.list || len(v.words) > 1; !v.list && len(v.words) == 0 {
		v.words = []string{""}
	}
	return v, nil
}

// word reads one element of a value; nil: there is nothing before the comma.
func (p *configObj) word(s string) (word *string, rest string, err error) {
	switch q := s[0]; q {
	case ',':
		return nil, s, nil
	case '"', '\'':
		end := strings.IndexByte(s[1:], q)
		if end < 0 {
			return nil, "", p.fault("a quote without its end")
		}
		inside := s[1 : end+1]
		return &inside, s[end+2:], nil
	}
	end := strings.IndexAny(s, ",#")
	if end < 0 {
		end = len(s)
	}
	inside := strings.TrimSpace(s[:end])
	return &inside, s[end:], nil
}

// long reads up to the end of a triple quote.
func (p *configObj) long(s, quote string) (setting, error) {
	var text strings.Builder
	for {
		inside, rest, closed := strings.Cut(s, quote)
		text.WriteString(inside)
		if closed {
			if rest = strings.TrimSpace(rest); rest != "" && rest[0] != '#' {
				return setting{}, p.fault("text behind a value")
			}
			return setting{words: []string{text.String()}}, nil
		}
		if len(p.lines) == 0 {
			return setting{}, p.fault("a quote without its end")
		}
		text.WriteByte('\n')
		s, p.lines = p.lines[0], p.lines[1:]
		p.at++
	}
}

// abbreviate keeps what is shown of a stranger's text short, and on one line.
func abbreviate(s string) string {
	const most = 60
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
