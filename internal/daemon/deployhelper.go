package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"acmed/internal/deploy"
	"acmed/internal/sd"
	"acmed/internal/spec"
)

// DeployHelperConfig says by which files the deploy helper goes, and who asks. All but Stderr is required.
type DeployHelperConfig struct {
	ConfigFile string    // acmed.yaml
	Folder     string    // the helper's own
	Socket     *os.File  // connected to the daemon
	Stderr     io.Writer // of the log where the journal does not take it; nil: os.Stderr
}

// ErrNotConnected is that of a deploy helper whom nobody can ask.
var ErrNotConnected = errors.New("delivering certificates: standard input is no unix socket")

// DeployHelper carries out the one request that comes over the socket. It obeys only files that its own user, or root,
// alone can write. Its error tells that no answer was given.
func DeployHelper(ctx context.Context, c DeployHelperConfig) error {
	conn, err := connected(c.Socket)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // the answer is written, or it is not
	helper, err := newDeployHelper(c)
	if err != nil {
		return err
	}
	return helper.Serve(ctx, conn)
}

func newDeployHelper(c DeployHelperConfig) (*deploy.Helper, error) {
	log, err := shortLivedLogger(cmp.Or[io.Writer](c.Stderr, os.Stderr))
	if err != nil {
		return nil, err
	}
	file, err := filepath.Abs(c.ConfigFile)
	if err != nil {
		return nil, err
	}
	folder, err := filepath.Abs(c.Folder)
	if err != nil {
		return nil, err
	}
	executor, err := deploy.NewExecutor(deploy.ExecutorConfig{Units: deploy.Systemd(), Copies: helperCopies(), Log: log})
	if err != nil {
		return nil, err
	}
	executor.Sweep()
	return deploy.NewHelper(deploy.HelperConfig{
		ConfigFile: file, MemoryDir: folder, Executor: executor, TrustedUID: uint32(os.Geteuid()), Log: log,
	})
}

// helperCopies are the directories for the private copies that commands read. systemd removes the first one when the helper
// has ended, in whatever way (RuntimeDirectory=).
func helperCopies() []string {
	if dir, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":"); filepath.IsAbs(dir) {
		return []string{dir, "/dev/shm/acmed-deploy"}
	}
	return []string{"/run/acmed-copies", "/dev/shm/acmed-deploy"}
}

// shortLivedLogger logs as the daemon does, but to the journal in lines of its own.
func shortLivedLogger(stderr io.Writer) (*zap.Logger, error) {
	if stderr == os.Stderr && sd.StderrIsJournal() {
		return zap.New(sd.NewStreamCore(zap.InfoLevel, stderr)), nil
	}
	log, _, err := newLogger(spec.Log{Level: "info", Format: "auto"}, stderr)
	return log, err
}

// connected is the connection that f is. It takes f.
func connected(f *os.File) (*net.UnixConn, error) {
	conn, err := net.FileConn(f) // a duplicate
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotConnected, err)
	}
	unix, ok := conn.(*net.UnixConn)
	if !ok || unix.RemoteAddr() == nil {
		return nil, errors.Join(ErrNotConnected, conn.Close())
	}
	return unix, nil
}
