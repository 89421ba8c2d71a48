package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

var _ Courier = (*Client)(nil)

// ClientConfig says where the helper is.
type ClientConfig struct {
	Socket string // of acmed-deploy.socket; required
	// Timeout is after how long a request counts as lost. Zero: a little longer than the helper takes at most.
	Timeout time.Duration
}

// Client has the helper do what it is asked: one delivery after the other, and a few records at once. It is safe for
// concurrent use.
type Client struct {
	socket  string
	timeout time.Duration
	turn    chan struct{} // holds a value while a delivery is in flight
	records chan struct{} // holds a value for each record that is
}

// maxRecords is how many records are set or taken away at once. MaxConnections= of acmed-deploy.socket has room for
// them twice, since a helper may outlive the daemon that asked.
const maxRecords = 4

// Error is why nobody could be asked.
type Error struct {
	Err  error
	Hint string // what to do
}

// Error returns both.
func (e *Error) Error() string { return e.Err.Error() + "; " + e.Hint }

// Unwrap returns what happened.
func (e *Error) Unwrap() error { return e.Err }

// NewClient does not connect yet.
func NewClient(c ClientConfig) (*Client, error) {
	if c.Socket == "" {
		return nil, errors.New("creating a client of the deploy helper: Socket is required")
	}
	if c.Timeout == 0 {
		c.Timeout = helperBudget + 3*exchangeTimeout
	}
	return &Client{socket: c.Socket, timeout: c.Timeout, turn: make(chan struct{}, 1), records: make(chan struct{}, maxRecords)}, nil
}

// Deploy asks for the delivery of certificates, and returns an answer to each order, in their order. Once some were
// carried out, an error with the others is in their answers.
func (c *Client) Deploy(ctx context.Context, orders []Order) ([]Answer, error) {
	answers, fit := sift(verbDeploy, orders)
	asked := false
	for _, q := range split(verbDeploy, fit) {
		got, err := c.ask(ctx, q)
		if err != nil && !asked {
			return nil, err
		}
		asked = true
		for _, a := range got {
			answers[a.Name] = a
		}
		for i := 0; err != nil && i < len(q.Orders); i++ {
			answers[q.Orders[i].Name] = refusal(q.Orders[i].Name, err)
		}
	}
	out := make([]Answer, len(orders))
	for i, o := range orders {
		out[i] = answers[o.Name]
	}
	return out, nil
}

// sift answers the orders that no helper takes, and returns the others, each name once.
func sift(verb string, orders []Order) (answers map[string]Answer, fit []Order) {
	answers = make(map[string]Answer, len(orders))
	for _, o := range orders {
		if _, twice := answers[o.Name]; twice {
			continue
		}
		answers[o.Name] = Answer{Name: o.Name}
		if err := o.check(verb); err != nil {
			answers[o.Name] = refusal(o.Name, &Error{err, "rename its file"})
			continue
		}
		fit = append(fit, o)
	}
	return answers, fit
}

// Accept tells that the specs of these names are in force now, or are gone. The helper reads them itself and keeps them
// as the last good ones. The error tells which it does not believe, or that nobody could be asked.
func (c *Client) Accept(ctx context.Context, names []string) error {
	orders := make([]Order, len(names))
	for i, name := range names {
		orders[i].Name = name
	}
	var refused []error
	answers, fit := sift(verbAccept, orders)
	for _, q := range split(verbAccept, fit) {
		got, err := c.ask(ctx, q)
		if err != nil {
			return err
		}
		for _, a := range got {
			answers[a.Name] = a
		}
	}
	for _, name := range names {
		if a := answers[name]; a.Problem != "" {
			refused = append(refused, &Error{fmt.Errorf("%s: %s", a.Name, a.Problem), a.Hint})
		}
	}
	return few(refused)
}

// few joins errors, of which there may be one for each certificate.
func few(errs []error) error {
	const most = 10
	if more := len(errs) - most; more > 0 {
		errs = append(errs[:most:most], fmt.Errorf("and %d more", more))
	}
	return errors.Join(errs...)
}

// Present has the program of a DNS provider set a record. The helper reads itself which program that is, and whether
// root wants the certificate to be proved so. An *Error says what to do.
func (c *Client) Present(ctx context.Context, r Record) error { return c.record(ctx, verbPresent, r) }

// CleanUp has it take the record away.
func (c *Client) CleanUp(ctx context.Context, r Record) error { return c.record(ctx, verbCleanUp, r) }

func (c *Client) record(ctx context.Context, verb string, r Record) error {
	if err := r.check(verb); err != nil {
		return notPassed(err)
	}
	_, err := c.inTurn(ctx, c.records, &request{Verb: verb, Record: &r})
	if errors.Is(err, context.DeadlineExceeded) {
		return c.advise(errors.New("no answer came in time"))
	}
	return err
}

// notPassed is for what no program is to see.
func notPassed(err error) error {
	return &Error{fmt.Errorf("calling a program: %w", err), "see where the CNAME of _acme-challenge leads"}
}

// ask makes one request when it is its turn.
func (c *Client) ask(ctx context.Context, q *request) ([]Answer, error) {
	p, err := c.inTurn(ctx, c.turn, q)
	if err != nil {
		return nil, err
	}
	return p.Answers, p.fits(q)
}

// inTurn makes a request when there is room for it.
func (c *Client) inTurn(ctx context.Context, room chan struct{}, q *request) (*reply, error) {
	select {
	case room <- struct{}{}:
		defer func() { <-room }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p, err := c.exchange(ctx, q)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, c.advise(err)
	case p.Problem != "":
		return nil, &Error{fmt.Errorf("asking the deploy helper: %s", p.Problem), p.Hint}
	}
	return p, nil
}

// fits refuses a reply that is to another request.
func (p *reply) fits(q *request) error {
	fits := len(p.Answers) == len(q.Orders)
	for i := 0; fits && i < len(q.Orders); i++ {
		fits = p.Answers[i].Name == q.Orders[i].Name
	}
	if !fits {
		return &Error{errors.New("asking the deploy helper: its answers are not to what was asked"), "see that daemon and helper are of one version"}
	}
	return nil
}

// errNoAnswer tells that the helper was there, and ended.
var errNoAnswer = errors.New("it ended without an answer")

// exchange sends the request and reads the reply.
func (c *Client) exchange(ctx context.Context, q *request) (*reply, error) {
	text, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	dialed, err := new(net.Dialer).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, err
	}
	defer dialed.Close()
	conn := dialed.(*net.UnixConn)
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })() // it ends what waits below
	if err := send(conn, text); err != nil {
		return nil, err
	}
	answer, err := readAll(conn, maxReply)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) { // which is what comes after an answer to a request that was not read
		return nil, err
	}
	if len(answer) == 0 {
		return nil, errNoAnswer
	}
	var p reply
	if err := json.Unmarshal(answer, &p); err != nil {
		return nil, fmt.Errorf("its answer is not whole: %w", err)
	}
	return &p, nil
}

// send writes the whole request. That a helper which refuses who asks does not read it is no error: its answer tells.
func send(conn *net.UnixConn, text []byte) error {
	_, err := conn.Write(text)
	if err == nil {
		err = conn.CloseWrite()
	}
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// advise adds what to do when the helper could not be asked.
func (c *Client) advise(err error) error {
	hint := "journalctl -u 'acmed-deploy*'"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		hint = "systemctl enable --now acmed-deploy.socket"
	case errors.Is(err, syscall.ECONNREFUSED):
		hint = "systemctl restart acmed-deploy.socket"
	case errors.Is(err, fs.ErrPermission):
		hint = fmt.Sprintf("it is for the user of acmed.service; this is uid %d: see SocketUser= of acmed-deploy.socket", os.Geteuid())
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("%s: no answer within %s", c.socket, c.timeout)
	}
	return &Error{fmt.Errorf("asking the deploy helper: %w", err), hint}
}
