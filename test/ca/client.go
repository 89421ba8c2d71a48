package ca

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// Client sends requests to the interfaces of a CA other than ACME.
type Client struct{ http *http.Client }

// NewClient returns a client that trusts one root.
func NewClient(root *x509.Certificate) *Client {
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return &Client{&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}}
}

// Close closes the connections that no request uses.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Answers reports an error if no HTTP server responds. Any status will do.
func (c *Client) Answers(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Get returns the body of a response with status 200.
func (c *Client) Get(ctx context.Context, url string) ([]byte, error) {
	return c.do(ctx, http.MethodGet, url, nil)
}

// Post sends a value as JSON and returns the body of a response with status 200 or 204.
func (c *Client) Post(ctx context.Context, url string, value any) ([]byte, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return c.do(ctx, http.MethodPost, url, data)
}

func (c *Client) do(ctx context.Context, method, url string, data []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent {
		err = fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, bytes.TrimSpace(body))
	}
	return body, err
}

// Listed reports whether the revocation list at url, in DER, holds a certificate.
func (c *Client) Listed(ctx context.Context, url string, leaf *x509.Certificate) (bool, error) {
	der, err := c.Get(ctx, url)
	if err != nil {
		return false, err
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return false, err
	}
	for _, entry := range list.RevokedCertificateEntries {
		if entry.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
			return true, nil
		}
	}
	return false, nil
}
