package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Spec is the last good text of a file in certs.d, dns.d or issuers.d.
type Spec struct {
	Key     string // "certs/NAME.yaml", "dns/NAME.yaml" or "issuers/NAME.yaml"
	Text    []byte
	ModTime time.Time // of the operator's file
}

// Known returns the keys of all last good texts, with the modification times of the operator's files.
func (r *Reader) Known() (map[string]time.Time, error) {
	known := map[string]time.Time{}
	for _, folder := range []string{"certs", "dns", "issuers"} {
		if err := r.known(folder, known); err != nil {
			return nil, fmt.Errorf("listing the last good specs: %w", r.advise(err))
		}
	}
	return known, nil
}

// known asks the kernel for each file by its name alone: os.Root would take three times as long.
func (r *Reader) known(folder string, into map[string]time.Time) error {
	dir, err := r.root.Open(path.Join("specs", folder))
	if errors.Is(err, fs.ErrNotExist) && folder == path.Base(dnsSpecs) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	bases, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, base := range bases {
		key := folder + "/" + base
		if _, err := specPath(key); err != nil {
			continue
		}
		var st unix.Stat_t
		err := unix.Fstatat(int(dir.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case err == nil:
			into[key] = time.Unix(st.Mtim.Unix())
		case err != unix.ENOENT:
			return &fs.PathError{Op: "fstatat", Path: path.Join("specs", key), Err: err}
		}
	}
	return nil
}

// Recall returns a last good text.
func (r *Reader) Recall(key string) ([]byte, error) {
	p, err := specPath(key)
	if err != nil {
		return nil, err
	}
	data, err := r.read(p)
	if err != nil {
		return nil, fmt.Errorf("reading the last good spec %s: %w", key, r.advise(err))
	}
	return data, nil
}

// few is up to how many files are synced each on its own: a sync of the filesystem waits for what others write, too.
const few = 16

// Remember keeps texts as the last good ones. Each file is replaced at once or not at all, and all are durable when
// it returns, for few fsyncs however many there are: of the whole filesystem before the texts take their names, and of
// each folder that has some. For a few texts it costs one each instead of the first. A key that cannot be stored does not
// affect the others.
func (s *Store) Remember(batch []Spec) error {
	batch, refused := storable(batch)
	if err := s.rememberAll(batch); err != nil {
		return errors.Join(fmt.Errorf("keeping the last good specs: %w", s.advise(err)), refused)
	}
	return refused
}

// storable returns the specs whose keys are valid, and an error about the others.
func storable(batch []Spec) (valid []Spec, refused error) {
	for _, spec := range batch {
		if _, err := specPath(spec.Key); err != nil {
			refused = errors.Join(refused, fmt.Errorf("keeping the last good spec: %w", err))
			continue
		}
		valid = append(valid, spec)
	}
	return valid, refused
}

func (s *Store) rememberAll(batch []Spec) error {
	if len(batch) == 0 {
		return nil
	}
	each := Durable
	if len(batch) > few {
		each = Lazy
	}
	err := s.stage(batch, each)
	if err == nil && each == Lazy {
		err = s.disk.syncAll()
	}
	if err == nil {
		err = s.unstage(batch)
	}
	return err
}

// stage writes the texts under temporary names.
func (s *Store) stage(batch []Spec, d Durability) error {
	for _, spec := range batch {
		p, err := specPath(spec.Key)
		if err != nil {
			return err
		}
		tmp := temp(p)
		if err := s.disk.anew(tmp, func() error { return s.disk.put(tmp, secretMode, spec.Text, d) }); err != nil {
			s.disk.discard(tmp)
			return err
		}
		if err := s.disk.chtimes(tmp, spec.ModTime); err != nil {
			return err
		}
	}
	return nil
}

// unstage gives the texts their names.
func (s *Store) unstage(batch []Spec) error {
	var folders []string
	for _, spec := range batch {
		p, err := specPath(spec.Key)
		if err != nil {
			return err
		}
		if err := s.disk.rename(temp(p), p); err != nil {
			return err
		}
		if dir := path.Dir(p); !slices.Contains(folders, dir) {
			folders = append(folders, dir)
		}
	}
	var errs []error
	for _, dir := range folders {
		errs = append(errs, s.disk.syncDir(dir))
	}
	return errors.Join(errs...)
}

// Forget removes last good texts. It is no error when there is none. A power cut may bring them back.
func (s *Store) Forget(keys []string) error {
	var errs []error
	for _, key := range keys {
		p, err := specPath(key)
		if err == nil {
			err = s.disk.remove(p)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("forgetting the last good spec %s: %w", key, s.advise(err)))
		}
	}
	return errors.Join(errs...)
}
