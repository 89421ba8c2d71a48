package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"
)

// Spec is the last good text of a file in certs.d or issuers.d.
type Spec struct {
	Key     string // "certs/NAME.yaml" or "issuers/NAME.yaml"
	Text    []byte
	ModTime time.Time // of the operator's file
}

// Known returns the keys of all last good texts, with the modification times of the operator's files.
func (r *Reader) Known() (map[string]time.Time, error) {
	known := map[string]time.Time{}
	for _, folder := range []string{"certs", "issuers"} {
		if err := r.known(folder, known); err != nil {
			return nil, fmt.Errorf("listing the last good specs: %w", r.advise(err))
		}
	}
	return known, nil
}

func (r *Reader) known(folder string, into map[string]time.Time) (err error) {
	names, err := r.listNames(path.Join("specs", folder), ".yaml")
	if err != nil {
		return err
	}
	dir, err := r.root.OpenRoot(path.Join("specs", folder))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	for _, name := range names {
		info, err := dir.Lstat(name + ".yaml")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		into[folder+"/"+name+".yaml"] = info.ModTime()
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

// Remember keeps texts as the last good ones. Each file is replaced at once or not at all, and all are durable when
// it returns, for three fsyncs however many there are: of the whole filesystem before the texts take their names,
// and of the two folders.
func (s *Store) Remember(batch []Spec) error {
	if len(batch) == 0 {
		return nil
	}
	err := s.stage(batch)
	if err == nil {
		err = s.disk.syncAll()
	}
	if err == nil {
		err = s.unstage(batch)
	}
	if err != nil {
		return fmt.Errorf("keeping the last good specs: %w", s.advise(err))
	}
	return nil
}

// stage writes the texts under temporary names.
func (s *Store) stage(batch []Spec) error {
	for _, spec := range batch {
		p, err := specPath(spec.Key)
		if err != nil {
			return err
		}
		tmp := temp(p)
		if err := s.disk.anew(tmp, func() error { return s.disk.put(tmp, secretMode, spec.Text, Lazy) }); err != nil {
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
	for _, spec := range batch {
		p, err := specPath(spec.Key)
		if err != nil {
			return err
		}
		if err := s.disk.rename(temp(p), p); err != nil {
			return err
		}
	}
	return errors.Join(s.disk.syncDir("specs/certs"), s.disk.syncDir("specs/issuers"))
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
