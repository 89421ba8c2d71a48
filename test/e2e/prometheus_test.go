//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"acmed/test/pebble"
	"acmed/test/site"
)

const prometheusAddress = "127.0.0.1:9090"

func TestAlertsFireWhenTheyShould(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "rules.yml"}, {"test", "rules", "rules_test.yml"}} {
		cmd := exec.Command("promtool", args...)
		cmd.Dir = "../../deploy/prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestPrometheusSeesAcmed has a real Prometheus scrape a real acmed: each query of the dashboard has an answer, and an
// alert fires.
func TestPrometheusSeesAcmed(t *testing.T) {
	unpack(t)
	ca := pebble.Start(t, pebble.Options{})
	s := site.New(t, ca, site.Options{Admin: "127.0.0.1:9402"})
	s.Spec(t, "www.example.com", "deploy: {run: [{command: [/bin/true]}]}\n")
	s.Spec(t, "broken.example.com", "dnsName: wrong\n")
	d := s.Start(t)
	startPrometheus(t)
	site.Eventually(t, "there is a certificate", func() bool { return s.Live(t, "www.example.com") == 1 })
	site.Eventually(t, "the alert for a bad file fires", func() bool { return len(query(t, `ALERTS{alertname="AcmedSpecBroken", alertstate="firing"}`)) == 1 })
	for title, expr := range dashboard(t) {
		site.Eventually(t, "the panel "+title+" has data: "+expr, func() bool { return len(query(t, expr)) > 0 })
	}
	d.Stop(t)
}

// startPrometheus scrapes acmed every second, with rules that do not wait.
func startPrometheus(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	rules, err := os.ReadFile("../../deploy/prometheus/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var hasty strings.Builder
	for line := range strings.Lines(string(rules)) {
		if !strings.HasPrefix(strings.TrimSpace(line), "for:") {
			hasty.WriteString(strings.Replace(line, "lag_seconds > 600", "lag_seconds > 0.1", 1))
		}
	}
	for file, text := range map[string]string{
		"rules.yml": hasty.String(),
		"prometheus.yml": `global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs: [{job_name: acmed, static_configs: [{targets: ["127.0.0.1:9402"]}]}]
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	background(t, filepath.Join(dir, "log"), "prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+prometheusAddress)
	site.Eventually(t, "Prometheus answers", func() bool { return ok("http://"+prometheusAddress+"/-/ready") == nil })
}

// query returns the samples of an expression now.
func query(t *testing.T, expr string) []json.RawMessage {
	t.Helper()
	resp, err := http.Get("http://" + prometheusAddress + "/api/v1/query?" + url.Values{"query": {expr}}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %s %v", expr, answer.Error, err)
	}
	return answer.Data.Result
}

// dashboard gives the expressions of the panels, by their titles, for all machines.
func dashboard(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/prometheus/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	exprs := map[string]string{}
	for _, p := range board.Panels {
		for i, target := range p.Targets {
			exprs[fmt.Sprintf("%s %d", p.Title, i)] = strings.ReplaceAll(target.Expr, "$instance", ".*")
		}
	}
	if len(exprs) < 10 {
		t.Fatalf("the dashboard has %d queries", len(exprs))
	}
	return exprs
}
