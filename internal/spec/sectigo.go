package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// Sectigo is sectigo.yaml: how `acmed sectigo` asks Sectigo Certificate Manager. The daemon does not read it.
type Sectigo struct {
	File         string
	URL          string // of the API; "": the one that most customers use
	CustomerURI  string
	Login        string
	PasswordFile string
	Organization int // 0: none
}

var sectigoKind = object(nil,
	key("url", "the REST API of your Sectigo Certificate Manager; default `https://cert-manager.com/api`",
		func(s *Sectigo) *string { return &s.URL }, word("the URL of the API", parseNonEmpty)),
	key("customerUri", "the last part of the URL at which you log in",
		func(s *Sectigo) *string { return &s.CustomerURI }, word("the URI of the customer", parseNonEmpty)),
	key("login", "an administrator who may use the API",
		func(s *Sectigo) *string { return &s.Login }, word("a login", parseNonEmpty)),
	key("passwordFile", "a file that holds the password",
		func(s *Sectigo) *string { return &s.PasswordFile }, pathKind),
	key("organization", "the ID of the organization that `account create` and `account list` are about",
		func(s *Sectigo) *int { return &s.Organization }, integer(1, 1<<31-1)),
)

// SectigoFile is where sectigo.yaml belongs: beside acmed.yaml.
func (c *Config) SectigoFile() string { return filepath.Join(filepath.Dir(c.File), "sectigo.yaml") }

// LoadSectigo reads sectigo.yaml. A file that is not there is an error that wraps fs.ErrNotExist; what is wrong in the
// file comes as joined values of *Problem.
func LoadSectigo(file string) (*Sectigo, error) {
	absolute, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	text, err := readText(absolute)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("reading %s: %w", absolute, fs.ErrNotExist)
	case err != nil:
		return nil, fileProblem(absolute, err)
	}
	doc, s := &document{file: absolute}, &Sectigo{File: absolute}
	if root, _ := doc.parse(text); root != nil {
		sectigoKind.read(*root, s)
	}
	if err := joined(doc.result()); err != nil {
		return nil, err
	}
	return s, nil
}
