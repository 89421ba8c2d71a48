package control_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/control"
)

var errDisk = errors.New("writing the ledger: no space left on device")

func sampleCertificate() control.Certificate {
	day := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	return control.Certificate{
		Name: "www.example.com", Phase: control.BackingOff,
		DNSNames: []string{"www.example.com"}, IPAddresses: []string{"192.0.2.1"}, Issuers: []string{"a", "b"},
		Next:    control.Action{Do: "renew", At: day, Reason: "backing off"},
		Current: &control.Revision{Number: 7, Issuer: "a", NotBefore: day, NotAfter: day.AddDate(0, 3, 0)},
		Renewal: &control.Renewal{Due: day, Source: "ari", WindowStart: day, WindowEnd: day},
		Order:   &control.Order{Issuer: "a", URL: "https://ca.example/order/1", Created: day},
		Failures: []control.Failure{{Issuer: "a", Kind: "validation", Count: 2, At: day, Detail: "no <A> record",
			Subproblems: []control.Subproblem{{Identifier: "www.example.com", Problem: "dns"}}}},
		SpecProblem: &control.Problem{File: "www.example.com.yaml", Line: 3, Column: 7, Problem: "unknown key", Kept: true},
	}
}

func TestAnswersCrossTheSocketUnchanged(t *testing.T) {
	info := control.Info{Version: "v1", PID: 42, Certificates: 3, Phases: map[control.Phase]int{control.Valid: 3},
		Held: &control.Held{Reason: "2 of 4 specs vanished", Names: []string{"a", "b"}}}
	list := []control.Summary{{Name: "a", Phase: control.Missing, Names: []string{"a"}}, {Name: "b", Problem: true}}
	issuers := []control.Issuer{{Name: "a", Binding: control.NoBinding, Account: &control.IssuerAccount{URL: "https://ca.example/account/1"}}}
	result := control.ReloadResult{Added: []string{"a"}, Problems: []control.Problem{{File: "b.yaml", Problem: "empty"}}}
	client, _ := connect(t, &fake{
		info:    func(context.Context) (control.Info, error) { return info, nil },
		list:    func(context.Context) ([]control.Summary, error) { return list, nil },
		issuers: func(context.Context) ([]control.Issuer, error) { return issuers, nil },
		status: func(_ context.Context, name string) (control.Certificate, error) {
			c := sampleCertificate()
			c.Name = name
			return c, nil
		},
		reload: func(_ context.Context, req control.ReloadRequest) (control.ReloadResult, error) {
			result.Removed = []string{fmt.Sprint(req.AcceptRemovals)}
			return result, nil
		},
	})

	gotInfo, err := client.Info(t.Context())
	check(t, "Info", gotInfo, info, err)
	gotIssuers, err := client.Issuers(t.Context())
	check(t, "Issuers", gotIssuers, issuers, err)
	gotList, err := client.List(t.Context())
	check(t, "List", gotList, list, err)
	gotResult, err := client.Reload(t.Context(), control.ReloadRequest{AcceptRemovals: true})
	check(t, "Reload", gotResult, result, err)
	for _, name := range []string{"www.example.com", "..", "a/b?c#d", "", "ünï"} {
		want := sampleCertificate()
		want.Name = name
		got, err := client.Status(t.Context(), name)
		check(t, "Status", got, want, err)
	}
}

func check(t *testing.T, what string, got, want any, err error) {
	t.Helper()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %+v, %v; want %+v", what, got, err, want)
	}
}

func TestListOfNothingIsAnEmptyArray(t *testing.T) {
	client, _ := connect(t, &fake{list: func(context.Context) ([]control.Summary, error) { return nil, nil }})
	if got, err := client.List(t.Context()); err != nil || got == nil {
		t.Errorf("got %#v, %v", got, err)
	}
}

func TestErrorsCrossTheSocket(t *testing.T) {
	tests := map[string]struct {
		err  error
		want control.Error
	}{
		"a control error keeps code and hint": {
			&control.Error{Code: control.Conflict, Message: "a removal is held", Hint: "acmed reload --accept-removals"},
			control.Error{Code: control.Conflict, Message: "a removal is held", Hint: "acmed reload --accept-removals"}},
		"a wrapped control error keeps the words around it": {
			fmt.Errorf("renewing: %w", &control.Error{Code: control.NotFound, Message: "no such issuer"}),
			control.Error{Code: control.NotFound, Message: "renewing: no such issuer"}},
		"a control error without a code is internal": {
			&control.Error{Message: "odd"}, control.Error{Code: control.Internal, Message: "odd"}},
		"any other error is internal": {
			errDisk, control.Error{Code: control.Internal, Message: errDisk.Error(), Hint: "journalctl -u acmed may tell more"}},
		"unavailable": {control.Errorf(control.Unavailable, "starting"), control.Error{Code: control.Unavailable, Message: "starting"}},
		"invalid":     {control.Errorf(control.Invalid, "bad %s", "name"), control.Error{Code: control.Invalid, Message: "bad name"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			client, _ := connect(t, &fake{
				info: func(context.Context) (control.Info, error) { return control.Info{}, tt.err },
				reload: func(context.Context, control.ReloadRequest) (control.ReloadResult, error) {
					return control.ReloadResult{}, tt.err
				},
				renew: func(context.Context, control.RenewRequest, func(control.Event)) error { return tt.err },
			})
			_, err := client.Info(t.Context())
			checkError(t, err, tt.want)
			_, err = client.Reload(t.Context(), control.ReloadRequest{})
			checkError(t, err, tt.want)
			checkError(t, client.Renew(t.Context(), control.RenewRequest{All: true}, nil), tt.want)
		})
	}
}

func checkError(t *testing.T, err error, want control.Error) {
	t.Helper()
	got, ok := errors.AsType[*control.Error](err)
	if !ok || *got != want {
		t.Errorf("got %#v, want %+v", err, want)
	}
}

func TestRenewReportsEachEvent(t *testing.T) {
	events := []control.Event{
		{Cert: "a", Phase: control.Renewing, Message: "order made"},
		{Cert: "a", Phase: control.Valid, Message: "renewed", Done: true, OK: true},
	}
	for name, end := range map[string]error{"and ends well": nil, "and ends with an error": control.Errorf(control.Internal, "disk full")} {
		t.Run(name, func(t *testing.T) {
			want := control.RenewRequest{Names: []string{"a"}, Force: true, Wait: true}
			client, logs := connect(t, &fake{renew: func(_ context.Context, req control.RenewRequest, report func(control.Event)) error {
				if !reflect.DeepEqual(req, want) {
					t.Errorf("got request %+v, want %+v", req, want)
				}
				for _, e := range events {
					report(e)
				}
				return end
			}})
			var got []control.Event
			err := client.Renew(t.Context(), want, func(e control.Event) { got = append(got, e) })
			if !slices.Equal(got, events) {
				t.Errorf("got events %+v", got)
			}
			if (err == nil) != (end == nil) || err != nil && err.Error() != end.Error() {
				t.Errorf("got error %v, want %v", err, end)
			}
			if logs.FilterMessage("renewal requested").Len() != 1 {
				t.Errorf("logged %v", logs.All())
			}
		})
	}
}

func TestARenewalStreamMayBeSilentForHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		_, stop := serve(t, &fake{renew: func(ctx context.Context, _ control.RenewRequest, report func(control.Event)) error {
			report(control.Event{Cert: "a", Message: "waiting"})
			select {
			case <-time.After(5 * time.Hour):
				report(control.Event{Cert: "a", Done: true, OK: true})
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}, ln)
		defer stop()
		events := 0
		err := control.DialFunc(ln.dial).Renew(t.Context(), control.RenewRequest{All: true, Wait: true}, func(control.Event) { events++ })
		if err != nil || events != 2 {
			t.Errorf("got %d events, %v", events, err)
		}
	})
}

func TestStoppingEndsAStreamWithAReason(t *testing.T) {
	ln, socket := listen(t)
	_, stop := serve(t, &fake{renew: func(ctx context.Context, _ control.RenewRequest, report func(control.Event)) error {
		report(control.Event{Cert: "a"})
		<-ctx.Done()
		return fmt.Errorf("waiting: %w", ctx.Err())
	}}, ln)
	err := control.Dial(socket).Renew(t.Context(), control.RenewRequest{All: true, Wait: true}, func(control.Event) { go stop() })
	checkError(t, err, control.Error{Code: control.Unavailable, Message: "the daemon is stopping",
		Hint: "ask again: only a request that was on disk already goes on when acmed starts again"})
	stop()
	_, err = control.Dial(socket).Info(t.Context())
	checkError(t, err, control.Error{Code: control.Unavailable, Message: "the daemon is not running (no socket at " + socket + ")",
		Hint: "systemctl start acmed"})
}

func TestStoppingCutsOffWhoDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		release := make(chan struct{})
		_, stop := serve(t, &fake{info: func(context.Context) (control.Info, error) {
			<-release
			return control.Info{}, nil
		}}, ln)
		failed := make(chan error)
		go func() {
			_, err := control.DialFunc(ln.dial).Info(context.Background())
			failed <- err
		}()
		synctest.Wait()
		start := time.Now()
		go stop()
		if err := <-failed; err == nil {
			t.Error("got an answer")
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
		close(release)
	})
}

func TestADaemonThatHangsIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		_, stop := serve(t, &fake{list: func(ctx context.Context) ([]control.Summary, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}, ln)
		defer stop()
		start := time.Now()
		_, err := control.DialFunc(ln.dial).List(t.Context())
		if time.Since(start) != control.AskTimeout {
			t.Errorf("took %v", time.Since(start))
		}
		checkError(t, err, control.Error{Code: control.Unavailable, Message: "the daemon does not answer at test.sock", Hint: "systemctl status acmed"})
	})
}

func TestASenderThatStallsIsCutOff(t *testing.T) {
	for name, sent := range map[string]string{
		"in the header": "POST /v1/reload HT",
		"in the body":   "POST /v1/reload HTTP/1.1\r\nHost: acmed\r\nContent-Length: 10\r\n\r\n{",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln := newPipes()
				_, stop := serve(t, &fake{}, ln)
				defer stop()
				conn, err := ln.dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				start := time.Now()
				if _, err := conn.Write([]byte(sent)); err != nil {
					t.Fatal(err)
				}
				for buf := make([]byte, 1024); err == nil; {
					_, err = conn.Read(buf)
				}
				if took := time.Since(start); took > 2*control.ReadTimeout {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	tests := map[string]struct {
		method, path, body string
		status             int
	}{
		"nothing to renew":     {"POST", "/v1/renew", `{}`, 400},
		"two ways at once":     {"POST", "/v1/renew", `{"all":true,"issuer":"a"}`, 400},
		"an unknown key":       {"POST", "/v1/renew", `{"al":true}`, 400},
		"nothing to deploy":    {"POST", "/v1/deploy", `{"now":true}`, 400},
		"no end of a rollback": {"POST", "/v1/rollback", `{"name":"a"}`, 400},
		"no body":              {"POST", "/v1/reload", ``, 400},
		"two values":           {"POST", "/v1/reload", `{} {}`, 400},
		"a body without end":   {"POST", "/v1/reload", `{"acceptRemovals":` + strings.Repeat(" ", control.MaxBody) + `true}`, 400},
		"a change by GET":      {"GET", "/v1/reload", ``, 405},
		"an unknown path":      {"GET", "/v2/daemon", ``, 404},
		"a path with a parent": {"GET", "/v1/certificate/../x", ``, 404},
	}
	ln, socket := listen(t)
	logs, _ := serve(t, &fake{}, ln)
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://acmed"+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != tt.status {
				t.Errorf("got %s, want %d", resp.Status, tt.status)
			}
		})
	}
	if logs.Len() > 0 {
		t.Errorf("logged %v", logs.All())
	}
}

func TestChangesAreLoggedWithTheirResult(t *testing.T) {
	fail := false
	client, logs := connect(t, &fake{
		reload: func(context.Context, control.ReloadRequest) (control.ReloadResult, error) {
			if fail {
				return control.ReloadResult{}, errDisk
			}
			return control.ReloadResult{}, nil
		},
		info:  func(context.Context) (control.Info, error) { return control.Info{}, nil },
		renew: func(context.Context, control.RenewRequest, func(control.Event)) error { return nil },
	})
	_, _ = client.Info(t.Context())
	_, _ = client.Reload(t.Context(), control.ReloadRequest{})
	fail = true
	_, _ = client.Reload(t.Context(), control.ReloadRequest{AcceptRemovals: true})
	for _, req := range []control.RenewRequest{{Names: []string{"a", "b"}}, {All: true, Force: true}, {Issuer: "ca"}} {
		_ = client.Renew(t.Context(), req, nil)
	}
	var got bytes.Buffer
	for _, e := range logs.All() {
		fields := e.ContextMap()
		if fields["uid"] != int64(os.Getuid()) || fields["took"] == nil {
			t.Errorf("uid or took is wrong in %v", fields)
		}
		delete(fields, "uid")
		delete(fields, "took")
		fmt.Fprintln(&got, e.Level, e.Message, fields)
	}
	want := "info reload requested map[acceptRemovals:false problems:0]\n" +
		"warn reload requested map[acceptRemovals:true error:" + errDisk.Error() + " problems:0]\n" +
		"info renewal requested map[cert:[a b] force:false]\n" +
		"info renewal requested map[all:true force:true]\n" +
		"info renewal requested map[force:false issuer:ca]\n"
	if got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
}

func TestNewServerWantsItsParts(t *testing.T) {
	for _, c := range []control.ServerConfig{
		{},
		{Deliveries: &fake{}, Disposals: &fake{}, Accounts: &fake{}, Registrations: &fake{}, Planner: &fake{}, Daemon: &fake{}},
		{Certificates: &fake{}, Deliveries: &fake{}, Disposals: &fake{}, Accounts: &fake{}, Planner: &fake{}, Daemon: &fake{}},
		{Certificates: &fake{}, Disposals: &fake{}, Accounts: &fake{}, Registrations: &fake{}, Planner: &fake{}, Daemon: &fake{}},
		{Certificates: &fake{}, Deliveries: &fake{}, Daemon: &fake{}},
		{Certificates: &fake{}, Deliveries: &fake{}, Disposals: &fake{}, Accounts: &fake{}, Registrations: &fake{}, Planner: &fake{}},
	} {
		if _, err := control.NewServer(c); err == nil {
			t.Errorf("NewServer(%+v) is content", c)
		}
	}
}

func TestServeReportsABrokenListener(t *testing.T) {
	server, err := control.NewServer(control.ServerConfig{Certificates: &fake{}, Deliveries: &fake{}, Disposals: &fake{}, Accounts: &fake{}, Registrations: &fake{}, Planner: &fake{}, Daemon: &fake{}})
	if err != nil {
		t.Fatal(err)
	}
	ln := newPipes()
	ln.Close()
	if err := server.Serve(t.Context(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestUnknownNamesWhatMayBeMeant(t *testing.T) {
	known := []string{"www.example.com", "mail.example.com", "www.example.org", "shop", "a"}
	tests := map[string]struct{ name, hint string }{
		"a letter is missing":  {"ww.example.com", "did you mean www.example.com?"},
		"another top level":    {"www.example.net", "did you mean www.example.com, www.example.org?"},
		"the beginning of one": {"mail", "did you mean mail.example.com?"},
		"nothing is near":      {"db.internal.test", "acmed list shows them all"},
		"an empty name":        {"", "did you mean a?"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			checkError(t, control.Unknown(tt.name, slices.Values(known)), control.Error{Code: control.NotFound,
				Message: fmt.Sprintf("no certificate is called %q", tt.name), Hint: tt.hint})
		})
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "abc", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}} {
		if got := control.Distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
