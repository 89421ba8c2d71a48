package daemon

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"acmed/internal/acme"
	"acmed/internal/spec"
)

const (
	checkAnswered = 5 * time.Minute  // from one check to the next while the proofs are seen
	checkSilent   = 15 * time.Second // while they are not: somebody is about to mend it
	checkTimeout  = 10 * time.Second // of one request: a CA has as much patience
)

// nobody is the trouble of a machine on which nothing listens.
const nobody = "nobody answers on port 80"

// answering is who answers http-01.
type answering struct {
	text    string // in a few words, with what to do
	trouble string // what STATUS says of it; "": nothing
}

// selfCheck finds out whether others answer http-01: it shows a proof that no CA asked for, and fetches it on this
// machine's port 80, as a CA would. That is no promise that a CA can reach the port, but nothing works without it.
type selfCheck struct {
	solver acme.Solver
	dir    string                // of proofs, where solver shows them
	wanted func() (string, bool) // a name that needs http-01; false: there is none
	hosts  func() []string       // host:port of this machine's port 80
	report func(answering)       // is told when something has changed
	log    *zap.Logger
}

// run checks until ctx ends.
func (c *selfCheck) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for last := (answering{}); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		timer.Reset(checkSilent)
		name, ok := c.wanted()
		if !ok {
			continue
		}
		now := c.check(ctx, name)
		if ctx.Err() == nil && now != last {
			c.tell(now)
			last = now
		}
		if now.trouble == "" {
			timer.Reset(checkAnswered)
		}
	}
}

func (c *selfCheck) tell(now answering) {
	c.report(now)
	if now.trouble != "" {
		c.log.Warn("http-01 challenges would fail", zap.String("reason", now.text))
		return
	}
	c.log.Info("http-01 challenges are answered", zap.String("http01", now.text))
}

// check asks for a proof on behalf of name, for some servers answer only under names that they know.
func (c *selfCheck) check(ctx context.Context, name string) answering {
	token := rand.Text()
	proof := acme.Proof{Type: "http-01", Token: token, KeyAuth: token + "." + rand.Text()}
	if err := c.solver.Present(ctx, proof); err != nil {
		return answering{err.Error(), "proofs cannot be shown"}
	}
	defer func() {
		if err := c.solver.CleanUp(context.WithoutCancel(ctx), proof); err != nil {
			c.log.Warn("leaving a proof behind", zap.Error(err))
		}
	}()
	var best sight
	for _, host := range c.hosts() {
		best = max(best, c.look(ctx, host, name, proof))
		if best == seen {
			break
		}
	}
	return c.judge(best)
}

// sight is what came of a request, the best last.
type sight int

const (
	silent     sight = iota // no answer
	strange                 // not the proof
	redirected              // somewhere else, where a CA would go too
	seen                    // the proof
)

func (c *selfCheck) judge(s sight) answering {
	switch s {
	case seen:
		return answering{text: "port 80 answers from " + c.dir}
	case redirected:
		return answering{text: "port 80 redirects: the web server that it leads to has to serve " + c.dir}
	case strange:
		return answering{
			fmt.Sprintf("port 80 is answered, but not from %s: let the web server serve that folder as /.well-known/acme-challenge/", c.dir),
			"port 80 is answered by something else",
		}
	default:
		return answering{nobody + ": run systemctl enable --now acmed-http.socket", nobody}
	}
}

// look asks host for a proof. Nothing that it answers is believed but the proof.
func (c *selfCheck) look(ctx context.Context, host, name string, proof acme.Proof) sight {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/.well-known/acme-challenge/"+proof.Token, nil)
	if err != nil {
		return silent
	}
	req.Host = name
	transport := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return silent
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(len(proof.KeyAuth))+1))
	switch {
	case err == nil && resp.StatusCode == http.StatusOK && string(body) == proof.KeyAuth:
		return seen
	case resp.StatusCode/100 == 3:
		return redirected
	default:
		return strange
	}
}

// port80 lists where this machine may be reached: on loopback, and at the addresses by which it would speak to others,
// which no packet is needed to learn.
func port80() []string {
	hosts := []string{"127.0.0.1:80", "[::1]:80"}
	for _, elsewhere := range []string{"192.0.2.1:80", "[2001:db8::1]:80"} { // of RFC 5737 and RFC 3849, which are nobody's
		conn, err := net.Dial("udp", elsewhere)
		if err != nil {
			continue // there is no such way
		}
		if host, _, err := net.SplitHostPort(conn.LocalAddr().String()); err == nil {
			hosts = append(hosts, net.JoinHostPort(host, "80"))
		}
		conn.Close()
	}
	return hosts
}

// needsHTTP01 returns a name of a certificate that is proved from the token folder; false if there is none.
func needsHTTP01(set *spec.Set) (string, bool) {
	for _, c := range set.Certificates() {
		if c.Challenge.Type == "http-01" && c.Challenge.Webroot == "" {
			return namesOf(c)[0], true
		}
	}
	return "", false
}
