package spec_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"acmed/internal/spec"
)

// folders are those of testdata, and the schema of what is in them.
func folders() map[string]string {
	return map[string]string{"certs": "certificate", "config": "config", "dns": "dns", "issuers": "issuer"}
}

func TestSchemasAcceptGoodFiles(t *testing.T) {
	for folder, sort := range folders() {
		schema := readSchema(t, sort)
		files, err := filepath.Glob("testdata/good/" + folder + "/*.yaml")
		if err != nil || len(files) == 0 {
			t.Fatalf("no good %s: %v", folder, err)
		}
		for _, file := range files {
			if wrong := judge(t, schema, readFile(t, file)); wrong != nil {
				t.Errorf("%s: %q", file, wrong)
			}
		}
	}
}

// TestSchemasRefuseBadFiles lists the files that only acmed itself finds fault with, and why.
func TestSchemasRefuseBadFiles(t *testing.T) {
	beyond := map[string]string{
		"certs/key-size-alone.yaml":   "a key that needs the value of another",
		"certs/provider.yaml":         "a key that needs the value of another",
		"certs/no-names.yaml":         "a key that needs another",
		"config/label-taken.yaml":     "a name that is taken",
		"config/notify-nobody.yaml":   "a key that needs another",
		"config/revocation-poll.yaml": "how long is too short",
		"config/notify-token.yaml":    "a key that does not go with another",
		"config/notify-url.yaml":      "what a URL holds",
		"certs/no_dns_name.yaml":      "the file's name",
		"issuers/no-directory.yaml":   "the file's name",
		"issuers/proxy-login.yaml":    "a key that needs another",
		"certs/unknown-issuer.yaml":   "other files",
		"certs/name-too-long.yaml":    "the length of labels",
		"certs/numeric-names.yaml":    "what the last part of a name holds",
		"certs/dns.yaml":              "other files",
		"certs/address-dns.yaml":      "a key that needs the value of another",
		"certs/no-provider.yaml":      "a key that needs another",
		"certs/account-provider.yaml": "a key that needs another",
		"certs/account-webroot.yaml":  "a key that needs the value of another",
		"dns/none.yaml":               "a key that needs another",
		"dns/exec.yaml":               "a key that needs the value of another",
		"dns/exec-aliases.yaml":       "a key that needs the value of another",
		"certs/csr-file.yaml":         "other files",
		"certs/wildcard.yaml":         "a key that needs the value of another",
		"certs/anchor.yaml":           "how it is written",
		"certs/duplicate-key.yaml":    "how it is written",
		"certs/bom.yaml":              "how it is written",
		"certs/second-document.yaml":  "how it is written",
		"certs/tag.yaml":              "how it is written",
		"certs/too-long.yaml":         "how it is written",
	}
	for folder, sort := range folders() {
		schema := readSchema(t, sort)
		files, err := filepath.Glob("testdata/bad/" + folder + "/*.yaml")
		if err != nil || len(files) == 0 {
			t.Fatalf("no bad %s: %v", folder, err)
		}
		for _, file := range files {
			name := strings.TrimPrefix(file, "testdata/bad/")
			why := beyond[name]
			if wrong := judge(t, schema, readFile(t, file)); (wrong == nil) != (why != "") {
				t.Errorf("%s: %q, although it is a matter of %q", name, wrong, why)
			}
			delete(beyond, name)
		}
	}
	for name := range beyond {
		t.Errorf("there is no %s", name)
	}
}

// TestKeysOfSchemasAndDocumentationAreTheSame wants a row in a table of docs/spec.md for every key, with the meaning
// that an editor shows.
func TestKeysOfSchemasAndDocumentationAreTheSame(t *testing.T) {
	rows := documented(t, "../../docs/spec.md")
	all := map[string]map[string]string{}
	for heading, sort := range map[string]string{"certs.d": "certificate", "dns.d": "dns", "issuers.d": "issuer", "acmed.yaml": "config"} {
		keys := map[string]string{}
		collect(readSchema(t, sort), "", keys)
		all[sort] = keys
		for path, meaning := range keys {
			switch text, ok := rows[heading][path]; {
			case strings.HasPrefix(path, "defaults."):
			case ok && text != meaning:
				t.Errorf("%s: %s means\n%s\nin the schema, and in docs/spec.md\n%s", heading, path, meaning, text)
			case !ok && !hasChild(keys, path):
				t.Errorf("%s: docs/spec.md does not tell of %s: %s", heading, path, meaning)
			}
		}
		for path := range rows[heading] {
			if _, ok := keys[path]; !ok {
				t.Errorf("%s: docs/spec.md tells of %s, which is unknown", heading, path)
			}
		}
	}
	for path, meaning := range all["config"] {
		if of, ok := strings.CutPrefix(path, "defaults."); ok && all["certificate"][of] != meaning {
			t.Errorf("%s means %q, but that of a certificate %q", path, meaning, all["certificate"][of])
		}
	}
}

// documented returns the meanings in the tables of a page by heading and key.
func documented(t *testing.T, page string) map[string]map[string]string {
	t.Helper()
	rows, heading := map[string]map[string]string{}, ""
	for line := range strings.Lines(readFile(t, page)) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			heading, _, _ = strings.Cut(title, ":")
			rows[heading] = map[string]string{}
		}
		if cells := strings.Split(strings.TrimSpace(line), "|"); strings.HasPrefix(line, "| `") && len(cells) == 5 {
			rows[heading][strings.Trim(cells[1], " `")] = strings.TrimSpace(cells[3])
		}
	}
	return rows
}

// collect adds the keys of a schema and their meanings to keys.
func collect(schema map[string]any, prefix string, keys map[string]string) {
	properties, _ := schema["properties"].(map[string]any)
	for name, value := range properties {
		property := value.(map[string]any)
		keys[prefix+name], _ = property["description"].(string)
		collect(property, prefix+name+".", keys)
		if items, ok := property["items"].(map[string]any); ok {
			collect(items, prefix+name+"[].", keys)
		}
	}
}

func hasChild(keys map[string]string, path string) bool {
	for key := range keys {
		if strings.HasPrefix(key, path+".") {
			return true
		}
	}
	return false
}

func TestPatternsMeanTheSameToEditors(t *testing.T) {
	for _, sort := range folders() {
		text, _ := spec.Schema(sort)
		for _, m := range regexp.MustCompile(`"pattern": (".*")`).FindAllSubmatch(text, -1) {
			var pattern string
			if err := json.Unmarshal(m[1], &pattern); err != nil {
				t.Fatal(err)
			}
			if _, err := regexp.Compile(pattern); err != nil {
				t.Error(err)
			}
			// What is written alike and read differently, or only by one of RE2 and ECMAScript.
			if bad := regexp.MustCompile(`\(\?|\\[^]x.*$\\[]|\[:`).FindString(pattern); bad != "" {
				t.Errorf("%s holds %s", pattern, bad)
			}
		}
	}
}

func TestThereIsNoOtherSchema(t *testing.T) {
	if text, ok := spec.Schema("server"); ok || text != nil {
		t.Errorf("%s", text)
	}
}

func readFile(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func readSchema(t testing.TB, sort string) map[string]any {
	t.Helper()
	text, ok := spec.Schema(sort)
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil || !ok {
		t.Fatal(ok, err)
	}
	return schema
}

// judge returns what is wrong with the first document of a text of YAML.
func judge(t testing.TB, schema map[string]any, text string) []string {
	t.Helper()
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		return []string{err.Error()}
	}
	if document.Kind == 0 {
		return violations(t, schema, nil, "")
	}
	return violations(t, schema, plain(t, document.Content[0]), "")
}

// plain is n as JSON.
func plain(t testing.TB, n *yaml.Node) any {
	t.Helper()
	switch {
	case n.Kind == yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, e := range n.Content {
			list[i] = plain(t, e)
		}
		return list
	case n.Kind == yaml.MappingNode:
		object := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			object[n.Content[i].Value] = plain(t, n.Content[i+1])
		}
		return object
	case !slices.Contains([]string{"!!null", "!!bool", "!!int", "!!float"}, n.ShortTag()):
		return n.Value
	}
	var v any
	if err := n.Decode(&v); err != nil {
		t.Fatal(err)
	}
	if n.ShortTag() == "!!int" {
		return float64(reflect.ValueOf(v).Int())
	}
	return v
}

// violations judges v by the part of JSON Schema that spec.Schema speaks.
func violations(t testing.TB, schema map[string]any, v any, at string) (wrong []string) {
	t.Helper()
	for _, word := range slices.Sorted(maps.Keys(schema)) {
		arg := schema[word]
		ok := true
		switch word {
		case "$schema", "title", "description", "patternErrorMessage", "properties":
		case "type":
			ok = slices.ContainsFunc(listOf(arg), func(one any) bool { return one == typeOf(v) || one == "number" && typeOf(v) == "integer" })
		case "enum":
			ok = slices.ContainsFunc(arg.([]any), func(one any) bool { return reflect.DeepEqual(one, v) })
		case "pattern":
			s, is := v.(string)
			ok = !is || regexp.MustCompile(arg.(string)).MatchString(s)
		case "minimum", "maximum":
			n, is := v.(float64)
			ok = !is || (word == "minimum" && n >= arg.(float64)) || (word == "maximum" && n <= arg.(float64))
		case "minItems", "maxItems":
			l, is := v.([]any)
			ok = !is || (word == "minItems" && len(l) >= int(arg.(float64))) || (word == "maxItems" && len(l) <= int(arg.(float64)))
		case "maxProperties":
			m, is := v.(map[string]any)
			ok = !is || len(m) <= int(arg.(float64))
		case "required":
			m, is := v.(map[string]any)
			ok = !is || !slices.ContainsFunc(arg.([]any), func(key any) bool { _, has := m[key.(string)]; return !has })
		case "anyOf":
			ok = slices.ContainsFunc(arg.([]any), func(one any) bool { return violations(t, one.(map[string]any), v, at) == nil })
		case "items":
			l, _ := v.([]any)
			for i, e := range l {
				wrong = append(wrong, violations(t, arg.(map[string]any), e, fmt.Sprintf("%s[%d]", at, i))...)
			}
		case "propertyNames":
			m, _ := v.(map[string]any)
			for key := range m {
				wrong = append(wrong, violations(t, arg.(map[string]any), key, at+"."+key)...)
			}
		case "additionalProperties":
			wrong = append(wrong, membersWrong(t, schema, v, at)...)
		default:
			t.Fatalf("%s is not judged here", word)
		}
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s: %s %v", at, word, arg))
		}
	}
	return wrong
}

// membersWrong judges the members of an object by properties and additionalProperties.
func membersWrong(t testing.TB, schema map[string]any, v any, at string) (wrong []string) {
	t.Helper()
	properties, _ := schema["properties"].(map[string]any)
	more, allowed := schema["additionalProperties"].(map[string]any)
	object, _ := v.(map[string]any)
	for key, member := range object {
		if s, known := properties[key].(map[string]any); known {
			wrong = append(wrong, violations(t, s, member, at+"."+key)...)
		} else if allowed {
			wrong = append(wrong, violations(t, more, member, at+"."+key)...)
		} else {
			wrong = append(wrong, at+": no key "+key)
		}
	}
	return wrong
}

func listOf(v any) []any {
	if l, ok := v.([]any); ok {
		return l
	}
	return []any{v}
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	default:
		return "object"
	}
}
