package reconcile

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"acmed/internal/crl"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// A CA tells of a revocation in two ways: its renewal advice, which visits read, and its revocation lists, which one
// goroutine reads for all certificates, since many share a list.

// RevocationList is what is known of the list that covers a certificate.
type RevocationList struct {
	URL     string
	Checked time.Time // when it was read last; zero: never
	Problem string    // why not, or what is wrong with it; "": nothing
}

// watcher is what is remembered of lists from one round to the next.
type watcher struct {
	turn  chan struct{}       // is held, by sending to it, during a round; it guards lists
	lists map[string]*watched // by key

	mu    sync.Mutex // guards known
	known map[string]RevocationList
}

// watched is one list.
type watched struct {
	version    crl.Version
	nextUpdate time.Time
	seen       map[string]bool // certificates that were looked for in this version, by SHA256
	RevocationList
}

// subject is a certificate that is looked for in a list.
type subject struct {
	name   string
	rev    store.Revision
	serial string // big-endian, without leading zeros
}

// shared are the subjects of one list.
type shared struct {
	issuer   *x509.Certificate
	points   []string
	by       string // name of the issuer in issuers.d, which says how the network is reached
	subjects []subject
}

// WatchRevocations reads the revocation lists of certificates again and again, with pauses of every, until ctx ends: of
// those whose CA does not tell by its renewal advice that they are revoked. The first round comes within a quarter of
// the pause, at another time on each host.
func (r *Reconciler) WatchRevocations(ctx context.Context, every time.Duration) error {
	wait := time.Duration((0.05 + share(r.host, "revocations")/5) * float64(every))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		if _, err := r.CheckRevocations(ctx, false); err != nil && ctx.Err() == nil {
			r.log.Error("looking for revoked certificates", zap.Error(err))
		}
		wait = every
	}
}

// CheckRevocations reads revocation lists now, and gives the names of certificates that are found to be revoked. They
// are replaced at once. all means every certificate; otherwise those whose CA does not tell by its renewal advice. A list
// that cannot be read is no error: see RevocationList.
func (r *Reconciler) CheckRevocations(ctx context.Context, all bool) (found []string, err error) {
	select {
	case r.watcher.turn <- struct{}{}:
		defer func() { <-r.watcher.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	groups, err := r.subjects(all, time.Now())
	if err != nil {
		return nil, err
	}
	if !all {
		r.watcher.keep(groups)
	}
	down := map[string]error{}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		if ctx.Err() != nil {
			return found, ctx.Err()
		}
		found = append(found, r.checkList(ctx, key, groups[key], down)...)
	}
	return found, nil
}

// subjects are the certificates to look for, by the key of the list that covers them.
func (r *Reconciler) subjects(all bool, now time.Time) (map[string]*shared, error) {
	groups := map[string]*shared{}
	for name, want := range r.specs.Load().Certificates() {
		have, err := r.store.Record(name)
		if err != nil {
			if _, damaged := errors.AsType[*store.DamagedError](err); damaged {
				continue // a visit starts it anew
			}
			return nil, err
		}
		for _, rev := range []*store.Revision{have.Issued, have.Live} {
			if rev == nil || now.After(rev.NotAfter) || !all && advised(want, &have, rev, now) {
				continue
			}
			if _, known := have.Revocation(rev); known {
				continue
			}
			chain, err := r.store.Chain(name, rev.Number)
			if err != nil || len(chain) < 2 {
				continue // visits see to damage; without its issuer nothing can be believed
			}
			r.group(groups, subject{name, *rev, string(chain[0].SerialNumber.Bytes())}, chain)
		}
	}
	return groups, nil
}

// advised tells whether the CA's renewal advice would tell of a revocation. A window that is past does, but not why.
func advised(want *spec.Certificate, have *store.Record, rev *store.Revision, now time.Time) bool {
	a := have.ARI
	return want.Renew.ARI && a.CertID == rev.CertID && rev.CertID != "" && !a.Start.IsZero() && a.End.After(now)
}

func (r *Reconciler) group(groups map[string]*shared, s subject, chain []*x509.Certificate) {
	points := crl.Points(chain[0])
	if len(points) == 0 {
		return
	}
	key := listKey(points, chain[1])
	if groups[key] == nil {
		groups[key] = &shared{issuer: chain[1], points: points, by: s.rev.Issuer}
	}
	groups[key].subjects = append(groups[key].subjects, s)
}

// listKey is the same for the certificates that one list covers.
func listKey(points []string, issuer *x509.Certificate) string {
	return fmt.Sprintf("%s %x", strings.Join(points, " "), sha256.Sum256(issuer.Raw))
}

// checkList looks for its certificates in one list, and gives the names of those that it names.
func (r *Reconciler) checkList(ctx context.Context, key string, g *shared, down map[string]error) []string {
	w := r.watcher.lists[key]
	if w == nil {
		w = &watched{}
		r.watcher.lists[key] = w
	}
	before := w.Problem
	revoked, result, err := r.search(ctx, w, g, down)
	if ctx.Err() != nil {
		return nil
	}
	w.Problem = ""
	if err != nil {
		w.Problem = err.Error()
	} else if end := w.nextUpdate; !end.IsZero() && end.Before(time.Now()) {
		w.Problem = fmt.Sprintf("%s: its CA was to replace it by %s, and has not", w.URL, end.UTC().Format(time.DateTime))
	}
	r.watcher.tell(key, w.RevocationList)
	r.metrics.readList(result)
	switch {
	case w.Problem != "" && before == "":
		r.log.Warn("revocation list is of no use", fieldIssuer(g.by), zap.Int("certificates", len(g.subjects)), zap.String("problem", w.Problem),
			zap.String("hint", "see that this machine reaches it and gets the newest; it is tried again at every round"))
	case w.Problem == "" && before != "":
		r.log.Info("revocation list is good again", fieldIssuer(g.by), zap.String("url", w.URL))
	}
	var names []string
	for _, s := range g.subjects {
		if e, ok := revoked[s.serial]; ok {
			r.findRevoked(s, e, w.URL)
			names = append(names, s.name)
		}
	}
	return names
}

// search reads the list at the first address where it is good. The result is what metrics call it.
func (r *Reconciler) search(ctx context.Context, w *watched, g *shared, down map[string]error) (map[string]crl.Entry, string, error) {
	source, err := r.listSource(g.by)
	if err != nil {
		return nil, "failed", err
	}
	var errs []error
	for _, point := range g.points {
		found, result, err := w.read(ctx, source, point, g, down)
		if err == nil {
			w.URL, w.Checked = point, time.Now().Round(0)
			return found, result, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", point, err))
	}
	return nil, "failed", errors.Join(errs...)
}

// read reads the list at one address, unless it is the one that was read before and nothing new is looked for. A host
// that does not answer is asked once in a round.
func (w *watched) read(ctx context.Context, source *crl.Source, point string, g *shared, down map[string]error) (map[string]crl.Entry, string, error) {
	host := hostOf(point)
	if err := down[host]; err != nil {
		return nil, "", err
	}
	have := w.version
	if point != w.URL || slices.ContainsFunc(g.subjects, func(s subject) bool { return !w.seen[s.rev.SHA256] }) {
		have = crl.Version{}
	}
	der, version, err := source.Fetch(ctx, point, have)
	if err != nil {
		if _, network := errors.AsType[*url.Error](err); network {
			down[host] = err
		}
		return nil, "", err
	}
	if der == nil {
		return nil, "unchanged", nil
	}
	list, err := crl.Parse(der, g.issuer)
	if err != nil {
		return nil, "", err
	}
	if !list.Covers(g.points) {
		return nil, "", errors.New("it is another part of the CA's list than the certificate's")
	}
	serials := map[string]bool{}
	seen := map[string]bool{}
	for _, s := range g.subjects {
		serials[s.serial], seen[s.rev.SHA256] = true, true
	}
	found, err := list.Find(serials)
	if err != nil {
		return nil, "", err
	}
	w.version, w.seen, w.nextUpdate = version, seen, list.NextUpdate
	return found, "read", nil
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Host
}

// listSource reaches the network as the issuer of that name does, as far as there is one.
func (r *Reconciler) listSource(issuer string) (*crl.Source, error) {
	c := crl.SourceConfig{Transport: r.transport, Proxy: http.ProxyFromEnvironment, UserAgent: r.userAgent}
	if s := r.specs.Load().Issuer(issuer); s != nil {
		reach, err := ClientConfig(s)
		if err != nil {
			return nil, err
		}
		c.Proxy, c.RootCAs = reach.Proxy, reach.RootCAs
		if u, err := url.Parse(s.Directory); err == nil {
			c.CA = u.Hostname()
		}
	}
	return crl.NewSource(c), nil
}

// findRevoked has the next visit write down that a certificate is revoked, and does not wait for it.
func (r *Reconciler) findRevoked(s subject, e crl.Entry, list string) {
	r.log.Warn("certificate was revoked by its CA", zap.String("cert", s.name), fieldIssuer(s.rev.Issuer), zap.Int("revision", s.rev.Number),
		zap.String("serial", s.rev.Serial), zap.String("reason", e.Reason), zap.Time("since", e.At), zap.String("list", list))
	r.wishFor(s.name, func(v *visit) error {
		v.revoked(s.rev, e.Reason)
		if have := &v.in.Have; have.Live != nil && have.Live.SHA256 == s.rev.SHA256 {
			have.Hurried = v.now // its successor is here already
		}
		return nil
	})
}

// RevocationList is what is known of the list that covers the live revision of name; false: none is read.
func (r *Reconciler) RevocationList(name string) (RevocationList, bool) {
	live, err := r.store.Live(name)
	if err != nil || live == 0 {
		return RevocationList{}, false
	}
	chain, err := r.store.Chain(name, live)
	if err != nil || len(chain) < 2 {
		return RevocationList{}, false
	}
	return r.watcher.told(listKey(crl.Points(chain[0]), chain[1]))
}

func (w *watcher) tell(key string, l RevocationList) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known[key] = l
}

func (w *watcher) told(key string) (RevocationList, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l, ok := w.known[key]
	return l, ok
}

// keep forgets the lists that no certificate needs any more.
func (w *watcher) keep(needed map[string]*shared) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key := range w.lists {
		if needed[key] == nil {
			delete(w.lists, key)
			delete(w.known, key)
		}
	}
}
