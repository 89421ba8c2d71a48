package control_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"acmed/internal/control"
)

// fake is a daemon. A call that a test did not provide for fails the test.
type fake struct {
	t       *testing.T
	info    func(context.Context) (control.Info, error)
	reload  func(context.Context, control.ReloadRequest) (control.ReloadResult, error)
	plan    func(context.Context, control.PlanRequest) (control.Plan, error)
	list    func(context.Context) ([]control.Summary, error)
	issuers func(context.Context) ([]control.Issuer, error)
	status  func(context.Context, string) (control.Certificate, error)
	renew   func(context.Context, control.RenewRequest, func(control.Event)) error

	deploy   func(context.Context, control.DeployRequest, func(control.Event)) error
	hold     func(context.Context, control.HoldRequest) error
	rollback func(context.Context, control.RollbackRequest) (control.RollbackResult, error)
	account  func(context.Context, control.AccountRequest) (control.Account, error)
	delete   func(context.Context, control.DeleteRequest) (control.DeleteResult, error)
	revoke   func(context.Context, control.RevokeRequest) (control.RevokeResult, error)
	sameKey  func(context.Context, control.RevokeRequest) ([]control.SameKey, error)
}

func (f *fake) Deploy(ctx context.Context, req control.DeployRequest, report func(control.Event)) error {
	if f.deploy == nil {
		f.t.Errorf("Deploy(%+v) called", req)
		return nil
	}
	return f.deploy(ctx, req, report)
}

func (f *fake) Hold(ctx context.Context, req control.HoldRequest) error {
	if f.hold == nil {
		f.t.Errorf("Hold(%+v) called", req)
		return nil
	}
	return f.hold(ctx, req)
}

func (f *fake) Rollback(ctx context.Context, req control.RollbackRequest) (control.RollbackResult, error) {
	if f.rollback == nil {
		f.t.Errorf("Rollback(%+v) called", req)
		return control.RollbackResult{}, nil
	}
	return f.rollback(ctx, req)
}

func (f *fake) Revoke(ctx context.Context, req control.RevokeRequest) (control.RevokeResult, error) {
	if f.revoke == nil {
		f.t.Errorf("Revoke(%+v) called", req)
		return control.RevokeResult{}, nil
	}
	return f.revoke(ctx, req)
}

func (f *fake) SameKey(ctx context.Context, req control.RevokeRequest) ([]control.SameKey, error) {
	if f.sameKey == nil {
		f.t.Errorf("SameKey(%+v) called", req)
		return nil, nil
	}
	return f.sameKey(ctx, req)
}

func (f *fake) Delete(ctx context.Context, req control.DeleteRequest) (control.DeleteResult, error) {
	if f.delete == nil {
		f.t.Errorf("Delete(%+v) called", req)
		return control.DeleteResult{}, nil
	}
	return f.delete(ctx, req)
}

func (f *fake) Account(ctx context.Context, req control.AccountRequest) (control.Account, error) {
	if f.account == nil {
		f.t.Errorf("Account(%+v) called", req)
		return control.Account{}, nil
	}
	return f.account(ctx, req)
}

func (f *fake) UpdateAccount(ctx context.Context, req control.AccountRequest) (control.Account, error) {
	return f.Account(ctx, req)
}

func (f *fake) DeactivateAccount(ctx context.Context, req control.AccountRequest) (control.Account, error) {
	return f.Account(ctx, req)
}

func (f *fake) RegisterAccount(ctx context.Context, req control.AccountRequest) (control.Account, error) {
	return f.Account(ctx, req)
}

func (f *fake) RolloverAccount(ctx context.Context, req control.AccountRequest) (control.Account, error) {
	return f.Account(ctx, req)
}

func (f *fake) Plan(ctx context.Context, req control.PlanRequest) (control.Plan, error) {
	if f.plan == nil {
		f.t.Errorf("Plan(%+v) called", req)
		return control.Plan{}, nil
	}
	return f.plan(ctx, req)
}

func (f *fake) Info(ctx context.Context) (control.Info, error) {
	if f.info == nil {
		f.t.Error("Info called")
		return control.Info{}, nil
	}
	return f.info(ctx)
}

func (f *fake) Reload(ctx context.Context, req control.ReloadRequest) (control.ReloadResult, error) {
	if f.reload == nil {
		f.t.Errorf("Reload(%+v) called", req)
		return control.ReloadResult{}, nil
	}
	return f.reload(ctx, req)
}

func (f *fake) Issuers(ctx context.Context) ([]control.Issuer, error) {
	if f.issuers == nil {
		f.t.Error("Issuers called")
		return nil, nil
	}
	return f.issuers(ctx)
}

func (f *fake) List(ctx context.Context) ([]control.Summary, error) {
	if f.list == nil {
		f.t.Error("List called")
		return nil, nil
	}
	return f.list(ctx)
}

func (f *fake) Status(ctx context.Context, name string) (control.Certificate, error) {
	if f.status == nil {
		f.t.Errorf("Status(%q) called", name)
		return control.Certificate{}, nil
	}
	return f.status(ctx, name)
}

func (f *fake) Renew(ctx context.Context, req control.RenewRequest, report func(control.Event)) error {
	if f.renew == nil {
		f.t.Errorf("Renew(%+v) called", req)
		return nil
	}
	return f.renew(ctx, req, report)
}

// serve runs a server for f on ln. It stops when stop is called, or with the test.
func serve(t *testing.T, f *fake, ln net.Listener) (logs *observer.ObservedLogs, stop func()) {
	t.Helper()
	f.t = t
	core, logs := observer.New(zapcore.InfoLevel)
	server, err := control.NewServer(control.ServerConfig{Certificates: f, Deliveries: f, Disposals: f, Accounts: f, Registrations: f, Planner: f, Daemon: f, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, ln) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return logs, stop
}

// listen makes a real socket with a path that is short whatever the test is called.
func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	socket := filepath.Join(folder(t), "acmed.sock")
	ln, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	return ln, socket
}

func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "control") //nolint:usetesting // a unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// connect serves f and returns a client of it.
func connect(t *testing.T, f *fake) (*control.Client, *observer.ObservedLogs) {
	t.Helper()
	ln, socket := listen(t)
	logs, _ := serve(t, f, ln)
	return control.Dial(socket), logs
}

// pipes is a listener in memory, for synctest bubbles.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newPipes() *pipes {
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.closed) })
	return p
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Close() error   { p.close(); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "test.sock", Net: "unix"} }
