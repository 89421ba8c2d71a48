// Package eab writes external account bindings where acmed reads them: the file of an issuer, and beside it the file of
// its HMAC key among the secrets.
//
// It owns the text of those two files, their modes and their owner, and that neither is ever seen half-written. It
// never replaces a file unless it is told to, never writes an issuer that acmed would not accept, and asks no CA.
package eab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"acmed/internal/newfile"
	"acmed/internal/spec"
)

// Target is an issuer to be written.
type Target struct {
	Config  *spec.Config // says where; required
	Name    string       // of the issuer
	Replace bool         // files that are there already
}

// Binding is what to write.
type Binding struct {
	Directory string // of the CA; "": that of the catalogue
	KID, Key  string // as the CA gave them
	Origin    string // one line about where it is from; it becomes a comment
}

// IssuerFile is where the issuer is written.
func (t Target) IssuerFile() string { return filepath.Join(t.Config.IssuerDir, t.Name+".yaml") }

// KeyFile is where the HMAC key is written: in the folder secrets beside acmed.yaml.
func (t Target) KeyFile() string {
	return filepath.Join(filepath.Dir(t.Config.File), "secrets", t.Name)
}

// Check tells before a CA is asked what would keep Write from working. It changes nothing.
func (t Target) Check() error {
	if !spec.ValidName(t.Name) {
		return fmt.Errorf("%q is no name for an issuer: %s", t.Name, spec.NameRule)
	}
	for _, file := range []string{t.KeyFile(), t.IssuerFile()} {
		_, err := os.Lstat(file)
		switch {
		case err == nil && !t.Replace:
			return fmt.Errorf("writing %s: %w", file, fs.ErrExist)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("writing %s: %w", file, err)
		}
		if err := newfile.Writable(filepath.Dir(file)); err != nil {
			return err
		}
	}
	return nil
}

var (
	kidPattern = regexp.MustCompile(`^[!-~]{1,256}$`)
	keyPattern = regexp.MustCompile(`^[A-Za-z0-9+/_-]{16,512}={0,2}$`)
)

// Write writes the key, then the issuer, which acmed reads at once.
func Write(t Target, b Binding) error {
	if err := t.Check(); err != nil {
		return err
	}
	switch {
	case !kidPattern.MatchString(b.KID):
		return errors.New("the CA's key identifier is not a word of 256 characters at most")
	case !keyPattern.MatchString(b.Key):
		return errors.New("the CA's HMAC key is not base64url of 16 to 512 characters")
	}
	text, err := t.text(b)
	if err != nil {
		return err
	}
	if err := newfile.Put(t.KeyFile(), []byte(b.Key+"\n"), 0o640, t.Replace); err != nil {
		return err
	}
	if err := newfile.Put(t.IssuerFile(), text, 0o644, t.Replace); err != nil {
		if !t.Replace {
			err = errors.Join(err, os.Remove(t.KeyFile()))
		}
		return err
	}
	return nil
}

// text is the issuer's file, after acmed's own reading of it.
func (t Target) text(b Binding) ([]byte, error) {
	var s strings.Builder
	s.WriteString("# yaml-language-server: $schema=/usr/share/acmed/schema/issuer.json\n")
	fmt.Fprintf(&s, "# %s\n", oneLine(b.Origin))
	if ca := catalogued(t.Name); b.Directory != "" && b.Directory != ca {
		fmt.Fprintf(&s, "directory: %s\n", strconv.Quote(b.Directory))
	}
	fmt.Fprintf(&s, "externalAccountBinding:\n  kid: %s\n  hmacKeyFile: %s\n", strconv.Quote(b.KID), strconv.Quote(t.KeyFile()))
	if _, err := spec.ParseIssuer(t.Config, t.IssuerFile(), []byte(s.String())); err != nil {
		return nil, fmt.Errorf("making the issuer: %w", err)
	}
	return []byte(s.String()), nil
}

// catalogued is the directory of the built-in issuer of that name; "": there is none.
func catalogued(name string) string {
	for _, ca := range spec.Catalogue() {
		if ca.Name == name {
			return ca.Directory
		}
	}
	return ""
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
