package deploy_test

import (
	"strings"
	"testing"

	"acmed/internal/deploy"
)

func TestWhatSystemdSaysOfAUnit(t *testing.T) {
	for sentence, c := range map[string]struct {
		load, active string
		running      bool
		says         string
	}{
		"it runs":               {"loaded", "active", true, ""},
		"it reads its files":    {"loaded", "reloading", true, ""},
		"it reads them anew":    {"loaded", "refreshing", true, ""},
		"it starts":             {"loaded", "activating", true, ""},
		"it is not started":     {"loaded", "inactive", false, ""},
		"it has failed":         {"loaded", "failed", false, ""},
		"it stops":              {"loaded", "deactivating", false, ""},
		"there is no such unit": {"not-found", "inactive", false, "does not know the unit nginx.service"},
		"it is masked":          {"masked", "active", false, "nginx.service is masked"},
		"its file is bad":       {"bad-setting", "inactive", false, "cannot read the unit nginx.service: bad-setting"},
	} {
		running, err := deploy.StateOf("nginx.service", c.load, c.active)
		if running != c.running || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, %v", sentence, running, err)
		}
	}
}

func TestHowAReloadEnds(t *testing.T) {
	for result, note := range map[string]string{"done": "", "skipped": "not running"} {
		if got, err := deploy.JudgeReload("nginx.service", result); err != nil || got != note {
			t.Errorf("%s: %q, %v", result, got, err)
		}
	}
	for _, result := range []string{"failed", "timeout", "canceled", "dependency", "assert", "anything"} {
		if _, err := deploy.JudgeReload("nginx.service", result); err == nil || !strings.Contains(err.Error(), result) {
			t.Errorf("%s: %v", result, err)
		}
	}
}
