package spec_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"acmed/internal/spec"
)

// FuzzCertificate holds the parser to what everybody else builds on: a refusal says where, and what is accepted is fit
// to be asked for, and to be written in an editor that knows the schema.
func FuzzCertificate(f *testing.F) {
	files, err := filepath.Glob("testdata/*/certs/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	config, schema := spec.DefaultConfig(""), readSchema(f, "certificate")
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := spec.ParseCertificate(config, "/certs/a.example.com.yaml", text, nil)
		if err != nil {
			checkRefusal(t, err, len(text))
			return
		}
		if wrong := judge(t, schema, string(text)); wrong != nil {
			t.Fatalf("the schema refuses it: %q", wrong)
		}
		if n := len(c.DNSNames) + len(c.IPAddresses); n < 1 || n > 100 || len(c.Issuers) < 1 {
			t.Fatalf("%d names, issuers %q", n, c.Issuers)
		}
		if again := reparse(t, config, c); !slices.Equal(again, c.DNSNames) {
			t.Fatalf("%q became %q", c.DNSNames, again)
		}
		if !slices.Contains([]int{256, 384, 2048, 3072, 4096}, c.PrivateKey.Size) || c.Challenge.Type == "" {
			t.Fatalf("key %v, challenge %v", c.PrivateKey, c.Challenge)
		}
		for _, file := range c.Deploy.Files {
			if !filepath.IsAbs(file.Path) || file.Content == "" {
				t.Fatalf("file %+v", file)
			}
		}
	})
}

func checkRefusal(t *testing.T, err error, size int) {
	t.Helper()
	for _, one := range err.(interface{ Unwrap() []error }).Unwrap() {
		var p *spec.Problem
		if !errors.As(one, &p) || p.Problem == "" || p.Line < 1 && size <= 64<<10 {
			t.Fatalf("%#v", one)
		}
	}
}

// reparse returns the names that come of a spec with the names of c.
func reparse(t *testing.T, config *spec.Config, c *spec.Certificate) []string {
	t.Helper()
	if len(c.DNSNames) == 0 {
		return c.DNSNames
	}
	var text []byte
	for _, name := range c.DNSNames {
		text = append(text, "\n- \""+name+"\""...)
	}
	again, err := spec.ParseCertificate(config, "/certs/b.yaml", append([]byte("challenge: {type: dns-01, provider: any}\ndnsNames:"), text...), nil)
	if err != nil {
		t.Fatal(err)
	}
	return again.DNSNames
}
