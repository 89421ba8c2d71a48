// Package migrate takes over what another ACME client has: its accounts with their keys, its certificates with theirs
// as first revisions, and what it was told to do with them as specs.
//
// It owns the knowledge of those clients' files, which it reads as what a stranger wrote: bounded, strictly, and never
// outside the folder that it was given. Look plans and changes nothing; Apply does what a plan says, and only adds: it
// writes over no spec, no account and no certificate, so that it can be repeated. It never changes a file of the other
// client, never talks to a CA, and never orders anything.
package migrate

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"acmed/internal/acme"
	"acmed/internal/spec"
)

// Note is something to be looked at: it was not carried over, or works only with the operator's help.
type Note struct {
	What string `json:"what"`
	Do   string `json:"do,omitempty"` // what the operator does about it; "": nothing has to be done
}

// Found is what a client has.
type Found struct {
	Accounts     []Account
	Certificates []Certificate
	Notes        []Note // about more than one certificate
	// Serves are the paths that servers read, with NAME for that of a certificate, and what they are below acmed's state
	// folder. None where the client writes copies, as acmed goes on to do.
	Serves [][2]string
}

// Account is an account at a CA.
type Account struct {
	From      string // the file of its key
	Directory string
	URL       string // "": acmed looks it up by its key
	Contact   []string
	Key       crypto.Signer
}

// Certificate is one that the client looks after.
type Certificate struct {
	Name      string // what the client calls it
	From      string // the file that says so
	Directory string
	CABundle  string           // file of the roots of a private CA; "": the system's
	Account   string           // the URL of the account that it was ordered with; "": unknown
	Provider  *Provider        // for dns-01; nil: Want names one that the operator writes, if any
	Want      spec.Certificate // what acmed is to do; all but Name, File and Issuers
	Pair      *Pair            // nil: there is none that could be served
	Unfit     string           // why there is none
	Notes     []Note
	leaf      *x509.Certificate // of the chain that the client has; nil: none
}

// Pair is a key with a chain that was issued for it.
type Pair struct {
	Key   crypto.Signer
	Chain acme.Issued
}

// note says what is to be looked at.
func (c *Certificate) note(do, what string, args ...any) {
	c.Notes = append(c.Notes, Note{fmt.Sprintf(what, args...), do})
}

func (f *Found) note(do, what string, args ...any) {
	f.Notes = append(f.Notes, Note{fmt.Sprintf(what, args...), do})
}

// Options say what is looked at.
type Options struct {
	Client string // one of Clients; required
	Dir    string // the client's folder; "": where the client has it by itself
	Server string // the ACME directory, where the client does not write it down; "": as far as it can be told
	Names  []string
	Config *spec.Config // of acmed; required
	Now    time.Time    // required
}

// client is how one client's folder is read.
type client struct {
	name, dir string
	stop      string // what keeps it from renewing
	look      func(r *reading) (*Found, error)
}

// traefikName is the client whose --dir may be a file.
const traefikName = "traefik"

func clients() []client {
	return []client{
		{"acme.sh", "~/.acme.sh", "crontab -e, and remove the line with acme.sh --cron", readAcmeSh},
		{"caddy", "/var/lib/caddy/.local/share/caddy", "write tls CERTIFICATE KEY into each site of the Caddyfile, and systemctl reload caddy", readCaddy},
		{"certbot", "/etc/letsencrypt", "systemctl disable --now certbot.timer, and what crontabs run certbot", readCertbot},
		{"dehydrated", "/etc/dehydrated", "the cron job or timer that runs dehydrated", readDehydrated},
		{"lego", ".lego", "the cron job or timer that runs lego", readLego},
		{traefikName, "/etc/traefik/acme.json", "remove certResolver from Traefik's routers and entry points, and restart it", readTraefik},
	}
}

// Clients are the clients that can be imported from, with the folders that they have by themselves.
func Clients() map[string]string {
	out := map[string]string{}
	for _, c := range clients() {
		out[c.name] = c.dir
	}
	return out
}

// reading is one look at a client's folder.
type reading struct {
	*tree
	file      string         // that was named, for a client that has but one; "": a directory was named
	known     []*spec.Issuer // to acmed
	providers []string       // names of DNS providers that acmed has
	server    string         // of Options
	now       time.Time
}

// read looks into the folder of the client, and returns its absolute path, too.
func (c *client) read(o *Options, known []*spec.Issuer) (*Found, string, error) {
	dir := cmp.Or(o.Dir, c.dir)
	if rest, ours := strings.CutPrefix(dir, "~/"); ours {
		dir = filepath.Join(os.Getenv("HOME"), rest)
	}
	file := ""
	if c.name == traefikName {
		dir, file = split(dir)
	}
	t, err := openTree(dir)
	if err != nil {
		return nil, "", fmt.Errorf("importing from %s: %w; name its folder with --dir", c.name, err)
	}
	defer t.close()
	found, err := c.look(&reading{tree: t, file: file, known: known, providers: providersIn(o.Config.DNSDir), server: o.Server, now: o.Now})
	if err != nil {
		return nil, "", fmt.Errorf("importing from %s: %w", c.name, err)
	}
	if len(found.Certificates) == 0 {
		return nil, "", fmt.Errorf("importing from %s: there is no certificate of it in %s; name its folder with --dir", c.name, t.dir)
	}
	return found, t.dir, nil
}

// Next is what is left to the operator after an import.
type Next struct {
	Paths []Path `json:"paths"`
	Stop  string `json:"stop"` // how the other client is kept from renewing
}

// Path is one that servers read.
type Path struct {
	Old string `json:"old"`
	New string `json:"new"`
}

// next says how the operator goes on.
func (c *client) next(found *Found, state string) Next {
	n := Next{Stop: c.stop, Paths: []Path{}}
	for _, s := range found.Serves {
		n.Paths = append(n.Paths, Path{s[0], filepath.Join(state, s[1])})
	}
	return n
}
