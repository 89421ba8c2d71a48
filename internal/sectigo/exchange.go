package sectigo

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxAnswer      = 4 << 20 // a page of 200 domains is far below
	maxHeader      = 64 << 10
	requestTimeout = 60 * time.Second
)

// exchange asks one web API, over https alone unless it is on this machine, follows no redirect, because the request
// carries credentials, and reads bounded answers.
type exchange struct {
	base  *url.URL
	http  *http.Client
	agent string
}

func newExchange(base, agent string) (*exchange, error) {
	u, err := url.Parse(strings.TrimRight(base, "/"))
	if err == nil {
		err = checkURL(u)
	}
	if err != nil {
		return nil, &Error{
			Op: "using " + strconv.Quote(clean(base)) + " as the URL of the API", Description: clean(err.Error()), Err: err,
			Hint: "give the https URL of the API, such as " + DefaultURL + " for Sectigo",
		}
	}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &exchange{base: u, agent: cmp.Or(agent, "acmed"), http: &http.Client{Transport: transport, CheckRedirect: stay}}, nil
}

func checkURL(u *url.URL) error {
	switch {
	case u.Hostname() == "" || u.Opaque != "":
		return errors.New("it has no host")
	case u.User != nil:
		return errors.New("it holds a user")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("it holds more than a path")
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return errors.New("it is not https")
	}
	return nil
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// request is one question. Its path is below the base of the API.
type request struct {
	op     string // for errors: "listing the accounts"
	method string
	path   string
	query  url.Values
	header http.Header
	body   any // sent as JSON; nil: none
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// url is where the request goes.
func (x *exchange) url(r request) *url.URL {
	u := *x.base
	u.Path += r.path
	u.RawQuery = r.query.Encode()
	return &u
}

// do asks once. An answer that is not 2xx is no error yet.
func (x *exchange) do(ctx context.Context, r request) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var body io.Reader
	if r.body != nil {
		text, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.op, err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, x.url(r).String(), body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.op, err)
	}
	for name, values := range r.header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json;charset=utf-8")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", x.agent)
	res, err := x.http.Do(req)
	if err != nil {
		return nil, x.unreachable(r.op, err)
	}
	return x.read(r.op, res)
}

func (x *exchange) read(op string, res *http.Response) (*answer, error) {
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, x.unreachable(op, err)
	case len(body) > maxAnswer:
		return nil, x.odd(op, res.StatusCode, fmt.Sprintf("the answer is larger than %d bytes", maxAnswer))
	case res.StatusCode/100 == 3:
		return nil, x.odd(op, res.StatusCode, "it redirects to "+clean(res.Header.Get("Location"))+", which is not followed with credentials")
	}
	return &answer{res.StatusCode, res.Header, body}, nil
}

// unreachable says why there was no answer. The URL of a request, which net/http puts first, may hold a secret.
func (x *exchange) unreachable(op string, err error) *Error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	e := &Error{
		Op: op, Description: "asking " + x.base.Host + ": " + clean(err.Error()), Err: err,
		Hint: "make sure that this machine reaches " + x.base.Host + ", through HTTPS_PROXY if it needs a proxy, and that the URL is right",
	}
	switch {
	case errors.Is(err, context.Canceled):
		e.Hint = ""
	case errors.Is(err, context.DeadlineExceeded):
		e.Description = fmt.Sprintf("%s does not answer within %v", x.base.Host, requestTimeout)
	}
	return e
}

// odd is an answer that the API's reference does not allow.
func (x *exchange) odd(op string, status int, what string) *Error {
	return &Error{Op: op, Status: status, Description: what, Hint: "see that " + x.base.String() + " is the URL of the API"}
}

// decode reads the JSON of an answer.
func (x *exchange) decode(op string, a *answer, v any) error {
	if err := json.Unmarshal(a.body, v); err != nil {
		return x.odd(op, a.status, "the answer cannot be read: "+clean(err.Error()))
	}
	return nil
}
