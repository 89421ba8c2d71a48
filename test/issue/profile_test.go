package issue_test

import (
	"strings"
	"testing"
	"time"

	"acmed/test/pebble"
	"acmed/test/site"
)

// TestAProfileThatTheCADoesNotHave is told with those that it has, and left alone once the spec names one of them.
func TestAProfileThatTheCADoesNotHave(t *testing.T) {
	t.Parallel()
	const name = "www.example.com"
	ca := pebble.Start(t, pebble.Options{Profiles: map[string]time.Duration{"short": time.Hour, "long": 48 * time.Hour}})
	s := site.New(t, ca, site.Options{})
	s.Spec(t, name, "profile: shrot\n")
	s.Start(t)
	site.Eventually(t, "the order is refused", func() bool {
		c, err := s.Control.Status(t.Context(), name)
		return err == nil && len(c.Failures) == 1
	})
	const want = "does not offer the profile shrot"
	offered := []string{"long (certificates of 48h0m0s)", "short (certificates of 1h0m0s)"}
	text := strings.Join(strings.Fields(s.Run(t, "status", name)), " ")
	for _, words := range append(offered, want, "set profile in the spec") {
		if !strings.Contains(text, words) {
			t.Errorf("acmed status does not say %q:\n%s", words, text)
		}
	}
	s.Spec(t, name, "profile: short\n")
	s.Run(t, "reload")
	site.Eventually(t, "a profile that it has brings a certificate", func() bool { return s.Live(t, name) == 1 })
}
