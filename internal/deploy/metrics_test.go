package deploy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"acmed/internal/deploy"
)

func TestMetricsCountWhatCameOfDeliveries(t *testing.T) {
	m, registry := deploy.NewMetrics(), prometheus.NewPedanticRegistry()
	registry.MustRegister(m.Collectors()...)
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	before, err := testutil.GatherAndCount(registry)
	if err != nil {
		t.Fatal(err)
	}
	m.Observe(deploy.Answer{Name: "a", Problem: "no certificate"})
	m.Observe(deploy.Answer{Name: "b", Results: []deploy.Result{
		{Key: "file /etc/key", OK: true, Took: time.Millisecond}, {Key: "file /etc/crt", Withdrawn: true}, {Key: "check"}, {Key: "run a b"},
		{Key: "strange \xff"}, {Key: "stranger"}, {Key: ""},
	}})
	const want = `
# HELP acmed_deploy_targets_total Consumers that were given a certificate, by kind and by what came of it.
# TYPE acmed_deploy_targets_total counter
acmed_deploy_targets_total{kind="check",result="accepted"} 0
acmed_deploy_targets_total{kind="check",result="failed"} 1
acmed_deploy_targets_total{kind="file",result="accepted"} 1
acmed_deploy_targets_total{kind="file",result="failed"} 0
acmed_deploy_targets_total{kind="file",result="withdrawn"} 1
acmed_deploy_targets_total{kind="other",result="failed"} 3
acmed_deploy_targets_total{kind="probe",result="accepted"} 0
acmed_deploy_targets_total{kind="probe",result="failed"} 0
acmed_deploy_targets_total{kind="reload",result="accepted"} 0
acmed_deploy_targets_total{kind="reload",result="failed"} 0
acmed_deploy_targets_total{kind="restart",result="accepted"} 0
acmed_deploy_targets_total{kind="restart",result="failed"} 0
acmed_deploy_targets_total{kind="run",result="accepted"} 0
acmed_deploy_targets_total{kind="run",result="failed"} 1
# HELP acmed_deploys_refused_total Deliveries of a certificate that could not begin.
# TYPE acmed_deploys_refused_total counter
acmed_deploys_refused_total 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "acmed_deploy_targets_total", "acmed_deploys_refused_total"); err != nil {
		t.Error(err)
	}
	if after, err := testutil.GatherAndCount(registry); err != nil || after > before+2 {
		t.Errorf("%d series became %d, %v", before, after, err)
	}
}
