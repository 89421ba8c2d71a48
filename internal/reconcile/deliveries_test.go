package reconcile_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

// delivering runs f in a bubble in which a certificate has been issued and given to consumers of every kind.
func delivering(t *testing.T, f func(*world, *consumers)) {
	t.Helper()
	bubble(t, acmetest.Config{OrderGap: -1}, func(w *world) {
		c := newConsumers(w)
		w.want(consumedCert())
		w.run()
		time.Sleep(time.Minute)
		f(w, c)
	})
}

// renew has the certificate renewed.
func (w *world) renew() {
	w.ca().AllowRepeat("www.example.com")
	w.reconciler.Renew("www", false)
}

func TestWhatIsIssuedIsDelivered(t *testing.T) {
	delivering(t, func(w *world, c *consumers) {
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		c.expect("file /a 1", "check 1", "reload a.service 1", "run push 1")

		w.renew()
		time.Sleep(time.Minute)
		c.expect("file /a 2", "check 2", "reload a.service 2", "run push 2")
		if got := w.record("www").Targets["run push"]; got.Revision != 2 || got.Failed != nil {
			t.Errorf("the record says %+v", got)
		}

		w.stop()
		w.run()
		time.Sleep(day)
		c.expect() // a restart serves nobody again
	})
}

func TestAnEditOfDeployAloneOrdersNothing(t *testing.T) {
	delivering(t, func(w *world, c *consumers) {
		c.take()
		edited := consumedCert()
		edited.Deploy.Reload = append(edited.Deploy.Reload, "b.service")
		w.want(edited)
		time.Sleep(time.Minute)
		c.expect("reload b.service 1")
		if n := w.orders(); n != 1 {
			t.Errorf("%d orders, want 1", n)
		}
		w.want(cert("www"))
		time.Sleep(time.Minute)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
	})
}

func TestAFailedDeliveryIsRetriedUntilItWorks(t *testing.T) {
	bubble(t, acmetest.Config{RenewalInfo: true}, func(w *world) {
		c := newConsumers(w)
		c.fail("run push", "exited with status 7")
		w.want(consumedCert())
		w.run()
		time.Sleep(5 * time.Second)
		w.expect("www", reconcile.PhaseDeployFailed, reconcile.Undelivered)
		c.expect("file /a 1", "check 1", "reload a.service 1") // and not again
		if v := w.view("www"); v.Behind != 1 || v.Stuck != "run push: exited with status 7" || v.Error != "" {
			t.Errorf("view: %+v", v)
		}
		if _, failing := w.reconciler.Counts(); failing != 1 {
			t.Errorf("%d are failing", failing)
		}
		time.Sleep(3 * time.Hour)
		// After 10 s, 1 min, 10 min and then each hour, a fifth more or less.
		if n := c.count(); n < 5 || n > 8 {
			t.Errorf("asked %d times in three hours", n)
		}
		w.stop()
		asked := c.count()
		w.run()
		time.Sleep(time.Second)
		if c.count() != asked {
			t.Error("a restart forgot to wait")
		}
		c.mend("run push")
		time.Sleep(2 * time.Hour)
		c.expect("run push 1")
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if got := w.record("www").Targets["run push"]; got.Failed != nil {
			t.Errorf("the failure stays: %+v", got.Failed)
		}
	})
}

// TestARetryDoesNotHideAFailedDeployment wants an alert to see one phase from the first failure until it works.
func TestARetryDoesNotHideAFailedDeployment(t *testing.T) {
	for _, target := range []string{"file /a", "check", "reload a.service", "run push", ""} { // "": none could be tried
		t.Run(target, func(t *testing.T) {
			bubble(t, acmetest.Config{}, func(w *world) {
				c := newConsumers(w)
				c.fail(target, "it failed")
				w.deliver = func(d reconcile.Delivery) { // takes so long that a list shows it
					go func() {
						time.Sleep(time.Second)
						c.deliver(d)
					}()
				}
				if target == "" {
					c.refusal = "the helper does not answer"
				}
				w.want(consumedCert())
				w.run()
				time.Sleep(5 * time.Second)
				views, stop := w.reconciler.Watch("www")
				defer stop()
				tried := false
				for asked := c.count(); c.count() < asked+3; {
					v := <-views
					tried = tried || v.Why == reconcile.Delivering
					if v.Phase != reconcile.PhaseDeployFailed {
						t.Errorf("it is %s: %+v", v.Phase, v)
						break
					}
				}
				if !tried {
					t.Error("no retry was seen")
				}
				c.mend(target)
				time.Sleep(2 * time.Hour)
				w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
			})
		})
	}
}

func TestNobodyCanBeAsked(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		c := newConsumers(w)
		c.refusal = "the helper does not answer"
		w.want(consumedCert())
		w.run()
		time.Sleep(time.Hour)
		w.expect("www", reconcile.PhaseDeployFailed, reconcile.Undelivered)
		if r := w.record("www").Refused; r == nil || r.Hint != "mend it" || r.Count < 3 {
			t.Errorf("the record says %+v", r)
		}
		c.mend("")
		time.Sleep(2 * time.Hour)
		c.expect("file /a 1", "check 1", "reload a.service 1", "run push 1")
		if r := w.record("www").Refused; r != nil {
			t.Errorf("the refusal stays: %+v", r)
		}
	})
}

func TestARevisionThatItsCheckRefusesIsTakenBack(t *testing.T) {
	delivering(t, func(w *world, c *consumers) {
		c.take()
		c.fail("check", "exited with status 1")
		w.renew()
		time.Sleep(5 * time.Second)
		w.expect("www", reconcile.PhaseDeployFailed, reconcile.Refused)
		live := func(want int) {
			t.Helper()
			if n, err := w.store.Live("www"); err != nil || n != want {
				t.Errorf("revision %d is live (%v), want %d", n, err, want)
			}
		}
		live(1)
		if v := w.view("www"); v.Revision != 1 || v.Stuck != "check: exited with status 1" {
			t.Errorf("view: %+v", v)
		}
		w.stop()
		w.run()
		time.Sleep(3 * time.Hour)
		live(1)
		c.expect()
		orders := w.orders()

		c.mend("check")
		time.Sleep(2 * time.Hour)
		live(2)
		c.expect("file /a 2", "check 2", "reload a.service 2", "run push 2")
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if n := w.orders(); n != orders || n != 2 {
			t.Errorf("%d orders", n)
		}
	})
}

// TestACheckThatFailsWithEveryRevision is a server whose configuration is broken when its consumers are to be served
// again: the newest revision and the one before must not take turns.
func TestACheckThatFailsWithEveryRevision(t *testing.T) {
	delivering(t, func(w *world, c *consumers) {
		w.renew()
		time.Sleep(time.Minute)
		c.take()
		c.fail("check", "exited with status 1")
		asked := c.count()
		if err := w.reconciler.Deploy(w.t.Context(), "www", false); err != nil {
			t.Error(err)
		}
		time.Sleep(3 * time.Hour)
		if n := c.count() - asked; n < 4 || n > 8 {
			t.Errorf("asked %d times in three hours", n)
		}
		c.mend("check")
		time.Sleep(2 * time.Hour)
		c.expect("file /a 2", "check 2", "reload a.service 2", "run push 2")
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
	})
}

func TestARevisionWaitsForItsWindow(t *testing.T) {
	bubble(t, acmetest.Config{OrderGap: -1}, func(w *world) { // a bubble begins at midnight
		c := newConsumers(w)
		windowed := consumedCert()
		windowed.Deploy.Window = &spec.Window{Start: "02:00", Duration: time.Hour, Timezone: "UTC", UnlessExpiresWithin: day}
		w.want(windowed)
		w.run()
		time.Sleep(4 * time.Hour)
		c.expect("file /a 1", "check 1", "reload a.service 1", "run push 1") // the first at once
		w.renew()
		time.Sleep(time.Hour)
		w.expect("www", reconcile.PhaseDeploying, reconcile.Window)
		c.expect()
		if v := w.view("www"); v.Revision != 1 || !v.Until.Equal(time.Date(2000, 1, 2, 2, 0, 0, 0, time.UTC)) {
			t.Errorf("view: %+v", v)
		}
		w.stop()
		w.run()
		time.Sleep(20*time.Hour + 59*time.Minute)
		c.expect()
		time.Sleep(2 * time.Minute)
		c.expect("file /a 2", "check 2", "reload a.service 2", "run push 2")

		w.renew()
		time.Sleep(time.Hour + 5*time.Minute)
		c.expect("file /a 3", "check 3", "reload a.service 3", "run push 3") // inside the window
		w.renew()
		time.Sleep(time.Minute)
		c.expect()
		if err := w.reconciler.Deploy(w.t.Context(), "www", true); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		c.expect("file /a 4", "check 4", "reload a.service 4", "run push 4")
		if !w.record("www").Hurried.IsZero() {
			t.Error("the next one would not wait for its window")
		}
	})
}

func TestTheOperatorCanHaveAllServedAgain(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		c := newConsumers(w)
		c.fail("run push", "no")
		w.want(consumedCert())
		w.run()
		time.Sleep(time.Hour)
		c.take()
		c.mend("run push")
		if err := w.reconciler.Deploy(w.t.Context(), "www", false); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		c.expect("file /a 1", "check 1", "reload a.service 1", "run push 1")
	})
}

func TestAHoldLeavesACertificateAsItIs(t *testing.T) {
	delivering(t, func(w *world, c *consumers) {
		c.take()
		until := time.Now().Add(2 * time.Hour)
		if err := w.reconciler.Hold(w.t.Context(), "www", until); err != nil {
			t.Error(err)
		}
		w.renew()
		synctest.Wait()
		w.stop()
		w.run()
		time.Sleep(time.Hour)
		w.expect("www", reconcile.PhaseValid, reconcile.Held)
		if n := w.orders(); n != 1 {
			t.Errorf("%d orders, want 1", n)
		}
		time.Sleep(time.Hour + time.Minute)
		c.expect("file /a 2", "check 2", "reload a.service 2", "run push 2")

		if err := errors.Join(w.reconciler.Hold(w.t.Context(), "www", time.Now().Add(day)), w.reconciler.Hold(w.t.Context(), "www", time.Time{})); err != nil {
			t.Error(err)
		}
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
	})
}

func TestARollbackServesTheRevisionBefore(t *testing.T) {
	delivering(t, func(w *world, c *consumers) {
		back := func() (int, error) { return w.reconciler.Rollback(w.t.Context(), "www", time.Now().Add(day)) }
		if _, err := back(); !errors.Is(err, reconcile.ErrNoOlder) || !strings.Contains(err.Error(), "revision 1 is the only one") {
			t.Errorf("it goes back from the first revision: %v", err)
		}
		w.renew()
		time.Sleep(time.Minute)
		c.take()
		if n, err := back(); n != 1 || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
		time.Sleep(time.Minute)
		c.expect("file /a 1", "check 1", "reload a.service 1", "run push 1")
		w.stop()
		w.run()
		time.Sleep(20 * time.Hour)
		w.expect("www", reconcile.PhaseValid, reconcile.Held)
		if v := w.view("www"); v.Revision != 1 || v.Newest != 2 || time.Since(v.RolledBack).Truncate(time.Hour) != 20*time.Hour {
			t.Errorf("after a restart it is rolled back since %v: %+v", v.RolledBack, v)
		}
		if n, _ := w.store.Live("www"); n != 1 || w.orders() != 2 {
			t.Errorf("revision %d is live after %d orders", n, w.orders())
		}
		time.Sleep(5 * time.Hour) // the hold is over: the newest again
		c.expect("file /a 2", "check 2", "reload a.service 2", "run push 2")
		if served := c.take(); slices.Contains(served, "check 3") {
			t.Errorf("it was renewed: %v", served)
		}
		if v := w.view("www"); v.Revision != 2 || !v.RolledBack.IsZero() {
			t.Errorf("revision %d is live, and rolled back since %v", v.Revision, v.RolledBack)
		}
	})
}

// TestARollbackSaysWhyThereIsNothingOlder has older revisions of no use, or no revision.
func TestARollbackSaysWhyThereIsNothingOlder(t *testing.T) {
	bubble(t, acmetest.Config{OrderGap: -1}, func(w *world) {
		newConsumers(w)
		w.ca().FailValidation("www.example.com", "dns", "no A record")
		w.want(consumedCert())
		w.run()
		time.Sleep(time.Minute)
		refuses := func(why string) {
			t.Helper()
			_, err := w.reconciler.Rollback(w.t.Context(), "www", time.Now().Add(day))
			if !errors.Is(err, reconcile.ErrNoOlder) || !strings.Contains(err.Error(), why) {
				t.Errorf("got %v, want %s", err, why)
			}
			if r := w.record("www"); !r.RolledBack.IsZero() || !r.Held.IsZero() {
				t.Errorf("it is held: %+v", r)
			}
		}
		refuses("there is no certificate yet")
		w.ca().FailValidation("www.example.com", "", "")
		time.Sleep(day)
		w.renew()
		time.Sleep(time.Minute)
		file := filepath.Join(w.dir, "certs/www/rev/0001/cert.pem")
		if err := os.Rename(file, file+".away"); err != nil {
			t.Error(err)
		}
		refuses("than revision 2 is usable")
		if err := os.Rename(file+".away", file); err != nil {
			t.Error(err)
		}
	})
}

// TestAUnitThatEndedIsRememberedUntilItHasAccepted checks what deliveries report of a unit that ended with its reload.
func TestAUnitThatEndedIsRememberedUntilItHasAccepted(t *testing.T) {
	restarted := func() *spec.Certificate {
		c := consumedCert()
		c.Deploy.Reload, c.Deploy.Restart = nil, []string{"a.service"}
		return c
	}
	for sentence, test := range map[string]struct {
		then func(*world, *consumers)
		want string // of the next delivery
	}{
		"at the next try":          {func(*world, *consumers) { time.Sleep(time.Minute) }, "ended again "},
		"after a restart of acmed": {func(w *world, _ *consumers) { w.stop(); w.run(); time.Sleep(time.Minute) }, "ended again "},
		"when somebody asks for a try": {func(w *world, _ *consumers) {
			_ = w.reconciler.Deploy(w.t.Context(), "www", false)
			time.Sleep(time.Second)
		}, "ended again "},
		"when it is renewed, with another certificate": {func(w *world, _ *consumers) { w.renew(); time.Sleep(5 * time.Second) }, "ended "},
		"when its files are edited, which it has to read": {func(w *world, _ *consumers) {
			c := consumedCert()
			c.Deploy.Files[0].Group = "tls"
			w.want(c)
			time.Sleep(5 * time.Second)
		}, "ended "},
		"when it is restarted from now on":                         {func(w *world, _ *consumers) { w.want(restarted()); time.Sleep(5 * time.Second) }, "ended "},
		"when the next try fails otherwise: then it has not ended": {func(_ *world, c *consumers) { c.rise(); time.Sleep(10 * time.Minute) }, ""},
		"when it has accepted the certificate: then it is forgotten": {func(w *world, c *consumers) {
			c.mend("reload a.service")
			time.Sleep(time.Minute)
			w.renew()
			time.Sleep(time.Minute)
		}, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{OrderGap: -1}, func(w *world) {
				c := newConsumers(w)
				c.fail("reload a.service", "a.service ended with its reload")
				c.down = map[string]bool{"reload a.service": true, "restart a.service": true}
				w.want(consumedCert())
				w.run()
				time.Sleep(5 * time.Second)
				w.expect("www", reconcile.PhaseDeployFailed, reconcile.Undelivered)
				if flags := c.last(); flags != "" {
					t.Errorf("the first delivery says %q", flags)
				}
				test.then(w, c)
				if flags := c.last(); flags != test.want {
					t.Errorf("it says %q, want %q", flags, test.want)
				}
			})
		})
	}
}
