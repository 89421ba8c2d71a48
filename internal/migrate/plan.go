package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"acmed/internal/spec"
	"acmed/internal/store"
)

// Action says what becomes of something.
type Action string

// The actions.
const (
	Import  Action = "import"  // it is carried over whole
	Order   Action = "order"   // only a spec is written: acmed will order a certificate
	Present Action = "present" // acmed has it already, and it is left as it is
	Refuse  Action = "refuse"  // it is not carried over
)

// Plan says what an import does.
type Plan struct {
	Client       string         `json:"client"`
	Dir          string         `json:"dir"`
	Issuers      []IssuerFile   `json:"issuers"`   // to be written
	Providers    []ProviderFile `json:"providers"` // to be written
	Accounts     []AccountStep  `json:"accounts"`
	Certificates []Step         `json:"certificates"`
	Notes        []Note         `json:"notes"`
	Next         Next           `json:"next"`

	config *spec.Config
}

// IssuerFile is a file of issuers.d that is missing.
type IssuerFile struct {
	Name      string `json:"name"`
	Directory string `json:"directory"`
	File      string `json:"file"`
	text      string
}

// AccountStep is what becomes of an account.
type AccountStep struct {
	Issuer string `json:"issuer"`
	URL    string `json:"url,omitempty"`
	From   string `json:"from"`
	Action Action `json:"action"`
	Why    string `json:"why,omitempty"`
	have   Account
}

// Step is what becomes of a certificate.
type Step struct {
	Name     string    `json:"name"`
	Former   string    `json:"former,omitempty"` // what the other client calls it, if not the same
	From     string    `json:"from"`
	Action   Action    `json:"action"`
	Why      string    `json:"why,omitempty"`
	Issuer   string    `json:"issuer,omitempty"`
	Names    []string  `json:"names"`
	Key      string    `json:"key,omitempty"`
	NotAfter time.Time `json:"notAfter,omitzero"`
	SpecFile string    `json:"specFile"`
	Spec     string    `json:"spec,omitempty"` // the text that is written
	Notes    []Note    `json:"notes"`
	have     Certificate
}

// Do tells whether anything is to be done.
func (p *Plan) Do() bool {
	return len(p.Issuers)+len(p.Providers) > 0 ||
		slices.ContainsFunc(p.Accounts, func(a AccountStep) bool { return a.Action == Import }) ||
		slices.ContainsFunc(p.Certificates, func(s Step) bool { return s.does() })
}

func (s *Step) does() bool { return s.Action == Import || s.Action == Order }

// Look reads what another client has and plans what an import does. It changes nothing.
func Look(o Options) (*Plan, error) {
	set, err := spec.Preview(spec.LoaderConfig{Config: o.Config})
	if err != nil {
		return nil, err
	}
	all := clients()
	i := slices.IndexFunc(all, func(c client) bool { return c.name == o.Client })
	if i < 0 {
		return nil, fmt.Errorf("importing from %q: acmed does not know that client", o.Client)
	}
	found, dir, err := all[i].read(&o, slices.Collect(issuersOf(set)))
	if err != nil {
		return nil, err
	}
	state, err := openState(o.Config.StateDir)
	if err != nil {
		return nil, err
	}
	if state != nil {
		defer func() { _ = state.Close() }() // nothing was written
	}
	p := &planner{
		Plan: &Plan{
			Client: o.Client, Dir: dir, Notes: found.Notes, Next: all[i].next(found, o.Config.StateDir), config: o.Config,
			Issuers: []IssuerFile{}, Providers: []ProviderFile{}, Accounts: []AccountStep{}, Certificates: []Step{},
		}, set: set, state: state, issuers: map[string]*spec.Issuer{}, providers: map[string]ProviderFile{}, taken: map[string]string{},
	}
	if err := p.choose(found, o.Names); err != nil {
		return nil, err
	}
	if err := p.judge(); err != nil {
		return nil, err
	}
	return p.Plan, p.complete(found)
}

func issuersOf(set *spec.Set) func(func(*spec.Issuer) bool) {
	return func(yield func(*spec.Issuer) bool) {
		for _, i := range set.Issuers() {
			if !yield(i) {
				return
			}
		}
	}
}

// openState reads the state folder, which need not exist yet.
func openState(dir string) (*store.Reader, error) {
	if names, err := os.ReadDir(dir); errors.Is(err, fs.ErrNotExist) || err == nil && len(names) == 0 {
		return nil, nil
	}
	return store.OpenReader(dir)
}

// planner makes a plan.
type planner struct {
	*Plan
	set       *spec.Set // that is in force
	state     *store.Reader
	issuers   map[string]*spec.Issuer // that specs name, by directory
	providers map[string]ProviderFile // to be written, by name
	taken     map[string]string       // what the client calls the certificate that got a name here
}

// choose plans for the certificates that are named, or for all.
func (p *planner) choose(found *Found, names []string) error {
	for _, name := range names {
		if !slices.ContainsFunc(found.Certificates, func(c Certificate) bool { return c.Name == name }) {
			return fmt.Errorf("importing %s: %s has no certificate of that name in %s", name, p.Client, p.Dir)
		}
	}
	for _, c := range found.Certificates {
		if len(names) > 0 && !slices.Contains(names, c.Name) {
			continue
		}
		step, err := p.certificate(c)
		if err != nil {
			return err
		}
		p.Certificates = append(p.Certificates, step)
	}
	return nil
}

// certificate plans for one certificate.
func (p *planner) certificate(c Certificate) (Step, error) {
	name := Name(c.Name)
	s := Step{Name: name, From: c.From, Notes: slices.Clone(c.Notes), Names: []string{}, have: c}
	if name != c.Name {
		s.Former = c.Name
	}
	s.SpecFile = filepath.Join(p.config.SpecDir, name+".yaml")
	if s.Notes == nil {
		s.Notes = []Note{}
	}
	if exists(s.SpecFile) || p.set.Certificate(name) != nil {
		s.Action, s.Why, s.Notes = Present, "there is a spec of that name", []Note{}
		return s, nil
	}
	if other, twice := p.taken[name]; twice {
		s.Action, s.Why = Refuse, other+" is called that here, too"
		return s, nil
	}
	p.taken[name] = c.Name
	s.Names = identifiers(&c.Want)
	if len(s.Names) == 0 {
		s.Action, s.Why = Refuse, cmp.Or(c.Unfit, "it has no names")
		return s, nil
	}
	if !isDirectory(c.Directory) {
		s.Action, s.Why = Refuse, cmp.Or(c.Unfit, "the CA's directory is not an https URL")
		return s, nil
	}
	if err := p.clash(&s); err != nil || s.Action != "" {
		return s, err
	}
	p.settle(&s)
	return s, nil
}

func exists(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}

// clash refuses a name under which the state folder has something else.
func (p *planner) clash(s *Step) error {
	if p.state == nil {
		return nil
	}
	newest, err := p.state.Newest(s.Name)
	if err != nil || newest == 0 {
		return err
	}
	rev, err := p.state.Revision(s.Name, newest)
	if err != nil {
		return err
	}
	if s.have.Pair == nil || rev.SHA256 != fingerprint(s.have.Pair) { // else an import was cut short
		s.Action, s.Why = Refuse, "the state folder has another certificate of that name"
	}
	return nil
}

// settle says what is done.
func (p *planner) settle(s *Step) {
	want := &s.have.Want
	s.Issuer = p.issuer(s.have.Directory, s.have.CABundle).Name
	want.Issuers = []string{s.Issuer}
	if s.have.Provider != nil {
		want.Challenge = spec.Challenge{Type: "dns-01", Provider: p.provider(s.have.Provider)}
	}
	s.Key, s.Action = want.PrivateKey.String(), Import
	if s.have.Pair == nil {
		s.Action, s.Why = Order, s.have.Unfit
	} else {
		s.NotAfter = s.have.Pair.Chain.Chain[0].NotAfter
	}
	s.Spec = specText(p.Client, s, want, &p.config.Defaults)
}

func certificatesOf(set *spec.Set) (out []*spec.Certificate) {
	for _, c := range set.Certificates() {
		out = append(out, c)
	}
	return out
}

// complete adds what the certificates need: issuers, and accounts there.
func (p *planner) complete(found *Found) error {
	used, providers := map[string]bool{}, map[string]bool{}
	for i := range p.Certificates {
		if s := &p.Certificates[i]; s.does() {
			used[s.have.Directory], providers[s.have.Want.Challenge.Provider] = true, true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.providers)) {
		if providers[name] {
			p.Providers = append(p.Providers, p.providers[name])
		}
	}
	for _, directory := range slices.Sorted(maps.Keys(used)) {
		issuer := p.issuers[directory]
		if p.set.Issuer(issuer.Name) != issuer {
			p.Issuers = append(p.Issuers, issuerFile(p.Client, issuer))
		}
		if a := p.mostUsed(found.Accounts, directory); a != nil {
			step, err := p.account(issuer.Name, a)
			if err != nil {
				return err
			}
			p.Accounts = append(p.Accounts, step)
		}
	}
	return nil
}

// mostUsed is the account at a CA that most certificates were ordered with; nil: there is none.
func (p *planner) mostUsed(accounts []Account, directory string) (best *Account) {
	most := -1
	for i := range accounts {
		if n := p.orderedWith(&accounts[i]); accounts[i].Directory == directory && n > most {
			best, most = &accounts[i], n
		}
	}
	return best
}

func (p *planner) orderedWith(a *Account) (n int) {
	for i := range p.Certificates {
		if s := &p.Certificates[i]; s.does() && s.have.Directory == a.Directory && s.have.Account == a.URL {
			n++
		}
	}
	return n
}

func (p *planner) account(issuer string, a *Account) (AccountStep, error) {
	s := AccountStep{Issuer: issuer, URL: a.URL, From: a.From, Action: Import, have: *a}
	if p.state == nil {
		return s, nil
	}
	have, key, err := p.state.Account(issuer)
	switch {
	case err != nil:
		return s, err
	case have == nil:
	case samePublic(key, a.Key):
		s.Action, s.Why = Present, "acmed has it"
	default:
		s.Action, s.Why = Refuse, "acmed has an account of its own there"
	}
	return s, nil
}

// identifiers are the names and addresses of a certificate.
func identifiers(c *spec.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, a := range c.IPAddresses {
		names = append(names, a.String())
	}
	return names
}
