package challenge

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"acmed/internal/acme"
)

// unaskedGrace is how long servers that cannot be asked from here are given to get a record that the others have.
const unaskedGrace = 15 * time.Second

// Visible tells which server of the zone does not have the record of p yet, which was written at that time; "" when all have that
// can be asked. After the provider's patience that is an error.
func (d *DNS) Visible(ctx context.Context, p acme.Proof, since time.Time) (lacking string, err error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	waited, how := time.Since(since), d.provider.Propagation
	if waited < how.Delay {
		return fmt.Sprintf("%s, as propagation.delay says", (how.Delay - waited).Round(time.Second)), nil
	}
	if !how.Check {
		return "", nil
	}
	lacking, hint := d.lacking(ctx, p, waited)
	if lacking != "" && waited > how.Timeout+how.Delay {
		return "", &acme.Error{Kind: acme.Transient, Op: acme.OpChallenge, Problem: "propagation", Identifier: p.Identifier.Value,
			Detail: fmt.Sprintf("after %s still: %s", how.Timeout, lacking), Hint: hint}
	}
	return lacking, nil
}

// lacking says what is waited for, and what to do if it is in vain. Servers that cannot be asked from here may well have the record:
// those that have it are enough then, when the others had some time.
func (d *DNS) lacking(ctx context.Context, p acme.Proof, waited time.Duration) (lacking, hint string) {
	at, err := d.place(ctx, p)
	if err != nil {
		return err.Error(), "see that the resolver answers, or name others in propagation.resolvers in " + d.provider.File
	}
	h := at.holders(ctx, at.name, p.DNSValue)
	unasked := strings.Join(h.unasked, "; ")
	switch blind := fmt.Sprintf("let this machine ask it (UDP and TCP port 53), or set propagation: {check: false, delay: 1m} in %s", d.provider.File); {
	case h.lacking != "":
		return h.lacking, "see that every name server of the zone gets the record, or raise propagation.timeout in " + d.provider.File +
			"; a zone that only your own servers know is named under zones there"
	case h.have == 0 && at.risk != "" && waited > unaskedGrace && d.locator.resolver.finds(ctx, at.name, p.DNSValue):
		return "", ""
	case h.have == 0 && at.risk != "":
		return at.risk, blind
	case h.have == 0:
		return "an answer: " + unasked, blind
	case unasked != "" && waited < unaskedGrace:
		return fmt.Sprintf("%s, for %s", unasked, (unaskedGrace - waited).Round(time.Second)), blind
	}
	return "", ""
}

// placed remembers where records were written, so that they are removed there, whatever CNAME records say by then.
type placed struct {
	mu     sync.Mutex       // guards the following
	places map[string]place // by value of the record; those that nobody removes are forgotten at the next start
}

func (w *placed) get(p acme.Proof) (place, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.places[p.DNSValue]
	return at, ok
}

func (w *placed) put(p acme.Proof, at place) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.places[p.DNSValue] = at
}

func (w *placed) forget(p acme.Proof) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.places, p.DNSValue)
}
