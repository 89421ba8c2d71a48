package spec

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxProblems bounds what one file may say about itself.
const maxProblems = 25

// A document is one file that is being read, with everything found wrong so far.
type document struct {
	file     string
	problems []*Problem
	left     int  // problems beyond maxProblems
	lenient  bool // the text was valid before: no problem makes it less so
	tolerant bool // what this machine does not know goes to doubts
	doubts   []*Problem
	waits    bool // it names an issuer or DNS provider whose file is not read yet
}

func (d *document) add(p Problem) {
	if len(d.problems) == maxProblems {
		d.left++
		return
	}
	p.File = d.file
	d.problems = append(d.problems, &p)
}

// refused reports whether the file is invalid.
func (d *document) refused() bool { return len(d.problems) > 0 && !d.lenient }

// result returns the problems in the order of the text.
func (d *document) result() []*Problem {
	sortProblems(d.problems)
	if d.left > 0 {
		last := d.problems[len(d.problems)-1]
		d.problems = append(d.problems, &Problem{
			File: d.file, Line: last.Line, Column: last.Column, Problem: "and " + count(d.left, "more problem"),
		})
		d.left = 0
	}
	return d.problems
}

// A value is one node of a document and the dotted path of keys that leads to it.
type value struct {
	*yaml.Node
	path string
	doc  *document
}

// A fault is what is wrong with a value, apart from where it is.
type fault struct{ problem, hint string }

// err is for a value that came from elsewhere than a file.
func (f *fault) err() error { return errors.New(strings.TrimSuffix(f.problem+": "+f.hint, ": ")) }

func (v value) fault(problem, hint string) {
	v.doc.add(Problem{Line: v.Line, Column: v.Column, Field: v.path, Problem: problem, Hint: hint})
}

// doubt reports what is wrong on this machine only, where another one may know better.
func (v value) doubt(problem, hint string) {
	if v.doc.tolerant {
		v.doc.doubts = append(v.doc.doubts, &Problem{File: v.doc.file, Line: v.Line, Column: v.Column, Field: v.path, Problem: problem, Hint: hint})
		return
	}
	v.fault(problem, hint)
}

// want reports that v is of the wrong type.
func (v value) want(what, hint string) {
	v.fault("expected "+what+", found "+v.found(), hint)
}

// found says in words what v is.
func (v value) found() string {
	switch {
	case v.Kind == yaml.MappingNode:
		return "a mapping of keys"
	case v.Kind == yaml.SequenceNode:
		return "a list"
	case v.ShortTag() == "!!null":
		return "nothing"
	}
	text := shorten(v.Value)
	switch v.ShortTag() {
	case "!!int", "!!float":
		return "the number " + text
	case "!!bool":
		return "the boolean " + text
	case "!!timestamp":
		return "the date " + text
	}
	return "the string " + strconv.Quote(text)
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}

// at returns the value of a key, or v itself when the key is absent: the place where something about it is to be said.
func (v value) at(key string) value {
	for i := 0; i+1 < len(v.Content); i += 2 {
		if v.Kind == yaml.MappingNode && v.Content[i].Value == key {
			return value{v.Content[i+1], join(v.path, key), v.doc}
		}
	}
	return value{v.Node, join(v.path, key), v.doc}
}

func (v value) has(key string) bool { return v.at(key).Node != v.Node }

// need reports a key that is missing.
func (v value) need(key, hint string) {
	if !v.has(key) {
		v.at(key).fault("missing", hint)
	}
}

// elements returns the elements of a list; of anything else none.
func (v value) elements() []value {
	if v.Kind != yaml.SequenceNode {
		return nil
	}
	out := make([]value, len(v.Content))
	for i, n := range v.Content {
		out[i] = value{n, v.path + "[" + strconv.Itoa(i) + "]", v.doc}
	}
	return out
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// A kind reads one sort of value. When a value is of another sort it reports that and leaves the target alone.
type kind[T any] struct {
	what   string // what an error says was expected: "a list"
	schema schema // what an editor is told; it may accept more than read does, but never less
	read   func(v value, into *T)
	walk   func(w walker, t *T) // visits what T consists of; nil: a T is one value
	shown  func(T) any          // what people see of a T; nil: itself
}

// A field is one key of a mapping that describes a T.
type field[T any] struct {
	name   string
	need   string // the hint when it is missing; "": it may be
	schema schema
	read   func(v value, t *T)
	walk   func(w walker, t *T)
}

// key says under which name, to what end, where and as what a part of T is read. The meaning is that of docs/spec.md.
func key[T, V any](name, meaning string, at func(*T) *V, k kind[V]) field[T] {
	s := k.schema
	s.Description = meaning
	return field[T]{
		name: name, schema: s,
		read: func(v value, t *T) { k.read(v, at(t)) },
		walk: func(w walker, t *T) { visit(w.into(name), k, at(t)) },
	}
}

// need makes a field one that must be there.
func need[T any](hint string, f field[T]) field[T] {
	f.need = hint
	return f
}

// scalar is a kind for plain values with one YAML tag.
func scalar[T any](what, tag string, parse func(string) (T, *fault)) kind[T] {
	return kind[T]{what: what, schema: scalarSchema(tag), read: func(v value, into *T) {
		if v.Kind != yaml.ScalarNode {
			v.want(what, "")
			return
		}
		parsed, wrong := parse(v.Value)
		found := v.ShortTag()
		if raw, ok := any(into).(*string); ok && v.doc.lenient && wrong != nil && found != "!!null" {
			*raw = v.Value // an earlier version has accepted it
			return
		}
		switch {
		case found == "!!null":
			v.want(what, "write a value or remove the key")
		case found != tag && tag == "!!str" && wrong == nil:
			v.want(what, "quote it: "+strconv.Quote(shorten(v.Value)))
		case found != tag && wrong != nil:
			v.want(what, wrong.hint)
		case found != tag:
			v.want(what, "")
		case wrong != nil:
			v.fault(wrong.problem, wrong.hint)
		default:
			*into = parsed
		}
	}}
}

// list is a kind for sequences without nulls.
func list[T any](what string, each kind[T]) kind[[]T] {
	return kind[[]T]{what: what, schema: listSchema(each.what, each.schema), walk: walkList(each), read: func(v value, into *[]T) {
		if v.Kind != yaml.SequenceNode {
			v.want(what, listHint(v))
			return
		}
		out := make([]T, 0, len(v.Content))
		for _, e := range v.elements() {
			if e.ShortTag() == "!!null" {
				e.fault("an empty element", "remove it or write "+each.what)
				continue
			}
			var one T
			each.read(e, &one)
			out = append(out, one)
		}
		*into = slices.Clip(out)
	}}
}

func listHint(v value) string {
	switch {
	case v.Kind != yaml.ScalarNode:
		return ""
	case v.ShortTag() == "!!null":
		return "write [] for none, or remove the key"
	default:
		return "write [" + strings.Join(flow(shorten(v.Value)), ", ") + "]"
	}
}

// flow returns the words of s as elements of a list in brackets.
func flow(s string) []string {
	words := strings.Fields(s)
	for i, word := range words {
		if strings.ContainsAny(word, "*&!|>%@`{}[],:#\"'") {
			words[i] = strconv.Quote(word)
		}
	}
	return words
}

// object is a kind for mappings. It reads into what the target holds already. A check, which may be nil, sees the
// whole afterwards; what was refused before still holds its default then, and must not be complained of twice.
func object[T any](check func(v value, t *T), fields ...field[T]) kind[T] {
	return kind[T]{what: "a mapping of keys", schema: objectSchema(fields), walk: walkFields(fields), read: func(v value, into *T) {
		if v.Kind != yaml.MappingNode {
			v.want("a mapping of keys", "one of "+strings.Join(names(fields), ", "))
			return
		}
		readFields(v, into, fields)
		for _, f := range fields {
			if f.need != "" {
				v.need(f.name, f.need)
			}
		}
		if check != nil {
			check(v, into)
		}
	}}
}

// fresh makes a kind start from base, so that it replaces what the target holds.
func fresh[T any](base T, k kind[T]) kind[T] {
	read := k.read
	k.read = func(v value, into *T) {
		t := base
		read(v, &t)
		*into = t
	}
	if walk := k.walk; walk != nil {
		k.walk = func(w walker, t *T) { walk(w.whole(), t) }
	}
	return k
}

// pointer makes a kind read into a new T. An empty mapping means none.
func pointer[T any](k kind[T]) kind[*T] {
	return kind[*T]{what: k.what, schema: k.schema.orEmpty(), walk: walkPointer(k), read: func(v value, into **T) {
		*into = nil
		if v.Kind == yaml.MappingNode && len(v.Content) == 0 {
			return
		}
		*into = new(T)
		k.read(v, *into)
	}}
}

// readFields reads the mapping v into t: no key twice, none that is not known.
func readFields[T any](v value, t *T, fields []field[T]) {
	lines := make([]int, len(fields))
	for i := 0; i+1 < len(v.Content); i += 2 {
		k := value{v.Content[i], join(v.path, v.Content[i].Value), v.doc}
		n := slices.IndexFunc(fields, func(f field[T]) bool { return f.name == k.Value })
		switch {
		case k.Kind != yaml.ScalarNode:
			k.path = v.path
			k.fault("a key must be a word, found "+k.found(), "")
		case n < 0:
			k.path = join(v.path, shorten(k.Value))
			k.fault("unknown key", suggest(k.Value, names(fields)))
		case lines[n] > 0:
			k.fault(fmt.Sprintf("the same key as in line %d", lines[n]), "remove one of them")
		default:
			lines[n] = k.Line
			fields[n].read(value{v.Content[i+1], k.path, v.doc}, t)
		}
	}
}

func names[T any](fields []field[T]) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = f.name
	}
	return out
}
