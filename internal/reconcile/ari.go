package reconcile

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"acmed/internal/acme"
	"acmed/internal/store"
)

const (
	// noAdvice is how often a CA without renewal information is asked whether it has some now.
	noAdvice = 24 * time.Hour
	// adviceFailed is when advice that could not be read is asked for again (RFC 9773 §4.3.3).
	adviceFailed = 6 * time.Hour
)

// poll reads the CA's advice on when to renew. The instant is drawn once for a window and written down: a restart
// draws no other.
func (v *visit) poll(ctx context.Context) error {
	is, a := v.in.Have.Issued, v.advice()
	i, err := v.r.issuer(is.Issuer)
	if err != nil || i == nil {
		return errors.Join(err, errGone(is.Issuer))
	}
	if until, err := i.claim(v.now); err != nil || until.After(v.now) {
		return err // another certificate probes
	}
	info, err := v.ask(ctx, i)
	if errors.Is(err, acme.ErrNoRenewalInfo) {
		*a = store.ARI{CertID: is.CertID, NextPoll: v.now.Add(noAdvice)}
		v.changed(lazily)
		return nil
	}
	if err := v.heard(ctx, i, err); err != nil {
		return err
	}
	v.changed(lazily)
	if !follow(a, info, v.now, rand.Float64) {
		return nil
	}
	v.changed(durably)
	v.log.Debug("read renewal advice", fieldIssuer(is.Issuer), zap.Time("start", a.Start), zap.Time("end", a.End),
		zap.Time("next", a.Chosen), zap.String("explanation", a.Explanation))
	return nil
}

// follow notes advice, and tells whether it is another one than before: an instant in [0, 1) of its window is drawn then.
func follow(a *store.ARI, info acme.RenewalInfo, now time.Time, draw func() float64) bool {
	a.NextPoll = now.Add(info.RetryAfter)
	if a.Start.Equal(info.Start) && a.End.Equal(info.End) && !a.Chosen.IsZero() {
		return false
	}
	a.Start, a.End, a.Explanation = info.Start, info.End, info.ExplanationURL
	a.Chosen = info.Start.Add(time.Duration(draw() * float64(info.End.Sub(info.Start)))).Round(0)
	return true
}

// ask asks when to renew the certificate that is live.
func (v *visit) ask(ctx context.Context, i *issuer) (info acme.RenewalInfo, err error) {
	client, err := v.ready(ctx, i)
	if err != nil {
		return info, err
	}
	is := v.in.Have.Issued
	return client.RenewalInfo(ctx, acme.Renewable{CertID: is.CertID, NotBefore: is.NotBefore, NotAfter: is.NotAfter})
}

// advice is what is known of the advice for the certificate that is live: nothing of another one's.
func (v *visit) advice() *store.ARI {
	a, id := &v.in.Have.ARI, v.in.Have.Issued.CertID
	if a.CertID != id {
		*a = store.ARI{CertID: id}
	}
	return a
}

// pollFailed puts the next look at the CA's advice off; what it last advised stays.
func (v *visit) pollFailed(err error) {
	wait := adviceFailed
	if e, ok := errors.AsType[*acme.Error](err); ok {
		switch {
		case e.Kind == acme.Transient:
			wait = time.Hour
		case e.RetryAt.After(v.now):
			wait = max(e.RetryAt.Sub(v.now), time.Minute)
		}
	}
	a := v.advice()
	a.NextPoll = v.now.Add(wait)
	v.changed(lazily)
	v.log.Debug("reading renewal advice", fieldIssuer(v.in.Have.Issued.Issuer), zap.Time("next", a.NextPoll), zap.Error(err))
}
