package reconcile_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

const leaf, older = "leaf of 7", "leaf of 6"

// consumed is the input of a certificate that is served, and that all its consumers have accepted.
func consumed() reconcile.Input {
	in := valid()
	in.Deploys = true
	in.Have.Issued.SHA256 = leaf
	in.Want.Deploy = spec.Deploy{
		Files: []spec.File{{Path: "/a"}}, Check: []string{"true"}, Reload: []string{"a.service", "b.service"}, Run: []spec.Run{{Command: []string{"push"}}},
	}
	accept(&in, leaf)
	return in
}

func accept(in *reconcile.Input, leaf string) {
	in.Have.Targets = map[string]store.Target{}
	for _, t := range in.Want.Deploy.Targets(leaf) {
		in.Have.Targets[t.Key] = store.Target{Accepted: t.Fingerprint}
	}
}

// refuse makes a target one that has not accepted leaf and is asked again at that time.
func refuse(in *reconcile.Input, key, leaf string, again time.Time) {
	for _, t := range in.Want.Deploy.Targets(leaf) {
		if t.Key == key {
			in.Have.Targets[key] = store.Target{Failed: &store.Setback{Fingerprint: t.Fingerprint, Count: 1, RetryAt: again, Problem: "no"}}
		}
	}
}

// waiting makes revision 6 live while 7 is the newest.
func waiting(in *reconcile.Input) {
	before := *in.Have.Issued
	before.Number, before.SHA256 = 6, older
	in.Live, in.Have.Live = 6, &before
	accept(in, older)
}

func TestDecideDelivery(t *testing.T) {
	now := start.Add(10 * day) // midnight
	soon, past := now.Add(time.Minute), now.Add(-tick)
	window := func(in *reconcile.Input) {
		waiting(in)
		in.Want.Deploy.Window = &spec.Window{Start: "02:00", Duration: time.Hour, Timezone: "UTC", UnlessExpiresWithin: 3 * day}
	}
	for sentence, c := range map[string]struct {
		change func(*reconcile.Input)
		do     reconcile.Action
		why    reconcile.Reason
		at     time.Time // of a wait; zero: not checked
	}{
		"all have accepted it: it rests": {change: func(*reconcile.Input) {}, do: reconcile.Wait, why: reconcile.NotDue},
		"a consumer has another one: it is served": {
			change: func(in *reconcile.Input) { accept(in, older) }, do: reconcile.Deploy, why: reconcile.Behind},
		"nobody serves consumers: it rests": {
			change: func(in *reconcile.Input) { accept(in, older); in.Deploys = false }, do: reconcile.Wait, why: reconcile.NotDue},
		"a delivery is under way: it is waited for": {
			change: func(in *reconcile.Input) { accept(in, older); in.Delivering = true }, do: reconcile.Wait, why: reconcile.Delivering},
		"an edit brings a consumer: it is served": {
			change: func(in *reconcile.Input) { in.Want.Deploy.Reload = append(in.Want.Deploy.Reload, "c.service") }, do: reconcile.Deploy, why: reconcile.Behind},
		"an edit takes a consumer away: it rests": {
			change: func(in *reconcile.Input) { in.Want.Deploy.Run = nil }, do: reconcile.Wait, why: reconcile.NotDue},
		"an edit brings a name: the next certificate is served, not this one": {
			change: func(in *reconcile.Input) {
				accept(in, older)
				in.Want.DNSNames = append(in.Want.DNSNames, "new.example.com")
			}, do: reconcile.Issue, why: reconcile.Edited},
		"it has expired: it is served to nobody": {
			change: func(in *reconcile.Input) { accept(in, older); in.Have.Issued.NotAfter = past }, do: reconcile.Issue, why: reconcile.Expired},
		"a consumer failed: it is asked again at its time": {
			change: func(in *reconcile.Input) { refuse(in, "run push", leaf, soon) }, do: reconcile.Wait, why: reconcile.Undelivered, at: soon},
		"a consumer failed, and its time has come": {
			change: func(in *reconcile.Input) { refuse(in, "run push", leaf, now) }, do: reconcile.Deploy, why: reconcile.Behind},
		"a consumer failed with another certificate: that does not count": {
			change: func(in *reconcile.Input) { refuse(in, "run push", older, soon) }, do: reconcile.Deploy, why: reconcile.Behind},
		"a consumer failed, and one beside it has not been asked": {
			change: func(in *reconcile.Input) {
				refuse(in, "reload a.service", leaf, soon)
				delete(in.Have.Targets, "reload b.service")
			}, do: reconcile.Deploy, why: reconcile.Behind},
		"a consumer failed, and those of a later stage wait for it": {
			change: func(in *reconcile.Input) {
				refuse(in, "reload a.service", leaf, soon)
				delete(in.Have.Targets, "run push")
			}, do: reconcile.Wait, why: reconcile.Undelivered, at: soon},
		"a file could not be written, and the other one was taken back: it waits with it": {
			change: func(in *reconcile.Input) {
				in.Want.Deploy.Files = []spec.File{{Path: "/a"}, {Path: "/b"}, {Path: "/c"}}
				accept(in, leaf)
				delete(in.Have.Targets, "file /a")
				delete(in.Have.Targets, "file /c")
				refuse(in, "file /b", leaf, soon)
			}, do: reconcile.Wait, why: reconcile.Undelivered, at: soon},
		"nobody could be asked: all wait": {
			change: func(in *reconcile.Input) {
				accept(in, older)
				in.Have.Refused = &store.Setback{RetryAt: soon, Problem: "no helper"}
			}, do: reconcile.Wait, why: reconcile.Undelivered, at: soon},
		"a failed delivery does not keep it from being renewed": {
			change: func(in *reconcile.Input) {
				refuse(in, "run push", leaf, soon)
				in.Have.ARI.Start, in.Have.ARI.End, in.Have.ARI.Chosen = past, soon, past
			}, do: reconcile.Issue, why: reconcile.Advised},
		"a wait for the issuer ends in time for the consumer": {
			change: func(in *reconcile.Input) {
				refuse(in, "run push", leaf, soon)
				in.Have.Issued.NotAfter = now.Add(day)
				in.Have.Failures = failed("validation", 3, now.Add(time.Hour))
			}, do: reconcile.Wait, why: reconcile.BackingOff, at: soon},
		"a check failed, and there is an older revision: that is live again": {
			change: func(in *reconcile.Input) {
				refuse(in, "check", leaf, soon)
				in.Before = issued(90 * day)
			}, do: reconcile.Withdraw, why: reconcile.Refused},
		"a check failed, and there is no older revision: this one stays": {
			change: func(in *reconcile.Input) { refuse(in, "check", leaf, soon) }, do: reconcile.Wait, why: reconcile.Undelivered, at: soon},
		"a check failed, and the files were taken back: they wait with it": {
			change: func(in *reconcile.Input) { refuse(in, "check", leaf, soon); delete(in.Have.Targets, "file /a") }, do: reconcile.Wait, why: reconcile.Undelivered, at: soon},
		"a check failed, and its time has come: it is asked again": {
			change: func(in *reconcile.Input) { refuse(in, "check", leaf, now); in.Before = issued(90 * day) }, do: reconcile.Deploy, why: reconcile.Behind},
		"a revision was taken back: it waits": {
			change: func(in *reconcile.Input) {
				waiting(in)
				refuse(in, "check", leaf, soon)
				in.Have.Targets["check"] = withAccepted(in, "check", older)
			},
			do: reconcile.Wait, why: reconcile.Refused, at: soon},
		"a revision was taken back, and the old one has expired meanwhile": {
			change: func(in *reconcile.Input) { waiting(in); refuse(in, "check", leaf, soon); in.Have.Live.NotAfter = now }, do: reconcile.Activate, why: reconcile.Committed},
		"the window is closed: the old one stays": {change: window, do: reconcile.Wait, why: reconcile.Window, at: now.Add(2 * time.Hour)},
		"the window is closed, and nothing is live: the first is activated": {
			change: func(in *reconcile.Input) { window(in); in.Live, in.Have.Live = 0, nil }, do: reconcile.Activate, why: reconcile.Committed},
		"the window is closed, and the operator is in a hurry": {
			change: func(in *reconcile.Input) { window(in); in.Have.Hurried = past }, do: reconcile.Activate, why: reconcile.Committed},
		"the window is closed, and little is left of the old one": {
			change: func(in *reconcile.Input) { window(in); in.Have.Live.NotAfter = now.Add(3 * day) }, do: reconcile.Activate, why: reconcile.Committed},
		"the window is closed, and soon little is left of the old one": {
			change: func(in *reconcile.Input) { window(in); in.Have.Live.NotAfter = now.Add(3*day + time.Hour) },
			do:     reconcile.Wait, why: reconcile.Window, at: now.Add(time.Hour)},
		"the window is closed, and a consumer of the old one is behind": {
			change: func(in *reconcile.Input) { window(in); delete(in.Have.Targets, "run push") }, do: reconcile.Deploy, why: reconcile.Behind},
		"a revision that waits for its window is renewed by its own end": {
			change: func(in *reconcile.Input) { window(in); in.Have.Issued.NotAfter = now.Add(day) }, do: reconcile.Issue, why: reconcile.Lifetime},
		"it is held: the old one stays": {
			change: func(in *reconcile.Input) { waiting(in); in.Have.Held = soon }, do: reconcile.Wait, why: reconcile.Held, at: soon},
		"it is held: nothing is ordered": {
			change: func(in *reconcile.Input) { in.Have.Held, in.Have.Requested = soon, past }, do: reconcile.Wait, why: reconcile.Held, at: soon},
		"it is held: what is live is served": {
			change: func(in *reconcile.Input) { in.Have.Held = soon; delete(in.Have.Targets, "run push") }, do: reconcile.Deploy, why: reconcile.Behind},
		"it is held beyond its end: it is renewed in time": {
			change: func(in *reconcile.Input) {
				in.Have.Held = now.Add(30 * day)
				in.Have.Issued.NotAfter = now.Add(time.Hour)
			}, do: reconcile.Issue, why: reconcile.Lifetime},
	} {
		in := consumed()
		c.change(&in)
		d := reconcile.Decide(in, now)
		if d.Do != c.do || d.Why != c.why || !c.at.IsZero() && !d.At.Equal(c.at) {
			t.Errorf("%s: got %s because %s at %v, want %s because %s at %v", sentence, d.Do, d.Why, d.At, c.do, c.why, c.at)
		}
	}
}

// withAccepted is a target that failed and that has accepted an older certificate before.
func withAccepted(in *reconcile.Input, key, leaf string) store.Target {
	target := in.Have.Targets[key]
	for _, t := range in.Want.Deploy.Targets(leaf) {
		if t.Key == key {
			target.Accepted = t.Fingerprint
		}
	}
	return target
}

// consumers are all that w delivers to. They accept whatever refuses does not name.
type consumers struct {
	w        *world
	mu       sync.Mutex        // guards the following
	problems map[string]string // by the key of a target
	refusal  string            // why nobody can be asked
	served   []string          // "KEY REVISION" of what was accepted
	down     map[string]bool   // by key: its unit ends, and stays down
	flags    string            // of the last delivery: "ended again", without what is not set
	asked    int
}

func newConsumers(w *world) *consumers {
	c := &consumers{w: w, problems: map[string]string{}}
	w.deliver = c.deliver
	return c
}

// last is what the last delivery said of units that ended.
func (c *consumers) last() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flags
}

// rise has every unit run again.
func (c *consumers) rise() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = nil
}

func (c *consumers) deliver(d reconcile.Delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.refusal != "" {
		c.w.reconciler.Delivered(d, nil, &store.Setback{Problem: c.refusal, Hint: "mend it"})
		return
	}
	c.flags = strings.Repeat("ended ", len(d.Ended)) + strings.Repeat("again ", len(d.Again))
	var out []reconcile.Outcome
	stage, stopped := spec.StageFiles, false
	for _, t := range d.Want.Deploy.Targets(d.Leaf) {
		if t.Stage > stage {
			stage = t.Stage
			if stopped {
				break
			}
		}
		switch {
		case slices.Contains(d.Done, t.Fingerprint):
		case slices.Contains(d.Wait, t.Fingerprint):
			stopped = true
		case c.problems[t.Key] != "":
			stopped = true
			if t.Stage == spec.StageCheck {
				for i, o := range out {
					out[i] = reconcile.Outcome{Key: o.Key, Fingerprint: o.Fingerprint, Withdrawn: true}
				}
				c.served = c.served[:len(c.served)-len(out)]
			}
			out = append(out, reconcile.Outcome{Key: t.Key, Fingerprint: t.Fingerprint, Problem: c.problems[t.Key], Output: "some words", Ended: c.down[t.Key]})
		default:
			c.served = append(c.served, t.Key+" "+string('0'+rune(d.Revision)))
			out = append(out, reconcile.Outcome{Key: t.Key, Fingerprint: t.Fingerprint, OK: true})
		}
	}
	c.w.reconciler.Delivered(d, out, nil)
}

// take gives what was served since the last call.
func (c *consumers) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	served := c.served
	c.served = nil
	return served
}

// count is how often they were asked.
func (c *consumers) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

// mend lets the target accept what it is given; "": lets them be asked.
func (c *consumers) mend(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if delete(c.problems, key); key == "" {
		c.refusal = ""
	}
}

// fail makes the target refuse what it is given.
func (c *consumers) fail(key, problem string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems[key] = problem
}

func (c *consumers) expect(want ...string) {
	c.w.t.Helper()
	if got := c.take(); !slices.Equal(got, want) {
		c.w.t.Errorf("served %q, want %q", got, want)
	}
}

func consumedCert() *spec.Certificate {
	c := cert("www")
	c.Deploy = spec.Deploy{Files: []spec.File{{Path: "/a"}}, Check: []string{"true"}, Reload: []string{"a.service"}, Run: []spec.Run{{Command: []string{"push"}}}}
	return c
}
