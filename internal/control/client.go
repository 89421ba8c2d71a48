package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// askTimeout is for questions, which a healthy daemon answers at once.
const askTimeout = 30 * time.Second

// Client asks a daemon. Each error that it returns is an *Error, or the context's.
type Client struct {
	socket string
	http   *http.Client
}

var (
	_ Certificates  = (*Client)(nil)
	_ Deliveries    = (*Client)(nil)
	_ Planner       = (*Client)(nil)
	_ Disposals     = (*Client)(nil)
	_ Accounts      = (*Client)(nil)
	_ Registrations = (*Client)(nil)
	_ Daemon        = (*Client)(nil)
)

// Dial returns a client of the daemon at socket. It connects with the first request.
func Dial(socket string) *Client {
	transport := &http.Transport{
		DisableKeepAlives: true, // a command asks once
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
	return &Client{socket: socket, http: &http.Client{Transport: transport}}
}

// Info returns the daemon's view of itself.
func (c *Client) Info(ctx context.Context) (Info, error) {
	return ask[Info](ctx, c, pathInfo)
}

// Issuers returns every issuer, sorted by name.
func (c *Client) Issuers(ctx context.Context) ([]Issuer, error) {
	return ask[[]Issuer](ctx, c, pathIssuers)
}

// List returns every certificate, sorted by name, also those whose specs are gone.
func (c *Client) List(ctx context.Context) ([]Summary, error) {
	return ask[[]Summary](ctx, c, pathList)
}

// Troubled returns the certificates of List that have a problem: few of many.
func (c *Client) Troubled(ctx context.Context) ([]Summary, error) {
	return ask[[]Summary](ctx, c, pathList+"?problem=true")
}

// Status returns one certificate.
func (c *Client) Status(ctx context.Context, name string) (Certificate, error) {
	return ask[Certificate](ctx, c, pathStatus+"?"+url.Values{"name": {name}}.Encode())
}

// Reload makes the daemon read its files again and waits for it.
func (c *Client) Reload(ctx context.Context, req ReloadRequest) (ReloadResult, error) {
	return call[ReloadResult](ctx, c, http.MethodPost, pathReload, req)
}

// Plan asks what an edit would do.
func (c *Client) Plan(ctx context.Context, req PlanRequest) (Plan, error) {
	return call[Plan](ctx, c, http.MethodPost, pathPlan, req)
}

// Renew asks for renewals and passes on what the daemon reports.
func (c *Client) Renew(ctx context.Context, req RenewRequest, report func(Event)) error {
	return c.stream(ctx, pathRenew, req, report)
}

// Deploy asks for deliveries and passes on what the daemon reports.
func (c *Client) Deploy(ctx context.Context, req DeployRequest, report func(Event)) error {
	return c.stream(ctx, pathDeploy, req, report)
}

// Hold leaves a certificate as it is for some time, or no longer.
func (c *Client) Hold(ctx context.Context, req HoldRequest) error {
	_, err := call[struct{}](ctx, c, http.MethodPost, pathHold, req)
	return err
}

// Rollback makes the revision before the live one live and holds it.
func (c *Client) Rollback(ctx context.Context, req RollbackRequest) (RollbackResult, error) {
	return call[RollbackResult](ctx, c, http.MethodPost, pathRollback, req)
}

// Revoke has a certificate revoked by its CA.
func (c *Client) Revoke(ctx context.Context, req RevokeRequest) (RevokeResult, error) {
	return call[RevokeResult](ctx, c, http.MethodPost, pathRevoke, req)
}

// Delete puts a certificate away whose spec is gone.
func (c *Client) Delete(ctx context.Context, req DeleteRequest) (DeleteResult, error) {
	return call[DeleteResult](ctx, c, http.MethodPost, pathDelete, req)
}

// Account asks the CA what it knows of the account.
func (c *Client) Account(ctx context.Context, req AccountRequest) (Account, error) {
	return call[Account](ctx, c, http.MethodPost, pathAccount, req)
}

// UpdateAccount gives the CA the contact of the issuer's file.
func (c *Client) UpdateAccount(ctx context.Context, req AccountRequest) (Account, error) {
	return call[Account](ctx, c, http.MethodPost, pathUpdate, req)
}

// DeactivateAccount has the CA end the account, for good.
func (c *Client) DeactivateAccount(ctx context.Context, req AccountRequest) (Account, error) {
	return call[Account](ctx, c, http.MethodPost, pathEnd, req)
}

// RegisterAccount makes another account in the place of one that was deactivated, or the first.
func (c *Client) RegisterAccount(ctx context.Context, req AccountRequest) (Account, error) {
	return call[Account](ctx, c, http.MethodPost, pathRegister, req)
}

// RolloverAccount has the CA put a new key in the place of the account's. It may wait for validations to end.
func (c *Client) RolloverAccount(ctx context.Context, req AccountRequest) (Account, error) {
	return call[Account](ctx, c, http.MethodPost, pathRollover, req)
}

// stream sends one request and passes on each event of the answer.
func (c *Client) stream(ctx context.Context, path string, req any, report func(Event)) error {
	body, err := c.do(ctx, http.MethodPost, path, req)
	if err != nil {
		return err
	}
	defer body.Close()
	for lines := json.NewDecoder(body); ; {
		var l line
		err := lines.Decode(&l)
		switch {
		case errors.Is(err, io.EOF): // between two lines; a torn stream is io.ErrUnexpectedEOF
			return nil
		case err != nil:
			return c.explain(ctx, err)
		case l.Error != nil:
			return l.Error
		case l.Event != nil:
			report(*l.Event)
		}
	}
}

// ask gets path, with patience that ends.
func ask[T any](ctx context.Context, c *Client, path string) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout,
		&Error{Unavailable, "the daemon does not answer at " + c.socket, "systemctl status acmed"})
	defer cancel()
	return call[T](ctx, c, http.MethodGet, path, nil)
}

// call sends one request and decodes its answer.
func call[T any](ctx context.Context, c *Client, method, path string, v any) (T, error) {
	var answer T
	body, err := c.do(ctx, method, path, v)
	if err != nil {
		return answer, err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(&answer); err != nil {
		return answer, c.explain(ctx, err)
	}
	return answer, nil
}

// do sends one request, with v as its body unless it is nil, and returns the body of a good answer.
func (c *Client) do(ctx context.Context, method, path string, v any) (io.ReadCloser, error) {
	if err := checkPath(c.socket); err != nil {
		return nil, err
	}
	var body bytes.Buffer
	if v != nil {
		if err := json.NewEncoder(&body).Encode(v); err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://acmed"+path, &body)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	return nil, c.refusal(resp)
}

// refusal reads the error that the daemon answered with.
func (c *Client) refusal(resp *http.Response) *Error {
	e := new(Error)
	if err := json.NewDecoder(resp.Body).Decode(e); err == nil && e.Message != "" {
		return e
	}
	return &Error{Internal, fmt.Sprintf("%s answers %q, which this acmed does not understand", c.socket, resp.Status),
		"restart acmed after an upgrade; or is that another program's socket?"}
}

// explain says what a connection that does not work means, and what to do.
func (c *Client) explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, fs.ErrNotExist):
		return &Error{Unavailable, "the daemon is not running (no socket at " + c.socket + ")", "systemctl start acmed"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &Error{Unavailable, "the daemon is not running (nobody answers at " + c.socket + ")", "systemctl start acmed"}
	case errors.Is(err, fs.ErrPermission):
		return &Error{Unavailable, "you may not talk to the daemon at " + c.socket, "join the group acmed-admin, or use sudo"}
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return &Error{Unavailable, "the daemon ended while it answered", "journalctl -u acmed shows why; " + askAgain}
	default:
		return &Error{Unavailable, "talking to the daemon at " + c.socket + ": " + err.Error(), "systemctl status acmed"}
	}
}
