package test

import (
	"go/ast"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestEveryWarningIsExplained wants each message that is logged as a warning or an error in docs/messages.md.
func TestEveryWarningIsExplained(t *testing.T) {
	text, err := os.ReadFile("../docs/messages.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, s := range tree(t) {
		if s.test || !strings.HasPrefix(s.pkg, "internal/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains([]string{"Warn", "Error"}, method.Sel.Name) {
				return true
			}
			if lit, ok := call.Args[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				found++
				if message, _ := strconv.Unquote(lit.Value); !strings.Contains(string(text), message) {
					t.Errorf("%s: docs/messages.md does not explain %q", s.at(call.Pos()), message)
				}
			}
			return true
		})
	}
	if found < 20 {
		t.Errorf("only %d messages were found", found)
	}
}
