package reconcile

import (
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"time"

	"acmed/internal/acme"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// Action is what a visit does.
type Action string

// The actions.
const (
	Wait     Action = "wait"
	Retire   Action = "retire"   // the spec is gone: stop renewing, keep everything
	StandIn  Action = "standIn"  // have a placeholder until the first certificate
	Activate Action = "activate" // point live at the newest revision
	Withdraw Action = "withdraw" // point live back at the revision before
	Deploy   Action = "deploy"   // hand the revision that is live to its consumers
	PollARI  Action = "poll"     // ask the CA when to renew
	Abandon  Action = "abandon"  // give the order in flight up
	Resume   Action = "resume"   // go on with the order in flight
	Issue    Action = "issue"    // order a certificate
)

// Reason is why: a bounded set, used in logs, as a metric label and by the command line.
type Reason string

// The reasons.
const (
	Unwanted     Reason = "unwanted"     // no spec asks for it
	Committed    Reason = "committed"    // a newer revision is on disk
	Window       Reason = "window"       // a newer revision waits for its window
	Refused      Reason = "refused"      // a check did not want the newer revision
	Held         Reason = "held"         // the operator wants it left as it is
	Behind       Reason = "behind"       // a consumer has not accepted what is live
	Delivering   Reason = "delivering"   // consumers are being served
	Undelivered  Reason = "undelivered"  // a consumer did not accept it; the next try has a time
	NotDue       Reason = "notDue"       // valid, and its time has not come
	AdviceDue    Reason = "adviceDue"    // the CA's renewal advice is to be read again
	Missing      Reason = "missing"      // there is no certificate yet
	Expired      Reason = "expired"      // it is past its end
	Damaged      Reason = "damaged"      // its files are
	Revoked      Reason = "revoked"      // the CA has revoked it
	Requested    Reason = "requested"    // the operator asked
	Edited       Reason = "edited"       // the spec asks for something else than was issued
	Advised      Reason = "advised"      // the CA's renewal window
	Lifetime     Reason = "lifetime"     // the share of its lifetime left
	InFlight     Reason = "inFlight"     // an order is open
	AwaitingCA   Reason = "awaitingCA"   // the CA has not finished a step
	Obsolete     Reason = "obsolete"     // nothing that is wanted will come of the open order
	IssuerHold   Reason = "issuerHold"   // the CA asked for patience, or is unreachable
	BackingOff   Reason = "backingOff"   // the last attempt failed
	Parked       Reason = "parked"       // it cannot work until something changes; probed once a day
	OverBudget   Reason = "overBudget"   // acmed's own limit at the issuer
	Queued       Reason = "queued"       // others are ahead at the issuer
	ClockBehind  Reason = "clockBehind"  // the system's clock cannot be right
	Disconnected Reason = "disconnected" // the disk or another local part fails
)

// Input is all that a decision depends on.
type Input struct {
	Want    *spec.Certificate // nil: not wanted
	Have    store.Record
	Live    int           // number of the revision that live points at; zero: none
	Damaged bool          // the files of the newest revision are
	Order   *store.Order  // in flight; nil: none
	Leaked  bool          // the key of Order is compromised
	PollAt  time.Time     // when to ask the CA for Order again; zero: now
	Lacking string        // who does not see the proofs of Order yet; "": nobody is known
	Over    bool          // Order can no longer become valid; the CA may still be validating
	Since   time.Time     // when Order began to wait for others; zero: it does not
	Issuers []IssuerState // those of Want, in its order
	Floor   time.Time     // the clock cannot be before it; zero: unknown
	Host    string        // spreads renewals over the machines that share a spec

	Placeholder *x509.Certificate // that live points at; nil: it does not, or that is damaged

	Deploys    bool            // somebody serves consumers
	Delivering bool            // and is at it
	Before     *store.Revision // what live can go back to, once a check has failed; nil: nothing

	listed string // the leaf that list is for
	list   []spec.Target
}

// IssuerState is what the decision needs to know about one issuer.
type IssuerState struct {
	Name      string
	Directory string
	Hold      time.Time // leave the CA alone until then
	HoldWhy   string
	Budget    time.Time // when acmed's own limits let an order for these names through
	BudgetWhy string    // the limit in question
	Shared    bool      // that limit is the account's, not these names' own
	Spared    bool      // the CA wants to be left alone, but by orders for other names
	Binding   bool      // that limit binds an order that the operator forces as well
}

// spared tells whether the issuer of that name wants to be left alone, but by orders for other names.
func (in *Input) spared(issuer string) bool {
	return slices.ContainsFunc(in.Issuers, func(s IssuerState) bool { return s.Name == issuer && s.Spared })
}

// Decision is what to do now, or how long to wait.
type Decision struct {
	Do     Action
	Why    Reason
	Issuer string    // for Issue; for Wait the issuer that is waited for, or ""
	At     time.Time // for Wait: the next look
	Until  time.Time // for Wait for a delivery or the CA: the end of it, which may be later than At; zero: unknown
	Detail string    // in words, where Why is not enough
	// Instead is, for Issue at a standby, why the first issuer is not asked; "": it is.
	Instead string
	Shared  bool // the wait is for something that all certificates of the issuer wait for
}

// rule is one sentence of the design: it decides, or leaves the decision to the next.
type rule func(*Input, time.Time) (Decision, bool)

// Decide is pure: the same facts at the same time lead to the same decision.
func Decide(in Input, now time.Time) Decision {
	for _, r := range []rule{
		notWanted,   // no spec: retire, and then rest
		standIn,     // a server may need something to start with
		clockBehind, // before the build date nothing can be trusted
		undelivered, // the newest revision is not live, or not with its consumers
		compromised, // the operator's own key is known to others: only he has another
		leaked,      // the CA is processing an order whose key others know
		unfinished,  // an order is open: it has been paid for
		held,        // the operator wants it left as it is
		obsolete,    // an order is open that nobody wants any more
		upToDate,    // valid, as asked for, and not due
	} {
		if d, ok := r(&in, now); ok {
			return mindDelivery(&in, now, d)
		}
	}
	return mindDelivery(&in, now, chooseIssuer(&in, now)) // on hold, backing off, over budget, or issue
}

func notWanted(in *Input, now time.Time) (Decision, bool) {
	switch {
	case in.Want != nil:
		return Decision{}, false
	case in.settles(now):
		return Decision{Do: Wait, Why: Unwanted, At: in.PollAt}, true
	case in.Have.Retired.IsZero():
		return Decision{Do: Retire, Why: Unwanted}, true
	default:
		return Decision{Do: Wait, Why: Unwanted}, true
	}
}

func clockBehind(in *Input, now time.Time) (Decision, bool) {
	if !now.Before(in.Floor) {
		return Decision{}, false
	}
	return Decision{Do: Wait, Why: ClockBehind, At: in.Floor,
		Detail: "the clock shows " + now.UTC().Format(time.DateOnly) + ", before this program was built: set the clock"}, true
}

// compromised never has a key certified again that was revoked since others know it (RFC 5280 §5.3.1), where acmed cannot
// make another: it is that of the operator's CSR. A day is the longest rest.
func compromised(in *Input, now time.Time) (Decision, bool) {
	if in.Want.CSR == nil || !slices.ContainsFunc(slices.Collect(maps.Values(in.Have.Revoked)), func(r store.Revocation) bool {
		return r.Reason == acme.KeyCompromise.String() && r.SPKI == in.Want.CSR.SPKI
	}) {
		return Decision{}, false
	}
	return Decision{Do: Wait, Why: Parked, At: now.Add(longestRest),
		Detail: "a certificate of the key of " + in.Want.CSRFile + " was revoked since that key is compromised: bring a CSR with a new key"}, true
}

// leaked gives an order up whose key is compromised and that has been finalized: nobody may serve its certificate. Before
// that, the order gets another key, see rekey.
func leaked(in *Input, _ time.Time) (Decision, bool) {
	if in.Order == nil || !in.Leaked || !in.Order.Validated && !underway(in.Order.Status) {
		return Decision{}, false
	}
	return Decision{Do: Abandon, Why: Obsolete, Issuer: in.Order.Issuer, Detail: "an order is given up whose key is compromised"}, true
}

// unfinished goes on with an order of the same request. An order that the CA is processing is never given up, even
// when the spec has changed meanwhile: some CAs bill each. Whether an order has expired, the CA tells.
func unfinished(in *Input, now time.Time) (Decision, bool) {
	o := in.Order
	if o == nil || o.URL == "" {
		return Decision{}, false
	}
	i := slices.IndexFunc(in.Issuers, func(s IssuerState) bool { return s.Name == o.Issuer && s.Directory == o.Directory })
	if i < 0 || o.Request != in.Want.Request() && !underway(o.Status) {
		return Decision{}, false
	}
	if at, why, detail := blocked(in, in.Issuers[i], now, false); at.After(now) {
		return Decision{Do: Wait, Why: why, Issuer: o.Issuer, At: at, Detail: detail, Shared: why == IssuerHold}, true
	}
	if at := believable(in.PollAt, now); at.After(now) {
		d := Decision{Do: Wait, Why: AwaitingCA, Issuer: o.Issuer, At: at, Until: at, Detail: awaited(in, now)}
		if yields := in.Since.Add(placeTime); yields.After(now) {
			d.At = earlier(at, yields)
		}
		return d, true
	}
	return Decision{Do: Resume, Why: InFlight, Issuer: o.Issuer}, true
}

// placeTime is how long an order that waits for others keeps its place at the issuer.
const placeTime = time.Minute

// settles reports whether the open order is over, and the CA is asked again later what it still validates.
func (in *Input) settles(now time.Time) bool {
	return in.Order != nil && in.Over && believable(in.PollAt, now).After(now)
}

// hangs reports whether the open order has waited for others so long that it gives up its place.
func hangs(in *Input, now time.Time) bool {
	return in.Order != nil && !in.Since.IsZero() && now.Sub(in.Since) >= placeTime
}

// awaited is what an open order waits for; "": the CA.
func awaited(in *Input, now time.Time) string {
	switch o := in.Order; {
	case in.Lacking != "":
		return in.Lacking
	case o.Failure != nil && o.Failure.Name != "":
		return "the CA to validate " + o.Failure.Name + " again"
	case hangs(in, now) && o.Status == string(acme.StatusPending):
		return "the CA, which has neither validated nor refused the order"
	}
	return ""
}

// obsolete gives an open order up that cannot be gone on with: the spec asks for something else by now, its issuer
// is another one, or the CA's answer to it was lost. One that the CA is processing stays: its issuer may come back.
func obsolete(in *Input, now time.Time) (Decision, bool) {
	if in.Order == nil || underway(in.Order.Status) {
		return Decision{}, false
	}
	if in.settles(now) {
		return Decision{Do: Wait, Why: AwaitingCA, Issuer: in.Order.Issuer, At: in.PollAt, Until: in.PollAt}, true
	}
	return Decision{Do: Abandon, Why: Obsolete, Issuer: in.Order.Issuer, Detail: "an order that is no longer wanted is given up"}, true
}

// underway tells an order that has been finalized.
func underway(status string) bool { return status == "processing" || status == "valid" }

func upToDate(in *Input, now time.Time) (Decision, bool) {
	due, why := Due(in, now)
	if !due.After(now) {
		return Decision{}, false
	}
	rest := now.Add(longestRest - time.Duration(share(in.Want.Name, in.Host, "rest")*float64(6*time.Hour)))
	if poll, ok := nextPoll(in, now); ok {
		if !poll.After(now) {
			return Decision{Do: PollARI, Why: AdviceDue, Issuer: in.Have.Issued.Issuer}, true
		}
		if !poll.After(now.Add(longestRest)) { // one visit is for both
			rest = poll
		}
	}
	return Decision{Do: Wait, Why: NotDue, At: earlier(due, rest), Detail: string(why)}, true
}

// longestRest is how long a certificate is left alone that needs nothing: a day at most, so that damage to its files is
// seen. Some are visited up to six hours before, so that not all are looked at at once.
const longestRest = 24 * time.Hour

// nextPoll is when to ask for the CA's advice, if at all: never once the certificate has expired (RFC 9773 §4.3), and
// not while the issuer is on hold. Thereafter all whose time has come would ask at once, so they spread over an hour.
func nextPoll(in *Input, now time.Time) (at time.Time, ok bool) {
	is := in.Have.Issued
	i := slices.IndexFunc(in.Issuers, func(s IssuerState) bool { return s.Name == is.Issuer && s.Directory == is.Directory })
	if i < 0 || !in.Want.Renew.ARI || is.CertID == "" || !now.Before(is.NotAfter) {
		return time.Time{}, false
	}
	at = believable(in.Have.ARI.NextPoll, now)
	if hold := believable(in.Issuers[i].Hold, now); hold.After(now) {
		at = later(at, hold.Add(time.Duration(share(in.Want.Name, in.Host, "poll")*float64(time.Hour))))
	}
	return at, true
}

// chooseIssuer takes the first issuer that may be asked now. A later one gets its turn only when those before it
// have had theirs: see exhausted.
func chooseIssuer(in *Input, now time.Time) Decision {
	_, why := Due(in, now)
	wait := Decision{Do: Wait, Why: Parked, At: now.Add(24 * time.Hour), Detail: "no file of issuers.d defines the issuers of its spec"}
	instead := ""
	for _, s := range in.Issuers {
		at, reason, detail := blocked(in, s, now, true)
		if !at.After(now) {
			return Decision{Do: Issue, Why: why, Issuer: s.Name, Instead: instead}
		}
		if instead == "" {
			instead = passedOver(s.Name, reason, detail, at)
		}
		if wait.Issuer == "" || at.Before(wait.At) {
			wait = Decision{Do: Wait, Why: reason, Issuer: s.Name, At: at, Detail: detail,
				Shared: reason == IssuerHold || reason == OverBudget && s.Shared}
		}
		if !exhausted(in, s, now, at) {
			break
		}
	}
	return wait
}

// passedOver says why an issuer is not asked.
func passedOver(issuer string, why Reason, detail string, until time.Time) string {
	if detail == "" {
		detail = string(why)
	}
	return fmt.Sprintf("%s is not asked before %s: %s", issuer, until.UTC().Format("2006-01-02 15:04 MST"), detail)
}

// exhausted tells whether an issuer that cannot be asked before at has had its turn, so that the next may try:
// after three failures in a row, after a refusal for good, when it is closed for more than an hour, or after one
// failure when the certificate is missing or about to expire.
func exhausted(in *Input, s IssuerState, now, at time.Time) bool {
	if at.Sub(now) > time.Hour {
		return true
	}
	f := in.Have.Failures[s.Name]
	return f.Request == attempt(in.Want) && (f.Count >= 3 || f.Kind == acme.Permanent.String() ||
		f.Count > 0 && (in.Have.Issued == nil || revoked(in) || urgent(in.Have.Issued, now)))
}

// blocked is until when s must not be asked, and why: the last to end of all that speaks against it. The time is now
// or earlier when nothing does. Budgets count for a new order only: one that is open was charged.
func blocked(in *Input, s IssuerState, now time.Time, order bool) (at time.Time, why Reason, detail string) {
	until := func(t time.Time, w Reason, d string) {
		if t.After(now) && t.After(at) {
			at, why, detail = t, w, d
		}
	}
	f := in.Have.Failures[s.Name]
	until(believed(f, f.Promised, now), BackingOff, f.Detail) // the CA's word holds whatever the operator does
	if f.Request == attempt(in.Want) && !in.Have.Requested.After(f.At) {
		reason := BackingOff
		if f.Kind == acme.Permanent.String() {
			reason = Parked
		}
		until(believed(f, f.RetryAt, now), reason, f.Detail)
	}
	until(believable(s.Hold, now), IssuerHold, s.HoldWhy)
	if order && (!in.Have.Forced || s.Binding) {
		until(s.Budget, OverBudget, s.BudgetWhy)
	}
	return at, why, detail
}

// believable is t, or the zero time when t is further ahead than anything that acmed, or a CA, wants to wait for: it
// was written while the clock was wrong.
func believable(t, now time.Time) time.Time {
	if t.After(now.Add(48 * time.Hour)) {
		return time.Time{}
	}
	return t
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
