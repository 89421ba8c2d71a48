package spec

import (
	"os"
	"path/filepath"
	"strings"
)

// This file refuses paths that lead into acmed's own directories. A file that is written there damages them, and a web server
// that serves them, or a directory above them, gives private keys and secrets away.

// helperDir is where the deploy helper keeps specs, unless its unit sets another directory.
const helperDir = "/var/lib/acmed-deploy"

// ownDir is a directory, or a file, of acmed's.
type ownDir struct {
	path, real string // real is path behind all links
	what       string
	open       bool // files may be deployed into it
}

// own returns acmed's directories as the configuration names them.
func (c *Config) own() []ownDir {
	etc := filepath.Dir(c.File)
	all := []ownDir{
		{path: c.StateDir, what: "the state directory"},
		{path: c.SpecDir, what: "the directory of the specs"},
		{path: c.IssuerDir, what: "the directory of the issuers"},
		{path: c.DNSDir, what: "the directory of the DNS providers"},
		{path: c.RuntimeDir, what: "the runtime directory"},
		{path: helperDir, what: "the directory of the deploy helper"},
		{path: filepath.Join(etc, "secrets"), what: "the directory of the secrets", open: true},
		{path: c.File, what: "the configuration", open: true},
		{path: c.Notify.URLFile, what: "notify.urlFile", open: true},
		{path: c.Notify.TokenFile, what: "notify.tokenFile", open: true},
	}
	known := all[:0]
	for _, d := range all {
		if filepath.IsAbs(d.path) {
			d.path = filepath.Clean(d.path)
			d.real = d.path
			known = append(known, d)
		}
	}
	return known
}

// resolved returns acmed's directories with what is behind their links.
func (c *Config) resolved() []ownDir {
	dirs := c.own()
	for i := range dirs {
		dirs[i].real = behind(dirs[i].path)
	}
	return dirs
}

// behind returns where a path leads, which need not exist.
func behind(path string) string {
	if leads := Leads(path); leads != nil {
		return leads[len(leads)-1]
	}
	return path
}

// within reports whether path is dir or in it.
func within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// holds reports whether path, which leads to real, is in d.
func (d *ownDir) holds(path, real string) bool {
	return within(path, d.path) || within(real, d.real) || within(real, d.path) || within(path, d.real)
}

// isIn reports whether d is in path, which leads to real.
func (d *ownDir) isIn(path, real string) bool {
	return within(d.path, path) || within(d.real, real) || within(d.path, real) || within(d.real, path)
}

// same reports whether two paths are one directory, as a bind mount makes them.
func same(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// dirs returns acmed's directories. Where the text comes from a user with fewer rights, no link is followed.
func (p *parser) dirs() []ownDir {
	switch {
	case p.apart:
		return p.config.own()
	case p.own == nil:
		return p.config.resolved()
	}
	return p.own
}

// checkOwn refuses a webroot, and files of deploy, that lead into acmed's own directories.
func (p *parser) checkOwn(v value, c *Certificate) {
	if c.Challenge.Webroot == "" && len(c.Deploy.Files) == 0 {
		return
	}
	dirs := p.dirs()
	if wrong := badWebroot(dirs, c.Challenge.Webroot, p.apart); wrong != nil {
		at, where := v.at("challenge"), " in the defaults of "+p.config.File
		if v.has("challenge") {
			at, where = at.at("webroot"), ""
		}
		at.fault(wrong.problem+where, wrong.hint)
	}
	for i, e := range v.at("deploy").at("files").elements() {
		if i < len(c.Deploy.Files) && e.has("path") {
			p.checkTarget(dirs, e.at("path"), c.Deploy.Files[i].Path)
		}
	}
}

// checkTarget refuses a file of deploy in one of acmed's directories.
func (p *parser) checkTarget(dirs []ownDir, at value, path string) {
	real := path
	if !p.apart {
		real = filepath.Join(behind(filepath.Dir(path)), filepath.Base(path)) // a link in the place of the file is replaced
	}
	for _, d := range dirs {
		if path != "" && !d.open && d.holds(path, real) {
			at.fault(path+leadsTo(path, real)+" is in "+d.what+" "+d.path, "write the file to a directory that is not acmed's own")
			return
		}
	}
}

// badWebroot returns why acmed does not write responses below a directory.
func badWebroot(dirs []ownDir, root string, apart bool) *fault {
	if root == "" {
		return nil
	}
	real := root
	if !apart {
		real = behind(root)
	}
	for _, d := range dirs {
		switch {
		case d.holds(root, real), !apart && same(root, d.path):
			return &fault{root + leadsTo(root, real) + " is in " + d.what + " " + d.path,
				"set the directory that your web server serves, or remove webroot: acmed then answers from its own token directory"}
		case d.isIn(root, real):
			return &fault{root + leadsTo(root, real) + " holds " + d.what + " " + d.path + ", which a web server must not serve",
				"set the directory of the web site alone, such as /var/www/html"}
		}
	}
	return nil
}

// WebrootLeads returns why acmed does not write responses below a webroot that leads to another directory just now. What a
// spec names itself is judged when it is read.
func (c *Config) WebrootLeads(webroot, real string) error {
	if webroot == real {
		return nil
	}
	for _, d := range c.resolved() {
		if d.holds(real, real) {
			return (&fault{webroot + leadsTo(webroot, real) + " is in " + d.what + " " + d.path, "set the directory that your web server serves"}).err()
		}
	}
	return nil
}

func leadsTo(path, real string) string {
	if path == real {
		return ""
	}
	return " leads to " + real + ", which"
}

// checkDefaultWebroot doubts the webroot of acmed.yaml. Each spec that has no other one is refused.
func checkDefaultWebroot(v value, c *Config) {
	if wrong := badWebroot(c.resolved(), c.Defaults.Challenge.Webroot, false); wrong != nil {
		v.at("defaults").at("challenge").at("webroot").doubt(wrong.problem, wrong.hint)
	}
}
