package crl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
)

// area is where an address leads.
type area uint8

const (
	public  area = iota
	never        // link-local, multicast or unspecified: no server has a list there
	machine      // loopback
	private      // RFC 1918, RFC 4193, RFC 6598
)

func areaOf(a netip.Addr) area {
	switch a = a.Unmap(); {
	case a.IsLoopback():
		return machine
	case !a.IsGlobalUnicast():
		return never
	case a.IsPrivate(), netip.MustParsePrefix("100.64.0.0/10").Contains(a):
		return private
	}
	return public
}

// reach decides which addresses may be asked for a list: a certificate names them, and its CA is not trusted with this
// machine's own network. An address inside is for lists of a CA that is there itself.
type reach struct{ ca string }

// control is a net.Dialer's: it sees every address that is dialed, whatever a name resolved to.
func (r reach) control(ctx context.Context, _, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return r.check(ctx, at.Addr())
}

func (r reach) check(ctx context.Context, a netip.Addr) error {
	switch where := areaOf(a); {
	case where == public:
		return nil
	case where != never && r.isAt(ctx, where):
		return nil
	}
	return fmt.Errorf("refusing %s: it is an address of this machine or its network, and the CA is not there", a)
}

// isAt reports whether the CA has an address in that area.
func (r reach) isAt(ctx context.Context, where area) bool {
	if r.ca == "" {
		return false
	}
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", r.ca)
	return err == nil && slices.ContainsFunc(all, func(a netip.Addr) bool { return areaOf(a) == where })
}

// checkHost is check for a request that a proxy makes: only the URL can be judged.
func (r reach) checkHost(ctx context.Context, u *url.URL) error {
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if a, err := netip.ParseAddr(host); err == nil {
		return r.check(ctx, a)
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return r.check(ctx, netip.IPv6Loopback())
	}
	return nil
}

// forked sends a request directly, to an address that is checked, or through a proxy, which is not.
type forked struct {
	direct, proxied http.RoundTripper
	proxy           func(*http.Request) (*url.URL, error) // nil: none
	reach           reach
}

// RoundTrip implements http.RoundTripper.
func (s forked) RoundTrip(req *http.Request) (*http.Response, error) {
	if s.proxy == nil {
		return s.direct.RoundTrip(req)
	}
	at, err := s.proxy(req)
	switch {
	case err != nil:
		return nil, err
	case at == nil:
		return s.direct.RoundTrip(req)
	}
	if err := s.reach.checkHost(req.Context(), req.URL); err != nil {
		return nil, err
	}
	return s.proxied.RoundTrip(req)
}

// samePlace follows a redirect only within a host and port, and from HTTP to HTTPS at their own ports.
func samePlace(req *http.Request, via []*http.Request) error {
	from, to := via[len(via)-1].URL, req.URL
	upgrade := from.Scheme == "http" && port(from) == "80" && to.Scheme == "https" && port(to) == "443"
	switch {
	case !strings.EqualFold(to.Hostname(), from.Hostname()) || checkURL(to) != nil:
		return errors.New("it is said to be on another host")
	case !upgrade && (to.Scheme != from.Scheme || port(to) != port(from)):
		return errors.New("it is said to be at another port")
	case len(via) > maxRedirect:
		return errors.New("it is redirected too often")
	}
	return nil
}

func port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}
