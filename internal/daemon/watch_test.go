package daemon_test

import (
	"slices"
	"testing"

	"github.com/fsnotify/fsnotify"

	"acmed/internal/daemon"
)

func TestLoadsLookWhereTheEventsWere(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		paths []string
		want  []string // nil: anywhere
	}{
		"nowhere without an event": {nil, nil, []string{}},
		"once at each place":       {nil, []string{"b", "a", "b"}, []string{"a", "b"}},
		"anywhere after a loss":    {fsnotify.ErrEventOverflow, []string{"a"}, nil},
		"anywhere after only that": {fsnotify.ErrEventOverflow, nil, nil},
	} {
		got := daemon.Changed(c.err, c.paths...)
		slices.Sort(got)
		if !slices.Equal(got, c.want) || (got == nil) != (c.want == nil) {
			t.Errorf("%s: at %q, want %q", name, got, c.want)
		}
	}
}
