package reconcile_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
)

// TestTheProfileThatTheCAChose is in the order object, as Pebble says it.
func TestTheProfileThatTheCAChose(t *testing.T) {
	for sentence, c := range map[string]struct{ asked, named, granted string }{
		"where none was asked for":        {"", "short", "short"},
		"another one than was asked for":  {"long", "short", "short"},
		"the one that was asked for":      {"short", "short", ""},
		"a CA that does not say":          {"short", "", ""},
		"a name that garbles a terminal":  {"", `\u001b[2J`, `\x1b[2J`},
		"no profile at all, and none set": {"", "", ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{Profiles: map[string]time.Duration{"short": 60 * day, "long": 90 * day}}, func(w *world) {
				w.meddle = func(r *request, res *response) {
					if !strings.HasPrefix(r.URL.Path, "/order/") {
						return
					}
					text, err := io.ReadAll(res.Body)
					if err != nil {
						t.Error(err)
					}
					said := strings.Replace(string(text), `"profile":"`+c.asked+`",`, "", 1)
					if c.named != "" {
						said = strings.Replace(said, "{", `{"profile":"`+c.named+`",`, 1)
					}
					res.Body = io.NopCloser(strings.NewReader(said))
				}
				www := cert("www")
				www.Profile = c.asked
				w.want(www)
				w.run()
				time.Sleep(time.Hour)
				w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
				if is := w.record("www").Issued; is.Profile != c.asked || is.Granted != c.granted {
					t.Errorf("asked for %q, granted %q, want %q", is.Profile, is.Granted, c.granted)
				}
				if n := w.orders(); n != 1 {
					t.Errorf("ordered %d times", n)
				}
			})
		})
	}
}
