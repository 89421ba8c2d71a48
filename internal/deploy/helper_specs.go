package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"acmed/internal/spec"
)

// standing is how long a file must have stood still before it is believed: nobody is still writing it then.
const standing = 500 * time.Millisecond

// specs reads what root has written, and falls back on the last good version of what is bad now.
type specs struct {
	trust  trust
	memory *memory
	log    *zap.Logger

	config *spec.Config
	news   map[string][]byte // what is to be kept, by its path in memory
	others *bool             // whether the folder holds specs at all; nil: nobody has looked yet
}

// errGone tells that root has taken a spec away.
var errGone = errors.New("its file is gone")

// found is what there is of one spec.
type found struct {
	cert *spec.Certificate
	err  error
}

// read returns what is in force for each order.
func (s *specs) read(orders []Order) map[string]found {
	all := make(map[string]found, len(orders))
	for _, o := range orders {
		cert, err := s.find(o.Name)
		if cert != nil && err != nil {
			s.log.Warn("the last good spec stays in force", zap.String("cert", o.Name), zap.Error(err))
			err = nil
		}
		all[o.Name] = found{cert, err}
	}
	return all
}

// accept reads one spec to keep it. That root has taken it away is no error, nor that there are none at all just now.
func (s *specs) accept(name string) error {
	cert, err := s.find(name)
	if errors.Is(err, errGone) || cert != nil && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// find returns what is in force for a certificate, and what is wrong with its file. Without an error it is what the
// file says; with one it is the last good version, or nil.
func (s *specs) find(name string) (*spec.Certificate, error) {
	file := filepath.Join(s.config.SpecDir, name+".yaml")
	cert, err := s.present(name, file)
	if err == nil {
		return cert, nil
	}
	if errors.Is(err, fs.ErrNotExist) && s.gone(name) {
		s.forget(name)
		return nil, &Error{fmt.Errorf("%s: %w", file, errGone), "write it again, or see that acmed knows: acmed reload"}
	}
	text, missing := s.memory.recall(memorySpec(name))
	if missing != nil {
		return nil, err
	}
	if cert, bad := spec.ParseRemembered(s.config, file, text); bad == nil {
		return cert, err
	}
	return nil, err
}

// forget forgets the last good version of a spec. Who does not hold the lock leaves that to others.
func (s *specs) forget(name string) {
	if s.memory.lock == nil {
		return
	}
	if err := s.memory.forget(memorySpec(name)); err != nil {
		s.log.Warn("last good spec not forgotten", zap.String("cert", name), zap.Error(err))
	}
}

// present returns what the file says, and has it kept.
func (s *specs) present(name, file string) (*spec.Certificate, error) {
	text, st, err := s.trust.readFile(file)
	if err != nil {
		return nil, err
	}
	cert, err := spec.ParseCertificate(s.config, file, text, s.beside)
	if err != nil {
		return nil, err
	}
	kept := spec.Remember(text, cert)
	known, err := s.memory.recall(memorySpec(name))
	if err == nil && bytes.Equal(known, kept) {
		return cert, nil
	}
	if err == nil && spec.Blank(text) && !spec.Blank(known) {
		return nil, &Error{fmt.Errorf("%s: became empty", file), "write {} for a certificate with all defaults"}
	}
	if err := steady(file, st); err != nil {
		return nil, err
	}
	s.note(memorySpec(name), kept)
	return cert, nil
}

// beside reads a file that a spec names and that is a part of it: it is believed no more than the spec.
func (s *specs) beside(path string) ([]byte, error) {
	text, _, err := s.trust.readFile(path)
	if b, ok := errors.AsType[*blocked](err); ok {
		err = errors.New(b.problem + ": " + b.hint)
	}
	return text, err
}

// steady refuses a new text that somebody may still be writing: half of it can be good, and mean something else.
func steady(file string, st unix.Stat_t) error {
	if age := time.Since(time.Unix(st.Mtim.Unix())); age >= 0 && age < standing {
		return &Error{fmt.Errorf("%s: is just being written", file), "it is tried again"}
	}
	return nil
}

// gone tells whether root has taken this one spec away. When the folder is missing or holds no spec at all, a file
// system is not mounted, or somebody has removed too much: nothing that was in force is forgotten then.
func (s *specs) gone(name string) bool {
	dir, err := s.trust.openDir(s.config.SpecDir)
	if err != nil {
		return false
	}
	defer dir.Close()
	var st unix.Stat_t
	if unix.Fstatat(int(dir.Fd()), name+".yaml", &st, unix.AT_SYMLINK_NOFOLLOW) != unix.ENOENT {
		return false // a link that leads nowhere
	}
	if s.others == nil {
		others := holdsSpecs(dir)
		s.others = &others
	}
	return *s.others
}

func holdsSpecs(dir *os.File) bool {
	for {
		bases, err := dir.Readdirnames(100)
		for _, base := range bases {
			if name, ours := strings.CutSuffix(base, ".yaml"); ours && spec.ValidName(name) {
				return true
			}
		}
		if err != nil {
			return false
		}
	}
}

// configure reads acmed.yaml, or falls back on its last good version.
func (s *specs) configure(file string) (*spec.Config, error) {
	known, missing := s.memory.recall(memoryConfig)
	text, st, err := s.trust.readFile(file)
	if err == nil && (missing != nil || !bytes.Equal(known, text)) {
		err = steady(file, st)
		s.note(memoryConfig, text)
	}
	if err == nil {
		s.config, err = spec.ParseConfig(file, text)
	}
	if err == nil || missing != nil {
		return s.config, err
	}
	delete(s.news, memoryConfig)
	var bad error
	if s.config, bad = spec.ParseConfig(file, known); bad != nil {
		return nil, err
	}
	s.log.Warn("the last good configuration stays in force", zap.Error(err))
	return s.config, nil
}

func (s *specs) note(p string, text []byte) {
	if s.news == nil {
		s.news = map[string][]byte{}
	}
	s.news[p] = text
}

// keep makes the last good versions durable.
func (s *specs) keep() error {
	if len(s.news) == 0 {
		return nil
	}
	return s.memory.remember(s.news)
}
