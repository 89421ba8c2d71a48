package daemon_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"acmed/internal/acmetest"
	"acmed/internal/control"
	"acmed/internal/daemon"
	"acmed/internal/spec"
)

func TestAStopIsInOrderAndAStartFollowsAtOnce(t *testing.T) { // not parallel: it counts goroutines
	life := func(t *testing.T) {
		s := newSite(t, acmetest.Config{})
		s.spec(www, "")
		for range 2 {
			s.start()
			s.await(www, 1)
			s.stop()
			for _, port := range []string{"5002", "9402"} {
				if conn, err := net.Dial("tcp", net.JoinHostPort(s.host, port)); err == nil {
					conn.Close()
					t.Errorf("port %s is still open", port)
				}
			}
		}
		if _, err := os.Stat(s.path("run/control/acmed.sock")); err == nil {
			t.Error("the control socket is still there")
		}
	}
	t.Run("first life", life) // after which the runtime's own goroutines are there
	before := runtime.NumGoroutine()
	t.Run("second life", life)
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
}

func TestItIsReadyFromTheStartToTheStop(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	reached, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.ca.Intercept(func(r *http.Request) *http.Response {
		if strings.HasSuffix(r.URL.Path, "/new-order") {
			once.Do(func() { close(reached) })
			<-release
		}
		return nil
	})
	s.spec(www, "")
	s.start()
	for _, page := range []string{"/healthz", "/readyz"} {
		if body, status := s.get(page); status != http.StatusOK || body != "ok\n" {
			t.Errorf("%s answers %d %q", page, status, body)
		}
	}
	if body, status := s.get("/"); status != http.StatusOK || !strings.Contains(body, "<title>") {
		t.Errorf("/ answers %d", status)
	}
	<-reached // a visit is in the middle of something
	if e := s.renew(control.RenewRequest{Names: []string{www}})[www]; !e.OK || e.Message != "asked for; what is under way comes first" {
		t.Errorf("a renewal that nobody waits for ends with %+v", e)
	}
	waiting := make(chan error)
	go func() {
		waiting <- s.run.Renew(t.Context(), control.RenewRequest{Names: []string{www}, Wait: true}, func(control.Event) {})
	}()
	s.run.end()
	eventually(t, "it is not ready any more", func() bool { _, status := s.get("/readyz"); return status == http.StatusServiceUnavailable })
	if _, status := s.get("/healthz"); status != http.StatusOK {
		t.Errorf("while it stops, /healthz answers %d", status)
	}
	if c := s.list(); len(c) != 1 {
		t.Errorf("while it stops, the list shows %v", c)
	}
	close(release)
	expectError(t, <-waiting, control.Unavailable, "the daemon is stopping", "goes on when acmed starts again")
	s.stop()
	s.start()
	s.await(www, 1)
	if got := s.ca.Count("newOrder"); got != 1 {
		t.Errorf("the CA saw %d orders, want 1", got)
	}
}

func TestThePagesForMachinesSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		page     string
		lastTurn time.Time
		ready    bool
		status   int
		body     string
	}{
		"not alive before the loop turns":  {"/healthz", time.Time{}, false, 503, "starting\n"},
		"alive while it turns":             {"/healthz", time.Now().Add(-80 * time.Second), false, 200, "ok\n"},
		"not alive once it stands still":   {"/healthz", time.Now().Add(-2 * time.Minute), true, 503, "the scheduler has not turned for 2m"},
		"not ready before and after":       {"/readyz", time.Now(), false, 503, "starting or stopping\n"},
		"ready in between, whatever turns": {"/readyz", time.Time{}, true, 200, "ok\n"},
		"nothing else is served":           {"/debug/pprof/", time.Now(), true, 404, "404 page not found\n"},
		"the figures are somebody else's":  {"/metrics", time.Now(), true, 404, "404 page not found\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			daemon.AdminHandler(c.lastTurn, c.ready).ServeHTTP(w, httptest.NewRequest(http.MethodGet, c.page, nil))
			if w.Code != c.status || !strings.HasPrefix(w.Body.String(), c.body) {
				t.Errorf("answers %d %q, want %d %q", w.Code, w.Body, c.status, c.body)
			}
		})
	}
}

func TestMetricsAreWellFormed(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.spec("a.example.com", "")
	s.spec("b.example.com", "")
	s.spec("bad", "{")
	s.ca.FailValidation("b.example.com", "caa", "forbidden")
	s.start()
	s.await("a.example.com", 1)
	eventually(t, "the other one fails", func() bool { return s.list()["b.example.com"].Error != "" })
	body, _ := s.get("/metrics")
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for series, want := range map[string]float64{
		`acmed_build_info{version="1.2.3"}`:                       1,
		`acmed_certificates{phase="valid"}`:                       1,
		`acmed_certificates{phase="backing-off"}`:                 1,
		`acmed_spec_problems`:                                     1,
		`acmed_spec_removals_held`:                                0,
		`promhttp_metric_handler_errors_total{cause="gathering"}`: 0,
	} {
		if got := s.metric(series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	if last := s.metric("acmed_spec_last_load_timestamp_seconds"); time.Since(time.Unix(int64(last), 0)) > time.Minute {
		t.Errorf("the last load was at %v", last)
	}
}

// TestEveryMetricIsKnown keeps names from changing unseen: dashboards and alerts are built on them. UPDATE=1 in the
// environment writes the list anew.
func TestEveryMetricIsKnown(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	names, err := daemon.MetricNames(s.path("acmed.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	got, golden := strings.Join(names, "\n")+"\n", filepath.Join("testdata", "metrics.golden")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the metrics are\n%s\nwant\n%s", got, want)
	}
	text, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.Contains(string(text), "| `"+name+"` |") {
			t.Errorf("docs/monitoring.md does not tell of %s", name)
		}
	}
	for _, row := range strings.Split(string(text), "\n| `acmed_")[1:] {
		if name, _, _ := strings.Cut(row, "`"); !slices.Contains(names, "acmed_"+name) {
			t.Errorf("docs/monitoring.md tells of acmed_%s, which there is not", name)
		}
	}
}

func TestWhatKeepsItFromStarting(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(*site)
		config  bool // no restart mends it
		says    string
	}{
		"no acmed.yaml":                   {func(s *site) { os.Remove(s.path("acmed.yaml")) }, true, "reading config: "},
		"a bad acmed.yaml":                {func(s *site) { s.write("acmed.yaml", "workers: many\n") }, true, "acmed.yaml:1:10: workers: "},
		"port 80 that is taken":           {func(s *site) { s.take(":5002") }, false, "acmed-http.socket"},
		"a state folder of a newer acmed": {func(s *site) { s.write("state/FORMAT", "999\n"); s.restrict("state") }, true, "it has format 999"},
		"a state folder not its":          {func(s *site) { s.write("state/x", "") }, false, "state"},
		"another acmed":                   {func(s *site) { s.start() }, false, "state"},
		"a runtime folder that cannot be": {func(s *site) { s.write("run", "") }, false, "making the runtime folder: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, acmetest.Config{})
			c.prepare(s)
			err := daemon.Run(t.Context(), daemon.Config{ConfigFile: s.path("acmed.yaml"), Stderr: &logbook{}})
			if _, config := errors.AsType[*daemon.ConfigError](err); err == nil || config != c.config || !strings.Contains(err.Error(), c.says) {
				t.Errorf("it ends with %v", err)
			}
		})
	}
}

// restrict gives a folder the mode that the state folder has.
func (s *site) restrict(name string) {
	s.t.Helper()
	if err := os.Chmod(s.path(name), 0o711); err != nil {
		s.t.Fatal(err)
	}
}

// take listens where the daemon wants to.
func (s *site) take(port string) {
	s.t.Helper()
	l, err := net.Listen("tcp", s.host+port)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Close() })
}

func TestTheLogHasTheFormThatItsReaderWants(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{"json": `"message":"words"}`, "auto": `"message":"words"}`, "": `"message":"words"}`, "console": "\tinfo\twords"} {
		var book logbook
		if err := daemon.Log(spec.Log{Level: "info", Format: format}, &book); err != nil {
			t.Errorf("format %q: %v", format, err)
		}
		if line := strings.TrimSpace(book.String()); !strings.HasSuffix(line, want) || strings.Contains(line, "details") {
			t.Errorf("format %q writes %s", format, line)
		}
	}
}

// TestATimeOfAnotherDayHasItsDate reads lines as people do who run acmed in a terminal.
func TestATimeOfAnotherDayHasItsDate(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for ahead, layout := range map[time.Duration]string{0: time.TimeOnly, time.Hour: time.TimeOnly, -13 * time.Hour: time.DateTime, 90 * 24 * time.Hour: time.DateTime} {
		at := now.Add(ahead)
		var book logbook
		if err := daemon.LogTime(spec.Log{Level: "info", Format: "console"}, &book, at); err != nil {
			t.Error(err)
		}
		if want := `"notAfter": "` + at.Format(layout) + `"`; !strings.Contains(book.String(), want) {
			t.Errorf("%s from now: %s does not hold %s", ahead, book.String(), want)
		}
	}
}

func TestChallengesAreAnsweredWhereTheSpecSays(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.configure(`{solver: listen, listen: "HOST:5002"}`, `{solver: "off"}`)
	s.proofs = "web/.well-known/acme-challenge/"
	s.mkdir("web")
	s.spec("a.example.com", "challenge: {type: http-01, webroot: "+s.path("web")+"}\n")
	s.spec("b.example.com", "challenge: {type: http-01, webroot: "+s.path("web")+"}\n")
	s.spec("c.example.com", "challenge: {type: http-01, webroot: "+s.path("nowhere")+"}\n")
	s.spec("d.example.com", "")
	s.start()
	s.await("a.example.com", 1)
	s.await("b.example.com", 1)
	eventually(t, "the others have failed", func() bool {
		list := s.list()
		return list["c.example.com"].Error != "" && list["d.example.com"].Error != ""
	})
	if c := s.list()["d.example.com"]; c.Phase != control.Parked || !strings.Contains(c.Error, "nothing answers http-01 challenges: http.solver is off") {
		t.Errorf("list shows %+v", c)
	}
	if f := s.status("d.example.com").Failures; len(f) != 1 || !strings.Contains(f[0].Hint, "challenge.webroot in the spec") {
		t.Errorf("status shows %+v", f)
	}
	if c := s.list()["c.example.com"]; !strings.Contains(c.Error, s.path("nowhere")) {
		t.Errorf("list shows %+v", c)
	}
	if info := s.info(); info.HTTP01 != "off" {
		t.Errorf("info shows %q", info.HTTP01)
	}
}

func TestAFaultOfThisMachineIsTold(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.spec(www, "")
	s.start()
	s.await(www, 1)
	s.rename("state/live/"+www, "link")
	s.mkdir("state/live/" + www) // no link
	e := s.renew(control.RenewRequest{Names: []string{www}, Wait: true})[www]
	if e.OK || e.Message != "not renewed" || !strings.Contains(e.Error, "live/"+www) {
		t.Errorf("a renewal ends with %+v", e)
	}
	eventually(t, "the list shows it", func() bool { return s.list()[www].Reason == "a fault of this machine" })
	if c := s.list()[www]; !c.Problem || !strings.Contains(c.Error, "live/"+www) || c.Revision != 1 {
		t.Errorf("list shows %+v", c)
	}
	s.ca.AllowRepeat(www)
	s.rename("state/live/"+www, "folder")
	s.rename("link", "state/live/"+www)
	if e := s.renew(control.RenewRequest{Names: []string{www}, Wait: true})[www]; !e.OK {
		t.Errorf("after it was mended a renewal ends with %+v", e)
	}
}
