package reconcile

import (
	"slices"
	"strings"
	"time"

	"acmed/internal/spec"
	"acmed/internal/store"
)

// Plan is what acmed would do about one certificate if a set of specs came in force now.
type Plan struct {
	Name    string
	Do      Action // Issue, Deploy, Retire or Wait
	Why     Reason
	At      time.Time // of an order that is not due yet; zero: none, or at once
	Issuer  string    // for Issue: who would be asked first
	Differs []string  // for Edited: what the spec asks for, and what was issued
	Targets []string  // keys of the consumers that would be served
	Costs   []Cost    // of the order
}

// Cost is what one order, or several, take from a limit that acmed keeps to at an issuer.
type Cost struct {
	Issuer string
	Limit  string // in words
	Max    int
	Per    time.Duration
	Needs  int
	Left   int

	key string
}

// Plan tells what would be done about name if set came in force, and changes nothing.
func (r *Reconciler) Plan(name string, set *spec.Set) (Plan, error) {
	rec, err := r.store.Record(name)
	if err != nil {
		return Plan{Name: name, Do: Wait}, err
	}
	live, err := r.store.Live(name)
	if err != nil {
		return Plan{Name: name, Do: Wait}, err
	}
	in := Input{Want: set.Certificate(name), Have: rec, Live: live, Host: r.host, Floor: r.floor, Deploys: r.deploy != nil}
	return planned(name, set, &in, func(issuer string, f func(*store.IssuerState)) error {
		ledger, err := r.store.Issuer(issuer)
		if err == nil {
			ledger.View(f)
		}
		return err
	})
}

// PlanFrom is Plan without a daemon: from a state directory as it is on disk, or from none, as before the first start.
func PlanFrom(state *store.Reader, name string, set *spec.Set, host string, floor time.Time) (Plan, error) {
	in := Input{Want: set.Certificate(name), Host: host, Floor: floor, Deploys: true}
	if state == nil {
		return planned(name, set, &in, func(_ string, f func(*store.IssuerState)) error { f(&store.IssuerState{}); return nil })
	}
	var err error
	if in.Have, in.Live, _, err = state.Look(name); err != nil {
		return Plan{Name: name, Do: Wait}, err
	}
	return planned(name, set, &in, func(issuer string, f func(*store.IssuerState)) error {
		s, err := state.IssuerState(issuer)
		if err == nil {
			f(&s)
		}
		return err
	})
}

// planned decides from in; view shows what is known of an issuer.
func planned(name string, set *spec.Set, in *Input, view func(issuer string, f func(*store.IssuerState)) error) (p Plan, err error) {
	p = Plan{Name: name, Do: Wait}
	now := time.Now().Round(0)
	if in.Want == nil {
		if p.Why = Unwanted; in.Have.Retired.IsZero() {
			p.Do = Retire
		}
		return p, nil
	}
	for _, issuer := range in.Want.Issuers {
		if s := set.Issuer(issuer); s != nil {
			in.Issuers = append(in.Issuers, IssuerState{Name: issuer, Directory: s.Directory})
		}
	}
	due, why := Due(in, now)
	p.Why = why
	switch {
	case due.After(now):
		p.At = due
		p.deliver(in, now)
	case len(in.Issuers) > 0:
		p.Do, p.Issuer = Issue, in.Issuers[0].Name
		p.Differs = differences(in)
		p.Targets = everyTarget(in)
		if issuer := set.Issuer(p.Issuer); !exempt(in, issuer, now) {
			err = view(p.Issuer, func(s *store.IssuerState) { p.Costs = costsOf(in, issuer, s, now) })
		}
	}
	return p, err
}

// deliver fills in who has to accept the revision that stays.
func (p *Plan) deliver(in *Input, now time.Time) {
	is := in.Have.Serving()
	if !in.Deploys || is == nil {
		return
	}
	done := progressOf(in, is, now).done
	for _, t := range in.targets(is) {
		if !slices.Contains(done, t.Fingerprint) {
			p.Targets = append(p.Targets, t.Key)
		}
	}
	if len(p.Targets) > 0 {
		p.Do, p.Why = Deploy, Behind
	}
}

func everyTarget(in *Input) (keys []string) {
	if !in.Deploys {
		return nil
	}
	for _, t := range in.Want.Deploy.Targets("") {
		keys = append(keys, t.Key)
	}
	return keys
}

// differences are the attributes by which what is asked for is not what was issued.
func differences(in *Input) (out []string) {
	want, is := in.Want, in.Have.Issued
	if is == nil {
		return nil
	}
	out = append(out, setDifference("dnsNames", want.DNSNames, is.DNSNames)...)
	out = append(out, setDifference("ipAddresses", addresses(want), is.IPAddresses)...)
	change := func(field, from, to string) {
		if from != to {
			out = append(out, field+": "+orNone(from)+" → "+orNone(to))
		}
	}
	change("privateKey", is.Key, want.PrivateKey.String())
	change("csrFile", csrName(is.CSR), csrName(csrSum(want)))
	change("profile", is.Profile, want.Profile)
	if !matchesIssuer(is, in.Issuers) {
		change("issuers", is.Issuer+" at "+is.Directory, strings.Join(want.Issuers, ", "))
	}
	return out
}

// csrName calls a CSR by the beginning of its checksum, as sha256sum prints it of the DER.
func csrName(sum string) string {
	if sum == "" {
		return ""
	}
	return "sha256:" + sum[:min(16, len(sum))]
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// setDifference is a line such as "dnsNames: + new.example.com, - old.example.com", or nothing.
func setDifference(field string, want, have []string) []string {
	var parts []string
	for sign, list := range map[string][2][]string{"+ ": {want, have}, "- ": {have, want}} {
		for _, name := range list[0] {
			if !slices.Contains(list[1], name) {
				parts = append(parts, sign+name)
			}
		}
	}
	if len(parts) == 0 {
		return nil
	}
	slices.Sort(parts)
	return []string{field + ": " + strings.Join(parts, ", ")}
}

// costsOf is what an order takes from the limits at issuer, and what is left of them.
func costsOf(in *Input, issuer *spec.Issuer, s *store.IssuerState, now time.Time) (costs []Cost) {
	for _, b := range countedBuckets(identifiers(in.Want), issuer.Limits, renewal(in, issuer, now)) {
		costs = append(costs, Cost{
			Issuer: issuer.Name, Limit: b.words, Max: b.limit, Per: b.per, Needs: 1, Left: b.left(s.Budgets[b.key], now), key: b.key,
		})
	}
	return costs
}

// Sum adds costs up by issuer and limit, in the order in which they come.
func Sum(costs []Cost) (sums []Cost) {
	index := map[string]int{}
	for _, c := range costs {
		id := c.Issuer + " " + c.key
		i, known := index[id]
		if !known {
			i = len(sums)
			index[id] = i
			sums = append(sums, c)
			continue
		}
		sums[i].Needs += c.Needs
	}
	return sums
}
