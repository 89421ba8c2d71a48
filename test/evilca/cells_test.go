package evilca_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"acmed/test/evilca"
)

func grid(t *testing.T, w *world) []cell {
	return slices.Concat(bodies(), times(), statuses(), patiences(), redirects(), places(), losses(), nonces(), problems(), tokens(),
		orders(), chains(t, w.forger))
}

// everywhere puts a fault at each endpoint.
func everywhere(c cell, but ...evilca.Endpoint) []cell {
	return at(c, slices.DeleteFunc(evilca.Endpoints(), func(e evilca.Endpoint) bool { return slices.Contains(but, e) })...)
}

func at(c cell, endpoints ...evilca.Endpoint) (cells []cell) {
	for _, e := range endpoints {
		c := c
		c.at = e
		// Advice on when to renew that cannot be had hurts nobody.
		c.harmless = c.harmless || e == evilca.RenewalInfo
		cells = append(cells, c)
	}
	return cells
}

// signed are the endpoints that take POSTs only.
func signed() []evilca.Endpoint {
	return slices.DeleteFunc(evilca.Endpoints(), func(e evilca.Endpoint) bool {
		return e == evilca.Directory || e == evilca.NewNonce || e == evilca.RenewalInfo
	})
}

func transient() []string { return []string{"transient"} }

func bodies() (cells []cell) {
	add := func(name string, f evilca.Fault) {
		c := cell{name: name, do: f, kinds: transient(), rare: slices.Contains([]string{"an array", "endless space"}, name)}
		for _, c := range everywhere(c, evilca.NewNonce) { // which comes in a header, whatever the body
			c.harmless = c.harmless || name == "empty" && c.at == evilca.NewAccount // whose Location says it all
			cells = append(cells, c)
		}
	}
	add("broken JSON", evilca.Body(func(b []byte) []byte { return append([]byte("{,"), b...) }))
	add("truncated", evilca.Body(func(b []byte) []byte { return b[:len(b)/2] }))
	add("empty", evilca.Body(func([]byte) []byte { return nil }))
	add("HTML", evilca.Say(200, "<!DOCTYPE html><html><script>alert(1)</script><h1>Welcome</h1></html>", "Content-Type", "text/html"))
	add("an array", evilca.Say(200, "[]"))
	add("numbers for strings", evilca.Say(200, `{"status":1,"newNonce":2,"newAccount":3,"newOrder":4,"url":5,"token":6,"identifier":7,"suggestedWindow":8}`))
	add("deep nesting", evilca.Say(200, strings.Repeat(`{"a":[`, 20_000)))
	add("endless JSON", evilca.Endless(200, `{"a":[`, `"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",`))
	add("endless space", evilca.Endless(200, `{`, " ", "Content-Type", "application/json"))
	add("endless problem", evilca.Endless(500, `{"type":"x","detail":"`, "a", "Content-Type", "application/problem+json"))
	add("gzip bomb", evilca.Gzip(200, []byte(`{"a":"`+strings.Repeat("a", 16<<20)+`"}`)))
	add("cut", evilca.Cut)
	for _, c := range []cell{
		{name: "a header of 1 MB", do: evilca.Headers(1, 1<<20)},
		{name: "a thousand headers", do: evilca.Headers(1000, 100), rare: true},
		{name: "early hints without end", do: evilca.EarlyHints},
	} {
		c.kinds = transient()
		cells = append(cells, everywhere(c)...)
	}
	return cells
}

func times() (cells []cell) {
	for _, f := range []struct {
		name string
		do   evilca.Fault
		rare bool
	}{
		{"stall", evilca.Stall, false},
		{"stall halfway", evilca.StallHalfway, true},
		{"a byte a second", evilca.Drip(time.Second), true},
	} {
		c := cell{name: f.name, do: f.do, kinds: transient(), problem: "timeout"}
		for _, c := range everywhere(c) {
			if c.at == evilca.NewNonce && f.name != "stall" {
				continue // its answer has no body
			}
			// Some CAs issue while the request waits: finalize has two minutes.
			c.rare = f.rare && c.at != evilca.Directory && c.at != evilca.Order || c.at == evilca.Finalize
			cells = append(cells, c)
		}
	}
	return cells
}

func statuses() (cells []cell) {
	for _, status := range []int{400, 403, 404, 405, 429, 500, 502, 503, 100, 204, 304, 999} {
		c := cell{name: fmt.Sprint(status), do: evilca.Say(status, "<h1>no</h1>", "Content-Type", "text/html")}
		c.rare = slices.Contains([]int{100, 204, 304, 405, 502, 999}, status)
		if status >= 500 && status < 600 {
			c.kinds = transient()
		}
		if status == 429 {
			c.kinds = []string{"rateLimited"}
		}
		if status == 100 {
			c.do = evilca.Say(101, "")
		}
		cells = append(cells, everywhere(c)...)
	}
	return cells
}

func patiences() (cells []cell) {
	now := time.Now().UTC()
	for form, value := range map[string]string{
		"seconds": "120", "a date": now.Add(5 * time.Minute).Format(http.TimeFormat), "a past date": now.Add(-time.Hour).Format(http.TimeFormat),
		"negative": "-1", "zero": "0", "ten years": "315360000", "a date in ten years": now.AddDate(10, 0, 0).Format(http.TimeFormat),
		"beyond all numbers": "99999999999999999999999", "garbage": "soon", "a fraction": "1.5", "empty": "", "ESC": "\x1b[2J",
	} {
		for _, status := range []int{429, 503} {
			c := cell{name: fmt.Sprintf("%d, Retry-After: %s", status, form), kinds: []string{"rateLimited", "transient"}}
			c.do = evilca.Problem(status, "rateLimited", "too many requests", "Retry-After", value)
			cells = append(cells, at(c, evilca.NewOrder, evilca.Finalize)...)
			c.rare = true
			cells = append(cells, everywhere(c, evilca.NewOrder, evilca.Finalize)...)
		}
	}
	return cells
}

func redirects() (cells []cell) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		for to, origin := range map[string]string{
			"elsewhere": "https://ELSEWHERE", "http": "http://ELSEWHERE", "itself": "https://HOST", "the metadata service": "http://169.254.169.254",
		} {
			c := cell{name: fmt.Sprintf("%d to %s", status, to), do: evilca.Redirect(status, origin), kinds: transient()}
			c.rare = status != 302 && status != 307 || to != "elsewhere"
			cells = append(cells, everywhere(c)...)
		}
	}
	return cells
}

// places are URLs in bodies, in Location and in links that lead away.
func places() (cells []cell) {
	for name, origin := range map[string]string{
		"http": "http://ELSEWHERE", "another port": "https://ELSEWHERE", "the metadata service": "https://169.254.169.254",
		"the metadata service over http": "http://169.254.169.254/latest/meta-data", "localhost": "https://localhost:22", "a file": "file:///etc/passwd#",
		"a user": "https://HOST@ELSEWHERE", "no scheme": "//ELSEWHERE", "no host": "https:///", "ESC": "https://\x1b]0;evil\x07", "a name without a dot": "https://printer",
		"another host": "https://other.invalid",
	} {
		c := cell{name: "URLs with " + name, do: evilca.Move(origin), kinds: transient()}
		c.rare = !slices.Contains([]string{"http", "another port", "the metadata service", "another host"}, name)
		cells = append(cells, at(c, evilca.Directory, evilca.NewAccount, evilca.NewOrder, evilca.Order, evilca.Authz, evilca.Finalize)...)
		c.harmless = true // the order is asked for what becomes of a challenge; the chain has no URLs that matter
		cells = append(cells, at(c, evilca.Challenge, evilca.Certificate, evilca.RenewalInfo)...)
	}
	return cells
}

// losses are requests that were heard and not answered.
func losses() []cell {
	return everywhere(cell{name: "lost answer", do: evilca.Lose, kinds: transient()})
}

func nonces() (cells []cell) {
	bad := evilca.Problem(400, "badNonce", "nope")
	cells = at(cell{name: "always badNonce", do: bad, problem: "badNonce", kinds: transient()}, signed()...)
	mostly := evilca.Some(func(n int) bool { return n%10 != 0 }, bad)
	cells = append(cells, at(cell{name: "badNonce nine times of ten", do: mostly, harmless: true}, signed()...)...)
	for name, value := range map[string]string{"no nonce": "", "an evil nonce": "$(reboot)/../\u202e", "a nonce of 10 KB": strings.Repeat("a", 10<<10), "one nonce for ever": "aaaa"} {
		set := evilca.Alter(func(_ *evilca.Exchange, a *evilca.Answer) { a.Header.Set("Replay-Nonce", value) })
		c := cell{name: name, do: set, kinds: transient()}
		cells = append(cells, at(c, evilca.NewNonce)...)
		c.harmless, c.rare = name != "one nonce for ever", true
		cells = append(cells, at(c, signed()...)...)
	}
	return cells
}

const evilText = "$(touch /tmp/evil) `reboot`; rm -rf / #\r\nSet-Cookie: a\x1b[2J\x1b]0;evil\x07\x00\u202e\u2028%s%n{{.}}'\"<script>"

func problems() (cells []cell) {
	texts := map[string]string{"evil text": evilText, "a megabyte": strings.Repeat("evil ", 200_000), "60 KB": strings.Repeat("\x1b", 20_000)}
	for name, text := range texts {
		c := cell{name: "problem with " + name, do: evilca.Problem(403, text, text), rare: name == "60 KB"}
		if name == "a megabyte" {
			c.kinds, c.problem = transient(), "tooLarge"
		}
		cells = append(cells, everywhere(c, evilca.NewNonce)...) // an answer to HEAD has no body
	}
	for _, typ := range []string{"accountDoesNotExist", "alreadyReplaced", "badCSR", "badPublicKey", "caa", "compound", "dns", "externalAccountRequired",
		"invalidContact", "malformed", "orderNotReady", "rateLimited", "rejectedIdentifier", "serverInternal", "unauthorized", "userActionRequired", "neverHeardOf"} {
		c := cell{name: "problem " + typ, do: evilca.Problem(403, typ, "because"), rare: true}
		cells = append(cells, at(c, signed()...)...)
	}
	subs := `{"type":"urn:ietf:params:acme:error:compound","detail":"d","subproblems":[` +
		strings.Repeat(`{"type":"urn:ietf:params:acme:error:dns","detail":"\u001b[2J","identifier":{"type":"dns","value":"\u0000../"}},`, 500) + `{}]}`
	cells = append(cells, at(cell{name: "500 subproblems", do: evilca.Say(400, subs, "Content-Type", "application/problem+json")},
		evilca.NewOrder, evilca.Finalize)...)
	return cells
}

func tokens() (cells []cell) {
	for name, token := range map[string]string{
		"up": "../../../../../../tmp/evil-token", "empty": "", "short": "abc", "of 10 KB": strings.Repeat("a", 10<<10), "in unicode": "tökentökentökentöken",
		"for a shell": "$(touch /tmp/evil-token)", "a dot": ".", "with a slash": "aaaaaaaaaaaaaaaa/aaaaaaaaaaa", "with NUL": "aaaaaaaaaaaaaaaaaaaa\x00", "with a line end": "aaaaaaaaaaaaaaaaaaaa\n",
		"with ESC": "aaaaaaaaaaaaaaaa\x1b[2J", "a temporary file": ".acmed-aaaaaaaaaaaaaaaaaaa",
	} {
		cells = append(cells, at(cell{name: "token " + name, do: authz(func(a, ch map[string]any) { ch["token"] = token }), kinds: transient(), problem: "protocol"}, evilca.Authz)...)
	}
	for name, change := range map[string]func(a, ch map[string]any){
		"for another name":            func(a, _ map[string]any) { a["identifier"] = map[string]any{"type": "dns", "value": "victim.example"} },
		"for a path":                  func(a, _ map[string]any) { a["identifier"] = map[string]any{"type": "dns", "value": "../../etc"} },
		"for an address":              func(a, _ map[string]any) { a["identifier"] = map[string]any{"type": "ip", "value": "127.0.0.1"} },
		"for a wildcard":              func(a, _ map[string]any) { a["wildcard"] = true },
		"without challenges":          func(a, _ map[string]any) { a["challenges"] = []any{} },
		"revoked":                     func(a, _ map[string]any) { a["status"] = "revoked" },
		"of an unknown status":        func(a, _ map[string]any) { a["status"] = "\x1b[2J" },
		"with an invalid challenge":   func(_, ch map[string]any) { ch["status"] = "invalid" },
		"with a file for a challenge": func(_, ch map[string]any) { ch["url"] = "file:///etc/passwd" },
	} {
		cells = append(cells, at(cell{name: "authorization " + name, do: authz(change)}, evilca.Authz)...)
	}
	return cells
}

// authz changes an authorization and each of its challenges.
func authz(change func(authz, challenge map[string]any)) evilca.Fault {
	return evilca.Body(func(body []byte) []byte {
		var a map[string]any
		if json.Unmarshal(body, &a) != nil {
			return body
		}
		challenges, _ := a["challenges"].([]any)
		for _, ch := range challenges {
			change(a, ch.(map[string]any))
		}
		text, _ := json.Marshal(a) // it was JSON before
		return text
	})
}

func orders() (cells []cell) {
	field := func(values ...any) evilca.Fault {
		fields := map[string]any{}
		for i := 0; i < len(values); i += 2 {
			fields[values[i].(string)] = values[i+1]
		}
		return evilca.Field(fields)
	}
	always := func(status string) cell {
		return cell{name: "for ever " + status, do: field("status", status, "certificate", nil), waits: true}
	}
	cells = append(at(always("processing"), evilca.Order, evilca.NewOrder, evilca.Finalize), at(always("pending"), evilca.Order)...)
	ready := always("ready") // and the good CA refuses to finalize once more
	ready.waits = false
	cells = append(cells, at(ready, evilca.Order)...)
	for i := range cells {
		// What finalize and new-order say is soon forgotten: the order itself tells.
		cells[i].harmless = cells[i].at != evilca.Order
	}
	for name, f := range map[string]evilca.Fault{
		"valid without a certificate":       field("status", "valid", "certificate", nil),
		"of an unknown status":              field("status", "fr\x1b[2Jozen"),
		"invalid":                           field("status", "invalid", "error", map[string]any{"type": "urn:ietf:params:acme:error:" + evilText, "detail": evilText}),
		"invalid without a reason":          field("status", "invalid"),
		"with an empty authorization":       field("authorizations", []string{""}),
		"with 10,000 authorizations":        field("authorizations", slices.Repeat([]string{"https://127.0.0.1/"}, 10_000)),
		"with a certificate that is a file": field("status", "valid", "certificate", "file:///etc/shadow"),
	} {
		cells = append(cells, at(cell{name: "order " + name, do: f}, evilca.Order)...)
	}
	for name, f := range map[string]evilca.Fault{
		"for other names":      field("identifiers", []map[string]string{{"type": "dns", "value": "victim.example"}}),
		"for no names":         field("identifiers", []string{}),
		"without finalize":     field("finalize", nil),
		"with a file in place": evilca.Alter(func(_ *evilca.Exchange, a *evilca.Answer) { a.Header.Set("Location", "file:///etc/shadow") }),
		"without a place":      evilca.Alter(func(_ *evilca.Exchange, a *evilca.Answer) { a.Header.Del("Location") }),
	} {
		cells = append(cells, at(cell{name: "order " + name, do: f, kinds: transient()}, evilca.NewOrder)...)
	}
	return append(cells, at(cell{name: "200 for 201", do: evilca.Alter(func(_ *evilca.Exchange, a *evilca.Answer) { a.Status = 200 }), harmless: true},
		evilca.NewAccount, evilca.NewOrder)...)
}

func keepKey(m *machine) { m.cert.PrivateKey.RotationPolicy = "Never" }
