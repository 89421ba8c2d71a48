package acme

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	xacme "golang.org/x/crypto/acme"
)

// bridge makes x/crypto/acme share what the Client knows, and speak to the CA through the same guard.
//
// A fresh x/crypto client is made for each step, so that none of its locks, which it holds across requests, is ever
// shared. What that client asks for first, the directory and a nonce, is answered from memory; nonces that come with
// answers go to the Client's pool; and a CA's refusal becomes an *Error here, with the status that was really
// received, before x/crypto makes less of it. Only badNonce passes, for x/crypto to sign anew.
type bridge struct {
	c   *Client
	dir *directory
}

// RoundTrip implements http.RoundTripper.
func (b bridge) RoundTrip(req *http.Request) (*http.Response, error) {
	switch url := req.URL.String(); {
	case req.Method == http.MethodGet && url == b.c.base.String():
		return memory(req, http.Header{}, b.dir.raw), nil
	case req.Method == http.MethodHead && url == b.dir.newNonce:
		nonce, err := b.c.nonce(req.Context())
		if err != nil {
			return nil, err
		}
		return memory(req, http.Header{headerNonce: {nonce}}, nil), nil
	}
	res, err := b.c.guard.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	b.c.nonces.put(res.Header.Get(headerNonce), time.Now())
	res.Header.Del(headerNonce)
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	return b.refuse(req, res)
}

func (b bridge) refuse(req *http.Request, res *http.Response) (*http.Response, error) {
	a, err := newAnswer(res)
	if err != nil {
		return nil, err
	}
	e := b.c.refusal(opOf(req.Context()), req.URL.String(), a)
	if e.Problem == problemBadNonce && a.status == http.StatusBadRequest {
		res.Body = io.NopCloser(bytes.NewReader(a.body))
		return res, nil
	}
	return nil, e
}

// memory answers a request without the network.
func memory(req *http.Request, h http.Header, body []byte) *http.Response {
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}
}

// x makes the x/crypto client of one step.
func (c *Client) x(ctx context.Context) (*xacme.Client, error) {
	d, err := c.directory(ctx)
	if err != nil {
		return nil, err
	}
	return &xacme.Client{
		Key:          c.key,
		KID:          xacme.KeyID(c.account()),
		DirectoryURL: c.base.String(),
		HTTPClient:   &http.Client{Transport: bridge{c, d}, CheckRedirect: sameHost},
		RetryBackoff: badNonceOnly,
	}, nil
}

// badNonceOnly lets x/crypto sign anew after a bad nonce, which is the only 4xx but 429 that it asks about.
func badNonceOnly(n int, _ *http.Request, res *http.Response) time.Duration {
	if n > maxBadNonces || res.StatusCode != http.StatusBadRequest {
		return -1
	}
	return time.Millisecond
}

// problemOfX is what x/crypto made of a problem document. Its StatusCode is the document's own claim.
func problemOfX(e *xacme.Error) problem {
	p := problem{Type: e.ProblemType, Detail: e.Detail}
	for _, s := range e.Subproblems {
		sub := subproblem{Type: s.Type, Detail: s.Detail}
		if s.Identifier != nil {
			sub.Identifier.Value = s.Identifier.Value
		}
		p.Subproblems = append(p.Subproblems, sub)
	}
	return p
}
