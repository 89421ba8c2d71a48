// Package test checks the shape of the whole tree: who imports whom, and the
// house rules that a machine can check. Its folders hold the tests that need
// more than one package.
package test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	maxFileLines      = 400
	maxTestFileLines  = 800 // a table of sentences is data
	maxFunctionLines  = 80
	medianFuncLines   = 12
	maxMainFuncLines  = 40
	internalPrefix    = "acmed/internal/"
	testOnlyPackage   = "internal/acmetest"
	clientGolang      = "github.com/prometheus/client_golang"
	prometheusMetrics = "metrics.go"
)

// mayImport lists, for each package, the internal packages that it may import.
// A package that is not here has no place yet in the design.
func mayImport() map[string][]string {
	foundation := []string{"acme", "store", "spec", "sd"}
	return map[string][]string{
		"internal/spec":      nil,
		"internal/store":     nil,
		"internal/acme":      nil,
		"internal/scheduler": nil,
		"internal/crl":       nil,
		"internal/sd":        nil,
		"internal/reconcile": append([]string{"crl"}, foundation...),
		"internal/challenge": foundation,
		"internal/acl":       nil,
		"internal/mount":     nil,
		"internal/deploy":    append([]string{"acl", "mount"}, foundation...),
		"internal/control":   foundation,
		"internal/migrate":   {"acme", "store", "spec"},
		"internal/notify":    foundation,
		"internal/page":      {"control"},
		"internal/doctor":    append([]string{"acl", "mount"}, foundation...),
		"internal/acmetest":  foundation,
		"internal/sectigo":   nil,
		"internal/eab":       {"newfile", "spec"},
		"internal/newfile":   nil,
		"internal/newcert":   {"newfile", "spec"},
		"internal/daemon":    {"*"},
		"cmd/acmed":          {"*"},
		"test":               {"*"},
	}
}

// confined lists the third-party packages that stay in one place, by prefix of
// their import path. The longest prefix counts.
func confined() map[string][]string {
	return map[string][]string{
		"golang.org/x/crypto/acme":                {"internal/acme", testOnlyPackage},
		"github.com/go-jose/go-jose":              {"internal/acme", testOnlyPackage},
		"github.com/coreos/go-systemd":            {"internal/sd"},
		"github.com/coreos/go-systemd/v22/dbus":   {"internal/deploy"},
		"github.com/fsnotify/fsnotify":            {"internal/daemon"},
		"github.com/spf13/cobra":                  {"cmd/acmed"},
		"go.yaml.in/yaml":                         {"internal/spec"},
		"github.com/miekg/dns":                    {"internal/challenge", "internal/doctor", "test/boulder", "test/e2e", "test/zone"},
		"software.sslmate.com/src/go-pkcs12":      {"internal/deploy"},
		"github.com/rogpeppe/go-internal":         {}, // tests only
		"github.com/prometheus/common":            {}, // tests only
		clientGolang + "/prometheus/testutil":     {}, // tests only
		"github.com/letsencrypt":                  {}, // a subprocess, never linked
		"github.com/prometheus/client_golang/api": {},
	}
}

// source is one parsed Go file.
type source struct {
	path string // relative to the module
	pkg  string // its folder, relative to the module
	test bool
	fset *token.FileSet
	file *ast.File
}

func (s source) at(pos token.Pos) string {
	return fmt.Sprintf("%s:%d", s.path, s.fset.Position(pos).Line)
}

func (s source) lines(n ast.Node) int {
	return s.fset.Position(n.End()).Line - s.fset.Position(n.Pos()).Line + 1
}

// tree parses every Go file, whatever its build tags.
func tree(t *testing.T) []source {
	t.Helper()
	var sources []source
	fset := token.NewFileSet()
	for _, top := range []string{"cmd", "internal", "test"} {
		err := filepath.WalkDir(filepath.Join("..", top), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") {
				return err
			}
			file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
			rel := strings.TrimPrefix(filepath.ToSlash(name), "../")
			test := strings.HasSuffix(rel, "_test.go") || strings.HasPrefix(rel, "test/") || strings.HasPrefix(rel, testOnlyPackage+"/")
			sources = append(sources, source{path: rel, pkg: path.Dir(rel), test: test, fset: fset, file: file})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return sources
}

func TestInternalImportsFollowTheDesign(t *testing.T) {
	allowed := mayImport()
	for _, s := range tree(t) {
		if s.test {
			continue // tests may bring packages together
		}
		list, known := allowed[s.pkg]
		if !known {
			t.Errorf("%s: package %s has no place in mayImport", s.path, s.pkg)
		}
		for _, spec := range s.file.Imports {
			name, internal := strings.CutPrefix(importPath(spec), internalPrefix)
			if !internal {
				continue
			}
			if name == path.Base(testOnlyPackage) {
				t.Errorf("%s: only tests may import %s", s.at(spec.Pos()), name)
			} else if !slices.Contains(list, name) && !slices.Contains(list, "*") {
				t.Errorf("%s: %s must not import %s", s.at(spec.Pos()), s.pkg, name)
			}
		}
	}
}

func TestThirdPartyPackagesStayInOnePlace(t *testing.T) {
	homes := confined()
	for _, s := range tree(t) {
		for _, spec := range s.file.Imports {
			name := importPath(spec)
			if strings.HasPrefix(name, clientGolang) && !s.test && path.Base(s.path) != prometheusMetrics {
				t.Errorf("%s: client_golang belongs in metrics.go", s.at(spec.Pos()))
			}
			prefix := longestPrefix(homes, name)
			home := homes[prefix]
			testsOnly := prefix != "" && len(home) == 0
			if prefix == "" || slices.Contains(home, s.pkg) || testsOnly && s.test {
				continue
			}
			t.Errorf("%s: %s is confined to %v", s.at(spec.Pos()), name, home)
		}
	}
}

func importPath(spec *ast.ImportSpec) string {
	name, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
	return name
}

func longestPrefix(m map[string][]string, name string) (longest string) {
	for prefix := range m {
		if len(prefix) > len(longest) && (name == prefix || strings.HasPrefix(name, prefix+"/")) {
			longest = prefix
		}
	}
	return longest
}

func TestFilesAndFunctionsStaySmall(t *testing.T) {
	var lengths []int
	for _, s := range tree(t) {
		limit := maxFileLines
		if s.test {
			limit = maxTestFileLines
		}
		if n := s.fset.Position(s.file.FileEnd - 1).Line; n > limit {
			t.Errorf("%s has %d lines, more than %d", s.path, n, limit)
		}
		if s.test {
			continue
		}
		for _, decl := range s.file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n, limit := s.lines(f), maxFunctionLines
			if s.file.Name.Name == "main" && f.Name.Name == "main" {
				limit = maxMainFuncLines
			}
			if n > limit {
				t.Errorf("%s: %s has %d lines, more than %d", s.at(f.Pos()), f.Name.Name, n, limit)
			}
			lengths = append(lengths, n)
		}
	}
	slices.Sort(lengths)
	if median := lengths[len(lengths)/2]; median > medianFuncLines {
		t.Errorf("the median function has %d lines, more than %d", median, medianFuncLines)
	}
}
