package control_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"acmed/internal/control"
)

func TestOutagesComeFirst(t *testing.T) {
	in := func(days int) time.Time { return time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, days) }
	list := []control.Summary{
		{Name: "calm", NotAfter: in(2)},
		{Name: "typo", Problem: true, InvalidSpec: true},
		{Name: "kept", Problem: true, InvalidSpec: true, NotAfter: in(60)},
		{Name: "new", Problem: true},
		{Name: "late", Problem: true, NotAfter: in(50)},
		{Name: "soon", Problem: true, NotAfter: in(3)},
		{Name: "expired", Problem: true, NotAfter: in(-1)},
		{Name: "missing"},
	}
	slices.SortStableFunc(list, func(a, b control.Summary) int { return control.Urgency(&a, &b) })
	var names []string
	for _, s := range list {
		names = append(names, s.Name)
	}
	if got := strings.Join(names, " "); got != "expired soon late new kept typo missing calm" {
		t.Errorf("got %s", got)
	}
}
