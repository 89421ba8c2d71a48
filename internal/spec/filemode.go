package spec

import "io/fs"

// HoldsKey reports whether the file has the private key inside.
func (f *File) HoldsKey() bool { return holdsKey(f.Content) }

// FileMode returns the permission bits that the file gets: those of Mode, or else 0600 with a key inside and 0644 without.
func (f *File) FileMode() fs.FileMode {
	switch {
	case f.Mode != 0:
		return fs.FileMode(f.Mode)
	case f.HoldsKey():
		return 0o600
	}
	return 0o644
}
