package spec_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"acmed/internal/spec"
)

func full() spec.Deploy {
	return spec.Deploy{
		Files:   []spec.File{{Path: "/a", Content: "privkey"}, {Path: "/b", Content: "fullchain"}},
		Check:   []string{"nginx", "-t"},
		Reload:  []string{"nginx.service"},
		Restart: []string{"unbound.service"},
		Run:     []spec.Run{{Command: []string{"push", "it"}, Timeout: time.Minute}},
		Probe:   []spec.Probe{{Address: "127.0.0.1:25", StartTLS: "smtp"}},
	}
}

func keysOf(targets []spec.Target) (keys []string) {
	for _, t := range targets {
		keys = append(keys, t.Key)
	}
	return keys
}

func TestTargetsAreListedInTheOrderOfTheStages(t *testing.T) {
	d := full()
	want := []string{"file /a", "file /b", "check", "reload nginx.service", "restart unbound.service", "run push it", "probe 127.0.0.1:25 smtp"}
	if got := keysOf(d.Targets("leaf")); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if none := (&spec.Deploy{}).Targets("leaf"); len(none) != 0 {
		t.Errorf("nothing is asked for, and there are targets: %v", none)
	}
}

func TestTargetsAreServedAgainWhen(t *testing.T) {
	for sentence, test := range map[string]struct {
		edit func(*spec.Deploy)
		want []string // keys
	}{
		"nothing changes: none": {func(*spec.Deploy) {}, nil},
		"a file changes: it, and whoever may read it": {
			func(d *spec.Deploy) { d.Files[0].Group = "ssl" },
			[]string{"file /a", "check", "reload nginx.service", "restart unbound.service", "run push it", "probe 127.0.0.1:25 smtp"},
		},
		"a check changes: it alone":             {func(d *spec.Deploy) { d.Check = []string{"true"} }, []string{"check"}},
		"a unit comes: it, and what may see it": {func(d *spec.Deploy) { d.Reload = append(d.Reload, "b.service") }, []string{"reload b.service", "probe 127.0.0.1:25 smtp"}},
		"a unit is restarted in place of a reload: it, and what may see it": {func(d *spec.Deploy) {
			d.Reload, d.Restart = nil, append(d.Restart, "nginx.service")
		}, []string{"restart nginx.service", "probe 127.0.0.1:25 smtp"}},
		"a unit that is restarted comes: it, and what may see it": {func(d *spec.Deploy) {
			d.Restart = append(d.Restart, "vsftpd.service")
		}, []string{"restart vsftpd.service", "probe 127.0.0.1:25 smtp"}},
		"a command changes: it, and what may see it":           {func(d *spec.Deploy) { d.Run[0].User = "www" }, []string{"run push it", "probe 127.0.0.1:25 smtp"}},
		"a user may read the key: it, and what may see it":     {func(d *spec.Deploy) { d.Run[0].Privkey = true }, []string{"run push it", "probe 127.0.0.1:25 smtp"}},
		"a probe comes: it alone":                              {func(d *spec.Deploy) { d.Probe = append(d.Probe, spec.Probe{Address: "a:1"}) }, []string{"probe a:1"}},
		"the window changes: none":                             {func(d *spec.Deploy) { d.Window = &spec.Window{Start: "02:00"} }, nil},
		"what is listed is listed again: none":                 {func(d *spec.Deploy) { d.Probe = append(d.Probe, d.Probe[0]) }, nil},
		"the order of the list changes in a later stage: none": {func(d *spec.Deploy) { d.Probe = slices.Clone(d.Probe) }, nil},
	} {
		before := full()
		var known []string
		for _, target := range before.Targets("leaf") {
			known = append(known, target.Fingerprint)
		}
		after := full()
		test.edit(&after)
		var got []string
		for _, target := range after.Targets("leaf") {
			if !slices.Contains(known, target.Fingerprint) {
				got = append(got, target.Key)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", sentence, got, test.want)
		}
		for _, target := range before.Targets("another leaf") {
			if slices.Contains(known, target.Fingerprint) {
				t.Errorf("%s is not served another certificate", target.Key)
			}
		}
	}
}

func TestTargetsSayWhichUnitIsRestarted(t *testing.T) {
	d := spec.Deploy{Reload: []string{"a.service", "b.service"}, Restart: []string{"c.service"}}
	got := map[string]bool{}
	for _, target := range d.Targets("leaf") {
		unit, restart := d.Unit(target)
		got[unit] = restart
	}
	if want := map[string]bool{"a.service": false, "b.service": false, "c.service": true}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAnUpgradeServesNobodyAgain(t *testing.T) {
	d := full()
	d.Restart = nil
	for _, target := range d.Targets("leaf") {
		if want, known := map[string]string{
			"reload nginx.service":    "e5d16dcf09354269a2f534cc9dda3242",
			"run push it":             "a735a85380999ef593a14f2008173896",
			"probe 127.0.0.1:25 smtp": "049b19d9d3e1d68d2e4b3e45a3fffa05",
		}[target.Key]; known && target.Fingerprint != want {
			t.Errorf("the fingerprint of %s is %s: a stored one would no longer match", target.Key, target.Fingerprint)
		}
	}
}

func TestTargetKeysAreUniqueAndShort(t *testing.T) {
	long := strings.Repeat("ä", 300)
	d := spec.Deploy{Run: []spec.Run{{Command: []string{long}}, {Command: []string{long}, User: "a"}, {Command: []string{long}, User: "b"}}}
	got := keysOf(d.Targets("leaf"))
	if len(got) != 3 || got[0] == got[1] || got[1] == got[2] {
		t.Errorf("got %q", got)
	}
	for _, key := range got {
		if len(key) > 220 || !strings.HasPrefix(key, "run ä") || strings.ContainsRune(key, '\uFFFD') {
			t.Errorf("key %q", key)
		}
	}
}

func TestWindowOpensNext(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 3, day, hour, minute, 0, 0, berlin) }
	night := &spec.Window{Start: "22:00", Duration: 4 * time.Hour, Timezone: "Europe/Berlin"}
	for sentence, test := range map[string]struct {
		window    *spec.Window
		now, want time.Time
	}{
		"at once without a window":                  {nil, at(10, 12, 0), at(10, 12, 0)},
		"in the evening":                            {night, at(10, 12, 0), at(10, 22, 0)},
		"now, at the instant it opens":              {night, at(10, 22, 0), at(10, 22, 0)},
		"now, after midnight":                       {night, at(11, 1, 59), at(11, 1, 59)},
		"in the evening, at the instant of its end": {night, at(11, 2, 0), at(11, 22, 0)},
		"an hour that the spring takes away": {
			&spec.Window{Start: "02:30", Duration: time.Hour, Timezone: "Europe/Berlin"}, at(28, 12, 0), at(29, 3, 30),
		},
		"always, when it lasts a day": {&spec.Window{Start: "00:00", Duration: 24 * time.Hour, Timezone: "UTC"}, at(10, 12, 0), at(10, 12, 0)},
	} {
		if got := test.window.Next(test.now); !got.Equal(test.want) {
			t.Errorf("%s: got %v, want %v", sentence, got, test.want)
		}
	}
}
