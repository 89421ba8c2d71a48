package control

import "time"

// ListedNames is how many names of a certificate a Summary carries at most.
const ListedNames = 3

// Phase is where a certificate is in its life. It is derived from what is known, never stored.
type Phase string

// The phases of a certificate.
const (
	Missing      Phase = "missing"       // there is none yet, and nothing stands in its way
	Issuing      Phase = "issuing"       // the first one is on order
	Valid        Phase = "valid"         // it is good, and installed everywhere
	Renewing     Phase = "renewing"      // it is good, and its successor is due or on order
	Deploying    Phase = "deploying"     // a target does not have the newest revision yet, and none has failed
	DeployFailed Phase = "deploy-failed" // the last deployment to a target failed; the next has a time
	BackingOff   Phase = "backing-off"   // the last attempt did not work; the next has a time
	Parked       Phase = "parked"        // it cannot work until the spec, the account or the CA changes
	Expired      Phase = "expired"       // it ended before its successor came
	Retired      Phase = "retired"       // its spec is gone: it is kept, and not renewed
)

// Phases are all of them, what needs somebody first.
func Phases() []Phase {
	return []Phase{Expired, Parked, BackingOff, DeployFailed, Deploying, Missing, Issuing, Renewing, Valid, Retired}
}

// Summary is one line of `acmed list`.
type Summary struct {
	Name        string    `json:"name"`
	Phase       Phase     `json:"phase"`
	Names       []string  `json:"names"`                // DNS names, then addresses; the first ListedNames of them
	MoreNames   int       `json:"moreNames,omitzero"`   // how many Names leaves out
	Unicode     Unicode   `json:"unicode,omitempty"`    // of those of Names with letters beyond ASCII: as people write them
	Issuer      string    `json:"issuer"`               // in use, else the first of the spec
	NotAfter    time.Time `json:"notAfter,omitzero"`    // zero: there is no certificate
	Issued      time.Time `json:"issued,omitzero"`      // when it came from the CA; zero: there is no certificate
	Revision    int       `json:"revision,omitzero"`    // zero: there is no certificate
	Renewal     time.Time `json:"renewal,omitzero"`     // when its successor is due; zero: at once
	Next        time.Time `json:"next,omitzero"`        // of the next action; zero: none is planned
	Reason      string    `json:"reason,omitempty"`     // what Next waits for
	Error       string    `json:"error,omitempty"`      // the last failure in a few words; "": none counts
	Hint        string    `json:"hint,omitempty"`       // what to do about Error
	Placeholder bool      `json:"placeholder,omitzero"` // there is no certificate, and a placeholder is live
	Problem     bool      `json:"problem,omitzero"`     // somebody should look: see Status
	InvalidSpec bool      `json:"invalidSpec,omitzero"` // with Problem: nothing is wrong but the spec
}

// Unicode are DNS names as people write them, by the A-labels that stand for them (RFC 5890). Those that are the same
// have none.
type Unicode map[string]string

// Shown are the names, each with how people write it in brackets.
func (u Unicode) Shown(names []string) []string {
	if len(u) == 0 {
		return names
	}
	out := make([]string, len(names))
	for i, name := range names {
		if out[i] = name; u[name] != "" {
			out[i] += " (" + u[name] + ")"
		}
	}
	return out
}

// Certificate is everything that `acmed status NAME` shows.
type Certificate struct {
	Name        string    `json:"name"`
	Phase       Phase     `json:"phase"`
	DNSNames    []string  `json:"dnsNames,omitempty"`
	Unicode     Unicode   `json:"unicode,omitempty"` // of those of DNSNames with letters beyond ASCII: as people write them
	IPAddresses []string  `json:"ipAddresses,omitempty"`
	Issuers     []string  `json:"issuers,omitempty"`    // in failover order
	Profile     string    `json:"profile,omitempty"`    // the spec's; "": the CA chooses
	Key         string    `json:"key,omitempty"`        // the spec's: "ECDSA-256", "RSA-2048", …
	CSRFile     string    `json:"csrFile,omitempty"`    // the spec's: that key is elsewhere; "": it is here
	Live        string    `json:"live,omitempty"`       // folder that consumers read; "": nothing to read yet
	Placeholder bool      `json:"placeholder,omitzero"` // Live holds a placeholder: there is no certificate
	Next        Action    `json:"next,omitzero"`
	Current     *Revision `json:"current,omitempty"` // nil: there is no certificate
	Renewal     *Renewal  `json:"renewal,omitempty"` // nil: there is nothing to renew
	Order       *Order    `json:"order,omitempty"`   // nil: none is open
	Failures    []Failure `json:"failures,omitempty"`
	SpecFile    string    `json:"specFile,omitempty"`    // "": the spec is gone
	SpecProblem *Problem  `json:"specProblem,omitempty"` // nil: the file is good
	Notes       []string  `json:"notes,omitempty"`       // what the operator should know besides
	Waiting     *Revision `json:"waiting,omitempty"`     // newer than Current and not live yet; nil: Current is the newest
	Held        time.Time `json:"held,omitzero"`         // left as it is until then; zero: not held
	RolledBack  time.Time `json:"rolledBack,omitzero"`   // when acmed rollback made Current active in place of Waiting; zero: not
	Targets     []Target  `json:"targets,omitempty"`     // its consumers, in the order in which they are served
	Refused     *Setback  `json:"refused,omitempty"`     // why no target could be deployed; nil: they could

	RevocationList *RevocationList `json:"revocationList,omitempty"` // nil: none is read, as the CA's renewal advice tells
}

// RevocationList is the list in which its CA names a certificate that it has revoked, as it was read last.
type RevocationList struct {
	URL     string    `json:"url,omitempty"`     // "": it could not be read yet
	Checked time.Time `json:"checked,omitzero"`  // when it was read last; zero: never
	Problem string    `json:"problem,omitempty"` // why not since; "": it was
}

// Revocation is when a certificate was revoked, and why.
type Revocation struct {
	At     time.Time `json:"at"`               // when acmed learnt of it
	Reason string    `json:"reason,omitempty"` // of RFC 5280 §5.3.1; "": nobody said
}

// Target is one consumer of a certificate.
type Target struct {
	Key      string    `json:"target"`
	Accepted bool      `json:"accepted"`          // it has what is live
	Revision int       `json:"revision,omitzero"` // that it accepted last; zero: none
	At       time.Time `json:"at,omitzero"`       // when
	Note     string    `json:"note,omitempty"`    // what is worth knowing about that
	Served   time.Time `json:"notAfter,omitzero"` // of a probe: the end of the certificate that it saw
	Failed   *Setback  `json:"failed,omitempty"`  // the last try; nil: it worked, or there was none
}

// Setback is why a delivery did not work.
type Setback struct {
	Count   int       `json:"count"` // in a row
	At      time.Time `json:"at"`
	RetryAt time.Time `json:"retryAt"`
	Problem string    `json:"problem"`
	Hint    string    `json:"hint,omitempty"`   // what to do
	Output  string    `json:"output,omitempty"` // the end of what a command said
}

// Action is what acmed does next about a certificate.
type Action struct {
	Do     string    `json:"do,omitempty"` // a verb: "issue", "renew", "deploy", …; "": nothing is planned
	At     time.Time `json:"at,omitzero"`
	Reason string    `json:"reason,omitempty"`
}

// Revision describes the certificate that live/NAME points at.
type Revision struct {
	Number    int       `json:"number"`
	Issuer    string    `json:"issuer"` // name of the issuer that made it
	Account   string    `json:"account,omitempty"`
	Profile   string    `json:"profile,omitempty"`
	Granted   string    `json:"grantedProfile,omitempty"` // that the CA issued by, where it names another one
	Key       string    `json:"key"`
	Serial    string    `json:"serial"`
	SHA256    string    `json:"sha256"`            // of the leaf, hex
	IssuedBy  string    `json:"issuedBy"`          // common name of the leaf's issuer
	Instead   string    `json:"instead,omitempty"` // why a standby issued it; "": the first issuer of the spec did
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`

	Revoked *Revocation `json:"revoked,omitempty"` // nil: not that acmed knows of
}

// Renewal says when the current certificate is replaced, and who says so.
type Renewal struct {
	Due         time.Time `json:"due"`
	Source      string    `json:"source"`               // "ari", "lifetime" or "requested"
	WindowStart time.Time `json:"windowStart,omitzero"` // of the CA's advice (RFC 9773 §4.1)
	WindowEnd   time.Time `json:"windowEnd,omitzero"`
	Explanation string    `json:"explanationURL,omitempty"`
}

// Order is the order that is open for a certificate.
type Order struct {
	Issuer  string    `json:"issuer"`
	URL     string    `json:"url,omitempty"` // "": the CA has not answered yet
	Status  string    `json:"status,omitempty"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero: the CA did not say
}

// Failure is why the last attempt with one issuer did not work.
type Failure struct {
	Issuer      string       `json:"issuer"`
	Kind        string       `json:"kind"`  // "transient", "rateLimited", "validation", "permanent" or "local"
	Count       int          `json:"count"` // in a row
	At          time.Time    `json:"at"`
	RetryAt     time.Time    `json:"retryAt,omitzero"` // zero: not before something changes
	Op          string       `json:"op,omitempty"`     // what was being done
	Problem     string       `json:"problem,omitempty"`
	Identifier  string       `json:"identifier,omitempty"` // the name that failed; "": it concerns them all
	Detail      string       `json:"detail,omitempty"`     // the CA's own words
	Hint        string       `json:"hint,omitempty"`       // what to do
	Subproblems []Subproblem `json:"subproblems,omitempty"`
}

// Subproblem is what the CA says of one name of an order.
type Subproblem struct {
	Identifier string `json:"identifier"`
	Problem    string `json:"problem"`
	Detail     string `json:"detail,omitempty"`
}

// Problem is what is wrong with one file that the operator wrote.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitzero"`   // from 1; zero: it concerns the whole file
	Column  int    `json:"column,omitzero"` // from 1; zero: unknown
	Field   string `json:"field,omitempty"`
	Problem string `json:"problem"`
	Hint    string `json:"hint,omitempty"`
	Kept    bool   `json:"kept,omitzero"` // the file's last good version stays in force
}

// Held is a removal of so many specs at once that the operator must confirm it.
type Held struct {
	Reason string   `json:"reason"` // what has vanished, and what to do
	Names  []string `json:"names"`
}

// Info is the daemon's view of itself.
type Info struct {
	Version      string        `json:"version"`
	PID          int           `json:"pid"`
	Started      time.Time     `json:"started"`
	Config       string        `json:"config"` // path of acmed.yaml
	StateDir     string        `json:"stateDir"`
	Certificates int           `json:"certificates"` // that acmed list shows: with a spec, with an invalid spec alone, or retired
	Phases       map[Phase]int `json:"phases"`       // how many of them are in each phase
	LastReload   time.Time     `json:"lastReload,omitzero"`
	ConfigRead   time.Time     `json:"configRead,omitzero"`    // when Config was read; zero: not known
	HTTP01       string        `json:"http01"`                 // who answers http-01, in a few words
	AdminProblem string        `json:"adminProblem,omitempty"` // why metrics and status page are not served; "": they are, or are off
	Problems     []Problem     `json:"problems,omitempty"`
	Held         *Held         `json:"held,omitempty"` // nil: no removal waits
}

// RenewRequest names the certificates to renew now, in exactly one of four ways.
type RenewRequest struct {
	Names  []string `json:"names,omitempty"`
	All    bool     `json:"all,omitzero"`
	Issuer string   `json:"issuer,omitempty"` // every certificate that this issuer made
	// Revoked is every certificate that its CA has revoked: all revocation lists are read first.
	Revoked bool `json:"revoked,omitzero"`

	Force bool `json:"force,omitzero"` // pass acmed's own budgets; never the CA's Retry-After
	// Staging rehearses instead, at the issuer's staging twin: nothing is kept, and the certificate stays as it is.
	Staging bool `json:"staging,omitzero"`
	Wait    bool `json:"wait,omitzero"` // report until each certificate is done
}

// DeployRequest asks for certificates to be handed to all their consumers again.
type DeployRequest struct {
	Names []string `json:"names"`
	Now   bool     `json:"now,omitzero"`  // a revision that waits for its window need not
	Wait  bool     `json:"wait,omitzero"` // report until each is done
}

// HoldRequest asks for a certificate to be left as it is. It is renewed before it expires nevertheless.
type HoldRequest struct {
	Name  string    `json:"name"`
	Until time.Time `json:"until,omitzero"` // zero: no longer
}

// RollbackRequest asks for the revision before the live one.
type RollbackRequest struct {
	Name  string    `json:"name"`
	Until time.Time `json:"until"` // left as it is until then
}

// RollbackResult is what a rollback came to.
type RollbackResult struct {
	Revision int `json:"revision"` // that is live now
}

// RevokeRequest asks for a certificate to be revoked.
type RevokeRequest struct {
	Name     string `json:"name"`
	Revision int    `json:"revision,omitzero"` // zero: the newest
	Reason   string `json:"reason,omitempty"`  // of RFC 5280 §5.3.1, by name or code; "": unspecified
	ByKey    bool   `json:"byKey,omitzero"`    // the certificate's own key signs, not the account's
	Retired  bool   `json:"retired,omitzero"`  // only if its spec is gone
}

// RevokeResult is what a revocation came to.
type RevokeResult struct {
	Name     string `json:"name"`
	Revision int    `json:"revision"`
	Serial   string `json:"serial"`
	Issuer   string `json:"issuer"`
	Reason   string `json:"reason"`            // that the CA was given; "unspecified" where it accepted no other
	ByKey    bool   `json:"byKey,omitzero"`    // the certificate's own key signed
	Replaced bool   `json:"replaced,omitzero"` // its successor is ordered now

	SameKey []SameKey `json:"sameKey,omitempty"` // with keyCompromise: the other certificates here that have the key
}

// DeleteRequest asks for a certificate to be put away whose spec is gone.
type DeleteRequest struct {
	Name string `json:"name"`
}

// DeleteResult says where everything is now.
type DeleteResult struct {
	Name      string    `json:"name"`
	Archived  []string  `json:"archived"`            // where its files and keys, and what was known of it, are now
	Remaining []string  `json:"remaining,omitempty"` // copies that acmed has made elsewhere, and leaves there
	NotAfter  time.Time `json:"notAfter,omitzero"`   // of the certificate; zero: there was none
	Revoked   bool      `json:"revoked,omitzero"`
}

// Event is one piece of news of a renewal or delivery that somebody waits for.
type Event struct {
	Time    time.Time `json:"time"`
	Cert    string    `json:"cert"`
	Phase   Phase     `json:"phase"`
	Message string    `json:"message"`
	Error   string    `json:"error,omitempty"`
	Hint    string    `json:"hint,omitempty"`
	Done    bool      `json:"done,omitzero"` // the last event of Cert
	OK      bool      `json:"ok,omitzero"`   // with Done: what was asked for has happened, or without Wait is under way
}

// PlanRequest asks what would happen if files came in force. Without drafts, those on disk.
type PlanRequest struct {
	Drafts []Draft `json:"drafts,omitempty"`
	// Beside are the files that drafts name, such as csrFile. The client reads them: a draft names no file that only the
	// daemon may read.
	Beside []DraftFile `json:"beside,omitempty"`

	Simulate int64 `json:"simulateSeconds,omitzero"` // so much of the time to come is told instead, two years at most; zero: none
}

// Draft is the text of a spec that lies somewhere else than in certs.d, or is not to be read from there.
type Draft struct {
	Path string `json:"path"` // its base name names the certificate
	Text string `json:"text"`
}

// DraftFile is a file that a draft names, as the client read it.
type DraftFile struct {
	Path    string `json:"path"`
	Data    []byte `json:"data,omitempty"`
	Problem string `json:"problem,omitempty"` // why there is no data; "": there is
	Hint    string `json:"hint,omitempty"`
}

// Plan is what would happen.
type Plan struct {
	Steps     []Step    `json:"steps"`              // sorted by name
	Unchanged int       `json:"unchanged,omitzero"` // certificates that would stay as they are
	Costs     []Cost    `json:"costs,omitempty"`    // of all the steps together
	Problems  []Problem `json:"problems,omitempty"` // of files that would not come in force
	Held      *Held     `json:"held,omitempty"`     // nil: no removal would wait
	Unknown   []string  `json:"unknown,omitempty"`  // what could not be known without the daemon

	Simulation *Simulation `json:"simulation,omitempty"` // nil: it was not asked for
}

// Step is what would be done about one certificate.
type Step struct {
	Name    string    `json:"name"`
	Do      string    `json:"do"`               // "issue", "reissue", "redeploy", "retire" or "nothing"; "unknown": see unknown of the plan
	At      time.Time `json:"at,omitzero"`      // of the next renewal; zero: an order is due at once, or never
	Issuer  string    `json:"issuer,omitempty"` // that would be asked first
	Reason  string    `json:"reason,omitempty"`
	Differs []string  `json:"differs,omitempty"` // from what was issued
	Targets []string  `json:"targets,omitempty"` // consumers that would be served
}

// Cost is what orders take from a limit that acmed keeps to at an issuer, below the CA's own.
type Cost struct {
	Issuer string `json:"issuer"`
	Limit  string `json:"limit"`
	Needs  int    `json:"needs"`
	Left   int    `json:"left"` // now
	Max    int    `json:"max"`
	Per    int64  `json:"perSeconds"` // time in which Max are let through
}

// Exceeded tells that not all of it can happen at once.
func (c Cost) Exceeded() bool { return c.Needs > c.Left }

// ReloadRequest asks the daemon to read its files again.
type ReloadRequest struct {
	AcceptRemovals bool `json:"acceptRemovals,omitzero"` // let go of a held removal
}

// ReloadResult says what a reload changed. The good files are in force even when there are Problems.
type ReloadResult struct {
	Added    []string  `json:"added,omitempty"`
	Edited   []string  `json:"edited,omitempty"`
	Removed  []string  `json:"removed,omitempty"`
	Problems []Problem `json:"problems,omitempty"`
	Held     *Held     `json:"held,omitempty"`
}
