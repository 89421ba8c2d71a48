package reconcile_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"acmed/internal/acme"
	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
)

// refuseRevocations answers revocations with a problem while wanted does; everything else goes on to the CA.
func refuseRevocations(problem string, wanted func(jws string) bool) func(*http.Request) *http.Response {
	return func(r *http.Request) *http.Response {
		if !strings.Contains(strings.ToLower(r.URL.Path), "revoke") {
			return nil
		}
		body, _ := io.ReadAll(r.Body) // it is in memory
		r.Body = io.NopCloser(bytes.NewReader(body))
		if !wanted(string(body)) {
			return nil
		}
		return &http.Response{
			StatusCode: http.StatusForbidden, Header: http.Header{"Content-Type": {"application/problem+json"}},
			Body: io.NopCloser(strings.NewReader(`{"type":"urn:ietf:params:acme:error:` + problem + `","detail":"no"}`)),
		}
	}
}

func TestWhatIsRevokedIsReplacedWithAnotherKey(t *testing.T) {
	bubble(t, acmetest.Config{OrderGap: -1}, func(w *world) {
		want := cert("www")
		want.PrivateKey.RotationPolicy = "Never"
		w.want(want)
		w.run()
		time.Sleep(time.Minute)
		first := w.record("www").Issued
		if err := w.reconciler.Hold(w.t.Context(), "www", time.Now().Add(24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		w.ca().AllowRepeat("www.example.com")
		done, err := w.reconciler.Revoke(w.t.Context(), reconcile.Revocation{Name: "www", Reason: 1})
		if err != nil || done.Revision.SHA256 != first.SHA256 || !done.ByKey || done.Reasonless || !done.Newest {
			t.Fatalf("got %+v, %v", done, err)
		}
		if !w.ca().Revoked(first.CertID) {
			t.Error("the CA has not revoked it")
		}
		time.Sleep(time.Minute)
		record := w.record("www")
		if v := w.view("www"); v.Revision != 2 || v.Phase != reconcile.PhaseValid {
			t.Errorf("a hold keeps what is revoked: %+v", v)
		}
		if r, ok := record.Revocation(first); !ok || r.Reason != "keyCompromise" {
			t.Errorf("what is known of it: %+v", record.Revoked)
		}
		old, errOld := w.store.Leaf("www", 1)
		successor, errNew := w.store.Leaf("www", 2)
		if errOld != nil || errNew != nil {
			t.Fatal(errOld, errNew)
		}
		if bytes.Equal(old.RawSubjectPublicKeyInfo, successor.RawSubjectPublicKeyInfo) {
			t.Error("the successor has the key of the one that was revoked")
		}
		if _, err := w.reconciler.Rollback(w.t.Context(), "www", time.Now().Add(time.Hour)); err == nil {
			t.Error("rolled back to what is revoked")
		}
	})
}

func TestTheWayToARevocation(t *testing.T) {
	signedByAccount := func(jws string) bool { return !strings.Contains(jws, `"eyJhbGciOiJFUzI1NiIsImp3ayI`) }
	for sentence, c := range map[string]struct {
		refuse func(*http.Request) *http.Response
		ask    reconcile.Revocation
		want   reconcile.RevocationResult
	}{
		"the certificate's own key signs when asked":             {nil, reconcile.Revocation{ByKey: true}, reconcile.RevocationResult{ByKey: true}},
		"and where the CA does not take the account's":           {refuseRevocations("unauthorized", signedByAccount), reconcile.Revocation{}, reconcile.RevocationResult{ByKey: true}},
		"the certificate's own key signs that it is compromised": {nil, reconcile.Revocation{Reason: 1}, reconcile.RevocationResult{ByKey: true}},
		"the account does where the CA refuses that":             {refuseRevocations("unauthorized", not(signedByAccount)), reconcile.Revocation{Reason: 1}, reconcile.RevocationResult{}},
		"also where it does not know such keys":                  {refuseRevocations("badSignatureAlgorithm", not(signedByAccount)), reconcile.Revocation{Reason: 1}, reconcile.RevocationResult{}},
		"with its key alone if asked, which is then the last":    {nil, reconcile.Revocation{Reason: 1, ByKey: true}, reconcile.RevocationResult{ByKey: true}},
		"without a reason where the CA takes none":               {refuseRevocations("badRevocationReason", once()), reconcile.Revocation{Reason: 4}, reconcile.RevocationResult{Reasonless: true}},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{OrderGap: -1}, func(w *world) {
				w.want(cert("www"))
				w.run()
				time.Sleep(time.Minute)
				w.ca().Intercept(c.refuse)
				w.ca().AllowRepeat("www.example.com")
				c.ask.Name = "www"
				done, err := w.reconciler.Revoke(w.t.Context(), c.ask)
				if err != nil || done.ByKey != c.want.ByKey || done.Reasonless != c.want.Reasonless {
					t.Fatalf("got %+v, %v", done, err)
				}
				if !w.ca().Revoked(done.Revision.CertID) {
					t.Error("the CA has not revoked it")
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

func not(f func(string) bool) func(string) bool { return func(s string) bool { return !f(s) } }

// once is true the first time.
func once() func(string) bool {
	first := true
	return func(string) bool {
		defer func() { first = false }()
		return first
	}
}

func TestARevocationThatIsRefusedChangesNothing(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Minute)
		w.ca().Intercept(refuseRevocations("serverInternal", func(string) bool { return true }))
		if _, err := w.reconciler.Revoke(w.t.Context(), reconcile.Revocation{Name: "www"}); err == nil {
			t.Error("no error")
		}
		if r := w.record("www"); len(r.Revoked) > 0 || !r.Requested.IsZero() {
			t.Errorf("got %+v", r)
		}
		w.ca().Intercept(nil)
	})
}

func TestARevocationWhoseAnswerWasLostIsAskedForAgain(t *testing.T) {
	bubble(t, acmetest.Config{OrderGap: -1}, func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Minute)
		first := w.record("www").Issued
		w.ca().Revoke(first.CertID)
		w.ca().AllowRepeat("www.example.com")
		if _, err := w.reconciler.Revoke(w.t.Context(), reconcile.Revocation{Name: "www"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if v := w.view("www"); v.Revision != 2 {
			t.Errorf("it is not replaced: %+v", v)
		}
	})
}

func TestARetiredCertificateIsRevokedAndNotReplaced(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Minute)
		first := w.record("www").Issued
		w.want()
		time.Sleep(time.Minute)
		if _, err := w.reconciler.Revoke(w.t.Context(), reconcile.Revocation{Name: "www", Reason: 5}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := w.orders(); n != 1 || !w.ca().Revoked(first.CertID) {
			t.Errorf("ordered %d times", n)
		}
	})
}

func TestReasonsOfRevocations(t *testing.T) {
	for text, want := range map[string]string{"": "unspecified", "0": "unspecified", "1": "keyCompromise", "KEYCOMPROMISE": "keyCompromise", "superseded": "superseded", "5": "cessationOfOperation"} {
		if got, err := acme.ParseRevocationReason(text); err != nil || got.String() != want {
			t.Errorf("%q: got %v, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"2", "6", "because", "-1"} { // the CA's own reasons, among others
		if got, err := acme.ParseRevocationReason(text); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

func TestARevokedCertificateIsToldOfUntilItIsReplaced(t *testing.T) {
	bubble(t, acmetest.Config{OrderGap: -1}, func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Minute)
		told := func() int {
			return testutil.CollectAndCount(w.reconciler.CertificateCollector("off", nil), "acmed_certificate_revoked")
		}
		if w.view("www").Revoked || told() > 0 {
			t.Error("told of before")
		}
		w.ca().AllowRepeat("www.example.com")
		w.ca().FailValidation("www.example.com", "dns", "no A record")
		if _, err := w.reconciler.Revoke(w.t.Context(), reconcile.Revocation{Name: "www"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if !w.view("www").Revoked || told() != 1 {
			t.Error("not told of while it is in use")
		}
		w.ca().FailValidation("www.example.com", "", "")
		time.Sleep(time.Hour)
		if w.view("www").Revoked || told() > 0 {
			t.Errorf("told of although it is replaced: %+v", w.view("www"))
		}
	})
}
