package acme

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// proxyRefusal is what a proxy answers when it is asked to connect to the CA (RFC 9110 §9.3.6).
type proxyRefusal struct {
	proxy, target string
	status        int
}

func (r *proxyRefusal) Error() string {
	return fmt.Sprintf("the proxy %s answers %d %s when it is asked to connect to %s", r.proxy, r.status, http.StatusText(r.status), r.target)
}

func (r *proxyRefusal) hint() string {
	if r.status == http.StatusProxyAuthRequired {
		return "name a file that holds user:password in proxyCredentialsFile of the issuer, and see that the proxy knows them"
	}
	return "have whoever runs the proxy let this machine connect to " + r.target
}

// onProxyAnswer is for http.Transport, which would keep the proxy's name to itself.
func onProxyAnswer(_ context.Context, proxy *url.URL, req *http.Request, res *http.Response) error {
	if res.StatusCode == http.StatusOK {
		return nil
	}
	return &proxyRefusal{proxy: nameOf(proxy), target: req.Host, status: res.StatusCode}
}

// nameOf is a proxy without what logs in there.
func nameOf(proxy *url.URL) string { return proxy.Scheme + "://" + proxy.Host }

// unanswered is why a request got no answer, with the proxy through which it went.
func (g *guard) unanswered(op string, req *http.Request, err error) *Error {
	if known, ok := errors.AsType[*Error](err); ok { // Config.Proxy's
		own := *known
		own.Op = op
		return &own
	}
	e := networkError(op, req.URL, err)
	if g.proxy == nil || e.Problem != "timeout" && e.Problem != "network" {
		return e
	}
	if proxy, err := g.proxy(req); err == nil && proxy != nil {
		e.Detail = clean("through the proxy " + nameOf(proxy) + ": " + e.Detail)
		if _, unresolved := errors.AsType[*net.DNSError](e.Err); !unresolved { // else it is the proxy's name
			e.Hint = "make sure that this machine reaches the proxy, and the proxy the CA" + onPort(req.URL)
		}
	}
	return e
}
