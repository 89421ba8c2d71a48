package test

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// constructors make values that nobody changes afterwards; flags are set before the first test.
func constructors() []string {
	return []string{
		"errors.New", "fmt.Errorf", "regexp.MustCompile", "netip.MustParsePrefix", "template.Must", "time.Date",
		"sync.OnceValue", "sync.OnceValues", "flag.Bool", "flag.Int", "flag.Uint64", "flag.String", "flag.Duration",
	}
}

func TestNoInitFunctions(t *testing.T) {
	for _, s := range tree(t) {
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: no init functions; let a constructor do it", s.at(f.Pos()))
			}
		}
	}
}

// TestNoPackageLevelState accepts package variables that are constants in all
// but the language: errors, regular expressions, tables that nothing assigns
// to, embedded files, what the linker sets and `var _ = …`.
func TestNoPackageLevelState(t *testing.T) {
	packages := map[string][]source{}
	for _, s := range tree(t) {
		packages[s.pkg] = append(packages[s.pkg], s)
	}
	for _, sources := range packages {
		vars := map[string]*ast.ValueSpec{}
		for _, s := range sources {
			for _, spec := range packageVars(s) {
				if !constant(spec) {
					t.Errorf("%s: package variable %s looks like state; keep it in a struct", s.at(spec.Pos()), spec.Names[0])
				}
				for _, name := range spec.Names {
					vars[name.Name] = spec
				}
			}
		}
		for _, s := range sources {
			for _, written := range writes(s, vars) {
				t.Errorf("%s: package variable %s is changed", s.at(written.Pos()), written.Name)
			}
		}
	}
}

func packageVars(s source) (specs []*ast.ValueSpec) {
	for _, decl := range s.file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.VAR || setByToolchain(gen.Doc) {
			continue
		}
		for _, spec := range gen.Specs {
			specs = append(specs, spec.(*ast.ValueSpec))
		}
	}
	return specs
}

func setByToolchain(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool {
		return strings.HasPrefix(c.Text, "//go:embed") || strings.Contains(c.Text, "set by -ldflags")
	})
}

func constant(spec *ast.ValueSpec) bool {
	if spec.Names[0].Name == "_" {
		return true
	}
	return len(spec.Values) > 0 && !slices.ContainsFunc(spec.Values, mutable)
}

// mutable judges an initializer: pointers, maps and channels made to be filled,
// and what other packages construct are state; literals and what a function of
// the package itself describes are tables.
func mutable(value ast.Expr) bool {
	switch v := value.(type) {
	case *ast.UnaryExpr:
		return v.Op == token.AND
	case *ast.CallExpr:
		if id, ok := v.Fun.(*ast.Ident); ok {
			return id.Name == "make" || id.Name == "new"
		}
		return !slices.Contains(constructors(), qualified(v.Fun))
	}
	return false
}

func qualified(fun ast.Expr) string {
	selector, ok := fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	pkg, ok := selector.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return pkg.Name + "." + selector.Sel.Name
}

// writes finds the places where a file assigns to a package variable, to a
// part of one, or takes its address.
func writes(s source, vars map[string]*ast.ValueSpec) (written []*ast.Ident) {
	note := func(target ast.Expr) {
		if id := root(target); id != nil && vars[id.Name] != nil && global(s, id, vars) {
			written = append(written, id)
		}
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, target := range n.Lhs {
					note(target)
				}
			}
		case *ast.IncDecStmt:
			note(n.X)
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				note(n.X)
			}
		}
		return true
	})
	return written
}

// root is x of x.f, x[i] and *x.
func root(e ast.Expr) *ast.Ident {
	for {
		switch v := e.(type) {
		case *ast.Ident:
			return v
		case *ast.SelectorExpr:
			e = v.X
		case *ast.IndexExpr:
			e = v.X
		case *ast.StarExpr:
			e = v.X
		case *ast.ParenExpr:
			e = v.X
		default:
			return nil
		}
	}
}

// global reports whether an identifier is the package's, not a local of the
// same name: the parser resolves the file's own and lists the others.
func global(s source, id *ast.Ident, vars map[string]*ast.ValueSpec) bool {
	if id.Obj != nil {
		return id.Obj.Decl == vars[id.Name]
	}
	return slices.Contains(s.file.Unresolved, id)
}

// TestNoSleepInTests keeps tests fast and free of guesses: a test that waits
// does so in a synctest bubble, its own or that of a helper named bubble, or
// for a signal.
func TestNoSleepInTests(t *testing.T) {
	for _, s := range tree(t) {
		bubble := slices.ContainsFunc(s.file.Imports, func(spec *ast.ImportSpec) bool {
			return importPath(spec) == "testing/synctest"
		}) || slices.ContainsFunc(s.file.Unresolved, func(id *ast.Ident) bool { return id.Name == "bubble" })
		if !s.test || bubble {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && qualified(call.Fun) == "time.Sleep" {
				t.Errorf("%s: time.Sleep outside testing/synctest", s.at(call.Pos()))
			}
			return true
		})
	}
}
