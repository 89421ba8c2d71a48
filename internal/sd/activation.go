package sd

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
)

// Listeners returns the sockets that systemd listens on for us, by their FileDescriptorName=; several may share
// one. It empties LISTEN_FDS and its kin, so only the first call finds any. Without activation the map is empty.
func Listeners() (map[string][]net.Listener, error) {
	files := activation.Files(true)
	listeners := make(map[string][]net.Listener)
	var errs []error
	for _, file := range files {
		l, err := net.FileListener(file) // a duplicate
		if err := errors.Join(err, file.Close()); err != nil {
			errs = append(errs, fmt.Errorf("inheriting socket %s: %w; the socket unit must use ListenStream=", file.Name(), err))
			continue
		}
		listeners[file.Name()] = append(listeners[file.Name()], l)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return listeners, nil
}

// Credential returns the path of the file by which systemd hands over the credential name (systemd.exec(5),
// LoadCredential=). The error tells what the unit lacks, and satisfies fs.ErrNotExist if it is the credential.
func Credential(name string) (path string, err error) {
	if !validCredential(name) {
		return "", fmt.Errorf("finding credential %q: not a credential's name; use letters, digits, '.', '_', '-' and '@'", name)
	}
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("finding credential %s: %w: the service has no credentials; "+
			"add LoadCredential=%s:FILE to its unit and restart it", name, fs.ErrNotExist, name)
	}
	path = filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("finding credential %s: %w; add LoadCredential=%s:FILE to the unit and restart it", name, err, name)
	}
	return path, nil
}

func validCredential(name string) bool {
	const chars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@"
	return name != "" && len(name) <= 255 && strings.Trim(name, chars) == "" && strings.Trim(name, ".") != ""
}
