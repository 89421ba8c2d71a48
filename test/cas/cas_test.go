package cas_test

import (
	"testing"

	"acmed/test/cas"
)

func TestAShortRunKeepsWhatASlowOneHasWritten(t *testing.T) {
	versions := map[string]string{"step-ca": "v1"}
	full := cas.Seen{
		cas.HTTP01:   {"step-ca": "yes"},
		cas.Fallback: {"step-ca": "yes, after 10 minutes", "Vault": "yes"},
	}
	short := cas.Seen{cas.HTTP01: {"step-ca": "yes"}}
	table := cas.Table(full, versions)
	if cas.Keep(short, table); cas.Table(short, versions) != table {
		t.Errorf("the short run writes\n%swant\n%s", cas.Table(short, versions), table)
	}
}

func TestARunReplacesWhatItHasTried(t *testing.T) {
	old := cas.Table(cas.Seen{cas.Fallback: {"Caddy": "no"}}, nil)
	seen := cas.Seen{cas.Fallback: {"Caddy": "yes"}}
	if cas.Keep(seen, old); seen[cas.Fallback]["Caddy"] != "yes" {
		t.Errorf("the cell is %q", seen[cas.Fallback]["Caddy"])
	}
}
