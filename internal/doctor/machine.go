package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"acmed/internal/acl"
	"acmed/internal/spec"
)

// deliveries looks at what the specs name under deploy: whether it is there, and as it should be.
func (k *check) deliveries(ctx context.Context) {
	units := map[string]bool{}
	for _, c := range k.certs {
		for _, f := range c.Deploy.Files {
			k.file(c, f)
		}
		for _, argv := range programs(c.Deploy) {
			k.program("delivery", c.Name, argv)
		}
		for _, unit := range slices.Concat(c.Deploy.Reload, c.Deploy.Restart) {
			if !units[unit] {
				units[unit] = true
				k.consumer(ctx, c, unit)
			}
		}
	}
}

// providers looks at the programs that write DNS records.
func (k *check) providers(context.Context) {
	seen := map[string]bool{}
	for _, c := range k.certs {
		p := k.Set.Provider(c.Challenge.Provider)
		if p == nil || p.Exec == nil || seen[p.Name] {
			continue
		}
		seen[p.Name] = true
		k.program("dns", p.Name, p.Exec.Command)
		if len(p.Exec.CleanUp) > 0 {
			k.program("dns", p.Name, p.Exec.CleanUp)
		}
		if p.Exec.User != "" {
			if _, err := account(p.Exec.User); err != nil {
				k.bad(Failure, "dns", p.Name, "correct exec.user in "+p.File+", or make the user", "%v", err)
			}
		}
	}
}

// program looks whether a program is there that is named by its path.
func (k *check) program(check, subject string, argv []string) {
	if !strings.HasPrefix(argv[0], "/") {
		return
	}
	_, err := exec.LookPath(argv[0])
	switch {
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		k.bad(Skipped, check, subject, "run acmed doctor as root", "%s cannot be looked at", argv[0])
	case errors.Is(err, fs.ErrPermission):
		k.bad(Failure, check, subject, "chmod +x "+argv[0], "%s cannot be run: %v", argv[0], errors.Unwrap(err))
	case err != nil:
		k.bad(Failure, check, subject, "install it, or correct the file that names it", "%s cannot be run: %v", argv[0], errors.Unwrap(err))
	}
}

func programs(d spec.Deploy) (all [][]string) {
	if len(d.Check) > 0 {
		all = append(all, d.Check)
	}
	for _, r := range d.Run {
		all = append(all, r.Command)
	}
	return all
}

// file looks at a copy of a certificate, and at the folder for one that is not there yet.
func (k *check) file(c *spec.Certificate, f spec.File) {
	info, err := os.Lstat(f.Path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		k.bad(Skipped, "delivery", c.Name, "run acmed doctor as root", "%s cannot be looked at", f.Path)
		return
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(filepath.Dir(f.Path)); errors.Is(err, fs.ErrNotExist) {
			k.bad(Failure, "delivery", c.Name, "make the folder: acmed makes none", "%s does not exist", filepath.Dir(f.Path))
		}
		return
	case err != nil:
		k.bad(Failure, "delivery", c.Name, "correct the path under deploy.files", "%v", err)
		return
	}
	if want, err := account(f.Owner); err == nil && f.Owner != "" && int(info.Sys().(*syscall.Stat_t).Uid) != want.uid {
		k.bad(Failure, "delivery", c.Name, "acmed deploy "+c.Name+" --wait", "%s does not belong to %s", f.Path, f.Owner)
	}
	if list, _ := acl.Access(f.Path); list == nil && f.Mode != 0 && uint32(info.Mode().Perm()) != f.Mode { // a list says more than a mode
		k.bad(Failure, "delivery", c.Name, "acmed deploy "+c.Name+" --wait", "%s has mode %#o and not %#o", f.Path, info.Mode().Perm(), f.Mode)
	}
	k.access(c, f)
	k.showReaders(c, f)
}

func (k *check) consumer(ctx context.Context, c *spec.Certificate, unit string) {
	if k.Unit == nil {
		return
	}
	u, err := k.Unit(ctx, unit)
	verb := "reload"
	if slices.Contains(c.Deploy.Restart, unit) {
		verb = "restart"
	}
	switch {
	case err != nil:
		k.bad(Skipped, "unit", unit, "", "%v", err)
	case !u.Loaded:
		k.bad(Failure, "unit", unit, "correct deploy."+verb+", or install what it belongs to", "there is no such unit")
	case u.Oneshot:
		k.bad(Failure, "unit", unit, oneshotHint(unit), oneshotProblem)
	case u.Active == "failed":
		k.bad(Failure, "unit", unit, "systemctl status "+unit, "it has failed")
	case u.Active != "active":
		k.bad(Warning, "unit", unit, "right if it is to be stopped; a "+verb+" of it counts as done", "it is %s", u.Active)
	default:
		k.good("unit", unit, "is active")
	}
	if err == nil {
		k.unprivileged(c, unit, u)
	}
}

// units looks at acmed's own.
func (k *check) units(ctx context.Context) {
	if k.Unit == nil {
		k.bad(Skipped, "unit", "", "", "no unit was looked at: systemd is not here")
		return
	}
	delivers := slices.ContainsFunc(k.certs, func(c *spec.Certificate) bool { return c.Deploy.Wanted() })
	for _, want := range []struct {
		unit, hint string
		needed     bool
	}{
		{"acmed.service", "systemctl enable --now acmed", true},
		{"acmed-deploy.socket", "systemctl enable --now acmed-deploy.socket: without it acmed delivers with its own rights", delivers},
	} {
		if !want.needed {
			continue
		}
		u, err := k.Unit(ctx, want.unit)
		switch {
		case err != nil:
			k.bad(Skipped, "unit", want.unit, "", "%v", err)
		case u.Active != "active":
			k.bad(Failure, "unit", want.unit, want.hint, "it is %s", u.Active)
		default:
			k.good("unit", want.unit, "is active")
		}
	}
}

// AskSystemd asks the system's service manager, by systemctl.
func AskSystemd(ctx context.Context, unit string) (Unit, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "show", "--property=LoadState,ActiveState,User,Type,RemainAfterExit", "--", unit).Output()
	if err != nil {
		return Unit{}, fmt.Errorf("asking systemd for %s: %w", unit, err)
	}
	var u Unit
	oneshot, remains := false, false
	for line := range strings.Lines(string(out)) {
		switch key, value, _ := strings.Cut(strings.TrimSpace(line), "="); key {
		case "LoadState":
			u.Loaded = value != "not-found"
		case "ActiveState":
			u.Active = value
		case "User":
			u.User = value
		case "Type":
			oneshot = value == "oneshot"
		case "RemainAfterExit":
			remains = value == "yes"
		}
	}
	u.Oneshot = oneshot && !remains
	return u, nil
}
