package boulder

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Install installs the Debian packages that a lab needs, unless their programs are there.
func Install() error {
	var missing []error
	for _, program := range []string{databaseProgram, "mariadb-install-db", "mariadb", redisProgram, "gcc"} {
		_, err := exec.LookPath(program)
		missing = append(missing, err)
	}
	if errors.Join(missing...) == nil {
		return nil
	}
	// The core packages have no service that would start.
	return errors.Join(
		apt("update", "-q"),
		apt("install", "-qy", "--no-install-recommends", "mariadb-server-core", "mariadb-client-core", "redis-server", "gcc", "libc6-dev"))
}

func apt(args ...string) error {
	cmd := exec.Command("apt-get", append([]string{"-o", "DPkg::Lock::Timeout=600"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("installing what Boulder needs: apt-get %v: %w\n%s", args, err, out)
	}
	return nil
}
