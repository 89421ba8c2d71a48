package acmetest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/acme"

	"acmed/internal/acmetest"
)

// web is where the proofs of a test are served.
type web struct{ pages sync.Map }

func (w *web) fetch(_ context.Context, host, token string) (string, error) {
	page, ok := w.pages.Load(host + " " + token)
	if !ok {
		return "", errors.New("404 page not found")
	}
	return page.(string), nil
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// client is a registered client of ca.
type client struct {
	*acme.Client
	web *web
}

func newClient(t *testing.T, ca *acmetest.CA, w *web, account *acme.Account) *client {
	t.Helper()
	c := &client{web: w, Client: &acme.Client{
		Key:          newKey(t),
		DirectoryURL: ca.DirectoryURL(),
		UserAgent:    "test",
		HTTPClient:   &http.Client{Transport: ca},
		RetryBackoff: func(n int, _ *http.Request, resp *http.Response) time.Duration {
			if resp.StatusCode != http.StatusBadRequest || n > 100 {
				return -1
			}
			return time.Millisecond
		},
	}}
	if _, err := c.Register(t.Context(), account, acme.AcceptTOS); err != nil {
		t.Fatal(err)
	}
	return c
}

// prove makes the CA validate what o still needs.
func (c *client) prove(ctx context.Context, o *acme.Order) error {
	for _, url := range o.AuthzURLs {
		a, err := c.GetAuthorization(ctx, url)
		if err != nil {
			return err
		}
		if a.Status == acme.StatusValid {
			continue
		}
		i := slices.IndexFunc(a.Challenges, func(ch *acme.Challenge) bool { return ch.Type == "http-01" })
		page, err := c.HTTP01ChallengeResponse(a.Challenges[i].Token)
		if err != nil {
			return err
		}
		at := a.Identifier.Value + " " + a.Challenges[i].Token
		c.web.pages.Store(at, page)
		defer c.web.pages.Delete(at)
		if _, err := c.Accept(ctx, a.Challenges[i]); err != nil {
			return err
		}
		if _, err := c.WaitAuthorization(ctx, url); err != nil {
			return err
		}
	}
	return nil
}

// obtain gets a certificate for names.
func (c *client) obtain(t *testing.T, names ...string) ([]*x509.Certificate, error) {
	t.Helper()
	ctx := t.Context()
	o, err := c.AuthorizeOrder(ctx, acme.DomainIDs(names...))
	if err != nil {
		return nil, err
	}
	if err := c.prove(ctx, o); err != nil {
		return nil, err
	}
	if o, err = c.WaitOrder(ctx, o.URI); err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, newKey(t))
	if err != nil {
		return nil, err
	}
	der, _, err := c.CreateCertFromOrder(ctx, o, csr, true)
	if err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	for _, d := range der {
		cert, err := x509.ParseCertificate(d)
		if err != nil {
			return nil, err
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

func TestIssuance(t *testing.T) {
	for name, cfg := range map[string]acmetest.Config{
		"at once":                         {},
		"with delays":                     {ValidateDelay: 10 * time.Second, FinalizeDelay: time.Minute},
		"with delays and Retry-After":     {ValidateDelay: 10 * time.Second, FinalizeDelay: time.Minute, RetryAfter: 7 * time.Second},
		"with authorizations valid ahead": {Prevalidated: true},
		"with bad nonces":                 {BadNonces: 0.5},
		"within Let's Encrypt's limits":   {Limits: acmetest.LetsEncrypt()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &web{}
				cfg.Fetch = w.fetch
				ca := acmetest.New(t, cfg)
				c := newClient(t, ca, w, &acme.Account{Contact: []string{"mailto:pki@example.com"}})
				chain, err := c.obtain(t, "www.example.com", "example.com")
				if err != nil {
					t.Fatal(err)
				}
				inter := x509.NewCertPool()
				inter.AddCert(chain[1])
				if _, err := chain[0].Verify(x509.VerifyOptions{
					DNSName: "example.com", Roots: ca.Roots(), Intermediates: inter, CurrentTime: time.Now(),
				}); err != nil {
					t.Error(err)
				}
				if got := chain[0].NotAfter.Add(time.Second).Sub(chain[0].NotBefore); got != 90*24*time.Hour {
					t.Errorf("lifetime is %v; want 90 days", got)
				}
				if got := ca.Certificates(); len(got) != 1 || !got[0].Equal(chain[0]) {
					t.Errorf("Certificates() does not return the one that was issued")
				}
			})
		})
	}
}
