package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxPath is how long a socket's path may be: sun_path of unix(7), without its final zero byte.
const maxPath = 107

// Listen makes the socket, for its owner and group only; in a setgid folder the group is the folder's. It makes
// the parent folder when only that is missing, and replaces a socket that nobody answers on. A socket that
// somebody answers on is an error that names the process.
func Listen(socket string) (net.Listener, error) {
	if err := checkPath(socket); err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Dir(socket), 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("creating the control socket's folder: %w", err)
	}
	if err := removeStale(socket); err != nil {
		return nil, err
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("creating the control socket: %w", err)
	}
	// Connecting takes write permission, which the usual umasks keep from others until this line.
	if err := os.Chmod(socket, 0o660); err != nil {
		return nil, errors.Join(fmt.Errorf("creating the control socket: %w", err), ln.Close())
	}
	return ln, nil
}

// checkPath refuses a path that the kernel would refuse without saying why.
func checkPath(socket string) error {
	if len(socket) > maxPath {
		return &Error{Code: Invalid, Message: fmt.Sprintf("control socket %s: the path has %d bytes, and unix sockets allow %d", socket, len(socket), maxPath),
			Hint: "set control.socket in acmed.yaml to a shorter path"}
	}
	return nil
}

// removeStale removes what a daemon that was killed left behind, and nothing else.
func removeStale(socket string) error {
	info, err := os.Lstat(socket)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("checking the control socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("control socket %s: something else has that name; remove it, or set control.socket in acmed.yaml", socket)
	}
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err == nil {
		defer conn.Close()
		return fmt.Errorf("control socket %s: process %d answers there already; stop it, or set control.socket in acmed.yaml", socket, credentials(conn).Pid)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("checking the control socket: %w", err)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a stale control socket: %w", err)
	}
	return nil
}

// credentials returns who is at the other end of conn, as the kernel knows it (SO_PEERCRED of unix(7)); the zero
// process with the user nobody when it does not.
func credentials(conn net.Conn) unix.Ucred {
	nobody := unix.Ucred{Uid: 65534, Gid: 65534}
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nobody
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nobody
	}
	var peer *unix.Ucred
	err = raw.Control(func(fd uintptr) { peer, _ = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil || peer == nil {
		return nobody
	}
	return *peer
}

// peerKey is the context key of the caller's user id.
type peerKey struct{}

func withPeer(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, int64(credentials(conn).Uid))
}

// peerOf returns the user id of who asked.
func peerOf(ctx context.Context) int64 {
	uid, _ := ctx.Value(peerKey{}).(int64)
	return uid
}
