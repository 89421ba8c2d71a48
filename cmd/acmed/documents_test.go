package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/control"
	"acmed/internal/doctor"
	"acmed/internal/sectigo"
)

// documents are what commands write with --output json, by the command. Those of the same kind share a section.
func documents() map[string]any {
	return map[string]any{
		"add": added{}, "config show": []section{}, "logs": control.LogEntry{},
		"account rollover": control.Account{}, "account show": []control.Account{}, "account show ISSUER": control.Account{}, "account update": control.Account{},
		"account deactivate": control.Account{}, "account register": control.Account{},
		"check": checked{}, "delete": control.DeleteResult{}, "deploy": control.Event{}, "doctor": []doctor.Finding{},
		"hold": held{}, "unhold": held{}, "import": imported{}, "issuer list": []control.Issuer{}, "issuer test": examined{},
		"list": []control.Summary{}, "plan": control.Plan{}, "reload": control.ReloadResult{}, "renew": control.Event{},
		"revoke": control.RevokeResult{}, "rollback": control.RollbackResult{}, "status": overview{},
		"status NAME": control.Certificate{}, "version": versionInfo{},
		"sectigo account create": account{}, "sectigo account list": []account{}, "sectigo account show": account{},
		"sectigo account delete": changed{}, "sectigo domain list": []sectigo.Domain{},
		"sectigo domain add": changed{}, "sectigo domain remove": changed{}, "sectigo server list": []sectigo.Server{},
		"zerossl eab": zeroSSLBinding{}, "zerossl eab --dry-run": rehearsal{}, "sectigo account create --dry-run": rehearsal{},
	}
}

// TestDocuments wants docs/json.md to describe every field of what --output json writes. UPDATE=1 in the environment writes
// it anew, from the comments of the types and from testdata/words.txt.
func TestDocuments(t *testing.T) {
	d := describer{
		t: t, words: readWords(t), used: map[string]bool{}, done: map[string]bool{},
		comments: commentsOf(t, ".", "../../internal/control", "../../internal/doctor", "../../internal/sectigo", "../../internal/migrate"),
	}
	d.b.WriteString(`# JSON

Made by a test from the types that the program writes; ` + "`--output json`" + ` of each command writes what is below its name.

A release does not take away a field, and does not give it another type, unit or meaning; it may add fields, and further
values where a text is one of several words: programs pass over what they do not know. Times are RFC 3339. A field that
*may be absent* is absent instead of "", zero, false or empty: what its meaning says of "", zero or nil is then true. Events
are one document per line, as they happen. When a command fails, stdout may be empty: the exit code tells, and stderr says why.

| command | document |
|---|---|
`)
	all := documents()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&d.b, "| `acmed %s` | %s |\n", name, d.typeText(reflect.TypeOf(all[name])))
	}
	for len(d.queue) > 0 {
		typ := d.queue[0]
		d.queue = d.queue[1:]
		d.section(typ)
	}
	for word := range d.words {
		if !d.used[word] {
			t.Errorf("testdata/words.txt explains %s, which nothing needs", word)
		}
	}
	page(t, "../../docs/json.md", d.b.String())
}

// TestTheDocumentNamesEveryPhase, in the order of neither package.
func TestTheDocumentNamesEveryPhase(t *testing.T) {
	words := readWords(t)["phase"]
	for _, p := range control.Phases() {
		if !strings.Contains(words, strconv.Quote(string(p))) {
			t.Errorf("testdata/words.txt does not name the phase %s", p)
		}
	}
	if n := strings.Count(words, `"`) / 2; n != len(control.Phases()) {
		t.Errorf("testdata/words.txt names %d phases", n)
	}
}

// TestEveryCommandHasADocument wants each command in the table, unless it has none to write.
func TestEveryCommandHasADocument(t *testing.T) {
	silent := []string{"run", "respond", "deploy-helper", "schema", "completion", "help"}
	all := documents()
	for _, cmd := range leaves((&app{stdout: io.Discard, stderr: io.Discard}).command()) {
		name := strings.TrimPrefix(cmd.CommandPath(), "acmed ")
		first, _, _ := strings.Cut(name, " ")
		if _, known := all[name]; known || slices.Contains(silent, first) {
			continue
		}
		if _, known := all[first]; !known { // import, whose clients answer alike
			t.Errorf("acmed %s: documents does not say what --output json writes", name)
		}
	}
}

func leaves(cmd *cobra.Command) (out []*cobra.Command) {
	for _, below := range cmd.Commands() {
		out = append(out, leaves(below)...)
	}
	if len(out) == 0 && !cmd.Hidden {
		out = append(out, cmd)
	}
	return out
}

// describer writes a section for each type.
type describer struct {
	t        *testing.T
	b        strings.Builder
	comments map[string]string
	queue    []reflect.Type
	done     map[string]bool
	words    map[string]string
	used     map[string]bool // of words
}

func (d *describer) section(typ reflect.Type) {
	fmt.Fprintf(&d.b, "\n## %s\n", title(typ))
	if about := d.comments[typ.String()]; about != "" {
		fmt.Fprintf(&d.b, "\n%s\n", strings.ReplaceAll(about, "|", `\|`))
	}
	d.b.WriteString("\n| field | type | meaning |\n|---|---|---|\n")
	d.fields(typ)
}

func (d *describer) fields(typ reflect.Type) {
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	for f := range typ.Fields() {
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && tag == "":
			d.fields(f.Type)
			continue
		case tag == "" || tag == "-" || !f.IsExported():
			continue
		}
		kind := d.typeText(f.Type)
		for _, unit := range []string{"Seconds", "Milliseconds"} {
			if strings.HasSuffix(tag, unit) {
				kind = "integer, " + strings.ToLower(unit)
			}
		}
		if strings.HasPrefix(options, "omit") {
			kind += ", may be absent"
		}
		fmt.Fprintf(&d.b, "| `%s` | %s | %s |\n", tag, kind, strings.ReplaceAll(d.meaning(typ, f.Name, tag), "|", `\|`))
	}
}

// meaning is the comment of a field, or what words say.
func (d *describer) meaning(typ reflect.Type, field, tag string) string {
	if text := d.comments[typ.String()+"."+field]; text != "" {
		return text
	}
	for _, key := range []string{typ.String() + "." + field, tag} {
		if text := d.words[key]; text != "" {
			d.used[key] = true
			return text
		}
	}
	d.t.Errorf("%s.%s has no comment: say what %q means, there or in testdata/words.txt", typ, field, tag)
	return ""
}

// typeText names a type, and has a section written for it.
func (d *describer) typeText(typ reflect.Type) string {
	switch typ.Kind() {
	case reflect.Pointer:
		return d.typeText(typ.Elem())
	case reflect.Slice:
		return "list of " + d.typeText(typ.Elem())
	case reflect.Map:
		return "object, " + d.typeText(typ.Key()) + " to " + d.typeText(typ.Elem())
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.String:
		return "text"
	case reflect.Interface:
		return "any"
	case reflect.Struct:
		if typ == reflect.TypeFor[time.Time]() {
			return "time"
		}
	default:
		d.t.Errorf("%s is of a kind that the page has no word for", typ)
	}
	if !d.done[typ.String()] {
		d.done[typ.String()] = true
		d.queue = append(d.queue, typ)
	}
	return fmt.Sprintf("[%s](#%s)", title(typ), strings.ReplaceAll(strings.ToLower(title(typ)), " ", "-"))
}

// title is the name of a type for people: those of this package have no prefix, others that of their package.
func title(typ reflect.Type) string {
	pkg, name, _ := strings.Cut(typ.String(), ".")
	if pkg == "main" || pkg == "control" {
		return cmp.Or(map[string]string{"account": "Sectigo account", "held": "Left alone"}[name], strings.ToUpper(name[:1])+name[1:])
	}
	return strings.ToUpper(pkg[:1]) + pkg[1:] + " " + name
}

// commentsOf are the comments of types as package.Type, and of their fields as package.Type.Field.
func commentsOf(t *testing.T, dirs ...string) map[string]string {
	all := map[string]string{}
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			for _, decl := range f.Decls {
				if types, ok := decl.(*ast.GenDecl); ok && types.Tok == token.TYPE {
					for _, s := range types.Specs {
						note(all, f.Name.Name, s.(*ast.TypeSpec), types.Doc)
					}
				}
			}
		}
	}
	return all
}

func note(all map[string]string, pkg string, typ *ast.TypeSpec, doc *ast.CommentGroup) {
	st, ok := typ.Type.(*ast.StructType)
	if !ok {
		return
	}
	name := pkg + "." + typ.Name.Name
	all[name] = line(doc)
	for _, f := range st.Fields.List {
		for _, field := range f.Names {
			all[name+"."+field.Name] = strings.TrimSpace(line(f.Doc) + " " + line(f.Comment))
		}
	}
}

func line(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }

// readWords reads what explains fields that have no comment, by package.Type.Field or, where they mean the same everywhere,
// by their name in JSON.
func readWords(t *testing.T) map[string]string {
	text, err := os.ReadFile(filepath.Join("testdata", "words.txt"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, meaning, ok := strings.Cut(strings.TrimSpace(line), "|")
		if !ok {
			t.Fatalf("words.txt: %q is not field|meaning", line)
		}
		all[key] = meaning
	}
	return all
}
