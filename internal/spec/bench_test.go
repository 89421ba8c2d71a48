package spec_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"acmed/internal/spec"
)

const typical = `# yaml-language-server: $schema=/usr/share/acmed/schema/certificate.json
dnsNames: [%[1]s, www.%[1]s]
issuers: [letsencrypt]
privateKey: {algorithm: ECDSA, size: 256}
renew: {before: 33%%}
labels: {team: web}
deploy:
  reload: [nginx.service]
`

func manyFiles(b *testing.B, n int) *spec.Config {
	b.Helper()
	c := spec.DefaultConfig("")
	c.SpecDir, c.IssuerDir = b.TempDir(), b.TempDir()
	for i := range n {
		name := fmt.Sprintf("n%06d.example.com", i)
		if err := os.WriteFile(filepath.Join(c.SpecDir, name+".yaml"), fmt.Appendf(nil, typical, name), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return c
}

const files = 10_000

// BenchmarkLoad measures the first load, a load of nothing new, that of one file which is known to have changed, and
// the comparison of two sets.
func BenchmarkLoad(b *testing.B) {
	c := manyFiles(b, files)
	now := time.Now().Add(time.Hour)
	newLoader := func() *spec.Loader {
		l, err := spec.NewLoader(spec.LoaderConfig{Config: c})
		if err != nil {
			b.Fatal(err)
		}
		return l
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			if n := newLoader().Load(now, spec.LoadOptions{}).Set.Len(); n != files {
				b.Fatalf("%d certificates", n)
			}
		}
	})
	l := newLoader()
	set := l.Load(now, spec.LoadOptions{}).Set
	b.Run("unchanged", func(b *testing.B) {
		for b.Loop() {
			if l.Load(now, spec.LoadOptions{}).Set != set {
				b.Fatal("another set")
			}
		}
	})
	b.Run("one", func(b *testing.B) {
		file := filepath.Join(c.SpecDir, "new.example.com.yaml")
		for i := 0; b.Loop(); i++ {
			if err := os.WriteFile(file, fmt.Appendf(nil, "profile: p%d", i), 0o644); err != nil {
				b.Fatal(err)
			}
			if l.Load(now, spec.LoadOptions{Changed: []string{file}}).Set.Len() != files+1 {
				b.Fatal("the new one is not there")
			}
		}
	})
	b.Run("diff", func(b *testing.B) {
		other := newLoader()
		other.Load(now, spec.LoadOptions{})
		for b.Loop() {
			for name := range spec.Diff(set, set) {
				b.Fatal(name)
			}
		}
	})
}
