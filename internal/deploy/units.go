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
	if err != nil || !running {
		return "not running", err
	}
	result := make(chan string, 1) // or go-systemd stalls
	if _, err := conn.ReloadOrTryRestartUnitContext(ctx, unit, "replace", result); err != nil {
		return "", &blocked{"asking systemd to reload " + unit + ": " + err.Error(), "see that acmed may: the helper does it as root (acmed-deploy.socket)"}
	}
	select {
	case r := <-result:
		return judge(unit, r)
	case <-ctx.Done():
		return "", &blocked{"the reload of " + unit + " does not end", "systemctl status " + unit}
	}
}

// connect takes systemd's own socket where it lets us, which needs no message bus.
func connect(ctx context.Context) (*dbus.Conn, error) {
	if os.Geteuid() == 0 {
		if conn, err := dbus.NewSystemdConnectionContext(ctx); err == nil {
			return conn, nil
		}
	}
	return dbus.NewSystemConnectionContext(ctx)
}

// isRunning tells whether a unit can be reloaded. One that does not run reads its files when it starts.
func isRunning(ctx context.Context, conn *dbus.Conn, unit string) (bool, error) {
	properties, err := conn.GetUnitPropertiesContext(ctx, unit)
	if err != nil {
		return false, fmt.Errorf("asking systemd about %s: %w", unit, err)
	}
	if load, _ := properties["LoadState"].(string); load != "loaded" {
		return false, &blocked{fmt.Sprintf("systemd does not know the unit %s (%s)", unit, load), "see systemctl list-units; write the name with its suffix"}
	}
	state, _ := properties["ActiveState"].(string)
	return state == "active" || state == "reloading" || state == "activating", nil
}

// judge words the result of a job.
func judge(unit, result string) (note string, err error) {
	switch result {
	case "done":
		return "", nil
	case "skipped":
		return "not running", nil
	}
	return "", &blocked{fmt.Sprintf("the reload of %s ended with %q", unit, result), "journalctl -u " + unit + " tells why"}
}
