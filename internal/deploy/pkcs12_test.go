package deploy_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"software.sslmate.com/src/go-pkcs12"

	"acmed/internal/deploy"
	"acmed/internal/spec"
)

// keyStoreJob delivers a key store only.
func keyStoreJob(t *testing.T, dir string) deploy.Job {
	return job(t, "www.example.com", spec.Deploy{Files: []spec.File{{Path: dir + "/p12", Content: "pkcs12", PasswordFile: dir + "/password"}}})
}

func TestPasswordFiles(t *testing.T) {
	text := func(s string) func(path string) error {
		return func(path string) error { return os.WriteFile(path, []byte(s), 0o600) }
	}
	for sentence, c := range map[string]struct {
		prepare  func(path string) error
		password string
		says     string // "": it works
	}{
		"one line":              {prepare: text("open sesame\n"), password: "open sesame"},
		"no end of line":        {prepare: text("open sesame"), password: "open sesame"},
		"a foreign end of line": {prepare: text("open sesame\r\n"), password: "open sesame"},
		"blanks belong to it":   {prepare: text(" open sesame \n"), password: " open sesame "},
		"letters of the world":  {prepare: text("pässwörd \u4e16\u754c\n"), password: "pässwörd \u4e16\u754c"},
		"one newline goes":      {prepare: text("open\n\n"), password: "open\n"},
		"a link to it": {prepare: func(path string) error {
			if err := text("open sesame\n")(path + ".1"); err != nil {
				return err
			}
			return os.Symlink(path+".1", path)
		}, password: "open sesame"},
		"none":             {prepare: func(string) error { return nil }, says: "no such file"},
		"an empty one":     {prepare: text(""), says: "it is empty"},
		"an empty line":    {prepare: text("\n"), says: "it is empty"},
		"a long one":       {prepare: text(strings.Repeat("x", 5000)), says: "over 4096 bytes"},
		"a folder":         {prepare: func(path string) error { return os.Mkdir(path, 0o755) }, says: "is not a regular file"},
		"a named pipe":     {prepare: func(path string) error { return unix.Mkfifo(path, 0o600) }, says: "is not a regular file"},
		"an endless one":   {prepare: func(path string) error { return os.Symlink("/dev/zero", path) }, says: "others than root may write it"},
		"no letters in it": {prepare: text("open \U0001F511\n"), says: "encoding PKCS #12"},
	} {
		t.Run(sentence, func(t *testing.T) {
			dir := folderFor(t)
			if err := c.prepare(dir + "/password"); err != nil {
				t.Fatal(err)
			}
			j := keyStoreJob(t, dir)
			r := one(t, newExecutor(t, nil), j)["file "+dir+"/p12"]
			if c.says != "" {
				if r.OK || !strings.Contains(r.Problem, c.says) || r.Hint == "" || read(t, dir+"/p12") != "" {
					t.Errorf("got %+v, want a problem with %q", r, c.says)
				}
				return
			}
			if !r.OK {
				t.Fatalf("%+v", r)
			}
			if _, leaf, issuers, err := pkcs12.DecodeChain([]byte(read(t, dir+"/p12")), c.password); err != nil || leaf.DNSNames[0] != "www.example.com" || len(issuers) != 1 {
				t.Errorf("it does not open: %v", err)
			}
		})
	}
}

// TestAPasswordFileThatOthersCanExchangeIsNotRead is about root, who could be led to read any file.
func TestAPasswordFileThatOthersCanExchangeIsNotRead(t *testing.T) {
	for sentence, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		says  string
	}{
		"its directory can be written by all":     {func(t *testing.T, dir string) { must0(t, os.Chmod(dir, 0o777)) }, "others than root may write it"},
		"its directory can be written by a group": {func(t *testing.T, dir string) { must0(t, os.Chmod(dir, 0o775)) }, "others than root may write it"},
		"it is right in a directory like /tmp":    {func(t *testing.T, dir string) { must0(t, os.Chmod(dir, 0o777|fs.ModeSticky)) }, "others than root may write it"},
		"it can be written by a group":            {func(t *testing.T, dir string) { must0(t, os.Chmod(dir+"/password", 0o660)) }, "others than root may write it"},
		"it is of another user":                   {func(t *testing.T, dir string) { estrange(t, dir+"/password") }, "belongs to uid 54321"},
		"its directory is of another user":        {func(t *testing.T, dir string) { estrange(t, dir) }, "belongs to uid 54321"},
		"it is another user's link to a file of root": {func(t *testing.T, dir string) {
			must0(t, os.Rename(dir+"/password", dir+"/secret"))
			must0(t, os.Symlink("secret", dir+"/password"))
			estrange(t, dir+"/password")
		}, "belongs to uid 54321"},
		"a directory of another user leads to it": {func(t *testing.T, dir string) {
			must0(t, os.Mkdir(dir+"/home", 0o755))
			must0(t, os.Symlink(dir+"/password", dir+"/home/password"))
			must0(t, os.Rename(dir+"/password", dir+"/secret"))
			must0(t, os.Symlink("home/password", dir+"/password"))
			estrange(t, dir+"/home")
		}, "belongs to uid 54321"},
	} {
		t.Run(sentence, func(t *testing.T) {
			dir, out := folderFor(t), folderFor(t)
			write(t, dir+"/password", "open sesame\n", 0o600)
			c.spoil(t, dir)
			j := job(t, "www.example.com", spec.Deploy{Files: []spec.File{{Path: out + "/p12", Content: "pkcs12", PasswordFile: dir + "/password"}}})
			r := one(t, newExecutor(t, nil), j)["file "+out+"/p12"]
			if r.OK || !strings.Contains(r.Problem, c.says) || !strings.HasPrefix(r.Hint, "ch") || read(t, out+"/p12") != "" {
				t.Errorf("got %+v, want a problem with %q", r, c.says)
			}
		})
	}
}

func TestAKeyStoreIsWrittenOnlyForNewContent(t *testing.T) {
	dir, e := folderFor(t), newExecutor(t, nil)
	write(t, dir+"/password", "open sesame\n", 0o600)
	j := keyStoreJob(t, dir)
	deliver := func(j deploy.Job) string {
		t.Helper()
		if r := one(t, e, j)["file "+dir+"/p12"]; !r.OK {
			t.Fatalf("%+v", r)
		}
		return stamps(t, dir) + read(t, dir+"/p12")
	}
	first := deliver(j)
	if deliver(j) != first {
		t.Error("what was right was written again")
	}
	write(t, dir+"/password", "shut sesame\n", 0o600)
	second := deliver(j)
	next := keyStoreJob(t, dir)
	third := deliver(next)
	if first == second || second == third {
		t.Error("another password, or another certificate, did not make another file")
	}
	// No salt is used for two contents: the first bytes that differ come early.
	if a, b := read(t, dir+"/p12"), []byte(first); bytes.Contains(b, []byte(a[len(a)-16:])) {
		t.Error("two files have a salt in common")
	}
}

func TestOpenSSLReadsAKeyStore(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Log("openssl is not installed: what Go reads has to do") // TestPasswordFiles sees to it
		return
	}
	dir := folderFor(t)
	write(t, dir+"/password", "open sesame\n", 0o600)
	j := keyStoreJob(t, dir)
	one(t, newExecutor(t, nil), j)
	out, err := exec.Command(openssl, "pkcs12", "-in", filepath.Join(dir, "p12"), "-passin", "file:"+dir+"/password", "-nodes").CombinedOutput()
	if err != nil || strings.Count(string(out), "BEGIN CERTIFICATE") != 2 || !strings.Contains(string(out), "BEGIN PRIVATE KEY") {
		t.Errorf("%v:\n%s", err, out)
	}
}
