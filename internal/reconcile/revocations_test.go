package reconcile_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
)

// watch starts what looks at revocation lists every hour.
func (w *world) watch() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.reconciler.WatchRevocations(ctx, time.Hour) }()
	stop := w.stop
	w.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
		stop()
	}
}

// TestARevocationIsReadFromTheListWhereTheCAGivesNoAdvice is done when within one pause of an hour.
func TestARevocationIsReadFromTheListWhereTheCAGivesNoAdvice(t *testing.T) {
	bubble(t, acmetest.Config{CRL: true, OrderGap: -1}, func(w *world) {
		w.quiet = true
		one, other := cert("www"), cert("mail")
		one.PrivateKey.RotationPolicy = "Never"
		w.want(one, other)
		w.run()
		w.watch()
		time.Sleep(3 * time.Hour)
		first := w.record("www").Issued
		if n := w.ca().Count("crl"); n < 2 || n > 4 {
			t.Errorf("the list was read %d times in three hours", n)
		}
		w.ca().AllowRepeat("www.example.com")
		w.ca().RevokeFor(first.CertID, 1)
		time.Sleep(time.Hour + time.Minute)
		record := w.record("www")
		if v := w.view("www"); v.Revision != 2 || v.Phase != reconcile.PhaseValid {
			t.Errorf("it is not replaced: %+v", v)
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
			t.Error("the successor has the key that was compromised")
		}
		time.Sleep(5 * time.Hour)
		if n := w.orders(); n != 3 {
			t.Errorf("%d orders, want one for each certificate and one for what was revoked", n)
		}
		if list, ok := w.reconciler.RevocationList("www"); !ok || list.Problem != "" || list.URL != "https://ca.test/crl" || time.Since(list.Checked) > time.Hour {
			t.Errorf("what is known of the list: %+v, %v", list, ok)
		}
	})
}

// TestAnUnchangedListIsNotReadAgain lets the server say so, but for a certificate that was not looked for in it.
func TestAnUnchangedListIsNotReadAgain(t *testing.T) {
	bubble(t, acmetest.Config{CRL: true}, func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Minute)
		results := func(want string) {
			t.Helper()
			if _, err := w.reconciler.CheckRevocations(w.t.Context(), false); err != nil {
				t.Fatal(err)
			}
			if err := testutil.CollectAndCompare(w.metrics.Collectors()[3], strings.NewReader(`
# HELP acmed_revocation_list_reads_total Revocation lists that were read, found unchanged, or could not be used.
# TYPE acmed_revocation_list_reads_total counter
`+want), "acmed_revocation_list_reads_total"); err != nil {
				t.Error(err)
			}
		}
		results("acmed_revocation_list_reads_total{result=\"read\"} 1\n")
		results("acmed_revocation_list_reads_total{result=\"read\"} 1\nacmed_revocation_list_reads_total{result=\"unchanged\"} 1\n")
		w.want(cert("www"), cert("mail"))
		time.Sleep(time.Minute)
		results("acmed_revocation_list_reads_total{result=\"read\"} 2\nacmed_revocation_list_reads_total{result=\"unchanged\"} 1\n")
	})
}

// TestListsAreLeftAloneWhereTheCAAdvises: its advice tells of a revocation earlier. Who asks for all gets all.
func TestListsAreLeftAloneWhereTheCAAdvises(t *testing.T) {
	bubble(t, acmetest.Config{CRL: true, RenewalInfo: true, OrderGap: -1}, func(w *world) {
		w.quiet = true
		w.want(cert("www"), cert("mail"))
		w.run()
		w.watch()
		time.Sleep(5 * time.Hour)
		if n := w.ca().Count("crl"); n != 0 {
			t.Errorf("the list was read %d times", n)
		}
		w.ca().AllowRepeat("www.example.com")
		w.ca().Revoke(w.record("www").Issued.CertID)
		found, err := w.reconciler.CheckRevocations(w.t.Context(), true)
		if err != nil || !slices.Equal(found, []string{"www"}) {
			t.Errorf("found %v, %v", found, err)
		}
		time.Sleep(time.Minute)
		if v := w.view("www"); v.Revision != 2 {
			t.Errorf("it is not replaced: %+v", v)
		}
	})
}

// TestAListThatIsOfNoUse changes nothing, and is told of.
func TestAListThatIsOfNoUse(t *testing.T) {
	for sentence, c := range map[string]struct {
		answer  func(*http.Request) *http.Response
		problem string
	}{
		"where there is none":        {answer(404, ""), "the server answers with status 404"},
		"of an error page":           {answer(200, "<html>"), "it is not the DER of a revocation list"},
		"that nothing was asked for": {answer(304, ""), "the server answers with status 304"},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{CRL: true}, func(w *world) {
				w.quiet = true
				w.want(cert("www"))
				w.run()
				time.Sleep(time.Minute)
				w.ca().Intercept(c.answer)
				found, err := w.reconciler.CheckRevocations(w.t.Context(), false)
				if err != nil || found != nil {
					t.Errorf("found %v, %v", found, err)
				}
				list, ok := w.reconciler.RevocationList("www")
				if !ok || !strings.Contains(list.Problem, c.problem) || !strings.Contains(list.Problem, "https://ca.test/crl") || !list.Checked.IsZero() {
					t.Errorf("got %+v, %v; want %q", list, ok, c.problem)
				}
				w.ca().Intercept(nil)
				if _, err := w.reconciler.CheckRevocations(w.t.Context(), false); err != nil {
					t.Fatal(err)
				}
				if list, _ := w.reconciler.RevocationList("www"); list.Problem != "" || list.Checked.IsZero() {
					t.Errorf("it is good again, and got %+v", list)
				}
				w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
			})
		})
	}
}

// TestAListThatHasRunOutIsToldOfAndBelieved: what was revoked stays so.
func TestAListThatHasRunOutIsToldOfAndBelieved(t *testing.T) {
	bubble(t, acmetest.Config{CRL: true, OrderGap: -1, Lifetime: 90 * 24 * time.Hour}, func(w *world) {
		w.quiet = true
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Minute)
		w.ca().AllowRepeat("www.example.com")
		w.ca().RevokeFor(w.record("www").Issued.CertID, 4)
		client := http.Client{Transport: w.transport()}
		req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "https://ca.test/crl", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("User-Agent", "test")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		list, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			t.Fatal(err)
		}
		w.ca().Intercept(answer(http.StatusOK, string(list)))
		time.Sleep(8 * 24 * time.Hour)
		if found, err := w.reconciler.CheckRevocations(w.t.Context(), false); err != nil || !slices.Equal(found, []string{"www"}) {
			t.Errorf("found %v, %v", found, err)
		}
		if list, _ := w.reconciler.RevocationList("www"); !strings.Contains(list.Problem, "its CA was to replace it by ") {
			t.Errorf("got %+v", list)
		}
	})
}

// answer answers requests for the list.
func answer(status int, body string) func(*http.Request) *http.Response {
	return func(r *http.Request) *http.Response {
		if r.URL.Path != "/crl" {
			return nil
		}
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
	}
}
