package challenge

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// reader is a token folder to those who only answer.
type reader string

// ReadFolder returns the proofs in the token folder dir, which must exist. Nothing is ever written or created there.
func ReadFolder(dir string) (Answerer, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the token folder: %w", err)
	}
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the token folder: %w; acmed run makes it", err)
	}
	return reader(dir), nil
}

// KeyAuthorization returns the content of the file that token names. It reports false unless token is well-formed
// and names a regular file, no link, that holds a key authorization of that token: nothing else that finds its way
// into the folder is ever served.
func (dir reader) KeyAuthorization(token string) (string, bool) {
	if !validToken(token) {
		return "", false
	}
	// Not blocking: opening a FIFO would wait for its writer.
	const flags = os.O_RDONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	file, err := os.OpenFile(filepath.Join(string(dir), token), flags, 0)
	if err != nil {
		return "", false
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", false
	}
	content, err := io.ReadAll(io.LimitReader(file, maxKeyAuth+1))
	if err != nil || !validKeyAuth(token, string(content)) {
		return "", false
	}
	return string(content), true
}
