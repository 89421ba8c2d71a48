package doctor_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"acmed/internal/doctor"
	"acmed/internal/spec"
)

// unitsOfAllTypes are what systemd knows in these tests.
func unitsOfAllTypes(_ context.Context, unit string) (doctor.Unit, error) {
	switch unit {
	case "copy.service", "push@web.service", "idle.service":
		return doctor.Unit{Loaded: true, Active: "inactive", Oneshot: true}, nil
	case "gone.service":
		return doctor.Unit{}, errors.New("no bus")
	}
	return doctor.Unit{Loaded: true, Active: "active"}, nil
}

func TestOneshotUnitsAreNamedAsThoseThatNeverRun(t *testing.T) {
	certs := []*spec.Certificate{
		{File: "a.yaml", Deploy: spec.Deploy{Reload: []string{"nginx.service", "copy.service"}, Restart: []string{"vsftpd.service", "push@web.service"}}},
		{File: "b.yaml", Deploy: spec.Deploy{Reload: []string{"gone.service"}, Restart: []string{"copy.service"}}},
	}
	const never = ": a oneshot unit is never running, so that a reload or restart does nothing (write run: [{command: [systemctl, start, "
	want := []string{
		"a.yaml: deploy.reload[1]: copy.service" + never + "copy.service]}] in place of it)",
		"a.yaml: deploy.restart[1]: push@web.service" + never + "push@web.service]}] in place of it)",
		"b.yaml: deploy.restart[0]: copy.service" + never + "copy.service]}] in place of it)",
	}
	var got []string
	for _, p := range doctor.Oneshots(t.Context(), certs, unitsOfAllTypes) {
		got = append(got, p.Error())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTheDoctorNamesOneshotUnits(t *testing.T) {
	c := patient(t, "www.example.com")
	c.Set.Certificate("one").Deploy = spec.Deploy{Reload: []string{"copy.service"}, Restart: []string{"idle.service", "vsftpd.service"}}
	c.Unit = unitsOfAllTypes
	const never = ": a oneshot unit is never running, so that a reload or restart does nothing"
	if got, want := trouble(t, c), []string{"failure unit copy.service, idle.service (2)" + never}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestTheHintOfAUnitNamesItsKey is about units under reload and under restart, and about programs that are there.
func TestTheHintOfAUnitNamesItsKey(t *testing.T) {
	program := filepath.Join(t.TempDir(), "check")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for check, c := range map[string]struct {
		deploy spec.Deploy
		want   string
	}{
		"unit":     {spec.Deploy{Restart: []string{"vsftpz.service"}}, "correct deploy.restart, or install what it belongs to"},
		"delivery": {spec.Deploy{Check: []string{program}}, "chmod +x " + program},
	} {
		p := patient(t, "www.example.com")
		p.Set.Certificate("one").Deploy = c.deploy
		p.Unit = func(_ context.Context, unit string) (doctor.Unit, error) {
			return doctor.Unit{Loaded: !strings.HasPrefix(unit, "vsftpz"), Active: "active"}, nil
		}
		if got := hintOf(t, p, check); got != c.want && (os.Geteuid() == 0 || got != "run acmed doctor as root") {
			t.Errorf("%s: got %q, want %q", check, got, c.want)
		}
	}
}

func TestWhatSystemctlSaysOfAUnit(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for said, want := range map[string]doctor.Unit{
		"Type=oneshot\nRemainAfterExit=no\nLoadState=loaded\nActiveState=inactive\n":             {Loaded: true, Active: "inactive", Oneshot: true},
		"RemainAfterExit=yes\nType=oneshot\nLoadState=loaded\nActiveState=active\nUser=nobody\n": {Loaded: true, Active: "active", User: "nobody"},
		"LoadState=loaded\nActiveState=active\n":                                                 {Loaded: true, Active: "active"},
		"Type=notify\nRemainAfterExit=no\nLoadState=not-found\nActiveState=inactive\n":           {Active: "inactive"},
	} {
		if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte("#!/bin/sh\nprintf '"+said+"'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if got, err := doctor.AskSystemd(t.Context(), "a.service"); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

func TestAUnitThatSystemdDoesNotKnowIsMissing(t *testing.T) {
	asked := map[string]int{}
	ask := func(_ context.Context, unit string) (doctor.Unit, error) {
		asked[unit]++
		if unit == "silent.service" {
			return doctor.Unit{}, errors.New("no systemd")
		}
		return doctor.Unit{Loaded: unit == "nginx.service"}, nil
	}
	certs := []*spec.Certificate{
		{File: "a.yaml", Deploy: spec.Deploy{Reload: []string{"nginx.service", "ngnix.service", "silent.service"}, Restart: []string{"gone.service"}}},
		{File: "b.yaml", Deploy: spec.Deploy{Reload: []string{"ngnix.service"}}},
	}
	var found []string
	for _, p := range doctor.MissingUnits(t.Context(), certs, ask) {
		found = append(found, p.File+" "+p.Field+" "+p.Problem)
	}
	want := []string{
		`a.yaml deploy.reload[1] unknown systemd unit "ngnix.service"`, `a.yaml deploy.restart[0] unknown systemd unit "gone.service"`,
		`b.yaml deploy.reload[0] unknown systemd unit "ngnix.service"`,
	}
	if !slices.Equal(found, want) || asked["ngnix.service"] != 1 {
		t.Errorf("found %q, asked %v", found, asked)
	}
}
