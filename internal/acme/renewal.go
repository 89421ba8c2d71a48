package acme

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	minRenewalPoll     = time.Minute
	defaultRenewalPoll = 6 * time.Hour
)

// Renewable is what has to be known of a certificate to ask when to renew it.
type Renewable struct {
	CertID              string // see CertID; "": it cannot be named
	NotBefore, NotAfter time.Time
}

// RenewalInfo asks when to renew a certificate, without signing (RFC 9773 §4.1). The window is cut to the
// certificate's lifetime; one that lies before it all means at once. If the CA answers no such questions, or the
// certificate cannot be named, the error's cause is ErrNoRenewalInfo.
func (c *Client) RenewalInfo(ctx context.Context, cert Renewable) (_ RenewalInfo, err error) {
	d, err := c.directory(ctx)
	if err == nil && (d.renewalInfo == "" || cert.CertID == "") {
		return RenewalInfo{}, &Error{Kind: Permanent, Op: OpRenewalInfo, Problem: problemConfiguration,
			Detail: ErrNoRenewalInfo.Error(), Err: ErrNoRenewalInfo} // the usual case at many CAs: not counted
	}
	defer c.finish(OpRenewalInfo, &err)
	if err != nil {
		return RenewalInfo{}, err
	}
	a, err := c.do(ctx, OpRenewalInfo, http.MethodGet, strings.TrimSuffix(d.renewalInfo, "/")+"/"+cert.CertID, nil)
	if err != nil {
		return RenewalInfo{}, err
	}
	return parseRenewalInfo(a, cert)
}

func parseRenewalInfo(a *answer, cert Renewable) (RenewalInfo, error) {
	var w struct {
		SuggestedWindow struct{ Start, End time.Time }
		ExplanationURL  string
	}
	if err := a.decode(OpRenewalInfo, &w); err != nil {
		return RenewalInfo{}, err
	}
	start, end := w.SuggestedWindow.Start, w.SuggestedWindow.End
	if !start.Before(end) || !start.Before(cert.NotAfter) {
		return RenewalInfo{}, oddAnswer(OpRenewalInfo, a.status, "the CA's renewal window is empty or after the certificate's end")
	}
	first := cert.NotBefore
	r := RenewalInfo{Start: later(start, first), End: later(earlier(end, cert.NotAfter), first.Add(time.Second))}
	r.RetryAfter = defaultRenewalPoll
	if d := retryAfter(a.header); d > 0 {
		r.RetryAfter = max(d, minRenewalPoll)
	}
	if u, err := url.Parse(w.ExplanationURL); err == nil && checkURL(u) == nil && len(w.ExplanationURL) <= maxLink {
		r.ExplanationURL = u.String()
	}
	return r, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// CertID names a certificate for renewal information and for OrderRequest.Replaces (RFC 9773 §4.1): "" without an
// authority key identifier.
func CertID(leaf *x509.Certificate) string {
	if leaf == nil || len(leaf.AuthorityKeyId) == 0 || leaf.SerialNumber == nil || leaf.SerialNumber.Sign() <= 0 {
		return ""
	}
	serial := leaf.SerialNumber.Bytes()
	if serial[0]&0x80 != 0 {
		serial = append([]byte{0}, serial...) // as DER does
	}
	enc := base64.RawURLEncoding.EncodeToString
	return enc(leaf.AuthorityKeyId) + "." + enc(serial)
}
