package deploy

import (
	"context"
	"fmt"
	"os"

	"github.com/coreos/go-systemd/v22/dbus"
)

// systemd reloads units over D-Bus.
type systemd struct{}

// Systemd gives the units of this machine. Each reload connects anew: they are rare.
func Systemd() Units { return systemd{} }

// Reload implements Units.
func (systemd) Reload(ctx context.Context, unit string) (note string, err error) {
	conn, err := connect(ctx)
	if err != nil {
		return "", &blocked{"systemd cannot be asked to reload " + unit + ": " + err.Error(),
			"run acmed where systemd is, or use deploy.run in place of deploy.reload"}
	}
	defer conn.Close()
	running, err := isRunning(ctx, conn, unit)
	if err != nil {
		return "", err
	}
	if !running {
		return notRunning, nil
	}
	result := make(chan string, 1) // or go-systemd stalls
	if _, err := conn.ReloadOrTryRestartUnitContext(ctx, unit, "replace", result); err != nil {
		return "", &blocked{"asking systemd to reload " + unit + ": " + err.Error(), "see that acmed may: the helper does it as root (acmed-deploy.socket)"}
	}
	select {
	case r := <-result:
		return judge(unit, r)
	case <-ctx.Done():
		return "", &blocked{"the reload of " + unit + " does not end", "systemctl status " + unit + "; journalctl -u " + unit}
	}
}

// notRunning is the note on a unit that has nothing to read again: it reads its files when it starts.
const notRunning = "not running"

// connect takes systemd's own socket where it lets us, which needs no message bus.
func connect(ctx context.Context) (*dbus.Conn, error) {
	if os.Geteuid() == 0 {
		if conn, err := dbus.NewSystemdConnectionContext(ctx); err == nil {
			return conn, nil
		}
	}
	return dbus.NewSystemConnectionContext(ctx)
}

// isRunning tells whether a unit can be reloaded.
func isRunning(ctx context.Context, conn *dbus.Conn, unit string) (bool, error) {
	properties, err := conn.GetUnitPropertiesContext(ctx, unit)
	if err != nil {
		return false, fmt.Errorf("asking systemd about %s: %w", unit, err)
	}
	load, _ := properties["LoadState"].(string)
	state, _ := properties["ActiveState"].(string)
	return stateOf(unit, load, state)
}

// stateOf judges the states that systemd tells of a unit.
func stateOf(unit, load, active string) (running bool, err error) {
	switch load {
	case "loaded":
	case "masked":
		return false, &blocked{unit + " is masked", "systemctl unmask " + unit + ", or take it out of the spec"}
	case "not-found":
		return false, &blocked{"systemd does not know the unit " + unit, "systemctl list-units tells what there is; write the name with its suffix"}
	default:
		return false, &blocked{fmt.Sprintf("systemd cannot read the unit %s: %s", unit, load), "systemctl status " + unit}
	}
	switch active {
	case "inactive", "failed", "deactivating":
		return false, nil
	}
	return true, nil
}

// judge words the result of a job.
func judge(unit, result string) (note string, err error) {
	switch result {
	case "done":
		return "", nil
	case "skipped":
		return notRunning, nil
	}
	return "", &blocked{fmt.Sprintf("the reload of %s ended with %q", unit, result), "journalctl -u " + unit + " tells why"}
}
