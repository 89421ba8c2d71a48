package reconcile_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

// stuck is what a CA shows of the first order of each certificate, for ever. Later orders go well.
type stuck struct{ order, authorization, challenge string }

// troubles are the error types of RFC 8555 §6.7 and its extensions, and one that nobody knows; "": no error is shown.
func troubles() []string {
	return []string{"", "accountDoesNotExist", "alreadyReplaced", "alreadyRevoked", "badCSR", "badNonce", "badPublicKey", "badRevocationReason",
		"badSignatureAlgorithm", "caa", "compound", "connection", "dns", "externalAccountRequired", "incorrectResponse", "invalidContact",
		"invalidProfile", "malformed", "orderNotReady", "rateLimited", "rejectedIdentifier", "serverInternal", "tls", "unauthorized",
		"unsupportedContact", "unsupportedIdentifier", "userActionRequired", "somethingElse"}
}

// ends reports whether an order that stays so is given up before it expires.
func (s stuck) ends(trouble string) bool {
	switch {
	case s.order == "processing": // it has been paid for
		return false
	case s.order != "pending":
		return true
	case s.authorization == "pending" && s.challenge != "invalid":
		return trouble != "" && s.challenge != "valid"
	}
	return s.authorization != "valid" // a valid one says that the order is about to be ready
}

// troubles are those that make a difference: an order that waits in spite of them waits without them, too.
func (s stuck) troubles() []string {
	return slices.DeleteFunc(troubles(), func(trouble string) bool { return trouble != "" && !s.ends(trouble) })
}

// show changes one object of a first order.
func (s stuck) show(o map[string]any, trouble string) {
	problem := map[string]string{"type": "urn:ietf:params:acme:error:" + trouble, "detail": "trouble: " + trouble}
	switch {
	case o["finalize"] != nil:
		if o["status"] = s.order; s.order == "invalid" && trouble != "" {
			o["error"] = problem
		}
	case o["challenges"] != nil:
		o["status"] = s.authorization
		for _, c := range o["challenges"].([]any) {
			s.show(c.(map[string]any), trouble)
		}
	case o["token"] != nil:
		if o["status"] = s.challenge; trouble != "" && s.challenge != "valid" {
			o["error"] = problem
		}
	}
}

// act makes the CA of w show it, for certificates that are named after the trouble that they have.
func (s stuck) act(w *world) {
	var mu sync.Mutex
	first := map[string]string{} // the URL of the first order, and of all that belongs to it, to the trouble
	own := func(url any, trouble string) {
		if u, ok := url.(string); ok {
			first[u] = trouble
		}
	}
	seen := map[string]bool{}
	w.meddle = func(r *request, res *response) {
		mu.Lock()
		defer mu.Unlock()
		body, _ := io.ReadAll(res.Body)
		defer func() { res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body)) }()
		var o map[string]any
		if json.Unmarshal(body, &o) != nil {
			return
		}
		if name := nameOf(o); strings.HasPrefix(r.URL.Path, "/new-order") && !seen[name] && name != "" {
			seen[name] = true
			own(res.Header.Get("Location"), name)
			own(o["finalize"], name)
			for _, url := range o["authorizations"].([]any) {
				own(url, name)
			}
			return
		}
		trouble, ok := first[r.URL.String()]
		if !ok {
			return
		}
		if list, ok := o["challenges"].([]any); ok {
			for _, c := range list {
				own(c.(map[string]any)["url"], trouble)
			}
		}
		s.show(o, strings.TrimPrefix(trouble, "no-"))
		body, _ = json.Marshal(o)
	}
	w.ca().Intercept(func(r *http.Request) *http.Response {
		mu.Lock()
		defer mu.Unlock()
		if trouble, ok := first[r.URL.String()]; ok && path.Base(r.URL.Path) == "finalize" {
			res := problem("/finalize", http.StatusInternalServerError, "serverInternal", "trouble: "+trouble, "")(r)
			res.Header.Del("Replay-Nonce")
			return res
		}
		return nil
	})
}

// nameOf is the trouble that the names of an order stand for.
func nameOf(o map[string]any) string {
	ids, _ := o["identifiers"].([]any)
	if len(ids) == 0 {
		return ""
	}
	name, _ := ids[0].(map[string]any)["value"].(string)
	return strings.TrimSuffix(name, ".example.com")
}

func TestNoStateOfAnOrderStopsACertificate(t *testing.T) {
	for _, order := range []string{"pending", "ready", "invalid"} {
		for _, authorization := range []string{"pending", "valid", "invalid", "expired", "deactivated", "revoked"} {
			for _, challenge := range []string{"pending", "processing", "valid", "invalid"} {
				s := stuck{order, authorization, challenge}
				if order == "ready" && authorization != "valid" || authorization == "valid" && challenge != "valid" {
					continue // nobody would read them
				}
				t.Run(fmt.Sprintf("order %s, authorization %s, challenge %s", order, authorization, challenge), s.test)
			}
		}
	}
}

func (s stuck) test(t *testing.T) {
	bubble(t, acmetest.Config{OrderGap: -1}, func(w *world) {
		core, logs := observer.New(zapcore.WarnLevel)
		w.core, w.quiet = core, true
		s.act(w)
		var certs []*spec.Certificate
		for _, trouble := range s.troubles() {
			c := cert("no-" + strings.ToLower(trouble))
			w.ca().DelayValidation(c.DNSNames[0], 900*day)
			certs = append(certs, c)
		}
		w.put(spec.NewSet(certs, []*spec.Issuer{w.issuer("ca", spec.Limits{OrdersInFlight: 64})}))
		w.run()
		time.Sleep(time.Second)
		for _, c := range certs {
			w.ca().DelayValidation(c.DNSNames[0], 0)
		}
		time.Sleep(15 * time.Minute)
		for i, c := range certs {
			if trouble := s.troubles()[i]; s.ends(trouble) && !told(logs, c.Name, trouble) {
				t.Errorf("%s: the reason is not logged: %+v", trouble, w.view(c.Name))
			}
		}
		time.Sleep(30 * time.Hour)
		for _, c := range certs {
			w.expect(c.Name, reconcile.PhaseValid, reconcile.NotDue)
		}
	})
}

// TestAnOrderThatIsNeverFinishedIsMadeAgainAfterItsEnd has a CA that goes on issuing for ever: while the order may still bring a
// certificate, it has been paid for.
func TestAnOrderThatIsNeverFinishedIsMadeAgainAfterItsEnd(t *testing.T) {
	for sentence, meanwhile := range map[string]func(*world){
		"nothing else happens": func(*world) {},
		"acmed is restarted":   func(w *world) { w.stop(); w.run() },
		"it is asked for":      func(w *world) { w.reconciler.Renew("no-", false) },
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{OrderGap: -1}, func(w *world) {
				w.quiet = true
				stuck{"processing", "valid", "valid"}.act(w)
				w.want(cert("no-"))
				w.run()
				time.Sleep(time.Hour)
				meanwhile(w)
				time.Sleep(22 * time.Hour)
				if n := w.orders(); n != 1 {
					t.Errorf("%d orders within the time of the first", n)
				}
				time.Sleep(7*day + 5*time.Hour) // people may have to approve it
				w.expect("no-", reconcile.PhaseValid, reconcile.NotDue)
			})
		})
	}
}

// TestAWishOfTheCADoesNotLetAShortLivedCertificateExpire has a CA that wants to be asked about an order once a day, of which
// the certificates live for one.
func TestAWishOfTheCADoesNotLetAShortLivedCertificateExpire(t *testing.T) {
	for sentence, c := range map[string]acmetest.Config{
		"while it validates": {Lifetime: day, RetryAfter: day},
		"while it issues":    {Lifetime: day, RetryAfter: day, FinalizeDelay: time.Minute},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, c, func(w *world) {
				w.want(cert("www"))
				w.run()
				time.Sleep(2 * day)
				w.ca().DelayValidation("www.example.com", time.Minute)
				for range 20 {
					time.Sleep(12 * time.Hour)
					if v := w.view("www"); v.Phase == reconcile.PhaseExpired {
						t.Fatalf("it has expired: %+v", v)
					}
				}
			})
		})
	}
}

// told reports whether a warning about a certificate holds the trouble that it has.
func told(logs *observer.ObservedLogs, name, trouble string) bool {
	return slices.ContainsFunc(logs.FilterField(zap.String("cert", name)).All(), func(e observer.LoggedEntry) bool {
		return strings.Contains(strings.ToLower(fmt.Sprint(e.ContextMap())), strings.ToLower(trouble))
	})
}
