package evilca

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"
)

// Exchange is one request and the way to the good CA's answer.
type Exchange struct {
	*http.Request
	Endpoint Endpoint
	At       time.Time
	N        int // which request of this URL it is since a fault was set, from 1

	body   []byte
	signed jws
	proxy  *Proxy
}

// Answer is what a CA answers.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Origin is scheme, host and port of the CA as the client knows it.
func (x *Exchange) Origin() string { return "https://" + x.Host }

// Pass asks the good CA, unless a rule of Let's Encrypt stands against it. A CA that cannot be asked is a 502, which
// it says of itself.
func (x *Exchange) Pass() *Answer {
	if refusal := x.proxy.rules.before(x); refusal != nil {
		return x.nonced(refusal)
	}
	a, err := x.ask(x.Method, x.URL.RequestURI(), x.body)
	if err != nil {
		return &Answer{Status: http.StatusBadGateway, Header: http.Header{}, Body: []byte("asking the good CA: " + err.Error())}
	}
	x.proxy.rules.after(x, a)
	return a
}

func (x *Exchange) ask(method, uri string, body []byte) (*Answer, error) {
	u := *x.proxy.upstream
	req, err := http.NewRequestWithContext(x.Context(), method, u.Scheme+"://"+u.Host+uri, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Host, req.Header = x.Host, x.Header.Clone()
	res, err := x.proxy.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	res.Header.Del("Content-Length")
	return &Answer{Status: res.StatusCode, Header: res.Header, Body: text}, err
}

// nonced adds a nonce that the good CA takes, as every answer of a CA to a POST has one.
func (x *Exchange) nonced(a *Answer) *Answer {
	if x.Method != http.MethodPost {
		return a
	}
	fresh, err := x.ask(http.MethodHead, "/nonce-plz", nil)
	if err == nil {
		a.Header.Set("Replay-Nonce", fresh.Header.Get("Replay-Nonce"))
	}
	return a
}

// Write gives the answer to the client.
func (a *Answer) Write(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.Header)
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // the client may be gone
}

// jws is what a signed request says (RFC 7515 §7.2.2).
type jws struct {
	nonce, account, signature string
	payload                   []byte
}

// parseJWS leaves empty what cannot be read: the good CA will say so.
func parseJWS(body []byte) (out jws) {
	var wire struct{ Protected, Payload, Signature string }
	if json.Unmarshal(body, &wire) != nil {
		return out
	}
	var header struct{ Nonce, KID string }
	protected, err := base64.RawURLEncoding.DecodeString(wire.Protected)
	if err != nil || json.Unmarshal(protected, &header) != nil {
		return out
	}
	out = jws{nonce: header.Nonce, account: header.KID, signature: wire.Signature}
	out.payload, _ = base64.RawURLEncoding.DecodeString(wire.Payload)
	return out
}

// replaceAll changes every URL of an answer: in its body, its Location and its links.
func (a *Answer) replaceAll(old, with string) {
	a.Body = bytes.ReplaceAll(a.Body, []byte(old), []byte(with))
	for _, name := range []string{"Location", "Link"} {
		for i, v := range a.Header[name] {
			a.Header[name][i] = strings.ReplaceAll(v, old, with)
		}
	}
}
