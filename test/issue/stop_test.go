package issue_test

import (
	"strings"
	"testing"
	"time"

	"acmed/test/pebble"
	"acmed/test/site"
)

// TestStopInTheMiddleOfAnOrder leaves an order that the next daemon takes to its end.
func TestStopInTheMiddleOfAnOrder(t *testing.T) {
	t.Parallel()
	looked := make(chan struct{}) // when the CA is let in to see the proof
	tests := map[string]struct {
		ca     pebble.Options
		open   <-chan struct{}
		during string // the last request before the stop
		resume func()
	}{
		"while the CA validates": {pebble.Options{}, looked, "challenge", func() { close(looked) }},
		"while the CA issues":    {pebble.Options{RetryAfterOrder: 3 * time.Second}, nil, "finalize", func() {}},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			ca := pebble.Start(t, test.ca)
			s := site.New(t, ca, site.Options{Responder: true})
			s.ServeTokens(t, ca.HTTPAddr, test.open)
			s.Spec(t, "www.example.com", "")
			d := s.Start(t)
			site.Eventually(t, test.during+" was asked", func() bool { return ca.Count(t)[test.during] > 0 })

			stopped := time.Now()
			d.Stop(t)
			t.Logf("stopped in %s", time.Since(stopped).Round(time.Millisecond))
			if took := time.Since(stopped); took > 10*time.Second {
				t.Errorf("stopping took %s", took)
			}
			if resumable, begun := openOrders(t, s); resumable != 1 || begun != 0 {
				t.Fatalf("%d orders can be resumed and %d cannot, want one that can", resumable, begun)
			}
			s.Start(t)
			test.resume()
			site.Eventually(t, "the certificate is there", func() bool { return served(t, s) == 1 })
			if did := deedsOf(t, ca); did.orders != 1 || did.certificates != 1 {
				t.Errorf("the CA made %d orders and %d certificates, want one each", did.orders, did.certificates)
			}
		})
	}
}

// TestSecondDaemonKeepsAway from the state folder of the first.
func TestSecondDaemonKeepsAway(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	s := site.New(t, ca, site.Options{})
	first := s.Start(t)
	if code := s.Launch(t).ExitCode(t); code != 1 {
		t.Errorf("the second daemon ended with %d, want 1", code)
	}
	said := s.Output(t)
	if !strings.Contains(said, "acmed: ") || !strings.Contains(said, s.State) {
		t.Errorf("the second daemon said: %s", said)
	}
	first.Stop(t)
}

// TestBadConfiguration is not tried again by systemd.
func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	s := site.New(t, ca, site.Options{})
	s.Write(t, "acmed.yaml", "specsDir: certs.d\n")
	if code := s.Launch(t).ExitCode(t); code != 78 {
		t.Errorf("the exit code is %d, want 78", code)
	}
	if said := s.Output(t); !strings.Contains(said, "acmed.yaml:1:1: specsDir") {
		t.Errorf("the daemon said: %s", said)
	}
}
