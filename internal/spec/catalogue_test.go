package spec_test

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"testing"

	"acmed/internal/spec"
)

// TestDocumentedCatalogueIsTheOneBuiltIn compares the table of docs/issuers.md, which this makes.
func TestDocumentedCatalogueIsTheOneBuiltIn(t *testing.T) {
	text, err := os.ReadFile("../../docs/issuers.md")
	if err != nil {
		t.Fatal(err)
	}
	want := catalogueTable()
	if !strings.Contains(string(text), "\n"+want+"\n") {
		t.Errorf("docs/issuers.md does not hold the catalogue, which is now:\n%s", want)
	}
}

func catalogueTable() string {
	var b strings.Builder
	b.WriteString("| issuer | CA | directory | external account binding: get one |\n|---|---|---|---|\n")
	for _, ca := range spec.Catalogue() {
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", ca.Name, ca.Title, ca.Directory, cmp.Or(ca.Credentials, "not needed"))
	}
	return b.String()
}

func TestBindingHint(t *testing.T) {
	c := spec.DefaultConfig("/etc/acmed/acmed.yaml")
	for sentence, test := range map[string]struct{ name, text, want string }{
		"a CA of the catalogue says how to get one": {
			"sslcom-rsa", "contact: []\n", "get one in your SSL.com account, on the dashboard under api credentials; write",
		},
		"the file of the issuer is named": {"sslcom-rsa", "contact: []\n", "to /etc/acmed/issuers.d/sslcom-rsa.yaml"},
		"another CA under a name of the catalogue is not mistaken for it": {
			"zerossl", "directory: https://ca.example/directory\n", "get one from the CA; write",
		},
		"a CA that nobody knows": {"corp", "directory: https://ca.example/directory\n", "get one from the CA; write"},
	} {
		t.Run(sentence, func(t *testing.T) {
			i, err := spec.ParseIssuer(c, "/etc/acmed/issuers.d/"+test.name+".yaml", []byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			if hint := i.BindingHint(); !strings.Contains(hint, test.want) {
				t.Errorf("the hint is %q, which lacks %q", hint, test.want)
			}
		})
	}
}
