package evilca

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"
)

// Fault answers a request. It may ask the good CA first, with [Exchange.Pass]; what does not has never reached it.
type Fault func(http.ResponseWriter, *Exchange)

func pass(w http.ResponseWriter, x *Exchange) { x.Pass().Write(w) }

// Say answers in the CA's place. Headers are pairs of name and value.
func Say(status int, body string, headers ...string) Fault {
	return func(w http.ResponseWriter, x *Exchange) {
		a := &Answer{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body)}
		for i := 0; i+1 < len(headers); i += 2 {
			a.Header.Set(headers[i], headers[i+1])
		}
		x.nonced(a).Write(w)
	}
}

// Problem refuses with a problem document (RFC 8555 §6.7); typ goes without its prefix.
func Problem(status int, typ, detail string, headers ...string) Fault {
	body, err := json.Marshal(map[string]any{"type": "urn:ietf:params:acme:error:" + typ, "detail": detail, "status": status})
	if err != nil {
		body = []byte(err.Error()) // strings always marshal
	}
	return Say(status, string(body), append([]string{"Content-Type", "application/problem+json"}, headers...)...)
}

// Alter changes what the good CA answers.
func Alter(change func(*Exchange, *Answer)) Fault {
	return func(w http.ResponseWriter, x *Exchange) {
		a := x.Pass()
		change(x, a)
		a.Write(w)
	}
}

// Body changes the body of what the good CA answers.
func Body(change func([]byte) []byte) Fault {
	return Alter(func(_ *Exchange, a *Answer) { a.Body = change(a.Body) })
}

// Field sets fields of the JSON object that the good CA answers; nil deletes one.
func Field(fields map[string]any) Fault {
	return Body(func(body []byte) []byte {
		var object map[string]any
		if json.Unmarshal(body, &object) != nil {
			return body
		}
		maps.Copy(object, fields)
		maps.DeleteFunc(object, func(_ string, v any) bool { return v == nil })
		text, err := json.Marshal(object)
		if err != nil {
			return body
		}
		return text
	})
}

// Move makes all URLs of an answer lead to another origin: "ELSEWHERE" stands for [Proxy.Elsewhere], "HOST" for the
// CA's own host and port.
func Move(origin string) Fault {
	return Alter(func(x *Exchange, a *Answer) { a.replaceAll(x.Origin(), x.place(origin)) })
}

// Redirect answers with a redirect to the same path of another origin, in the words of [Move].
func Redirect(status int, origin string) Fault {
	return func(w http.ResponseWriter, x *Exchange) {
		a := &Answer{Status: status, Header: http.Header{"Location": {x.place(origin) + x.URL.RequestURI()}}}
		x.nonced(a).Write(w)
	}
}

func (x *Exchange) place(origin string) string {
	return strings.NewReplacer("ELSEWHERE", x.proxy.Elsewhere, "HOST", x.Host).Replace(origin)
}

// Lose passes the request on and cuts the connection instead of answering.
func Lose(_ http.ResponseWriter, x *Exchange) {
	x.Pass()
	panic(http.ErrAbortHandler)
}

// Cut passes the request on and cuts the connection in the middle of the answer.
func Cut(w http.ResponseWriter, x *Exchange) {
	a := x.Pass()
	a.Header.Set("Content-Length", fmt.Sprint(len(a.Body)))
	a.Body = a.Body[:len(a.Body)/2]
	a.Write(w)
	flush(w)
	panic(http.ErrAbortHandler)
}

// Stall never answers.
func Stall(_ http.ResponseWriter, x *Exchange) { x.linger() }

// StallHalfway stops in the middle of the answer.
func StallHalfway(w http.ResponseWriter, x *Exchange) {
	a := x.Pass()
	a.Body = a.Body[:len(a.Body)/2]
	a.Write(w)
	flush(w)
	x.linger()
}

// linger waits until the client has gone, or the proxy is closed.
func (x *Exchange) linger() {
	select {
	case <-x.Context().Done():
	case <-x.proxy.done:
	}
}

// Drip answers as the good CA does, one byte each interval.
func Drip(interval time.Duration) Fault {
	return func(w http.ResponseWriter, x *Exchange) {
		a := x.Pass()
		body := a.Body
		a.Body = nil
		a.Write(w)
		flush(w)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for i := range body {
			select {
			case <-tick.C:
			case <-x.Context().Done():
				return
			case <-x.proxy.done:
				return
			}
			_, _ = w.Write(body[i : i+1]) // the context tells when the client is gone
			flush(w)
		}
	}
}

// Endless answers with start and then with more of the same until the client has gone.
func Endless(status int, start, more string, headers ...string) Fault {
	return func(w http.ResponseWriter, x *Exchange) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		chunk := []byte(strings.Repeat(more, 1+(64<<10)/len(more)))
		_, err := w.Write([]byte(start))
		for err == nil && x.Context().Err() == nil {
			_, err = w.Write(chunk)
		}
	}
}

// EarlyHints sends provisional answers without end.
func EarlyHints(w http.ResponseWriter, x *Exchange) {
	w.Header().Set("Link", "</"+strings.Repeat("x", 8<<10)+">; rel=preload")
	for range 4096 {
		if x.Context().Err() != nil {
			return
		}
		w.WriteHeader(http.StatusEarlyHints)
		flush(w)
	}
}

// Headers answers as the good CA does, with so many headers of that many bytes more.
func Headers(n, size int) Fault {
	return Alter(func(_ *Exchange, a *Answer) {
		for i := range n {
			a.Header.Set(fmt.Sprintf("X-Evil-%d", i), strings.Repeat("x", size))
		}
	})
}

// Gzip compresses a body that nobody asked to be compressed.
func Gzip(status int, body []byte) Fault {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write(body)
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		panic(err) // a buffer takes everything
	}
	return Say(status, packed.String(), "Content-Encoding", "gzip")
}

// Some lets every request pass for which bad says no; the first of each URL is 1.
func Some(bad func(n int) bool, f Fault) Fault {
	return func(w http.ResponseWriter, x *Exchange) {
		if bad(x.N) {
			f(w, x)
		} else {
			pass(w, x)
		}
	}
}

// First spoils the first n requests of each URL.
func First(n int, f Fault) Fault { return Some(func(i int) bool { return i <= n }, f) }

func flush(w http.ResponseWriter) {
	_ = http.NewResponseController(w).Flush() // both protocols can
}
