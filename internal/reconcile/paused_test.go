package reconcile_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
)

// paused refuses orders for these names as Boulder refuses those of a paused account.
func paused(letters int, names ...string) func(*http.Request) *http.Response {
	return refusing("new-order", http.StatusTooManyRequests, "rateLimited",
		"Your account is temporarily prevented from requesting certificates for "+strings.Join(names, ", ")+
			" and possibly others. Please visit: https://ca.test/sfe/v1/unpause?jwt="+strings.Repeat("x", letters))
}

func TestAPausedAccountIsWaitedForByNobodyElse(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		refuse, tries := counted(paused(3000, "www.example.com"))
		w.ca().Intercept(refuse)
		w.want(cert("www"))
		w.run()
		time.Sleep(20 * time.Hour)
		w.expect("www", reconcile.PhaseParked, reconcile.Parked)
		if n := tries(); n > 1 {
			t.Errorf("asked %d times in 20 hours", n)
		}
		v, f := w.view("www"), w.record("www").Failures["ca"]
		for what, text := range map[string]string{"the list": v.Error, "the record": f.Detail} {
			if !strings.HasSuffix(text, "unpause?jwt="+strings.Repeat("x", 3000)) {
				t.Errorf("%s cuts the URL: %s", what, text)
			}
		}
		if want := "open the URL in the error returned by the CA, then run: acmed renew www"; v.Hint != want || f.Hint != want {
			t.Errorf("got the hint %q", v.Hint)
		}
		w.ca().Intercept(nil)
		w.want(cert("www"), cert("other"))
		time.Sleep(time.Second)
		w.expect("other", reconcile.PhaseValid, reconcile.NotDue)
		w.expect("www", reconcile.PhaseParked, reconcile.Parked)
		w.reconciler.Renew("www", false)
		time.Sleep(time.Second)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
	})
}
