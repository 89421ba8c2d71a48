package migrate_test

import (
	"errors"
	"slices"
	"testing"

	"acmed/internal/migrate"
)

func TestConfigObjIsReadAsItIsWritten(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want []string // the value of key, in [params]
	}{
		"a word":                             {"key = word", []string{"word"}},
		"spaces inside":                      {"key = systemctl reload nginx", []string{"systemctl reload nginx"}},
		"nothing":                            {"key =", []string{""}},
		"nothing but a comment":              {"key = # as before", []string{""}},
		"a comment behind it":                {"key = word # as before", []string{"word"}},
		"an equals sign inside":              {"key = a=b", []string{"a=b"}},
		"a list of one":                      {"key = /var/www,", []string{"/var/www"}},
		"a list":                             {`key = a, "b, c",d`, []string{"a", "b, c", "d"}},
		"an empty list":                      {"key = ,", nil},
		"quotes around a comma":              {`key = "stop, then start"`, []string{"stop, then start"}},
		"quotes around a #":                  {`key = 'echo # x'  # note`, []string{"echo # x"}},
		"a quote inside a word":              {`key = it's`, []string{"it's"}},
		"triple quotes around both":          {`key = '''echo 'it''s' "done" # x'''`, []string{`echo 'it''s' "done" # x`}},
		"triple quotes over lines":           {"key = \"\"\"one\n  two\n\"\"\"\nother = 1", []string{"one\n  two\n"}},
		"a quoted key":                       {`"key" = word`, []string{"word"}},
		"carriage returns":                   {"key = word\r\nother = 1\r", []string{"word"}},
		"indentation, as ConfigObj can have": {"    key = word", []string{"word"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := migrate.ParseConfigObj("x.conf", "# top\n[params] # the options\n"+tt.text+"\n[[map]]\nkey = inner\n")
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Words("key", "params"); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if got := s.Words("key", "params", "map"); !slices.Equal(got, []string{"inner"}) {
				t.Errorf("in the section below it: %q", got)
			}
		})
	}
}

func TestWhatConfigObjWouldNotWriteIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		text, want string
	}{
		"a line of prose":              {"a = 1\nprose", "x.conf:2: neither a section nor a key with a value"},
		"no key":                       {"= word", "x.conf:1: neither a section nor a key with a value"},
		"a key twice":                  {"a = 1\na = 2", "x.conf:2: a: set again"},
		"a section twice":              {"[a]\n[b]\n[a]", "x.conf:3: a section of that name again"},
		"a section without its end":    {"[a", "x.conf:1: not the head of a section"},
		"words behind a section":       {"[a] b", "x.conf:1: not the head of a section"},
		"a section too deep":           {"[[a]]", "x.conf:1: a section that is too deep"},
		"a quote without its end":      {`a = "word`, "x.conf:1: a: a quote without its end"},
		"a long quote without its end": {"a = '''one\ntwo", "x.conf:2: a: a quote without its end"},
		"words behind a quote":         {`a = "b" c`, "x.conf:1: a: text behind a value"},
		"words behind a long quote":    {`a = """b""" c`, "x.conf:1: a: text behind a value"},
		"interpolation":                {"a = %(b)s", `x.conf:1: a: a %(…)s in it, which is not supported: write out what it stands for`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := migrate.ParseConfigObj("x.conf", tt.text)
			if _, ok := errors.AsType[*migrate.SyntaxError](err); !ok || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func FuzzParseConfigObj(f *testing.F) {
	f.Add("version = 2.1.0\n[renewalparams]\nwebroot_path = /var/www,\n[[webroot_map]]\nexample.com = /var/www\n")
	f.Add("a = '''x\ny''' # c\n\"b\" = \"c, d\", e\n[[x]]\n[x]\n[[y]]\nk=\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := migrate.ParseConfigObj("x", text)
		if e, ok := errors.AsType[*migrate.SyntaxError](err); err != nil && (!ok || e.Line < 1) {
			t.Errorf("an error without a line: %v", err)
		}
		if err == nil {
			s.Words("key", "params")
		}
	})
}
