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
	_ Certificates = (*Client)(nil)
	_ Daemon       = (*Client)(nil)
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

// List returns every certificate, sorted by name.
func (c *Client) List(ctx context.Context) ([]Summary, error) {
	return ask[[]Summary](ctx, c, pathList)
}

// Status returns one certificate.
func (c *Client) Status(ctx context.Context, name string) (Certificate, error) {
	return ask[Certificate](ctx, c, pathStatus+"?"+url.Values{"name": {name}}.Encode())
}

// Reload makes the daemon read its files again and waits for it.
func (c *Client) Reload(ctx context.Context, req ReloadRequest) (ReloadResult, error) {
	body, err := c.do(ctx, http.MethodPost, pathReload, req)
	if err != nil {
		return ReloadResult{}, err
	}
	defer body.Close()
	return read[ReloadResult](ctx, c, json.NewDecoder(body))
}

// Renew asks for renewals and passes on what the daemon reports.
func (c *Client) Renew(ctx context.Context, req RenewRequest, report func(Event)) error {
	body, err := c.do(ctx, http.MethodPost, pathRenew, req)
	if err != nil {
		return err
	}
	defer body.Close()
	for lines := json.NewDecoder(body); ; {
		l, err := read[line](ctx, c, lines)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case l.Error != nil:
			return l.Error
		case l.Event != nil:
			report(*l.Event)
		}
	}
}

// ask gets path.
func ask[T any](ctx context.Context, c *Client, path string) (T, error) {
	var zero T
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout,
		&Error{Code: Unavailable, Message: fmt.Sprintf("acmed does not answer at %s", c.socket), Hint: "systemctl status acmed"})
	defer cancel()
	body, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return zero, err
	}
	defer body.Close()
	return read[T](ctx, c, json.NewDecoder(body))
}

// read decodes the next value. io.EOF is the end between two values.
func read[T any](ctx context.Context, c *Client, d *json.Decoder) (T, error) {
	var v T
	err := d.Decode(&v)
	if err == nil || err == io.EOF {
		return v, err
	}
	return v, c.explain(ctx, err)
}

// do sends one request and returns the body of a good answer.
func (c *Client) do(ctx context.Context, method, path string, v any) (io.ReadCloser, error) {
	if err := checkPath(c.socket); err != nil {
		return nil, err
	}
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding the request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://acmed"+path, bytes.NewReader(body))
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
	e := new(Error)
	if err := json.NewDecoder(resp.Body).Decode(e); err != nil || e.Message == "" {
		return nil, &Error{Code: Internal, Message: fmt.Sprintf("%s answers %q, which acmed does not", c.socket, resp.Status),
			Hint: "restart acmed after an upgrade; or is that another program's socket?"}
	}
	return nil, e
}

// explain says what a connection that does not work means, and what to do.
func (c *Client) explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, fs.ErrNotExist):
		return &Error{Unavailable, "acmed is not running (no socket at " + c.socket + ")", "systemctl start acmed"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &Error{Unavailable, "acmed is not running (nobody answers at " + c.socket + ")", "systemctl start acmed"}
	case errors.Is(err, fs.ErrPermission):
		return &Error{Unavailable, "you may not talk to acmed at " + c.socket, "join the group acmed-admin, or use sudo"}
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return &Error{Unavailable, "acmed ended while it answered", "journalctl -u acmed tells why; what was asked for goes on when it starts again"}
	default:
		return &Error{Unavailable, "talking to acmed at " + c.socket + ": " + err.Error(), "systemctl status acmed"}
	}
}
