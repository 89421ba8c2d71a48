package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"acmed/internal/spec"
)

// lookTime is how long a server may take to answer.
const lookTime = 10 * time.Second

// port80 looks who answers http-01 here. Whether a CA gets through to it, only the CA knows.
func (k *check) port80(ctx context.Context) {
	c := k.proves("http-01")
	if c == nil || k.Settings.HTTP.Solver == "off" {
		return
	}
	places := k.Port80
	if places == nil {
		places = answering(k.Settings.HTTP.Listen, 80)
	}
	for _, address := range places {
		server, err := fetch(ctx, address, c.DNSNames[0])
		if err != nil {
			continue
		}
		switch {
		case server == acmedAnswers:
			k.good("port 80", address, "acmed answers")
		case c.Challenge.Webroot != "":
			k.good("port 80", address, "%s answers; it has to serve %s", server, c.Challenge.Webroot)
		default:
			k.bad(Warning, "port 80", address, k.strangerHint(), "%s answers%s", server, heldBy(address))
		}
		return
	}
	held := firstHeld(places)
	k.bad(Failure, "port 80", strings.Join(places, ", "), k.silenceHint(c, held != ""), "nobody answers%s", held)
}

// proves returns a certificate of a DNS name whose challenge is of that type, if possible one that acmed's own responder
// proves; nil if there is none.
func (k *check) proves(challenge string) *spec.Certificate {
	var found *spec.Certificate
	for _, c := range k.certs {
		if c.Challenge.Type == challenge && len(c.DNSNames) > 0 && (found == nil || found.Challenge.Webroot != "") {
			found = c
		}
	}
	return found
}

func (k *check) tokens() string { return filepath.Join(k.Settings.RuntimeDir, "http-01") }

// strangerHint returns what to do about a server that answers in place of acmed.
func (k *check) strangerHint() string {
	if k.Settings.HTTP.Solver == "listen" {
		return "stop that server, or set http.solver: responder and have it serve " + k.tokens() + " as /.well-known/acme-challenge/"
	}
	return "have it serve " + k.tokens() + " as /.well-known/acme-challenge/, see /usr/share/acmed/snippets; acmed status shows whether it does"
}

// silenceHint returns what to do where nobody answers http-01.
func (k *check) silenceHint(c *spec.Certificate, held bool) string {
	switch {
	case c.Challenge.Webroot != "":
		return "start the web server that serves " + c.Challenge.Webroot
	case k.Settings.HTTP.Solver == "listen" && k.Settings.HTTP.Listen != "":
		return "systemctl restart acmed: with http.listen it answers there itself"
	case k.Settings.HTTP.Solver == "listen":
		return "systemctl stop acmed; systemctl enable --now acmed-listen.socket; systemctl start acmed"
	case held:
		return "stop what holds the port and run systemctl enable --now acmed-http.socket, or have it serve " + k.tokens()
	}
	return "systemctl enable --now acmed-http.socket, or start the web server that serves " + k.tokens()
}

// firstHeld is heldBy of the first address of which it says something.
func firstHeld(places []string) string {
	for _, address := range places {
		if held := heldBy(address); held != "" {
			return held
		}
	}
	return ""
}

// acmedAnswers is who answers as acmed does where there is no such token: with two words, and without a name.
const acmedAnswers = "acmed"

// fetch asks for a proof that there is not, and returns who answers.
func fetch(ctx context.Context, address, host string) (server string, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/.well-known/acme-challenge/acmed-doctor", nil)
	if err != nil {
		return "", err
	}
	req.Host = host
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // for people only
	switch server = resp.Header.Get("Server"); {
	case server == "" && string(body) == "not found\n":
		return acmedAnswers, nil
	case server == "":
		return "a server without a name", nil
	}
	return fmt.Sprintf("%.60q", server), nil
}

// alpn is the protocol of tls-alpn-01 (RFC 8737 §4).
const alpn = "acme-tls/1"

// port443 looks who answers tls-alpn-01 here.
func (k *check) port443(ctx context.Context) {
	c := k.proves("tls-alpn-01")
	if c == nil {
		return
	}
	places := answering(k.Settings.TLSALPN.Listen, 443)
	for _, address := range places {
		answers, speaks := shake(ctx, address, c.DNSNames[0])
		switch {
		case !answers:
			continue
		case speaks:
			k.good("port 443", address, "a server for %s answers", alpn)
		default:
			k.bad(Warning, "port 443", address, "stop that server, or have it pass "+alpn+" on to an address that tlsALPN.listen names",
				"the server there does not know %s, the protocol of tls-alpn-01%s", alpn, heldBy(address))
		}
		return
	}
	hint := "systemctl restart acmed: with tlsALPN.listen it answers there itself"
	if k.Settings.TLSALPN.Listen == "" {
		hint = "systemctl stop acmed; systemctl enable --now acmed-tls-alpn.socket; systemctl start acmed"
	}
	k.bad(Failure, "port 443", strings.Join(places, ", "), hint, "nobody answers%s", firstHeld(places))
}

// shake begins a handshake as a CA does. Acmed has no certificate for it now, and says so after it has chosen the protocol;
// another server refuses the protocol, or ignores it.
func shake(ctx context.Context, address, host string) (answers, speaks bool) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false, false
	}
	defer conn.Close()
	client := tls.Client(conn, &tls.Config{ServerName: host, NextProtos: []string{alpn}, InsecureSkipVerify: true}) //nolint:gosec // nothing is sent
	err = client.HandshakeContext(ctx)
	if err == nil {
		return true, client.ConnectionState().NegotiatedProtocol == alpn
	}
	refusal, refused := errors.AsType[*net.OpError](err)
	if refused && refusal.Op == "remote error" { // of crypto/tls, whose type for alerts is not exported
		return true, refusal.Err.Error() == alertInternal.Error()
	}
	return ctx.Err() == nil && !errors.Is(err, io.EOF), false
}

// alertInternal is sent by a server that knows the protocol and has no certificate to show (RFC 8446 §6.2).
const alertInternal tls.AlertError = 80
