package spec

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxSize is the most bytes that a file may have.
const maxSize = 64 << 10

// parse returns the one YAML document of text, nil when it is unreadable as such. A text without any value yields an
// empty mapping and blank.
func (d *document) parse(text []byte) (root *value, blank bool) {
	if !d.checkBytes(text) {
		return nil, false
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var first, second yaml.Node
	switch err := decoder.Decode(&first); {
	case errors.Is(err, io.EOF):
		return &value{&yaml.Node{Kind: yaml.MappingNode, Line: 1, Column: 1}, "", d}, true
	case err != nil:
		d.add(syntaxProblem(text, err))
		return nil, false
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		d.add(Problem{Line: second.Line, Column: second.Column, Problem: "a second document", Hint: "one file holds one document: remove the --- and what follows"})
		return nil, false
	case !errors.Is(err, io.EOF):
		d.add(syntaxProblem(text, err))
		return nil, false
	}
	root = &value{first.Content[0], "", d}
	if !root.checkPlain() {
		return nil, false
	}
	if root.ShortTag() == "!!null" {
		root.Node = &yaml.Node{Kind: yaml.MappingNode, Line: root.Line, Column: root.Column}
		return root, true
	}
	return root, false
}

// checkBytes refuses what is not plain UTF-8 text, at the first byte that is not.
func (d *document) checkBytes(text []byte) bool {
	var at int
	var problem, hint string
	switch {
	case len(text) > maxSize:
		d.add(Problem{Problem: "over 64 KiB", Hint: "a file describes one thing only"})
		return false
	case bytes.HasPrefix(text, []byte("\xef\xbb\xbf")), bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")):
		at, problem, hint = 0, "starts with a byte order mark", "save it as UTF-8 without one"
	case bytes.IndexByte(text, 0) >= 0:
		at, problem, hint = bytes.IndexByte(text, 0), "holds a NUL byte", "was it torn by a crash? restore or write it again"
	case !utf8.Valid(text):
		at, problem, hint = firstInvalid(text), "is not UTF-8", "save it as UTF-8"
	default:
		return true
	}
	line, column := position(text, at)
	d.add(Problem{Line: line, Column: column, Problem: problem, Hint: hint})
	return false
}

func firstInvalid(text []byte) int {
	at := 0
	for at < len(text) {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return at
}

// checkPlain refuses the parts of YAML that make one text mean another: anchors, aliases, merge keys and tags.
func (v value) checkPlain() bool {
	before := len(v.doc.problems)
	switch {
	case v.Kind == yaml.AliasNode:
		v.fault("aliases are refused", "write it out, or quote it if it is a string: "+strconv.Quote("*"+v.Value))
	case v.Anchor != "":
		v.fault("anchors are refused", "write it out, or quote it if it is a string: "+strconv.Quote("&"+shorten(v.Anchor)))
	case v.Value == "<<" && v.ShortTag() == "!!merge":
		v.fault("merge keys are refused", "write the keys out")
	case v.Style&yaml.TaggedStyle != 0:
		v.fault("tags such as "+shorten(v.Tag)+" are refused", "write the plain value, quoted if it is a string")
	}
	for _, n := range v.Content {
		if v.Kind != yaml.AliasNode {
			value{n, "", v.doc}.checkPlain()
		}
	}
	return len(v.doc.problems) == before
}

var (
	yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)
	bareStar = regexp.MustCompile(`(?m)^[^#"'\n]*?(?:^|[\s\[,])(\*[^\s,\]}]*)`)
	tabFirst = regexp.MustCompile(`(?m)^ *(\t)`)
)

// syntaxProblem words what yaml says about text. Its line is missing for the first one.
func syntaxProblem(text []byte, err error) Problem {
	line, message := 1, err.Error()
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		line, message = max(line, 1), m[2]
	}
	p := Problem{Line: line, Problem: "is not YAML: " + message}
	switch {
	case strings.Contains(message, "anchor"), strings.Contains(message, "alphabetic or numeric"):
		if at := bareStar.FindSubmatchIndex(text); at != nil {
			p.Line, p.Column = position(text, at[2])
			p.Problem, p.Hint = "a bare * starts an alias", "quote it: "+strconv.Quote(shorten(string(text[at[2]:at[3]])))
		}
	case strings.Contains(message, "cannot start any token"):
		p.Hint = "quote the value"
		if at := tabFirst.FindSubmatchIndex(text); at != nil {
			p.Line, p.Column = position(text, at[2])
			p.Problem, p.Hint = "a tab indents", "use spaces"
		}
	case strings.Contains(message, "mapping values"):
		p.Hint = `quote a value that contains ": "`
	}
	return p
}

// position returns the line and column of a byte, both from 1.
func position(text []byte, at int) (line, column int) {
	before := text[:at]
	return bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
}
