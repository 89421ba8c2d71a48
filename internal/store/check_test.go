package store_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"acmed/internal/store"
)

// full makes a state directory that holds one of everything.
func full(t *testing.T) (*store.Store, string) {
	t.Helper()
	s, dir := newStore(t)
	rev := issue(t, s, name, newPair(t))
	must(t, s.Begin(name, newKey(t), store.Order{URL: "u"}))
	must(t, s.SaveRecord(name, store.Record{Issued: &rev}, store.Lazy))
	must(t, s.CreateAccount("ca", store.Account{}, newKey(t)))
	must(t, s.Remember([]store.Spec{{Key: "certs/a.yaml"}, {Key: "issuers/b.yaml"}}))
	standby := newPair(t)
	must(t, s.SetPlaceholder("new.example.com", standby.key, standby.chain[0]))
	l, err := s.Issuer("ca")
	must(t, err)
	must(t, l.Update(func(*store.IssuerState) {}))
	return s, dir
}

func TestCheckFinds(t *testing.T) {
	rev := "/certs/" + name + "/rev/0001"
	touch := func(p string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { must(t, os.WriteFile(dir+p, nil, 0o600)) }
	}
	mkdir := func(p string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { must(t, os.Mkdir(dir+p, 0o700)) }
	}
	chmod := func(p string, mode os.FileMode) func(*testing.T, string) {
		return func(t *testing.T, dir string) { must(t, os.Chmod(dir+p, mode)) }
	}
	damage := func(p string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { flip(t, dir+p, 80) }
	}
	for sentence, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		want  string
		own   bool // it is a matter of the certificate
	}{
		"a private key that a group may read": {chmod(rev+"/privkey.pem", 0o640), "has mode 0640, which is looser than 0600: run chmod 600 ", true},
		"a revision that others may list":     {chmod(rev, 0o755), "has mode 0755, which is looser than 0711: run chmod 711 ", true},
		"an order that others may read":       {chmod("/certs/"+name+"/pending/order", 0o644), "looser than 0600", true},
		"a damaged record":                    {damage("/ledger/" + name + ".json"), "its checksum is wrong", true},
		"a damaged order":                     {damage("/certs/" + name + "/pending/order"), "its checksum is wrong", true},
		"a damaged certificate":               {damage(rev + "/cert.pem"), "its checksum is wrong", true},
		"a damaged ledger of an issuer":       {damage("/issuers/ca.json"), "its checksum is wrong", false},
		"a damaged account":                   {damage("/accounts/ca/account.json"), "its checksum is wrong", false},
		"a link to a revision that is gone": {func(t *testing.T, dir string) {
			must(t, os.RemoveAll(dir+rev))
		}, "there is no revision 1", true},
		"a missing private key": {func(t *testing.T, dir string) {
			must(t, os.Remove(dir+rev+"/privkey.pem"))
		}, "no such file", true},
		"a placeholder whose key others may read": {func(t *testing.T, dir string) {
			must(t, os.Chmod(dir+"/certs/new.example.com/placeholder/0001/privkey.pem", 0o644))
		}, "looser than 0600", false},
		"a placeholder with the key of another": {func(t *testing.T, dir string) {
			copyFile(t, dir+rev+"/privkey.pem", dir+"/certs/new.example.com/placeholder/0001/privkey.pem")
		}, "the certificate is not for the key", false},
		"a link to a placeholder that is gone": {func(t *testing.T, dir string) {
			must(t, os.RemoveAll(dir+"/certs/new.example.com/placeholder"))
		}, "there is no such placeholder", false},
		"a folder that is no placeholder":      {mkdir("/certs/new.example.com/placeholder/7"), "not the number of a placeholder", false},
		"a file beside a revision's":           {touch(rev + "/combined.pem"), "does not belong there", true},
		"a folder that is no revision":         {mkdir("/certs/" + name + "/rev/7"), "not the number of a revision", true},
		"a file in live":                       {touch("/live/README"), "is not a symbolic link", false},
		"a file at the top":                    {touch("/notes"), "does not belong there", false},
		"a certificate's folder with no name":  {mkdir("/certs/A"), "refusing the name", false},
		"a record with no name":                {func(t *testing.T, dir string) { copyFile(t, dir+"/ledger/"+name+".json", dir+"/ledger/A.json") }, "refusing the name", false},
		"an issuer with no name":               {func(t *testing.T, dir string) { copyFile(t, dir+"/issuers/ca.json", dir+"/issuers/A.json") }, "refusing the name", false},
		"a spec with no name":                  {touch("/specs/certs/A.yaml"), "refusing the name", false},
		"a spec with another suffix":           {touch("/specs/certs/a.yml"), "does not belong there", false},
		"something of somebody else":           {func(t *testing.T, dir string) { chown(t, dir+"/ledger/"+name+".json") }, "belongs to uid 4242 and not to uid 0: run chown -h 0 ", true},
		"a folder in place of a record":        {mkdir("/ledger/x.json"), "is not a regular file", false},
		"a file in place of a certificate":     {touch("/certs/x"), "is not a folder", false},
		"what does not matter in the archive":  {touch("/archive/anything"), "", false},
		"what an interrupted write left":       {touch("/ledger/.x.json.tmp"), "", false},
		"a stricter mode than what is written": {chmod(rev+"/cert.pem", 0o600), "", false},
	} {
		t.Run(sentence, func(t *testing.T) {
			s, dir := full(t)
			healthy(t, dir)
			c.spoil(t, dir)
			wantFound(t, "Check", store.Check(dir), c.want)
			if c.own {
				wantFound(t, "Check of the certificate", s.Check(name), c.want)
			} else {
				wantFound(t, "Check of the certificate", s.Check(name), "")
			}
		})
	}
}

// TestCheckAcceptsADirectoryThatNoAcmedHasLaidOut is about a check before the first start, and about one that interrupts it.
func TestCheckAcceptsADirectoryThatNoAcmedHasLaidOut(t *testing.T) {
	for sentence, c := range map[string]struct {
		holds []string // a directory if it ends in a slash
		want  string
	}{
		"an empty directory":                 {nil, ""},
		"a file system of its own":           {[]string{"lost+found/"}, ""},
		"a first start that was interrupted": {[]string{"lock", "specs/", "specs/certs/", "live/", ".FORMAT.tmp"}, ""},
		"the directory of another program":   {[]string{"db.sqlite"}, "it holds db.sqlite but no FORMAT file"},
		"an incomplete backup":               {[]string{"certs/", "certs/www.example.com/"}, "it holds certs but no FORMAT file"},
	} {
		t.Run(sentence, func(t *testing.T) {
			dir := t.TempDir()
			for _, p := range c.holds {
				if strings.HasSuffix(p, "/") {
					must(t, os.Mkdir(filepath.Join(dir, p), 0o700))
				} else {
					must(t, os.WriteFile(filepath.Join(dir, p), nil, 0o600))
				}
			}
			wantFound(t, "Check", store.Check(dir), c.want)
		})
	}
}

// wantFound fails the test unless there is one error, and it says want; none if want is "".
func wantFound(t *testing.T, who string, errs []error, want string) {
	t.Helper()
	switch {
	case want == "" && len(errs) > 0, want != "" && len(errs) != 1:
		t.Errorf("%s: got %v, want %q", who, errs, want)
	case want != "":
		wantError(t, errs[0], want)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, data, 0o600))
}

// TestDocumentAndCodeAgree compares the table of docs/state-directory.md with the rules that Check applies.
func TestDocumentAndCodeAgree(t *testing.T) {
	text, err := os.ReadFile("../../docs/state-directory.md")
	must(t, err)
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` +\\| (link|0[0-7]{3})(/?) +\\|")
	var documented, coded []string
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		pattern := strings.NewReplacer("NAME", "*", "ISSUER", "*", "NNNN", "*").Replace(strings.TrimSuffix(m[1], "/"))
		documented = append(documented, pattern+" "+m[2]+m[3])
	}
	for pattern, mode := range store.Rules() {
		coded = append(coded, pattern+" "+octal(t, mode))
	}
	slices.Sort(documented)
	slices.Sort(coded)
	if !slices.Equal(documented, coded) {
		t.Errorf("documented:\n%s\ncoded:\n%s", strings.Join(documented, "\n"), strings.Join(coded, "\n"))
	}
}

// octal writes a mode as the document does: 0600 for a file, 0711/ for a folder.
func octal(t *testing.T, mode string) string {
	t.Helper()
	switch {
	case mode[0] == 'L':
		return "link"
	case mode == "drwx--x--x":
		return "0711/"
	case mode == "drwx------":
		return "0700/"
	case mode == "-rw-r--r--":
		return "0644"
	case mode == "-rw-------":
		return "0600"
	}
	t.Fatalf("a mode that the document does not know: %s", mode)
	return ""
}
