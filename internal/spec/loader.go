package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"time"
)

// LoaderConfig says what a Loader reads and what it knows of earlier runs.
type LoaderConfig struct {
	// Config is required.
	Config *Config
	// Recall returns the last good text of an earlier run for a key such as "certs/NAME.yaml", "issuers/NAME.yaml" or "dns/NAME.yaml",
	// or an error that wraps fs.ErrNotExist. Nil: nothing is remembered.
	Recall func(key string) ([]byte, error)
	// Known holds, for each key that Recall knows, the modification time that its file had. Nil: nothing is remembered.
	Known map[string]time.Time
	// Departed holds when the earlier run let go of the certificate of each name; those of the last hour count. Nil: of none.
	Departed map[string]time.Time
}

// Loader reads issuerDir, dnsDir and specDir again and again, and only what changed. It is for one goroutine at a time.
type Loader struct {
	config       *Config
	recall       func(key string) ([]byte, error)
	builtins     []*Issuer
	parser       *parser
	issuers      *folder[Issuer]
	providers    *folder[Provider]
	certificates *folder[Certificate]
	writers      map[string]string // which certificate in force writes a path of deploy.files
	set          *Set              // of the latest load; nil: there was none
}

// LoadOptions say how much a load may take away. The zero value is that of a load nobody asked for.
type LoadOptions struct {
	Now            bool // an explicit reload: files are read, and removals of files and names take effect, at once
	AcceptRemovals bool // lets go of what Set.Held names
	// Changed are the paths at which something may have changed since the last load, for one that looks at no other
	// file. Empty: nowhere; nil: anywhere.
	Changed []string
	// Writing reports what is known about the writer of a file, behind all links, that changed last at a time. It is called
	// before and after a file is read. Nil: nothing is known.
	Writing func(path string, changed time.Time) Writing
}

// Writing is what is known about the writer of a file.
type Writing uint8

const (
	Unseen Writing = iota // nothing: the file must stand still for some seconds
	Open                  // the file is open for writing, as far as is known
	Whole                 // the file was closed, renamed or linked, and not opened for writing since
)

// Loaded is the outcome of one load.
type Loaded struct {
	Set   *Set      // the same pointer as the load before when nothing changed
	Again time.Time // when to load again at the latest; zero: nothing pends
	Good  []Source  // to be remembered for Recall and Known of the next run
	Gone  []string  // keys to be forgotten
	// Beside are the files outside the directories on which specs depend, sorted: those that specs name, such as csrFile,
	// those to which links lead, and the links on the way.
	Beside []string
}

// Source is the text of a good file.
type Source struct {
	Key     string    // "certs/NAME.yaml", "issuers/NAME.yaml" or "dns/NAME.yaml"
	Text    []byte    // for Recall: of a certificate with csrFile, the CSR is in it
	ModTime time.Time // of the file
}

// NewLoader does not touch the disk yet.
func NewLoader(c LoaderConfig) (*Loader, error) {
	if c.Config == nil {
		return nil, errors.New("creating a spec loader: no config")
	}
	l := &Loader{recall: c.Recall, writers: map[string]string{}}
	if l.recall == nil {
		l.recall = func(string) ([]byte, error) { return nil, fs.ErrNotExist }
	}
	l.issuers = newFolder(issuersPrefix, c.Known, rules[Issuer]{
		parse:   func(file string, text []byte) draft[Issuer] { return l.parser.issuer(file, text) },
		recall:  func(file string, stored []byte) draft[Issuer] { return l.parser.rememberedIssuer(file, stored) },
		keep:    remember[Issuer],
		removes: func(_, _ *Issuer) []string { return nil },
		share:   func(_, _ *Issuer) {},
		claim:   func(*Issuer, *draft[Issuer]) *Problem { return nil },
		concede: func(*draft[Issuer]) {},
		release: func(*Issuer) {},
	})
	l.issuers.optional = true
	l.providers = newFolder(providersPrefix, c.Known, rules[Provider]{
		parse:   parseProvider,
		recall:  rememberedProvider,
		keep:    remember[Provider],
		removes: func(_, _ *Provider) []string { return nil },
		share:   func(_, _ *Provider) {},
		claim:   func(*Provider, *draft[Provider]) *Problem { return nil },
		concede: func(*draft[Provider]) {},
		release: func(*Provider) {},
	})
	l.providers.optional = true
	l.certificates = newFolder("certs/", c.Known, rules[Certificate]{
		parse:   func(file string, text []byte) draft[Certificate] { return l.parser.certificate(file, text) },
		recall:  func(file string, kept []byte) draft[Certificate] { return l.parser.remembered(file, kept) },
		keep:    Remember,
		removes: removedNames,
		share:   shareCertificate,
		claim:   l.claim,
		concede: l.concede,
		release: l.release,
	})
	l.certificates.departed = maps.Clone(c.Departed)
	l.SetConfig(c.Config)
	return l, nil
}

// SetConfig makes the next load follow c, which nobody changes afterwards. Every file is parsed again unless c says what the configuration said before.
func (l *Loader) SetConfig(c *Config) {
	if reflect.DeepEqual(l.config, c) {
		return
	}
	l.config, l.parser, l.builtins = c, &parser{config: c}, nil
	for _, ca := range Catalogue() {
		l.builtins = append(l.builtins, l.parser.baseIssuer(ca.Name))
	}
	l.issuers.dir, l.issuers.moved = c.IssuerDir, true
	l.providers.dir, l.providers.moved = c.DNSDir, true
	l.certificates.dir, l.certificates.moved = c.SpecDir, true
	l.issuers.recheck()
}

// Load looks at the files and reads those that changed and that nobody is writing any more. It never fails as a
// whole: what is wrong with a file is in the Problems of the set, and what cannot be read stays as it was.
func (l *Loader) Load(now time.Time, o LoadOptions) *Loaded {
	out := &Loaded{}
	if slices.ContainsFunc(o.Changed, l.elsewhere) {
		o.Changed = nil
	}
	load(l.issuers, l, now, o, out)
	load(l.providers, l, now, o, out)
	l.know()
	load(l.certificates, l, now, o, out)
	out.Again = earliest(earliest(l.issuers.pending, l.providers.pending), l.certificates.pending)
	out.Set = l.build()
	out.Beside = slices.Concat(l.issuers.besides(), l.providers.besides(), l.certificates.besides())
	return out
}

// elsewhere reports whether path is in none of the folders: it may be one that leads to them.
func (l *Loader) elsewhere(path string) bool {
	dir := filepath.Dir(path)
	return dir != l.certificates.dir && dir != l.issuers.dir && dir != l.providers.dir && !l.certificates.named(path)
}

func load[T any](f *folder[T], l *Loader, now time.Time, o LoadOptions, out *Loaded) {
	f.scan(now, o)
	if l.set == nil {
		f.seed(l.recall, out)
	}
	f.sweep(now, o, out)
	f.advance(now, o, out)
}

// Keys of files begin with these.
const (
	issuersPrefix   = "issuers/"
	providersPrefix = "dns/"
)

// know tells the parser which issuers and DNS providers there are. When others than before, every certificate is judged
// anew.
func (l *Loader) know() {
	files := map[string]*Issuer{}
	for _, e := range l.issuers.files.all() {
		if e.good != nil {
			files[e.name] = e.good
		}
	}
	p := l.parser.know(files, l.providers.names())
	p.awaited = append(l.issuers.awaited(), l.providers.awaited()...)
	if !maps.EqualFunc(p.issuers, l.parser.issuers, func(a, b *fault) bool { return (a == nil) == (b == nil) }) ||
		!slices.Equal(p.providers, l.parser.providers) {
		l.certificates.recheck()
	}
	l.parser = p
}

func (l *Loader) build() *Set {
	if l.set != nil && !l.issuers.moved && !l.providers.moved && !l.certificates.moved {
		return l.set
	}
	l.set = NewSet(l.certificates.inForce(), l.usable(), l.providers.inForce()...)
	l.set.Problems = slices.Concat(l.issuers.allProblems(), l.providers.allProblems(), l.certificates.allProblems())
	sortProblems(l.set.Problems)
	l.set.Held = l.held()
	for _, e := range l.certificates.files.those(func(e *entry[Certificate]) bool { return e.next.deferred() }) {
		l.set.Deferred = append(l.set.Deferred, Deferred{e.name, removedNames(e.good, e.next.value), e.next.until})
	}
	l.issuers.moved, l.providers.moved, l.certificates.moved = false, false, false
	return l.set
}

// usable are the issuers of files, and those built in that no file describes.
func (l *Loader) usable() []*Issuer {
	builtin := slices.DeleteFunc(slices.Clone(l.builtins), func(i *Issuer) bool {
		e := l.issuers.files.get(i.Name)
		return e != nil && e.good != nil
	})
	return append(builtin, l.issuers.inForce()...)
}

func (l *Loader) held() *Held {
	h := &Held{Certificates: l.certificates.held(), Issuers: l.issuers.held(), Providers: l.providers.held()}
	if len(h.Certificates)+len(h.Issuers)+len(h.Providers) == 0 {
		return nil
	}
	return h
}

// removedNames returns the names and addresses that old has and new has not.
func removedNames(old, new *Certificate) []string {
	var out []string
	for _, name := range old.DNSNames {
		if !slices.Contains(new.DNSNames, name) {
			out = append(out, name)
		}
	}
	for _, a := range old.IPAddresses {
		if !slices.ContainsFunc(new.IPAddresses, func(b netip.Addr) bool { return a == b }) {
			out = append(out, a.String())
		}
	}
	return out
}

// shareCertificate saves most of what many certificates would take that differ in their names only.
func shareCertificate(c, like *Certificate) {
	share(&c.Issuers, like.Issuers)
	share(&c.Challenge, like.Challenge)
	share(&c.Profile, like.Profile)
	share(&c.PreferredChain, like.PreferredChain)
	share(&c.PrivateKey, like.PrivateKey)
	share(&c.Labels, like.Labels)
	share(&c.Deploy.Check, like.Deploy.Check)
	share(&c.Deploy.Reload, like.Deploy.Reload)
	share(&c.Deploy.Restart, like.Deploy.Restart)
	share(&c.Deploy.Run, like.Deploy.Run)
	share(&c.Deploy.Probe, like.Deploy.Probe)
	share(&c.Deploy.Window, like.Deploy.Window)
}

func share[T any](v *T, like T) {
	if reflect.DeepEqual(*v, like) {
		*v = like
	}
}

// claim gives the output paths of d to its certificate, in exchange for those of old. A path that another one writes
// stays there.
func (l *Loader) claim(old *Certificate, d *draft[Certificate]) *Problem {
	c := d.value
	for i, file := range c.Deploy.Files {
		if writer, taken := l.writers[file.Path]; taken && writer != c.Name {
			return &Problem{
				File:    c.File,
				Line:    d.paths[i].line,
				Column:  d.paths[i].column,
				Field:   fmt.Sprintf("deploy.files[%d].path", i),
				Problem: file.Path + " is written by " + writer + suffix + " already",
				Hint:    "write to another path",
			}
		}
	}
	if old != nil {
		l.release(old)
	}
	for _, file := range c.Deploy.Files {
		l.writers[file.Path] = c.Name
	}
	return nil
}

// concede leaves to other certificates the paths that they write, so that nothing speaks against d.
func (l *Loader) concede(d *draft[Certificate]) {
	c := *d.value
	c.Deploy.Files = slices.DeleteFunc(slices.Clone(c.Deploy.Files), func(f File) bool {
		writer, taken := l.writers[f.Path]
		return taken && writer != c.Name
	})
	d.value, d.paths = &c, unknownPlaces(&c)
}

func (l *Loader) release(old *Certificate) {
	for _, file := range old.Deploy.Files {
		delete(l.writers, file.Path)
	}
}
