package eab_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acmed/internal/eab"
	"acmed/internal/spec"
)

const key = "e0453c5c-ef20-4e7a-8b41-270e9dd708ab"

// target is an issuer of an installation in a fresh folder.
func target(t *testing.T, name string) eab.Target {
	t.Helper()
	file := filepath.Join(t.TempDir(), "acmed.yaml")
	if err := os.WriteFile(file, []byte("issuerDir: issuers.d\nspecDir: certs.d\ntermsOfServiceAgreed: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := spec.LoadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	return eab.Target{Config: config, Name: name}
}

// written returns the issuer as acmed reads it, and its key.
func written(t *testing.T, want eab.Target) (*spec.Issuer, string) {
	t.Helper()
	text, err := os.ReadFile(want.IssuerFile())
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := spec.ParseIssuer(want.Config, want.IssuerFile(), text)
	if err != nil {
		t.Fatalf("acmed does not accept %s: %v", text, err)
	}
	secret, err := os.ReadFile(issuer.Binding.HMACKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	return issuer, strings.TrimSpace(string(secret))
}

func TestWrittenIssuers(t *testing.T) {
	for sentence, test := range map[string]struct {
		name, directory, want string
	}{
		"one of the catalogue inherits its directory":        {"sectigo-ov", "https://acme.sectigo.com/v2/OV", "https://acme.sectigo.com/v2/OV"},
		"one of the catalogue may have another one":          {"sectigo-ov", "https://acme.sectigo.com/v2/InCommonRSAOV", "https://acme.sectigo.com/v2/InCommonRSAOV"},
		"the CA's directory is taken where none is said":     {"zerossl", "", "https://acme.zerossl.com/v2/DV90"},
		"any other name needs one":                           {"corp", "https://acme.sectigo.com/v2/EV", "https://acme.sectigo.com/v2/EV"},
		"a directory that looks like YAML stays a directory": {"corp", "https://ca.example/&a/*b", "https://ca.example/&a/*b"},
	} {
		t.Run(sentence, func(t *testing.T) {
			to := target(t, test.name)
			const kid = `kid:"#&*{}`
			err := eab.Write(to, eab.Binding{Directory: test.directory, KID: kid, Key: key, Origin: "from\nelsewhere: x"})
			if err != nil {
				t.Fatal(err)
			}
			issuer, secret := written(t, to)
			if issuer.Directory != test.want || issuer.Binding.KID != kid || secret != key {
				t.Errorf("acmed reads %+v, %+v, %q", issuer, issuer.Binding, secret)
			}
			for file, mode := range map[string]fs.FileMode{
				to.IssuerFile(): 0o644, to.KeyFile(): 0o640, filepath.Dir(to.KeyFile()): fs.ModeDir | 0o750, filepath.Dir(to.IssuerFile()): fs.ModeDir | 0o755,
			} {
				if info, err := os.Stat(file); err != nil || info.Mode() != mode {
					t.Errorf("%s has the mode %v, want %v: %v", file, info.Mode(), mode, err)
				}
			}
		})
	}
}

// TestRefusedBindings leave no file behind.
func TestRefusedBindings(t *testing.T) {
	for sentence, b := range map[string]eab.Binding{
		"a directory that is not https":     {Directory: "http://ca.example/directory", KID: "a", Key: key},
		"an issuer without a directory":     {KID: "a", Key: key},
		"a key identifier of two lines":     {Directory: "https://ca.example/directory", KID: "a\nproxy: http://evil", Key: key},
		"no key identifier":                 {Directory: "https://ca.example/directory", Key: key},
		"a key that is no base64url":        {Directory: "https://ca.example/directory", KID: "a", Key: key + "\n\nrm"},
		"a key that is too short to be one": {Directory: "https://ca.example/directory", KID: "a", Key: "c2VjcmV0"},
	} {
		t.Run(sentence, func(t *testing.T) {
			to := target(t, "corp")
			if err := eab.Write(to, b); err == nil {
				t.Error("it was written")
			}
			for _, file := range []string{to.IssuerFile(), to.KeyFile()} {
				if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s is there: %v", file, err)
				}
			}
		})
	}
}

func TestNothingIsReplacedUnasked(t *testing.T) {
	to := target(t, "corp")
	first := eab.Binding{Directory: "https://ca.example/directory", KID: "first", Key: key}
	second := eab.Binding{Directory: "https://ca.example/directory", KID: "second", Key: strings.Repeat("k", 32)}
	if err := eab.Write(to, first); err != nil {
		t.Fatal(err)
	}
	if err := eab.Write(to, second); !errors.Is(err, fs.ErrExist) {
		t.Errorf("writing it again: %v", err)
	}
	if issuer, secret := written(t, to); issuer.Binding.KID != "first" || secret != key {
		t.Errorf("it now has the binding %s", issuer.Binding.KID)
	}

	to.Replace = true
	if err := eab.Write(to, second); err != nil {
		t.Fatal(err)
	}
	if issuer, secret := written(t, to); issuer.Binding.KID != "second" || secret != second.Key {
		t.Errorf("it still has the binding %s", issuer.Binding.KID)
	}
	if err := os.Remove(to.KeyFile()); err != nil {
		t.Fatal(err)
	}
	to.Replace = false
	if err := eab.Write(to, first); !errors.Is(err, fs.ErrExist) {
		t.Errorf("with the issuer alone: %v", err)
	}
	if _, err := os.Lstat(to.KeyFile()); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the key of a refused issuer is there")
	}
	for _, file := range []string{to.KeyFile(), to.IssuerFile()} {
		if drafts, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); err != nil || len(drafts) > 0 {
			t.Errorf("drafts were left: %v, %v", drafts, err)
		}
	}
}

func TestNamesThatAreNoIssuers(t *testing.T) {
	for _, name := range []string{"", "../sectigo", "Sectigo", ".hidden", "a b", strings.Repeat("a", 129)} {
		if err := target(t, name).Check(); err == nil || !strings.Contains(err.Error(), "is no name for an issuer") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
