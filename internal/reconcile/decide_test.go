package reconcile_test

import (
	"testing"
	"time"

	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

const (
	day  = 24 * time.Hour
	tick = time.Nanosecond
)

// start is when the certificate of these tests was issued.
var start = time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC)

func want() *spec.Certificate {
	return &spec.Certificate{
		Name: "www", DNSNames: []string{"www.example.com", "example.com"}, Issuers: []string{"le"},
		Challenge:  spec.Challenge{Type: "http-01"},
		PrivateKey: spec.PrivateKey{Algorithm: "ECDSA", Size: 256, RotationPolicy: "Always"},
		Renew:      spec.Renew{ARI: true},
	}
}

// issued is what fulfils want for life.
func issued(life time.Duration) *store.Revision {
	return &store.Revision{
		Number: 7, Issuer: "le", Directory: "https://le/dir", Account: "https://le/acct/1",
		DNSNames: []string{"example.com", "www.example.com"}, Key: "ECDSA-256", CertID: "id",
		NotBefore: start, NotAfter: start.Add(life), Committed: start,
	}
}

// valid is the input of a certificate of 90 days that is served, whose advice was read.
func valid() reconcile.Input {
	return reconcile.Input{
		Want:    want(),
		Have:    store.Record{Issued: issued(90 * day), ARI: store.ARI{CertID: "id", NextPoll: start.Add(11*day + time.Hour)}},
		Live:    7,
		Issuers: []reconcile.IssuerState{{Name: "le", Directory: "https://le/dir"}},
	}
}

func failed(kind string, count int, retry time.Time) map[string]store.Failure {
	return map[string]store.Failure{"le": {Kind: kind, Count: count, At: start, RetryAt: retry, Request: reconcile.Attempt(want()), Detail: "no"}}
}

func TestDecide(t *testing.T) {
	now := start.Add(10 * day)
	soon := now.Add(tick)
	order := func(change func(*store.Order)) *store.Order {
		o := &store.Order{Issuer: "le", Directory: "https://le/dir", Request: want().Request(), URL: "https://le/o/1", Status: "pending"}
		if change != nil {
			change(o)
		}
		return o
	}
	second := reconcile.IssuerState{Name: "backup", Directory: "https://backup/dir"}
	twoIssuers := func(in *reconcile.Input) {
		in.Want.Issuers = []string{"le", "backup"}
		in.Issuers = append(in.Issuers, second)
	}
	none := func(in *reconcile.Input) { in.Have.Issued, in.Live = nil, 0 }

	for sentence, c := range map[string]struct {
		change func(*reconcile.Input)
		do     reconcile.Action
		why    reconcile.Reason
		at     time.Time // of a wait; zero: not checked
		issuer string
	}{
		"a valid certificate waits": {
			change: func(*reconcile.Input) {}, do: reconcile.Wait, why: reconcile.NotDue},
		"a certificate that is not there is issued": {
			change: none, do: reconcile.Issue, why: reconcile.Missing, issuer: "le"},
		"a certificate whose spec is gone is retired": {
			change: func(in *reconcile.Input) { in.Want = nil }, do: reconcile.Retire, why: reconcile.Unwanted},
		"a retired certificate rests for ever": {
			change: func(in *reconcile.Input) { in.Want = nil; in.Have.Retired = start }, do: reconcile.Wait, why: reconcile.Unwanted},
		"before the build date nothing is done": {
			change: func(in *reconcile.Input) { none(in); in.Floor = soon }, do: reconcile.Wait, why: reconcile.ClockBehind},
		"at the build date the clock counts": {
			change: func(in *reconcile.Input) { none(in); in.Floor = now }, do: reconcile.Issue, why: reconcile.Missing},
		"a revision that is not live is activated": {
			change: func(in *reconcile.Input) { in.Live, in.Have.Live = 6, issued(90*day) }, do: reconcile.Activate, why: reconcile.Committed},
		"an older revision is activated when it is the newest sound one": {
			change: func(in *reconcile.Input) { in.Live, in.Damaged = 8, true }, do: reconcile.Activate, why: reconcile.Committed},
		"an expired revision does not take the place of a damaged one": {
			change: func(in *reconcile.Input) { in.Live, in.Damaged, in.Have.Issued.NotAfter = 8, true, now.Add(-tick) }, do: reconcile.Issue, why: reconcile.Damaged},
		"a first revision that is not live is activated": {
			change: func(in *reconcile.Input) { in.Live = 0 }, do: reconcile.Activate, why: reconcile.Committed},
		"damaged files are replaced at once": {
			change: func(in *reconcile.Input) { in.Damaged = true }, do: reconcile.Issue, why: reconcile.Damaged},
		"an expired certificate is replaced at once": {
			change: func(in *reconcile.Input) { in.Have.Issued.NotAfter = now.Add(-tick) }, do: reconcile.Issue, why: reconcile.Expired},

		"a name more is another certificate": {
			change: func(in *reconcile.Input) { in.Want.DNSNames = append(in.Want.DNSNames, "a.example.com") }, do: reconcile.Issue, why: reconcile.Edited},
		"another order of names is the same certificate": {
			change: func(in *reconcile.Input) { in.Want.DNSNames = []string{"example.com", "www.example.com"} }, do: reconcile.Wait, why: reconcile.NotDue},
		"another key is another certificate": {
			change: func(in *reconcile.Input) { in.Want.PrivateKey.Size = 384 }, do: reconcile.Issue, why: reconcile.Edited},
		"another profile is another certificate": {
			change: func(in *reconcile.Input) { in.Want.Profile = "short" }, do: reconcile.Issue, why: reconcile.Edited},
		"another issuer is another certificate": {
			change: func(in *reconcile.Input) { in.Issuers = []reconcile.IssuerState{second} }, do: reconcile.Issue, why: reconcile.Edited, issuer: "backup"},
		"an issuer that moved is another issuer": {
			change: func(in *reconcile.Input) { in.Issuers[0].Directory = "https://else/dir" }, do: reconcile.Issue, why: reconcile.Edited},
		"a certificate of the second issuer in the list is good": {
			change: func(in *reconcile.Input) {
				twoIssuers(in)
				in.Have.Issued.Issuer, in.Have.Issued.Directory = "backup", "https://backup/dir"
			}, do: reconcile.Wait, why: reconcile.NotDue},

		"a renewal that was asked for happens": {
			change: func(in *reconcile.Input) { in.Have.Requested = now }, do: reconcile.Issue, why: reconcile.Requested},

		"advice is read when it is due": {
			change: func(in *reconcile.Input) { in.Have.ARI.NextPoll = now }, do: reconcile.PollARI, why: reconcile.AdviceDue},
		"advice is not read before": {
			change: func(in *reconcile.Input) { in.Have.ARI.NextPoll = soon }, do: reconcile.Wait, why: reconcile.NotDue, at: soon},
		"one visit is for advice and for the look of every day": {
			change: func(in *reconcile.Input) { in.Have.ARI.NextPoll = now.Add(day) }, do: reconcile.Wait, why: reconcile.NotDue, at: now.Add(day)},
		"advice is not read where the spec does not want it": {
			change: func(in *reconcile.Input) { in.Have.ARI.NextPoll = now; in.Want.Renew.ARI = false }, do: reconcile.Wait, why: reconcile.NotDue},
		"advice is not read while the issuer is on hold": {
			change: func(in *reconcile.Input) { in.Have.ARI.NextPoll = now; in.Issuers[0].Hold = soon }, do: reconcile.Wait, why: reconcile.NotDue},
		"the issuer that issued is asked for advice": {
			change: func(in *reconcile.Input) {
				twoIssuers(in)
				in.Have.ARI.NextPoll = now
				in.Have.Issued.Issuer, in.Have.Issued.Directory = "backup", "https://backup/dir"
			}, do: reconcile.PollARI, why: reconcile.AdviceDue, issuer: "backup"},
		"advice for another certificate does not count": {
			change: func(in *reconcile.Input) {
				in.Have.ARI = store.ARI{CertID: "old", Chosen: now, Start: start, End: soon, NextPoll: now.Add(day)}
			}, do: reconcile.Wait, why: reconcile.NotDue},

		"at the instant that was chosen the time has come": {
			change: func(in *reconcile.Input) { in.Have.ARI.Chosen, in.Have.ARI.End = now, now.Add(day) }, do: reconcile.Issue, why: reconcile.Advised},
		"a moment before it has not": {
			change: func(in *reconcile.Input) { in.Have.ARI.Chosen, in.Have.ARI.End = soon, now.Add(day) }, do: reconcile.Wait, why: reconcile.NotDue, at: soon},
		"what is overdue is not polled for first": {
			change: func(in *reconcile.Input) {
				in.Have.ARI.Chosen, in.Have.ARI.End, in.Have.ARI.NextPoll = now.Add(-day), now.Add(-tick), now.Add(-day)
			}, do: reconcile.Issue, why: reconcile.Advised},
		"at the end of its life a certificate is due": {
			change: func(in *reconcile.Input) { in.Have.Issued.NotAfter = now }, do: reconcile.Issue, why: reconcile.Lifetime},
		"what needs a new certificate for several reasons tells the gravest": {
			change: func(in *reconcile.Input) {
				in.Damaged, in.Have.Requested, in.Want.Profile = true, now, "short"
			}, do: reconcile.Issue, why: reconcile.Damaged},

		"an open order is taken further": {
			change: func(in *reconcile.Input) { none(in); in.Order = order(nil) }, do: reconcile.Resume, why: reconcile.InFlight, issuer: "le"},
		"an open order is asked for when the CA wished": {
			change: func(in *reconcile.Input) { none(in); in.Order = order(nil); in.PollAt = soon }, do: reconcile.Wait, why: reconcile.AwaitingCA, at: soon},
		"an order that was never answered is given up": {
			change: func(in *reconcile.Input) { none(in); in.Order = order(func(o *store.Order) { o.URL = "" }) }, do: reconcile.Abandon, why: reconcile.Obsolete},
		"whether an order is past its end, the CA tells": {
			change: func(in *reconcile.Input) {
				none(in)
				in.Order = order(func(o *store.Order) { o.Expires = now.Add(-tick) })
			}, do: reconcile.Resume, why: reconcile.InFlight},
		"an order for something else is given up": {
			change: func(in *reconcile.Input) { none(in); in.Order = order(func(o *store.Order) { o.Request = "x" }) }, do: reconcile.Abandon, why: reconcile.Obsolete},
		"an order for something else is given up although the certificate is good": {
			change: func(in *reconcile.Input) { in.Order = order(func(o *store.Order) { o.Request = "x" }) }, do: reconcile.Abandon, why: reconcile.Obsolete},
		"an order that is good still is gone on with although the certificate is good": {
			change: func(in *reconcile.Input) { in.Order = order(nil) }, do: reconcile.Resume, why: reconcile.InFlight},
		"an order for something else that the CA is processing is not given up": {
			change: func(in *reconcile.Input) {
				none(in)
				in.Order = order(func(o *store.Order) { o.Request, o.Status = "x", "processing" })
			}, do: reconcile.Resume, why: reconcile.InFlight},
		"an order of an issuer that the spec no longer names is given up": {
			change: func(in *reconcile.Input) {
				none(in)
				in.Order = order(nil)
				in.Issuers = []reconcile.IssuerState{second}
			}, do: reconcile.Abandon, why: reconcile.Obsolete, issuer: "le"},
		"an order of an issuer that is not defined any more is given up": {
			change: func(in *reconcile.Input) { none(in); in.Order = order(nil); in.Issuers = nil }, do: reconcile.Abandon, why: reconcile.Obsolete},
		"an order in process stays while its issuer is not defined": {
			change: func(in *reconcile.Input) {
				none(in)
				in.Order = order(func(o *store.Order) { o.Status = "processing" })
				in.Issuers = nil
			}, do: reconcile.Wait, why: reconcile.Parked},
		"an order in process yields to an issuer that the spec names instead": {
			change: func(in *reconcile.Input) {
				none(in)
				in.Order = order(func(o *store.Order) { o.Status = "processing" })
				in.Issuers = []reconcile.IssuerState{second}
			}, do: reconcile.Issue, why: reconcile.Missing, issuer: "backup"},
		"an open order needs no budget": {
			change: func(in *reconcile.Input) { none(in); in.Order = order(nil); in.Issuers[0].Budget = soon }, do: reconcile.Resume, why: reconcile.InFlight},
		"an open order waits while the issuer is on hold": {
			change: func(in *reconcile.Input) { none(in); in.Order = order(nil); in.Issuers[0].Hold = soon }, do: reconcile.Wait, why: reconcile.IssuerHold, at: soon},

		"a failed certificate backs off": {
			change: func(in *reconcile.Input) { none(in); in.Have.Failures = failed("validation", 1, soon) }, do: reconcile.Wait, why: reconcile.BackingOff, at: soon},
		"a failed certificate is tried again in time": {
			change: func(in *reconcile.Input) { none(in); in.Have.Failures = failed("validation", 1, now) }, do: reconcile.Issue, why: reconcile.Missing},
		"a refused certificate is parked": {
			change: func(in *reconcile.Input) { none(in); in.Have.Failures = failed("permanent", 1, soon) }, do: reconcile.Wait, why: reconcile.Parked, at: soon},
		"an edit clears the back-off": {
			change: func(in *reconcile.Input) {
				none(in)
				in.Have.Failures = failed("permanent", 1, soon)
				in.Want.DNSNames = in.Want.DNSNames[:1]
			}, do: reconcile.Issue, why: reconcile.Missing},
		"a request clears the back-off": {
			change: func(in *reconcile.Input) {
				none(in)
				in.Have.Failures = failed("permanent", 1, soon)
				in.Have.Requested = start.Add(tick)
			}, do: reconcile.Issue, why: reconcile.Missing},
		"a request of before the failure does not": {
			change: func(in *reconcile.Input) {
				none(in)
				in.Have.Failures = failed("validation", 1, soon)
				in.Have.Requested = start
			}, do: reconcile.Wait, why: reconcile.BackingOff},
		"nothing clears what the CA asked for": {
			change: func(in *reconcile.Input) {
				none(in)
				f := failed("rateLimited", 1, soon)["le"]
				f.Promised, f.Request = soon, "x"
				in.Have.Failures = map[string]store.Failure{"le": f}
				in.Have.Requested, in.Have.Forced = now, true
			}, do: reconcile.Wait, why: reconcile.BackingOff, at: soon},
		"a valid certificate with a failure is not touched before it is due": {
			change: func(in *reconcile.Input) { in.Have.Failures = failed("validation", 1, now) }, do: reconcile.Wait, why: reconcile.NotDue},

		"a hold of the issuer holds": {
			change: func(in *reconcile.Input) { none(in); in.Issuers[0].Hold = soon }, do: reconcile.Wait, why: reconcile.IssuerHold, at: soon, issuer: "le"},
		"a hold ends at its time": {
			change: func(in *reconcile.Input) { none(in); in.Issuers[0].Hold = now }, do: reconcile.Issue, why: reconcile.Missing},
		"a budget holds": {
			change: func(in *reconcile.Input) { none(in); in.Issuers[0].Budget = soon }, do: reconcile.Wait, why: reconcile.OverBudget, at: soon},
		"force passes a budget": {
			change: func(in *reconcile.Input) {
				in.Have.Requested, in.Have.Forced, in.Issuers[0].Budget = now, true, soon
			}, do: reconcile.Issue, why: reconcile.Requested},
		"force does not pass a hold": {
			change: func(in *reconcile.Input) { in.Have.Requested, in.Have.Forced, in.Issuers[0].Hold = now, true, soon }, do: reconcile.Wait, why: reconcile.IssuerHold},

		"what ends last is what is waited for: the hold": {
			change: func(in *reconcile.Input) {
				none(in)
				in.Have.Failures = failed("validation", 1, soon)
				in.Issuers[0].Hold = soon.Add(tick)
			}, do: reconcile.Wait, why: reconcile.IssuerHold, at: soon.Add(tick)},
		"what ends last is what is waited for: the back-off": {
			change: func(in *reconcile.Input) {
				none(in)
				in.Have.Failures = failed("validation", 1, soon.Add(tick))
				in.Issuers[0].Hold = soon
			}, do: reconcile.Wait, why: reconcile.BackingOff, at: soon.Add(tick)},
		"what ends last is what is waited for: the budget": {
			change: func(in *reconcile.Input) {
				none(in)
				in.Issuers[0].Hold, in.Issuers[0].Budget = soon, now.Add(6*day)
			}, do: reconcile.Wait, why: reconcile.OverBudget, at: now.Add(6 * day)},
		"a failure of another issuer does not count": {
			change: func(in *reconcile.Input) {
				none(in)
				in.Have.Failures = map[string]store.Failure{"backup": failed("permanent", 9, soon)["le"]}
			}, do: reconcile.Issue, why: reconcile.Missing, issuer: "le"},
		"another challenge clears the back-off": {
			change: func(in *reconcile.Input) {
				none(in)
				in.Have.Failures = failed("permanent", 1, soon)
				in.Want.Challenge.Webroot = "/srv"
			}, do: reconcile.Issue, why: reconcile.Missing},

		"a back-off from a clock that was ahead is not believed": {
			change: func(in *reconcile.Input) {
				none(in)
				f := failed("validation", 1, now.Add(1000*day))["le"]
				f.Promised = f.RetryAt
				in.Have.Failures = map[string]store.Failure{"le": f}
			}, do: reconcile.Issue, why: reconcile.Missing},
		"a week that the CA asked for is believed": {
			change: func(in *reconcile.Input) {
				none(in)
				f := failed("rateLimited", 1, now.Add(7*day))["le"]
				f.At, f.Promised = now, f.RetryAt
				in.Have.Failures = map[string]store.Failure{"le": f}
				in.Have.Requested = now.Add(tick)
			}, do: reconcile.Wait, why: reconcile.BackingOff, at: now.Add(7 * day)},
		"a week from a clock that was ahead is not believed": {
			change: func(in *reconcile.Input) {
				none(in)
				f := failed("rateLimited", 1, now.Add(6*day))["le"]
				f.At, f.Promised = now.Add(tick), f.RetryAt
				in.Have.Failures = map[string]store.Failure{"le": f}
			}, do: reconcile.Issue, why: reconcile.Missing},
		"more than a week is not believed": {
			change: func(in *reconcile.Input) {
				none(in)
				f := failed("rateLimited", 1, now.Add(8*day))["le"]
				f.At, f.Promised = now, f.RetryAt
				in.Have.Failures = map[string]store.Failure{"le": f}
			}, do: reconcile.Issue, why: reconcile.Missing},
		"a hold from a clock that was ahead is not believed": {
			change: func(in *reconcile.Input) { none(in); in.Issuers[0].Hold = now.Add(1000 * day) }, do: reconcile.Issue, why: reconcile.Missing},
		"a poll from a clock that was ahead is not believed": {
			change: func(in *reconcile.Input) { none(in); in.Order = order(nil); in.PollAt = now.Add(1000 * day) }, do: reconcile.Resume, why: reconcile.InFlight},
		"a look at advice from a clock that was ahead is not believed": {
			change: func(in *reconcile.Input) { in.Have.ARI.NextPoll = now.Add(1000 * day) }, do: reconcile.PollARI, why: reconcile.AdviceDue},
		"a renewal that was asked for happens although the certificate seems to be of the future": {
			change: func(in *reconcile.Input) { in.Have.Requested = now; in.Have.Issued.Committed = now.Add(10 * day) }, do: reconcile.Issue, why: reconcile.Requested},

		"the second issuer waits for the first to have had its turn": {
			change: func(in *reconcile.Input) {
				twoIssuers(in)
				in.Damaged, in.Have.Failures = true, failed("validation", 2, soon)
			}, do: reconcile.Wait, why: reconcile.BackingOff, issuer: "le"},
		"the second issuer waits although the first failed when something else was asked for": {
			change: func(in *reconcile.Input) {
				twoIssuers(in)
				in.Damaged, in.Have.Failures = true, failed("permanent", 9, soon)
				in.Want.Profile, in.Have.Issued.Profile = "short", "short"
				in.Issuers[0].Hold = soon
			}, do: reconcile.Wait, why: reconcile.IssuerHold, issuer: "le"},
		"the second issuer is asked after three failures of the first": {
			change: func(in *reconcile.Input) {
				twoIssuers(in)
				in.Damaged, in.Have.Failures = true, failed("validation", 3, soon)
			}, do: reconcile.Issue, why: reconcile.Damaged, issuer: "backup"},
		"the second issuer is asked when the first refuses for good": {
			change: func(in *reconcile.Input) {
				twoIssuers(in)
				in.Damaged, in.Have.Failures = true, failed("permanent", 1, soon)
			}, do: reconcile.Issue, why: reconcile.Damaged, issuer: "backup"},
		"the second issuer is asked after one failure when there is no certificate": {
			change: func(in *reconcile.Input) {
				twoIssuers(in)
				none(in)
				in.Have.Failures = failed("validation", 1, soon)
			}, do: reconcile.Issue, why: reconcile.Missing, issuer: "backup"},
		"the second issuer waits while a twentieth of the lifetime is left": {
			change: func(in *reconcile.Input) {
				twoIssuers(in)
				in.Have.Issued.NotBefore, in.Have.Issued.NotAfter = now.Add(-19*day), now.Add(day)
				in.Have.Issued.Committed = in.Have.Issued.NotBefore
				in.Have.Failures = failed("validation", 1, soon)
			}, do: reconcile.Wait, why: reconcile.BackingOff, issuer: "le"},
		"the second issuer is asked after one failure when less is left": {
			change: func(in *reconcile.Input) {
				twoIssuers(in)
				in.Have.Issued.NotBefore, in.Have.Issued.NotAfter = now.Add(-19*day), now.Add(day-20*tick)
				in.Have.Issued.Committed = in.Have.Issued.NotBefore
				in.Have.Failures = failed("validation", 1, soon)
			}, do: reconcile.Issue, why: reconcile.Lifetime, issuer: "backup"},
		"the second issuer waits while the first is on hold for an hour": {
			change: func(in *reconcile.Input) { twoIssuers(in); none(in); in.Issuers[0].Hold = now.Add(time.Hour) }, do: reconcile.Wait, why: reconcile.IssuerHold, issuer: "le"},
		"the second issuer is asked when the first is on hold for longer": {
			change: func(in *reconcile.Input) { twoIssuers(in); none(in); in.Issuers[0].Hold = now.Add(time.Hour + tick) }, do: reconcile.Issue, why: reconcile.Missing, issuer: "backup"},
		"the first to be free is waited for when both are on hold": {
			change: func(in *reconcile.Input) {
				twoIssuers(in)
				none(in)
				in.Issuers[0].Hold, in.Issuers[1].Hold = now.Add(3*time.Hour), now.Add(2*time.Hour)
			}, do: reconcile.Wait, why: reconcile.IssuerHold, issuer: "backup", at: now.Add(2 * time.Hour)},
		"the first issuer is asked again when its back-off has ended": {
			change: func(in *reconcile.Input) {
				twoIssuers(in)
				in.Damaged, in.Have.Failures = true, failed("validation", 5, now)
			}, do: reconcile.Issue, why: reconcile.Damaged, issuer: "le"},
		"without any issuer there is nothing to do but wait": {
			change: func(in *reconcile.Input) { none(in); in.Issuers = nil }, do: reconcile.Wait, why: reconcile.Parked},
	} {
		t.Run(sentence, func(t *testing.T) {
			in := valid()
			c.change(&in)
			got := reconcile.Decide(in, now)
			if got.Do != c.do || got.Why != c.why {
				t.Errorf("got %s because %s, want %s because %s", got.Do, got.Why, c.do, c.why)
			}
			if !c.at.IsZero() && !got.At.Equal(c.at) {
				t.Errorf("got a wait until %v, want %v", got.At, c.at)
			}
			if c.issuer != "" && got.Issuer != c.issuer {
				t.Errorf("got issuer %q, want %q", got.Issuer, c.issuer)
			}
			if got.Do == reconcile.Wait && in.Want != nil && !got.At.After(now) {
				t.Errorf("got a wait until %v, which is not after now, %v", got.At, now)
			}
		})
	}
}

func TestRestsAreSpread(t *testing.T) {
	now := start.Add(10 * day)
	for sentence, c := range map[string]struct {
		change   func(*reconcile.Input)
		from, to time.Duration // after now
	}{
		"a good certificate is looked at once a day, or a little more often": {
			func(in *reconcile.Input) { in.Want.Renew.ARI = false }, 18 * time.Hour, day},
		"advice is read within an hour after a hold": {
			func(in *reconcile.Input) {
				in.Have.ARI.NextPoll = now
				in.Issuers[0].Hold = now.Add(2 * time.Hour)
			}, 2 * time.Hour, 3 * time.Hour},
		"advice is not read earlier because of a hold": {
			func(in *reconcile.Input) {
				in.Have.ARI.NextPoll = now.Add(6 * time.Hour)
				in.Issuers[0].Hold = now.Add(time.Hour)
			}, 6 * time.Hour, 6 * time.Hour},
	} {
		t.Run(sentence, func(t *testing.T) {
			earliest, latest := never, time.Duration(0)
			for n := range 100 {
				in := valid()
				in.Want.Name = string(rune('a' + n))
				c.change(&in)
				d := reconcile.Decide(in, now)
				if d.Do != reconcile.Wait || d.Why != reconcile.NotDue {
					t.Fatalf("got %+v", d)
				}
				earliest, latest = min(earliest, d.At.Sub(now)), max(latest, d.At.Sub(now))
			}
			if earliest < c.from || latest > c.to || latest-earliest < (c.to-c.from)*9/10 {
				t.Errorf("between %v and %v, want all of %v to %v", earliest, latest, c.from, c.to)
			}
		})
	}
}

func TestDue(t *testing.T) {
	for sentence, c := range map[string]struct {
		life   time.Duration
		change func(*reconcile.Input)
		now    time.Duration // after start
		want   time.Duration // after start; up to 1/50 of the lifetime earlier counts as well, unless exact
		exact  bool
		why    reconcile.Reason
	}{
		"a third of ninety days":     {life: 90 * day, want: 60 * day, why: reconcile.Lifetime},
		"a third of ten days":        {life: 10 * day, want: 10*day - 10*day/3, why: reconcile.Lifetime},
		"half of less than ten days": {life: 10*day - 2*time.Second, want: 5*day - time.Second, why: reconcile.Lifetime},
		"half of a minute":           {life: time.Minute, want: 30 * time.Second, why: reconcile.Lifetime},
		"a share that the spec asks for": {life: 90 * day, want: 45 * day, why: reconcile.Lifetime,
			change: func(in *reconcile.Input) { in.Want.Renew.Fraction = 0.5 }},
		"a time that the spec asks for": {life: 90 * day, want: 80 * day, why: reconcile.Lifetime,
			change: func(in *reconcile.Input) { in.Want.Renew.Before = 10 * day }},
		"a time longer than the lifetime means its default": {life: 6 * day, want: 3 * day, why: reconcile.Lifetime,
			change: func(in *reconcile.Input) { in.Want.Renew.Before = 30 * day }},
		"never later than the last twentieth": {life: 100 * day, want: 95 * day, exact: true, why: reconcile.Lifetime,
			change: func(in *reconcile.Input) { in.Want.Renew.Before = time.Hour }},
		"the instant of the CA": {life: 90 * day, want: 50 * day, exact: true, why: reconcile.Advised,
			change: advice(40*day, 55*day, 50*day)},
		"an instant of the CA after the default": {life: 90 * day, want: 80 * day, exact: true, why: reconcile.Advised,
			change: advice(79*day, 81*day, 80*day)},
		"an instant of the CA in the last twentieth is overridden": {life: 100 * day, want: 95 * day, exact: true, why: reconcile.Lifetime,
			change: advice(94*day, 99*day, 98*day)},
		"an instant in the first tenth waits for its end": {life: 90 * day, want: 9 * day, exact: true, why: reconcile.Advised,
			change: advice(0, 10*day, day), now: day},
		"a window that is past means now": {life: 90 * day, want: day, exact: true, why: reconcile.Advised,
			change: advice(0, 2*day, day), now: 2 * day},
		"a window that was past from the beginning waits an hour": {life: 90 * day, want: time.Hour, exact: true, why: reconcile.Advised,
			change: advice(-2*day, -day, -day), now: tick},
		"advice does not count where the spec does not want it": {life: 90 * day, want: 60 * day, why: reconcile.Lifetime,
			change: func(in *reconcile.Input) { advice(40*day, 55*day, 50*day)(in); in.Want.Renew.ARI = false }},
	} {
		t.Run(sentence, func(t *testing.T) {
			in := valid()
			in.Have.Issued = issued(c.life)
			if c.change != nil {
				c.change(&in)
			}
			at, why := reconcile.Due(&in, start.Add(c.now))
			latest := start.Add(c.want)
			earliest := latest
			if !c.exact {
				earliest = latest.Add(-c.life / 50)
			}
			if at.Before(earliest) || at.After(latest) || why != c.why {
				t.Errorf("got %v because %s, want within [%v, %v] because %s", at, why, earliest, latest, c.why)
			}
			if again, _ := reconcile.Due(&in, start.Add(c.now)); !again.Equal(at) {
				t.Errorf("asked again, got %v instead of %v", again, at)
			}
		})
	}
}

func advice(from, to, chosen time.Duration) func(*reconcile.Input) {
	return func(in *reconcile.Input) {
		in.Have.ARI = store.ARI{CertID: "id", Start: start.Add(from), End: start.Add(to), Chosen: start.Add(chosen)}
	}
}

func TestHostsSpreadTheirRenewals(t *testing.T) {
	in := valid()
	in.Host = "a"
	a, _ := reconcile.Due(&in, start)
	in.Host = "b"
	if b, _ := reconcile.Due(&in, start); b.Equal(a) {
		t.Errorf("two hosts renew at the same instant, %v", a)
	}
}

func FuzzDecide(f *testing.F) {
	f.Add(int64(0), int64(90*day), int64(0), int64(0), uint8(0), int64(60*day), false)
	f.Fuzz(func(t *testing.T, now, life, chosen, hold int64, count uint8, end int64, failing bool) {
		in := valid()
		in.Have.Issued = issued(time.Duration(life))
		in.Have.ARI = store.ARI{CertID: "id", Chosen: start.Add(time.Duration(chosen)), End: start.Add(time.Duration(end)), NextPoll: start.Add(time.Duration(hold))}
		in.Issuers[0].Hold = start.Add(time.Duration(hold))
		if failing {
			in.Have.Failures = failed("validation", int(count), start.Add(time.Duration(hold)))
		}
		at := start.Add(time.Duration(now))
		d := reconcile.Decide(in, at)
		if d.Do == reconcile.Wait && !d.At.After(at) {
			t.Errorf("got a wait that is over: %+v at %v", d, at)
		}
		if d.Do == reconcile.Wait && d.Why == reconcile.NotDue && d.At.Sub(at) > day {
			t.Errorf("got a rest of more than a day: %v", d.At.Sub(at))
		}
	})
}
