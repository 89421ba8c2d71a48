package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"acmed/internal/deploy"
)

// newClient returns a client of whatever serves.
func newClient(t *testing.T, serve func(conn *net.UnixConn)) *deploy.Client {
	t.Helper()
	c, err := deploy.NewClient(deploy.ClientConfig{Socket: listen(t, serve)})
	must0(t, err)
	return c
}

// echo answers every order with nothing.
func echo(t *testing.T, conn *net.UnixConn) (orders []deploy.Order) {
	_, orders, err := deploy.ReadRequest(conn)
	if err != nil {
		t.Error(err)
	}
	var answers []deploy.Answer
	for _, o := range orders {
		answers = append(answers, deploy.Answer{Name: o.Name})
	}
	text, err := json.Marshal(map[string]any{"answers": answers, "more": "of a later version"})
	if err != nil {
		t.Error(err)
	}
	_, _ = conn.Write(text)
	return orders
}

func orders(n int) (list []deploy.Order) {
	for i := range n {
		list = append(list, deploy.Order{Name: fmt.Sprintf("s%04d.example.com", i)})
	}
	return list
}

func TestClientSplitsWhatIsTooMuch(t *testing.T) {
	sizes := make(chan int, 3)
	c := newClient(t, func(conn *net.UnixConn) { sizes <- len(echo(t, conn)) })
	asked := orders(2*deploy.MaxOrders + 1)
	answers, err := c.Deploy(t.Context(), asked)
	if err != nil || len(answers) != len(asked) {
		t.Fatalf("%d answers, %v", len(answers), err)
	}
	for i := range answers {
		if answers[i].Name != asked[i].Name {
			t.Errorf("%s is answered for %s", answers[i].Name, asked[i].Name)
		}
	}
	if a, b, c := <-sizes, <-sizes, <-sizes; a+b+c != len(asked) || max(a, b, c) != deploy.MaxOrders {
		t.Errorf("requests of %d, %d and %d", a, b, c)
	}
	if answers, err := c.Deploy(t.Context(), nil); err != nil || len(answers) != 0 {
		t.Errorf("no orders: %v, %v", answers, err)
	}
	if err := c.Accept(t.Context(), nil); err != nil {
		t.Errorf("no names: %v", err)
	}
}

// TestOneNameHurtsNoOther: a file may have a name that fits nothing else.
func TestOneNameHurtsNoOther(t *testing.T) {
	c := newClient(t, func(conn *net.UnixConn) { echo(t, conn) })
	answers, err := c.Deploy(t.Context(), []deploy.Order{{Name: "a"}, {Name: "a..b"}, {Name: "b"}, {Name: "a"}})
	if err != nil || len(answers) != 4 {
		t.Fatalf("%+v, %v", answers, err)
	}
	for i, want := range []string{"a", "a..b", "b", "a"} {
		if a := answers[i]; a.Name != want || (a.Problem != "") != (want == "a..b") {
			t.Errorf("%+v", a)
		}
	}
	err = c.Accept(t.Context(), []string{"a", "a..b", "b"})
	wantWords(t, err, `a..b: "a..b" is not the name of a certificate; rename its file`)
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
}

func TestOneRequestIsInFlight(t *testing.T) {
	var mu sync.Mutex
	open := 0
	c := newClient(t, func(conn *net.UnixConn) {
		mu.Lock()
		if open++; open > 1 {
			t.Error("two at once")
		}
		mu.Unlock()
		<-time.After(10 * time.Millisecond)
		mu.Lock()
		open--
		mu.Unlock()
		echo(t, conn)
	})
	var asking sync.WaitGroup
	for range 5 {
		asking.Go(func() {
			if _, err := c.Deploy(t.Context(), orders(1)); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
}

func TestClientErrorsSayWhatToDo(t *testing.T) {
	for sentence, c := range map[string]struct {
		serve func(conn *net.UnixConn)
		want  []string
	}{
		"it ends at once":       {func(*net.UnixConn) {}, []string{"without an answer", "journalctl -u 'acmed-deploy*'"}},
		"it ends after reading": {func(conn *net.UnixConn) { _, _ = io.ReadAll(conn) }, []string{"without an answer", "journalctl"}},
		"it ends half-way":      {func(conn *net.UnixConn) { _, _ = conn.Write([]byte(`{"answers":[{"na`)) }, []string{"not whole", "journalctl"}},
		"it answers something":  {func(conn *net.UnixConn) { _, _ = conn.Write([]byte(`{"answers":[{"name":"x"}]}`)) }, []string{"not to what was asked", "of one version"}},
		"it answers too little": {func(conn *net.UnixConn) { _, _ = conn.Write([]byte(`{}`)) }, []string{"not to what was asked"}},
		"it refuses": {func(conn *net.UnixConn) {
			_, _ = conn.Write([]byte(`{"problem":"uid 7 may not ask","hint":"be root"}`))
		}, []string{"uid 7 may not ask; be root"}},
		"it is silent": {stall, []string{"no answer within 50ms", "journalctl"}},
		"it answers without end": {func(conn *net.UnixConn) {
			for {
				if _, err := conn.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}, []string{"over 33554432 bytes"}},
	} {
		t.Run(sentence, func(t *testing.T) {
			config := deploy.ClientConfig{Socket: listen(t, c.serve)}
			if sentence == "it is silent" {
				config.Timeout = 50 * time.Millisecond
			}
			client, err := deploy.NewClient(config)
			must0(t, err)
			answers, err := client.Deploy(t.Context(), []deploy.Order{{Name: "a"}})
			wantWords(t, err, c.want...)
			if _, ok := errors.AsType[*deploy.Error](err); !ok || answers != nil {
				t.Errorf("%T, answers %v", err, answers)
			}
			wantWords(t, client.Accept(t.Context(), []string{"a"}), c.want...)
		})
	}
}

// stall says nothing of weight until nobody listens any more.
func stall(conn *net.UnixConn) {
	for {
		if _, err := conn.Write([]byte(" ")); err != nil {
			return
		}
		<-time.After(time.Millisecond)
	}
}

func wantWords(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("no %q in %v", word, err)
		}
	}
}

func TestClientErrorsBeforeAnybodyIsThere(t *testing.T) {
	dir := shortDir(t)
	ask := func(socket string) error {
		c, err := deploy.NewClient(deploy.ClientConfig{Socket: socket})
		must0(t, err)
		_, err = c.Deploy(t.Context(), []deploy.Order{{Name: "a"}})
		return err
	}
	wantWords(t, ask(dir+"/none"), "no such file", "systemctl enable --now acmed-deploy.socket")

	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir + "/dead", Net: "unix"})
	must0(t, err)
	l.SetUnlinkOnClose(false)
	l.Close()
	wantWords(t, ask(dir+"/dead"), "refused", "systemctl restart acmed-deploy.socket")

	if os.Geteuid() != 0 {
		must0(t, os.Chmod(dir+"/dead", 0))
		wantWords(t, ask(dir+"/dead"), "permission denied", "SocketUser=")
	}
}

func TestALaterRequestThatFailsSparesTheAnswers(t *testing.T) {
	var mu sync.Mutex
	requests := 0
	c := newClient(t, func(conn *net.UnixConn) {
		mu.Lock()
		requests++
		first := requests == 1
		mu.Unlock()
		if first {
			echo(t, conn)
		}
	})
	answers, err := c.Deploy(t.Context(), orders(deploy.MaxOrders+2))
	if err != nil || len(answers) != deploy.MaxOrders+2 {
		t.Fatalf("%d answers, %v", len(answers), err)
	}
	if a := answers[deploy.MaxOrders-1]; a.Problem != "" {
		t.Errorf("%+v", a)
	}
	for i, a := range answers[deploy.MaxOrders:] {
		if a.Name != fmt.Sprintf("s%04d.example.com", deploy.MaxOrders+i) || !strings.Contains(a.Problem, "without an answer") || a.Hint == "" {
			t.Errorf("%+v", a)
		}
	}
}

func TestAcceptTellsOfManyInFewWords(t *testing.T) {
	c := newClient(t, func(conn *net.UnixConn) {
		_, orders, _ := deploy.ReadRequest(conn)
		var answers []deploy.Answer
		for _, o := range orders {
			answers = append(answers, deploy.Answer{Name: o.Name, Problem: "bad", Hint: "mend it"})
		}
		text, _ := json.Marshal(map[string]any{"answers": answers})
		_, _ = conn.Write(text)
	})
	var all []string
	for _, o := range orders(1000) {
		all = append(all, o.Name)
	}
	err := c.Accept(t.Context(), all)
	wantWords(t, err, "s0000.example.com: bad; mend it", "s0009", "and 990 more")
	if strings.Count(err.Error(), "\n") != 10 {
		t.Errorf("%v", err)
	}
}

func TestClientStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	reached := make(chan struct{})
	c := newClient(t, func(conn *net.UnixConn) {
		close(reached)
		_, _ = io.ReadAll(conn)
		_, _ = conn.Read(make([]byte, 1)) // until the other end is closed
		<-ctx.Done()
	})
	var asking sync.WaitGroup
	asking.Go(func() {
		if _, err := c.Deploy(ctx, orders(1)); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
	<-reached
	asking.Go(func() { // waits for its turn
		if err := c.Accept(ctx, []string{"a"}); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
	cancel(errors.New("enough"))
	asking.Wait()
}

func TestNewClientRefuses(t *testing.T) {
	if _, err := deploy.NewClient(deploy.ClientConfig{}); err == nil {
		t.Error("no error")
	}
}
