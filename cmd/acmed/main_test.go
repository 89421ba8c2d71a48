package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"acmed/internal/control"
	"acmed/test/scm"
)

func TestMain(m *testing.M) {
	time.Local = zone()
	testscript.Main(m, map[string]func(){"acmed": main})
}

// TestScripts runs what a user types. A fake daemon answers at $ACMED_SOCKET.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			dir, err := os.MkdirTemp("", "acmed") //nolint:usetesting // a unix socket's path is short
			if err != nil {
				return err
			}
			env.Defer(func() { os.RemoveAll(dir) })
			socket := filepath.Join(dir, "s")
			env.Setenv("ACMED_SOCKET", socket)
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else every command takes a second
			playSectigo(env)
			return cmp.Or(playCA(env), serve(env, socket))
		},
	})
}

// playSectigo gives a script an SCM at $SCM_URL and a ZeroSSL at $ZEROSSL_URL.
func playSectigo(env *testscript.Env) {
	fake := scm.New(scm.Options{})
	zeroSSL := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.String() != "/acme/eab-credentials?access_key=access-1" {
			fmt.Fprint(w, `{"success":false,"error":{"code":101,"type":"invalid_access_key"}}`)
			return
		}
		fmt.Fprint(w, `{"success":true,"eab_kid":"kid-of-zerossl","eab_hmac_key":"emVyb3NzbC1zZWNyZXQtemVyb3NzbA"}`)
	}))
	env.Setenv("SCM_URL", fake.URL)
	env.Setenv("ZEROSSL_URL", zeroSSL.URL)
	env.Defer(func() {
		fake.Close()
		zeroSSL.Close()
		for _, fault := range fake.Misuse() {
			env.T().Fatal("SCM was asked what its reference does not know: " + fault)
		}
	})
}

func serve(env *testscript.Env, socket string) error {
	ln, err := control.Listen(socket)
	if err != nil {
		return err
	}
	server, err := control.NewServer(control.ServerConfig{Certificates: fake{}, Deliveries: fake{}, Disposals: fake{}, Accounts: fake{}, Registrations: fake{}, Planner: fake{}, Daemon: fake{}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, ln) }()
	env.Defer(func() {
		cancel()
		if err := <-done; err != nil {
			env.T().Fatal(err)
		}
	})
	return nil
}

// fake is a daemon with the certificates of summaries. What bad.example.com wants always fails.
type fake struct{}

func (fake) Info(context.Context) (control.Info, error)      { return sampleInfo(), nil }
func (fake) List(context.Context) ([]control.Summary, error) { return summaries(), nil }

func (fake) Plan(_ context.Context, req control.PlanRequest) (control.Plan, error) {
	if req.Simulate > 0 {
		s := sampleSimulation()
		s.Until = s.From.Add(time.Duration(req.Simulate) * time.Second)
		return control.Plan{Steps: []control.Step{}, Simulation: s}, nil
	}
	plan := samplePlan()
	if len(req.Drafts) > 0 {
		plan.Steps = []control.Step{{Name: req.Drafts[0].Path, Do: "issue", Issuer: "letsencrypt", Reason: req.Drafts[0].Text}}
		for _, f := range req.Beside {
			plan.Steps[0].Reason += fmt.Sprintf("; %s holds %q %s", filepath.Base(f.Path), f.Data, f.Problem)
		}
		plan.Problems = nil
	}
	return plan, nil
}

func (fake) Issuers(context.Context) ([]control.Issuer, error) { return sampleIssuers(), nil }

func (fake) Reload(_ context.Context, req control.ReloadRequest) (control.ReloadResult, error) {
	if req.AcceptRemovals {
		return control.ReloadResult{Removed: sampleInfo().Held.Names}, nil
	}
	return control.ReloadResult{Added: []string{"new"}, Problems: sampleInfo().Problems, Held: sampleInfo().Held}, nil
}

func (fake) Status(_ context.Context, name string) (control.Certificate, error) {
	if name == "bad.example.com" {
		return badCertificate(), nil
	}
	if name != "www.example.com" {
		return control.Certificate{}, control.Unknown(name, slices.Values([]string{"www.example.com"}))
	}
	return goodCertificate(), nil
}

func (fake) Renew(_ context.Context, req control.RenewRequest, report func(control.Event)) error {
	if req.Issuer == "full" {
		return &control.Error{Code: control.Internal, Message: "noting the request: no space left on device", Hint: "make room in /var/lib/acmed"}
	}
	if req.All {
		req.Names = []string{"a", "b"}
	}
	for _, name := range req.Names {
		if req.Wait {
			report(control.Event{Time: noon(), Cert: name, Phase: control.Renewing, Message: "order made"})
		}
		e := control.Event{Time: noon(), Cert: name, Phase: control.Valid, Message: "renewed, revision 8", Done: true, OK: true}
		if req.Staging {
			e.Message = "rehearsed"
		}
		if strings.HasPrefix(name, "bad") {
			e = control.Event{Time: noon(), Cert: name, Phase: control.BackingOff, Message: "not renewed", Error: "connection refused", Hint: "open port 80", Done: true}
		}
		report(e)
	}
	return nil
}

func (fake) Deploy(_ context.Context, req control.DeployRequest, report func(control.Event)) error {
	for _, name := range req.Names {
		e := control.Event{Time: noon(), Cert: name, Phase: control.Valid, Message: "revision 7 is delivered to all", Done: true, OK: true}
		switch {
		case strings.HasPrefix(name, "bad"):
			e = control.Event{Time: noon(), Cert: name, Phase: control.DeployFailed, Message: "not delivered", Error: "run push: exited with status 7", Hint: "see what it says", Done: true}
		case req.Now:
			e.Message = "revision 8 is delivered to all"
		}
		report(e)
	}
	return nil
}

func (fake) Hold(_ context.Context, req control.HoldRequest) error {
	if req.Name != "www.example.com" {
		return control.Unknown(req.Name, slices.Values([]string{"www.example.com"}))
	}
	return nil
}

func (fake) Revoke(_ context.Context, req control.RevokeRequest) (control.RevokeResult, error) {
	if req.Name != "www.example.com" {
		return control.RevokeResult{}, control.Unknown(req.Name, slices.Values([]string{"www.example.com"}))
	}
	r := control.RevokeResult{Name: req.Name, Revision: 3, Serial: "03a1", Issuer: "letsencrypt", Reason: "unspecified", ByKey: true, Replaced: req.Revision == 0}
	if req.Reason == "keyCompromise" {
		r.Reason = req.Reason
		r.SameKey, _ = fake{}.SameKey(context.Background(), req)
		r.ByKey = req.Revision == 0
	}
	return r, nil
}

func (fake) SameKey(_ context.Context, req control.RevokeRequest) ([]control.SameKey, error) {
	if req.Name == "alone.example.com" {
		return nil, nil
	}
	return []control.SameKey{
		{Name: "mail.example.com", Revisions: []int{4, 3}, Replaced: true},
		{Name: "hsm.example.com", Revisions: []int{1}, CSRFile: "/etc/acmed/csr/hsm.csr"},
		{Name: "old.example.com", Revisions: []int{7}},
	}, nil
}

func (fake) Delete(_ context.Context, req control.DeleteRequest) (control.DeleteResult, error) {
	if req.Name == "www.example.com" {
		return control.DeleteResult{}, &control.Error{Code: control.Conflict, Message: req.Name + " is wanted by /etc/acmed/certs.d/www.example.com.yaml", Hint: "remove that file first, and acmed reload"}
	}
	return control.DeleteResult{Name: req.Name, Archived: []string{"/var/lib/acmed/archive/1-certs-" + req.Name}, Remaining: []string{"/etc/haproxy/old.pem"}, NotAfter: noon().AddDate(100, 0, 0)}, nil
}

func (fake) Account(_ context.Context, req control.AccountRequest) (control.Account, error) {
	if req.Issuer != "letsencrypt" {
		return control.Account{}, &control.Error{Code: control.NotFound, Message: "there is no issuer \"" + req.Issuer + "\"", Hint: "acmed issuer list shows them"}
	}
	return control.Account{Issuer: req.Issuer, URL: "https://ca.example/account/7", Status: "valid", Contact: []string{"mailto:pki@example.com"}, Thumbprint: "tp", Terms: "https://ca.example/terms", Agreed: true, Created: noon()}, nil
}

func (f fake) UpdateAccount(ctx context.Context, req control.AccountRequest) (control.Account, error) {
	return f.Account(ctx, req)
}

func (f fake) DeactivateAccount(ctx context.Context, req control.AccountRequest) (control.Account, error) {
	account, err := f.Account(ctx, req)
	account.Status, account.Ended, account.Dependents = "deactivated", noon(), strings.Split("abcdefghijk", "")
	return account, err
}

func (f fake) RegisterAccount(ctx context.Context, req control.AccountRequest) (control.Account, error) {
	return f.Account(ctx, req)
}

func (f fake) RolloverAccount(ctx context.Context, req control.AccountRequest) (control.Account, error) {
	return f.Account(ctx, req)
}

func (fake) Rollback(_ context.Context, req control.RollbackRequest) (control.RollbackResult, error) {
	if req.Name != "www.example.com" {
		return control.RollbackResult{}, &control.Error{Code: control.Conflict, Message: "rolling back " + req.Name + ": no older revision: revision 1 is the only one", Hint: "acmed renew " + req.Name + " replaces the certificate"}
	}
	return control.RollbackResult{Revision: 6}, nil
}
