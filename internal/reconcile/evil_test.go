package reconcile_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

func TestACertificateThatIsOldWhenItComesIsNotDueAtOnce(t *testing.T) {
	in := valid()
	in.Have.Issued = issued(90 * day)
	in.Have.Issued.Committed = start.Add(80 * day)
	now := start.Add(80*day + time.Minute)
	if at, _ := reconcile.Due(&in, now); at.Before(now.Add(6*day)) || at.After(now.Add(7*day)) {
		t.Errorf("ten days are left, and it is due in %v", at.Sub(now))
	}
	in.Have.Issued.Committed = in.Have.Issued.NotAfter.Add(-time.Second)
	for _, now := range []time.Time{in.Have.Issued.Committed, in.Have.Issued.NotAfter.Add(time.Second)} {
		if at, _ := reconcile.Due(&in, now); at.Before(in.Have.Issued.Committed.Add(30 * time.Second)) {
			t.Errorf("a second is left, and the next is due %v after it", at.Sub(in.Have.Issued.Committed))
		}
	}
}

func TestTheCertificateInUseIsNoNewOne(t *testing.T) {
	bubble(t, acmetest.Config{EarliestRenewal: 1e-6}, func(w *world) {
		var first string
		w.meddle = func(req *request, res *response) {
			if !strings.HasPrefix(req.URL.Path, "/certificate/") {
				return
			}
			text, err := io.ReadAll(res.Body)
			if err != nil {
				t.Error(err)
			}
			if first == "" {
				first = string(text)
			}
			res.Body = io.NopCloser(strings.NewReader(first))
		}
		c := cert("www")
		c.PrivateKey.RotationPolicy = "Never"
		w.want(c)
		w.run()
		time.Sleep(time.Hour)
		w.reconciler.Renew("www", false)
		time.Sleep(time.Second)
		w.expect("www", reconcile.PhaseBackoff, reconcile.BackingOff)
		if v := w.view("www"); !strings.HasPrefix(v.Error, "badCertificate: ") || v.Revision != 1 {
			t.Errorf("got %+v", v)
		}
	})
}

func TestAnOrderThatStaysReadyIsFinalizedLessAndLess(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		finalized := 0
		var over atomic.Bool
		w.meddle = func(req *request, res *response) {
			if over.Load() {
				return
			}
			switch {
			case strings.HasSuffix(req.URL.Path, "/finalize"):
				finalized++
				res.StatusCode, res.Body = http.StatusOK, io.NopCloser(strings.NewReader(`{"status":"processing"}`))
			case strings.HasPrefix(req.URL.Path, "/order/"):
				text, err := io.ReadAll(res.Body)
				if err != nil {
					t.Error(err)
				}
				res.Body = io.NopCloser(strings.NewReader(strings.Replace(string(text), `"status":"valid"`, `"status":"ready"`, 1)))
			}
		}
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Minute)
		synctest.Wait()
		if finalized == 0 || finalized > 16 {
			t.Errorf("finalized %d times in a minute", finalized)
		}
		over.Store(true)
		time.Sleep(time.Hour)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
	})
}

func TestALimitThatIsOverAtOnceDoesNotMakeAcmedHurry(t *testing.T) {
	for detail, most := range map[string]int{"slow down": 30, "too many new orders from this account": 30} {
		bubble(t, acmetest.Config{}, func(w *world) {
			var asked []time.Time
			w.ca().Intercept(func(req *http.Request) *http.Response {
				if req.URL.Path != "/new-order" {
					return nil
				}
				asked = append(asked, time.Now())
				return &http.Response{
					StatusCode: http.StatusTooManyRequests, Status: "429", Header: http.Header{"Retry-After": {"-1"}},
					Body: io.NopCloser(strings.NewReader(`{"type":"urn:ietf:params:acme:error:rateLimited","detail":"` + detail + `"}`)),
				}
			})
			w.put(spec.NewSet([]*spec.Certificate{cert("www")}, []*spec.Issuer{w.issuer("ca", spec.Limits{OrdersInFlight: 8})}))
			w.run()
			time.Sleep(day)
			synctest.Wait()
			for i := range asked[1:] {
				if gap := asked[i+1].Sub(asked[i]); gap < time.Minute {
					t.Fatalf("%s: two attempts within %v", detail, gap)
				}
			}
			if len(asked) > most {
				t.Errorf("%s: %d attempts in a day", detail, len(asked))
			}
		})
	}
}
