package crl

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	maxSize     = 32 << 20
	maxTime     = time.Minute // for all of a list
	dialTime    = 10 * time.Second
	maxHeader   = 64 << 10
	maxRedirect = 3
)

// Source is where lists are fetched. It is safe for use by many at once.
type Source struct{ client *http.Client }

// SourceConfig says how lists are reached. Its zero value is the network, without a proxy.
type SourceConfig struct {
	Transport http.RoundTripper                     // nil: the network; Proxy and RootCAs are of it
	Proxy     func(*http.Request) (*url.URL, error) // nil: none
	RootCAs   *x509.CertPool                        // for https; nil: the system's
	UserAgent string
	// CA is the host of the CA's directory. Only lists of a CA on this machine, or in its private network, may be there too.
	// "": none may.
	CA string
}

// NewSource makes a Source.
func NewSource(c SourceConfig) *Source {
	if c.Transport == nil {
		inside := reach{c.CA}
		direct := c.transport()
		direct.DialContext = (&net.Dialer{Timeout: dialTime, ControlContext: inside.control}).DialContext
		proxied := c.transport()
		proxied.Proxy, proxied.DialContext = c.Proxy, (&net.Dialer{Timeout: dialTime}).DialContext
		c.Transport = forked{direct, proxied, c.Proxy, inside}
	}
	return &Source{&http.Client{Transport: named{c.Transport, c.UserAgent}, CheckRedirect: samePlace}}
}

func (c SourceConfig) transport() *http.Transport {
	return &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: dialTime,
		DisableCompression: true, DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader,
	}
}

// Version is how a server calls a list that it gave, so that the same one is not fetched again. The zero Version is
// no list.
type Version struct{ ETag, LastModified string }

// Fetch reads the list at url, at most 32 MB of it and within a minute. It gives nil when that is the one of version have
// still.
func (s *Source) Fetch(ctx context.Context, url string, have Version) (der []byte, version Version, err error) {
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, Version{}, err
	}
	if err := checkURL(req.URL); err != nil {
		return nil, Version{}, err
	}
	for header, value := range map[string]string{"If-None-Match": have.ETag, "If-Modified-Since": have.LastModified} {
		if value != "" {
			req.Header.Set(header, value)
		}
	}
	res, err := s.client.Do(req)
	if err != nil {
		return nil, Version{}, err
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusNotModified && have != Version{}:
		return nil, have, nil
	case res.StatusCode != http.StatusOK:
		return nil, Version{}, fmt.Errorf("the server answers with status %d", res.StatusCode)
	}
	der, err = io.ReadAll(io.LimitReader(res.Body, maxSize+1))
	switch {
	case err != nil:
		return nil, Version{}, fmt.Errorf("reading the answer: %w", cmp.Or(ctx.Err(), err))
	case len(der) > maxSize:
		return nil, Version{}, fmt.Errorf("it is larger than %d MB", maxSize>>20)
	}
	return der, Version{res.Header.Get("ETag"), res.Header.Get("Last-Modified")}, nil
}

// named sends a client's name along.
type named struct {
	next  http.RoundTripper
	agent string
}

// RoundTrip implements http.RoundTripper.
func (n named) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("User-Agent", n.agent)
	return n.next.RoundTrip(req)
}

func checkURL(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return errors.New("it is not an address of HTTP")
	}
	return nil
}
