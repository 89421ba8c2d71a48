package reconcile

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"go.uber.org/zap"

	"acmed/internal/acme"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// Phase is where a certificate stands. It is derived from the facts, never stored.
type Phase string

// The phases.
const (
	PhaseMissing      Phase = "missing"       // no certificate yet, and none on its way
	PhaseIssuing      Phase = "issuing"       // the first is being ordered
	PhaseValid        Phase = "valid"         // nothing to do
	PhaseRenewing     Phase = "renewing"      // the next is being ordered; the present one is served
	PhaseDeploying    Phase = "deploying"     // a revision is being deployed, or waits for it
	PhaseDeployFailed Phase = "deploy-failed" // the last deployment of a revision failed
	PhaseBackoff      Phase = "backing-off"   // the last attempt failed, or the CA asked for patience
	PhaseParked       Phase = "parked"        // it cannot work until something changes
	PhaseExpired      Phase = "expired"       // the last certificate is past its end
	PhaseRetired      Phase = "retired"       // its spec is gone
)

// Phases are all of them, in the order of a certificate's life.
func Phases() []Phase {
	return []Phase{
		PhaseMissing, PhaseIssuing, PhaseValid, PhaseRenewing, PhaseDeploying, PhaseDeployFailed, PhaseBackoff, PhaseParked, PhaseExpired, PhaseRetired,
	}
}

// View is the line of the list: all that is kept in memory of a certificate.
type View struct {
	Name      string
	Phase     Phase
	Issuer    string // that issued it, or is asked; "": none yet
	Revision  int    // live; zero: none
	Newest    int    // the newest revision; zero: none
	NotAfter  time.Time
	Committed time.Time // when the live revision was
	Do        Action
	Why       Reason
	Detail    string    // of Why
	Next      time.Time // visit
	Until     time.Time // when a delivery, or the next poll of an order, is due at last; zero: unknown
	Renewal   time.Time // when the next certificate is due; zero: at once
	Error     string    // of the last attempt that ended, "" when it worked
	Hint      string
	ErrorAt   time.Time
	Said      bool      // Error says Detail too, with the time that the CA gave this certificate
	Checked   time.Time // when the files were last read and found sound; zero: they are to be read
	Behind    int       // consumers that have not accepted the live revision
	Stuck     string    // why one of them has not, although it was tried; "": none was
	StuckHint string    // what to do about that
	Standing  bool      // what is live is a placeholder
	Revoked   bool      // the live revision is, by its CA
	Standby   string    // who issued the live revision in place of the first issuer of its spec; "": that did
	Served    time.Time // the first end of what probes saw served; zero: they saw nothing

	RolledBack time.Time // when the operator made Revision live in the place of Newest; zero: that is live, or never was

	Retirement *Retirement // nil: there is a spec, or there never was a certificate
}

func newView(name string, in Input, d Decision, now time.Time) View {
	d = shown(&in, d, now)
	v := View{Name: name, Issuer: d.Issuer, Do: d.Do, Why: d.Why, Detail: d.Detail, Next: d.At, Until: d.Until}
	v.Standing, v.Retirement = in.Placeholder != nil, retirement(&in)
	if is := in.Have.Serving(); is != nil {
		v.Revision, v.NotAfter, v.Committed = is.Number, is.NotAfter, is.Committed
		_, v.Revoked = in.Have.Revocation(is)
		if in.Want != nil && is.Instead != "" && is.Issuer != in.Want.Issuers[0] {
			v.Standby = is.Issuer
		}
		if v.Issuer == "" {
			v.Issuer = is.Issuer
		}
	}
	if is := in.Have.Issued; is != nil {
		v.Newest = is.Number
	}
	if in.Have.Live != nil {
		v.RolledBack = in.Have.RolledBack
	}
	if in.Want != nil {
		v.Renewal, _ = Due(&in, now)
		v.deliveries(&in, now)
	}
	v.Phase = phase(in, d, v.Stuck != "", now)
	if issuer, f := LastFailure(in.Have); f.Count > 0 {
		v.Error, v.Hint, v.ErrorAt = Describe(f), f.Hint, f.At
		v.Said = d.Why == IssuerHold && issuer == d.Issuer && sameWords(f.Detail, d.Detail)
	}
	if o := in.Order; o != nil && o.Failure != nil && in.Want != nil {
		v.Error, v.Hint, v.ErrorAt, v.Said = Describe(*o.Failure), o.Failure.Hint, o.Failure.At, false
	}
	return v
}

// shown is d as a reader needs it, who may look at any moment of a visit.
func shown(in *Input, d Decision, now time.Time) Decision {
	switch d.Do {
	case PollARI: // beside a deployment, which is what there is to wait for
		if wait, ok := delivery(in, now); ok && wait.Why != Held {
			wait.Until = wait.At
			return wait
		}
	case Abandon: // an order without a URL is being made just now, or is made once more
		if due, why := Due(in, now); in.Order.URL == "" && !due.After(now) {
			return Decision{Do: Issue, Why: why, Issuer: in.Order.Issuer}
		}
	}
	return d
}

// sameWords tells whether the detail of a failure is the reason of a hold, times apart: two refusals for the same limit have
// different ones.
func sameWords(detail, why string) bool {
	wordsOf := func(s string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsDigit(r) {
				return -1
			}
			return r
		}, s)
	}
	return wordsOf(acme.Brief(detail)) == wordsOf(why)
}

// deliveries fills in how far the live revision has come.
func (v *View) deliveries(in *Input, now time.Time) {
	is := in.Have.Serving()
	if is == nil || !in.Deploys {
		return
	}
	v.Behind = progressOf(in, is, now).behind
	if f := in.Have.Refused; f != nil && v.Behind > 0 {
		v.Stuck, v.StuckHint = f.Problem, f.Hint
	}
	live := in.targets(is)
	for i, t := range in.targets(in.Have.Issued) {
		known := in.Have.Targets[t.Key]
		if f := known.Failed; f != nil && (f.Fingerprint == t.Fingerprint || f.Fingerprint == live[i].Fingerprint) && v.Stuck == "" {
			v.Stuck, v.StuckHint = t.Key+": "+f.Problem, f.Hint
		}
		if s := known.Served; !s.IsZero() && (v.Served.IsZero() || s.Before(v.Served)) {
			v.Served = s
		}
	}
}

// phase derives the phase. stuck reports whether a target failed and has not accepted a revision since: a retry does not
// change the phase before it has worked.
func phase(in Input, d Decision, stuck bool, now time.Time) Phase {
	is := in.Have.Serving()
	deploying := slices.Contains([]Action{Activate, Withdraw, Deploy}, d.Do) || slices.Contains([]Reason{Window, Refused, Delivering, Undelivered}, d.Why)
	switch {
	case in.Want == nil:
		return PhaseRetired
	case is != nil && now.After(is.NotAfter):
		return PhaseExpired
	case deploying && !stuck:
		return PhaseDeploying
	case deploying:
		return PhaseDeployFailed
	case d.Why == Parked, d.Why == ClockBehind:
		return PhaseParked
	case d.Why == BackingOff, d.Why == IssuerHold:
		return PhaseBackoff
	case stuck:
		return PhaseDeployFailed
	case d.Why == NotDue, d.Do == PollARI, d.Why == Held && is != nil:
		return PhaseValid
	case is == nil && (d.Why == AwaitingCA || d.Do == Issue || d.Do == Resume):
		return PhaseIssuing
	case is == nil:
		return PhaseMissing
	default:
		return PhaseRenewing
	}
}

// LastFailure is the newest failure of a record since its certificate was issued, and the issuer's name; a zero Count
// tells that there is none.
func LastFailure(r store.Record) (issuer string, last store.Failure) {
	if r.Issued != nil {
		last.At = r.Issued.Committed
	}
	for _, name := range slices.Sorted(maps.Keys(r.Failures)) {
		if f := r.Failures[name]; f.At.After(last.At) {
			issuer, last = name, f
		}
	}
	return issuer, last
}

// Describe is a failure in one line, in the CA's words.
func Describe(f store.Failure) string {
	s := f.Detail
	if f.Name != "" {
		s = f.Name + ": " + s
	}
	if f.Problem != "" {
		s = f.Problem + ": " + s
	}
	return s
}

// Status is all that is known about one certificate.
type Status struct {
	View
	Spec     *spec.Certificate // nil: retired
	Record   store.Record
	Order    *store.Order // in flight; nil: none
	DueWhy   Reason
	Decision Decision
	Retry    map[string]time.Time // when issuers may be asked again that have refused, by name; not after now: at once
}

// Status gathers the facts about name without changing them, but for damaged files, which it moves aside as a visit does.
func (r *Reconciler) Status(name string) (Status, error) {
	v := &visit{r: r, name: name, log: r.log.With(zap.String("cert", name)), now: time.Now().Round(0)}
	if err := v.gather(); err != nil {
		return Status{}, err
	}
	d := Decide(v.in, v.now)
	s := Status{View: newView(name, v.in, d, v.now), Spec: v.in.Want, Record: v.in.Have, Order: v.in.Order, Decision: d}
	if v.in.Want != nil {
		_, s.DueWhy = Due(&v.in, v.now)
		s.Retry = retryTimes(&v.in, v.now)
	}
	if kept := r.board.get(name); kept.Name != "" && kept.Why == Queued && d.Do == Issue {
		s.Do, s.Why, s.Detail, s.Next = kept.Do, kept.Why, kept.Detail, kept.Next
	}
	return s, nil
}

// retryTimes are when the issuers may be asked again of which a failure is known.
func retryTimes(in *Input, now time.Time) map[string]time.Time {
	out := map[string]time.Time{}
	for _, s := range in.Issuers {
		if _, failed := in.Have.Failures[s.Name]; failed {
			out[s.Name], _, _ = blocked(in, s, now, in.Order == nil)
		}
	}
	return out
}

// Views are all certificates, sorted by name.
func (r *Reconciler) Views() []View {
	views := r.board.all()
	slices.SortFunc(views, func(x, y View) int { return strings.Compare(x.Name, y.Name) })
	return views
}

// Retired returns the line of every certificate whose spec is gone, in no order.
func (r *Reconciler) Retired() []View {
	r.board.mu.RLock()
	defer r.board.mu.RUnlock()
	return slices.Collect(maps.Values(r.board.retired))
}

// Forget has no line of a retired certificate any more: it was put away.
func (r *Reconciler) Forget(name string) {
	r.board.mu.Lock()
	defer r.board.mu.Unlock()
	delete(r.board.retired, name)
	delete(r.board.sightings, name)
}

// View is the line of name; the zero View when there is none.
func (r *Reconciler) View(name string) View { return r.board.get(name) }

// Watch delivers the newest View of name whenever it changes, until stop is called.
func (r *Reconciler) Watch(name string) (views <-chan View, stop func()) { return r.board.watch(name) }

// Counts is how many certificates are in each phase, and how many of them had a failure last.
func (r *Reconciler) Counts() (phases map[Phase]int, failing int) {
	r.board.mu.RLock()
	defer r.board.mu.RUnlock()
	return maps.Clone(r.board.counts), r.board.failing
}

// board holds the views.
type board struct {
	seen    func(View) // is told of each; nil: nobody is
	mu      sync.RWMutex
	views   map[string]View
	retired map[string]View // those whose specs are gone, which have a count of their own

	sightings map[string]sighting // what probes saw of those
	counts    map[Phase]int
	failing   int
	watchers  map[string][]chan View
}

func (b *board) get(name string) View {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.views[name]
}

func (b *board) set(v View) {
	if b.seen != nil {
		b.seen(v)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, ok := b.views[v.Name]; ok {
		b.count(old, -1)
		delete(b.views, v.Name)
	}
	delete(b.retired, v.Name)
	if v.Phase == PhaseRetired {
		b.retired[v.Name] = v
	} else {
		b.count(v, 1)
		b.views[v.Name] = v
	}
	for _, c := range b.watchers[v.Name] {
		select { // only the newest matters
		case <-c:
		default:
		}
		c <- v
	}
}

// uncheck makes the next visit of name read its files.
func (b *board) uncheck(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v, ok := b.views[name]; ok {
		v.Checked = time.Time{}
		b.views[name] = v
	}
}

func (b *board) count(v View, by int) {
	b.counts[v.Phase] += by
	if v.Error != "" || v.Stuck != "" {
		b.failing += by
	}
}

// all gives the views in no order.
func (b *board) all() []View {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return slices.AppendSeq(make([]View, 0, len(b.views)), maps.Values(b.views))
}

func (b *board) watch(name string) (<-chan View, func()) {
	c := make(chan View, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watchers[name] = append(b.watchers[name], c)
	return c, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.watchers[name] = slices.DeleteFunc(b.watchers[name], func(x chan View) bool { return x == c })
		if len(b.watchers[name]) == 0 {
			delete(b.watchers, name)
		}
	}
}
