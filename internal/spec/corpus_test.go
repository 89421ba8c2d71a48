package spec_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acmed/internal/spec"
)

var update = flag.Bool("update", false, "write testdata/bad/*/*.err anew")

// TestBadFiles compares all that is said of a bad file with the .err beside it.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimPrefix(file, "testdata/bad/"), func(t *testing.T) {
			got := complaints(t, file)
			golden := strings.TrimSuffix(file, ".yaml") + ".err"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%swant:\n%s", got, want)
			}
		})
	}
}

// complaints returns one line for each problem of a file, with its base name.
func complaints(t *testing.T, file string) string {
	t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	c := spec.DefaultConfig("")
	c.IssuerDir = filepath.Join(filepath.Dir(filepath.Dir(path)), "issuers")
	c.DNSDir = filepath.Join(filepath.Dir(filepath.Dir(path)), "dns")
	if filepath.Base(filepath.Dir(path)) == "config" {
		c.File = path
	}
	var b strings.Builder
	for _, p := range spec.CheckFiles(c, []string{file}) {
		b.WriteString(strings.ReplaceAll(p.Error(), filepath.Dir(filepath.Dir(path))+"/", "") + "\n")
	}
	return b.String()
}

func TestGoodFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, file := range files {
		if got := complaints(t, file); got != "" {
			t.Error(got)
		}
	}
}
