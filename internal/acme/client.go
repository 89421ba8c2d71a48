package acme

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"

	"go.uber.org/zap"
)

// Config is what a Client is made from.
type Config struct {
	Directory string                                // https URL of the CA's directory; required
	Key       crypto.Signer                         // the account's key, *ecdsa.PrivateKey or *rsa.PrivateKey; required
	KID       string                                // the account's URL; "": Register or Lookup first
	RootCAs   *x509.CertPool                        // nil: the system's
	Proxy     func(*http.Request) (*url.URL, error) // nil: none
	UserAgent string                                // "": "acmed"
	Transport http.RoundTripper                     // nil: a transport of the package's own, to which RootCAs and Proxy apply
	Metrics   *Metrics                              // nil: not counted
	Issuer    string                                // label of metrics and field of logs; "" is a label too
	Log       *zap.Logger                           // nil: silent
}

// Client speaks to one CA on behalf of one account. It is safe for concurrent use.
type Client struct{}

// ErrNoRenewalInfo is the cause of an *Error of RenewalInfo when the CA does not answer RFC 9773.
var ErrNoRenewalInfo = errors.New("the CA offers no renewal information")

// New makes a Client without touching the network.
func New(Config) (*Client, error) { return &Client{}, errors.ErrUnsupported }

// Directory returns what the CA offers.
func (c *Client) Directory(context.Context) (Directory, error) {
	return Directory{}, errors.ErrUnsupported
}

// Register makes an account, or finds the one that the key has, and uses it from now on.
func (c *Client) Register(context.Context, Registration) (accountURL string, err error) {
	return "", errors.ErrUnsupported
}

// Lookup finds the account that the key has, and uses it from now on.
func (c *Client) Lookup(context.Context) (accountURL string, err error) {
	return "", errors.ErrUnsupported
}

// NewOrder makes an order.
func (c *Client) NewOrder(context.Context, OrderRequest) (*Order, error) {
	return nil, errors.ErrUnsupported
}

// Order reads an order.
func (c *Client) Order(ctx context.Context, url string) (*Order, error) {
	return nil, errors.ErrUnsupported
}

// Challenges returns what is still to be proved for an order.
func (c *Client) Challenges(ctx context.Context, o *Order, typ string) ([]Challenge, error) {
	return nil, errors.ErrUnsupported
}

// Accept tells the CA that a proof is visible.
func (c *Client) Accept(context.Context, Challenge) error { return errors.ErrUnsupported }

// Failure tells why an order is invalid. It is never nil.
func (c *Client) Failure(context.Context, *Order) *Error { return &Error{} }

// Finalize asks for the certificate of a ready order.
func (c *Client) Finalize(ctx context.Context, o *Order, csr []byte) (*Order, error) {
	return nil, errors.ErrUnsupported
}

// Fetch reads the chain of a valid order.
func (c *Client) Fetch(ctx context.Context, o *Order, preferredChain string) (der [][]byte, err error) {
	return nil, errors.ErrUnsupported
}

// RenewalInfo asks when to renew a certificate.
func (c *Client) RenewalInfo(ctx context.Context, leaf *x509.Certificate) (RenewalInfo, error) {
	return RenewalInfo{}, errors.ErrUnsupported
}
