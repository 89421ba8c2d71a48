// Package newcert writes the spec of a new certificate.
//
// It owns the name and the text of that file, and the rule that nothing is written which acmed would not accept. It does
// not communicate with the daemon or with a CA.
package newcert

import (
	"net/netip"
	"path/filepath"
	"strings"

	"acmed/internal/newfile"
	"acmed/internal/spec"
)

// Wish is what the operator wants. Its zero fields are left to the defaults.
type Wish struct {
	Names    []string // DNS names and IP addresses; at least one
	Name     string   // of the certificate; "": derived from the first of Names
	Issuers  []string
	Provider string // for dns-01; "": the challenge of the defaults
	Profile  string
	Reload   []string // systemd units; ".service" may be missing
	Restart  []string // as Reload
	Probe    []string // addresses with ports
}

// Draft is a spec that is not written yet.
type Draft struct {
	Name        string // of the certificate
	Path        string // of its file
	Text        string
	Certificate *spec.Certificate // nil: Text is invalid
	Problems    []*spec.Problem   // that speak against writing it
}

// New returns the draft of a spec after checking it with the files that exist.
func New(c *spec.Config, w Wish) Draft {
	name := w.Name
	if name == "" {
		name = nameFor(w.Names[0])
	}
	d := Draft{Name: name, Path: filepath.Join(c.SpecDir, name+".yaml"), Text: w.text()}
	if !spec.ValidName(name) {
		d.Problems = []*spec.Problem{{File: d.Path, Field: "name", Problem: "invalid name of a certificate", Hint: "choose a name of " + spec.NameRule}}
		return d
	}
	d.Certificate, d.Problems = spec.CheckNew(c, d.Path, []byte(d.Text))
	return d
}

// Write creates the file. An existing file is an error that wraps fs.ErrExist.
func (d Draft) Write() error { return newfile.Put(d.Path, []byte(d.Text), 0o644, false) }

// nameFor returns the name of the certificate for a DNS name or an IP address.
func nameFor(s string) string {
	if a, err := netip.ParseAddr(s); err == nil && a.Is6() {
		return "ip-" + spec.NameFor(strings.TrimLeft(a.String(), ":"))
	}
	if ascii, err := spec.ParseDNSName(s); err == nil {
		s = ascii
	}
	return spec.NameFor(s)
}
