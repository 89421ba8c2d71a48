package migrate_test

import (
	"errors"
	"strings"
	"testing"

	"acmed/internal/migrate"
)

func TestAssignmentsAreRead(t *testing.T) {
	for name, tt := range map[string]struct{ line, want string }{
		"a word":                     {"KEY=word", "word"},
		"nothing":                    {"KEY=", ""},
		"single quotes":              {`KEY='a $b "c" #d'`, `a $b "c" #d`},
		"double quotes":              {`KEY="a \"b\" \$c 'd' \n"`, `a "b" $c 'd' \n`},
		"quotes side by side":        {`KEY='it'"'"'s'`, "it's"},
		"a comment":                  {"KEY=word # as before", "word"},
		"a variable":                 {`KEY="${BASE}/x"`, "/base/x"},
		"a variable without quotes":  {"KEY=$BASE/x", "/base/x"},
		"an export":                  {"export KEY=word", "word"},
		"a # in a word":              {"KEY=a#b", "a#b"},
		"a character that is quoted": {`KEY=a\ b`, "a b"},
		"single quotes over lines":   {"KEY='one\ntwo'", "one\ntwo"},
		"double quotes over lines":   {"KEY=\"one\n$BASE\" # both", "one\n/base"},
		"a line that goes on":        {"KEY=a\\\nb", "ab"},
		"quotes that go on":          {"KEY=\"a\\\nb\"", "ab"},
	} {
		t.Run(name, func(t *testing.T) {
			vars := map[string]string{"BASE": "/base"}
			if errs := migrate.ParseShell("x", "# top\n\n  "+tt.line+"\r\n", vars); len(errs) > 0 {
				t.Fatal(errs)
			}
			if got := vars["KEY"]; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestShellCodeIsNeitherExecutedNorInTheWay(t *testing.T) {
	for line, want := range map[string]string{
		"if true; then":        "x:2: not an assignment",
		"KEY=$(id)":            "x:2: KEY: shell code",
		"KEY=`id`":             "x:2: KEY: shell code",
		`KEY="$(id)"`:          "x:2: KEY: shell code",
		`KEY="` + "`id`" + `"`: "x:2: KEY: shell code",
		"KEY=a;id":             "x:2: KEY: shell code",
		"KEY=a id":             "x:2: KEY: a word behind the value",
		"KEY=$OTHER":           "x:2: KEY: a variable that is not set here",
		"KEY='a":               "x:2: KEY: a quote without its end",
		`KEY="a`:               "x:2: KEY: a quote without its end",
		"KEY=${BASE:-x}":       "x:2: KEY: shell code",
	} {
		t.Run(line, func(t *testing.T) {
			vars := map[string]string{}
			errs := migrate.ParseShell("x", "A=1\n"+line+"\nB=2\n", vars)
			if len(errs) != 1 || errs[0].Error() != want {
				t.Errorf("got %v, want %s", errs, want)
			}
			if vars["A"] != "1" || vars["B"] != "2" || vars["KEY"] != "" {
				t.Errorf("read %v", vars)
			}
		})
	}
}

func FuzzParseShell(f *testing.F) {
	f.Add("A='b'\nC=\"$A/d\" # e\nexport F=${C}\\ g\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, err := range migrate.ParseShell("x", text, map[string]string{"BASE": "/x"}) {
			if e, ok := errors.AsType[*migrate.SyntaxError](err); !ok || e.Line < 1 {
				t.Errorf("an error without a line: %v", err)
			}
		}
	})
}

func TestVariablesDoNotGrowWithoutEnd(t *testing.T) {
	text := "A=" + strings.Repeat("a", 1000) + "\nB=" + strings.Repeat("$A", 20_000) + "\nC=\"" + strings.Repeat("$A", 20_000) + "\"\n"
	errs := migrate.ParseShell("x", text, map[string]string{})
	if len(errs) != 2 || errs[0].Error() != "x:2: B: a value that is too long" || errs[1].Error() != "x:3: C: a value that is too long" {
		t.Errorf("got %v", errs)
	}
}
