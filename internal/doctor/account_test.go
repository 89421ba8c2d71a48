package doctor_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"acmed/internal/acme"
	"acmed/internal/doctor"
	"acmed/internal/spec"
)

func TestAccounts(t *testing.T) {
	const url, here, problem = "https://ca.example/acct/1", "https://ca.example/dir", "failure account ca: "
	for sentence, tt := range map[string]struct {
		account doctor.Account
		err     error
		want    string // "": nothing is wrong
	}{
		"one that is valid":  {account: doctor.Account{URL: url, Directory: here, Status: "valid"}},
		"none":               {},
		"that of another CA": {account: doctor.Account{URL: url, Directory: "https://other.example/dir"}},
		"one that was ended": {account: doctor.Account{URL: url, Directory: here, Ended: true}, want: problem + "acmed account deactivate has ended it: " + url},
		"one that the CA is wary of": {account: doctor.Account{URL: url, Directory: here, Status: "pending"},
			want: problem + `the CA says that it is "pending": ` + url},
		"one that the CA has ended": {account: doctor.Account{URL: url, Directory: here}, err: &acme.Error{Op: acme.OpAccount, Problem: "unauthorized", Detail: "account is deactivated"},
			want: problem + "the CA says that it is deactivated: " + url},
		"one that the CA does not know": {account: doctor.Account{URL: url, Directory: here}, err: &acme.Error{Op: acme.OpAccount, Problem: "accountDoesNotExist"},
			want: problem + "the CA says that it does not exist: " + url},
		"damage":           {err: errors.New("key.pem has another checksum"), want: problem + "key.pem has another checksum"},
		"what is not seen": {err: fs.ErrPermission, want: "skipped account ca: whether there is one cannot be seen: permission denied"},
	} {
		t.Run(sentence, func(t *testing.T) {
			c := patient(t, "www.example.com")
			c.Account = func(context.Context, *spec.Issuer) (doctor.Account, error) { return tt.account, tt.err }
			if got := trouble(t, c); tt.want == "" && len(got) > 0 || tt.want != "" && !slices.Equal(got, []string{tt.want}) {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestBindings looks at the HMAC key as long as there is no account.
func TestBindings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hmac")
	c := patient(t, "www.example.com")
	account := doctor.Account{}
	c.Account = func(context.Context, *spec.Issuer) (doctor.Account, error) { return account, nil }
	c.Set.Issuer("ca").Binding = &spec.ExternalAccountBinding{KID: "kid", HMACKeyFile: file}
	wants := func(sentence, want string) {
		t.Helper()
		got := trouble(t, c)
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], want)) {
			t.Errorf("%s: %q", sentence, got)
		}
	}
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Chmod(file, mode)); err != nil {
			t.Fatal(err)
		}
	}
	wants("no file", "failure account ca: "+file+": no such file")
	write("c2VjcmV0\n", 0o640)
	wants("a key", "")
	write("c2VjcmV0==", 0o644)
	wants("a key that everybody reads", "warning account ca: everybody can read the HMAC key in "+file)
	write("no key!", 0o600)
	wants("no key", "failure account ca: "+file+": not the base64url text of a key")
	account = doctor.Account{URL: "https://ca.example/acct/1", Directory: "https://ca.example/dir", Status: "valid"}
	wants("there is an account", "")
	account = doctor.Account{}
	c.Set.Issuer("ca").Binding = &spec.ExternalAccountBinding{KID: "kid", HMACKeyCredential: "corp"}
	wants("a credential", "skipped account ca: the HMAC key is the credential corp")
}

// TestWhatTheDaemonCannotRead is told to root, who can.
func TestWhatTheDaemonCannotRead(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make a folder of another user")
	}
	dir := t.TempDir()
	for d := dir; d != filepath.Clean(os.TempDir()); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	state, open, closed, csr, roots := dir+"/state", dir+"/acmed.yaml", dir+"/one.yaml", dir+"/secret/csr.pem", dir+"/roots.pem"
	err := errors.Join(os.Mkdir(state, 0o755), os.Chown(state, 4242, 4242), os.Mkdir(dir+"/secret", 0o700))
	for file, mode := range map[string]os.FileMode{open: 0o644, closed: 0o600, csr: 0o644, roots: 0o644} {
		err = errors.Join(err, os.WriteFile(file, nil, mode), os.Chmod(file, mode))
	}
	if err != nil {
		t.Fatal(err)
	}
	c := patient(t, "www.example.com")
	c.Settings.StateDir, c.Settings.File = state, open
	cert := c.Set.Certificate("one")
	cert.File, cert.CSRFile = closed, csr
	c.Set.Issuer("ca").CABundle = roots
	got := trouble(t, c)
	slices.Sort(got)
	want := []string{
		"failure files " + closed + ": user 4242 cannot read this file",
		"failure files " + csr + ": user 4242 cannot read this file: " + dir + "/secret does not let it pass",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestCAARecordsNameAccounts compares them with the one that is here (RFC 8657).
func TestCAARecordsNameAccounts(t *testing.T) {
	mine := doctor.Account{URL: "https://ca.example/acct/1", Directory: "https://ca.example/dir", Status: "valid"}
	for sentence, tt := range map[string]struct {
		name    string
		account doctor.Account
		err     error
		want    string
	}{
		"this one":         {"one.example.com", mine, nil, ""},
		"another one":      {"two.example.com", mine, nil, "failure name two.example.com: the CAA records of two.example.com allow another account than https://ca.example/acct/1: https://ca.example/acct/2"},
		"none yet":         {"one.example.com", doctor.Account{}, nil, "warning name one.example.com: the CAA records of one.example.com allow one account alone, and there is none here yet: https://ca.example/acct/1"},
		"what is not seen": {"one.example.com", doctor.Account{}, fs.ErrPermission, "skipped name one.example.com: the CAA records of one.example.com allow an account alone, and whether it is the one here cannot be seen"},
	} {
		t.Run(sentence, func(t *testing.T) {
			c := patient(t, tt.name)
			c.Account = func(context.Context, *spec.Issuer) (doctor.Account, error) { return tt.account, tt.err }
			got := slices.DeleteFunc(trouble(t, c), func(s string) bool { return strings.HasPrefix(s, "skipped account") })
			if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], tt.want)) {
				t.Errorf("got %q", got)
			}
		})
	}
}
