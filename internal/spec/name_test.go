package spec_test

import (
	"os"
	"path/filepath"
	"testing"

	"acmed/internal/spec"
)

// TestAFileWhoseNameIsNoneIsNamedAndDoesNotAffectOthers is about all directories and all that reads file names.
func TestAFileWhoseNameIsNoneIsNamedAndDoesNotAffectOthers(t *testing.T) {
	const unfit = ": is not read: its name is not fit for a name (rename it: " + spec.NameRule + ")"
	for name, file := range map[string]string{
		"a certificate with two dots in a row": "certs/a..b.yaml",
		"a certificate with a space":           "certs/a b.yaml",
		"an issuer with two dots in a row":     "issuers/a..b.yaml",
		"a DNS provider in capitals":           "dns/Zone.yaml",
		"a certificate that ends with dots":    "certs/a...yaml",
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.config.DNSDir = filepath.Join(s.dir, "dns")
			if err := os.Mkdir(s.config.DNSDir, 0o755); err != nil {
				t.Fatal(err)
			}
			s.restart()
			s.write("certs/good.example.com.yaml", "")
			s.write(file, "")
			set := s.load()
			s.names(set, "good.example.com")
			s.problems(set, file+unfit)
			if len(s.last.Good) != 1 {
				t.Errorf("to be remembered: %v", s.last.Good)
			}
			for what, files := range map[string][]string{"all": nil, "the file": {filepath.Join(s.dir, file)}} {
				if found := spec.CheckFiles(s.config, files); len(found) != 1 || found[0].Error() != filepath.Join(s.dir, file)+unfit {
					t.Errorf("a check of %s finds %v", what, found)
				}
			}
		})
	}
}
