package deploy

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"acmed/internal/spec"
)

const (
	// saidFor is how long it is known that a record was set: longer than any CA looks at an order.
	saidFor = 7 * 24 * time.Hour
	// saidMost is of how many records of one provider that is known.
	saidMost = 4096
)

// record has a provider's program set a record or take it away.
func (s *session) record(ctx context.Context, verb string, r Record) *reply {
	log := s.log.With(zap.String("cert", r.Certificate), zap.String("provider", r.Provider), zap.String("domain", r.Domain))
	start := time.Now()
	if err := s.attend(ctx, verb, r); err != nil {
		problem, hint := parts(err)
		log.Warn("program of the DNS provider failed", zap.String("verb", verb), zap.String("problem", problem), zap.String("hint", hint))
		return &reply{Problem: problem, Hint: hint}
	}
	log.Info("program of the DNS provider called", zap.String("verb", verb), zap.Duration("took", time.Since(start)))
	return &reply{}
}

// attend calls the program when it is the record's turn, if root wants that.
func (s *session) attend(ctx context.Context, verb string, r Record) error {
	p, err := s.specs.provider(r.Provider)
	if err != nil {
		return err
	}
	if p.Exec == nil {
		return &Error{fmt.Errorf("%s names no program", p.File), "acmed reload, if the file has changed"}
	}
	turn, err := s.turn(ctx, p)
	if err != nil {
		return &Error{fmt.Errorf("waiting for %s: %w", p.Exec.Command[0], err), "it is tried again"}
	}
	defer turn.Close()
	h := hook{config: *p.Exec, record: r, user: cmp.Or(p.Exec.User, strconv.FormatUint(uint64(s.owner), 10))}
	said, set := s.memory.said(r)
	if h.names, err = s.names(p, r); err != nil && (verb == verbPresent || !set) {
		return err // what it has set may always be taken away, for the spec may be gone
	}
	s.specs.keepProvider(r.Provider)
	if verb == verbPresent {
		return s.present(ctx, h)
	}
	if _, err := h.call(ctx, verb, said); err != nil {
		return err
	}
	if err := s.memory.forget(saidAt(r)); err != nil {
		s.log.Warn("record not forgotten", zap.String("provider", r.Provider), zap.Error(err)) // it is in a week
	}
	return nil
}

// present sets the record, and remembers before that it will.
func (s *session) present(ctx context.Context, h hook) error {
	if err := s.memory.remember(map[string][]byte{saidAt(h.record): nil}); err != nil {
		return err
	}
	output, err := h.call(ctx, verbPresent, "")
	if err == nil && output != "" {
		err = s.memory.remember(map[string][]byte{saidAt(h.record): []byte(output)})
	}
	s.memory.prune(h.record.Provider)
	return err
}

// turn waits until no other helper calls the program, which takes its time at most.
func (s *session) turn(ctx context.Context, p *spec.Provider) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Exec.Timeout+2*stopGrace)
	defer cancel()
	for _, dir := range []string{memoryDNS, memorySaid} {
		if err := s.memory.disk.mkdir(dir); err != nil {
			return nil, err
		}
	}
	return s.memory.wait(ctx, memoryTurn(p.Name))
}

// names are those of the certificate, if root wants it to be proved so.
func (s *session) names(p *spec.Provider, r Record) ([]string, error) {
	found := s.specs.read([]Order{{Name: r.Certificate}})[r.Certificate]
	if found.err != nil {
		return nil, found.err
	}
	return found.cert.DNSNames, permits(found.cert, p, r)
}

// provider returns what is in force of a file of dns.d.
func (s *specs) provider(name string) (*spec.Provider, error) {
	file := filepath.Join(s.config.DNSDir, name+".yaml")
	p, err := s.presentProvider(name, file)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	text, missing := s.memory.recall(memoryProvider(name))
	if missing != nil {
		return nil, err
	}
	p, bad := spec.ParseProvider(file, text)
	if bad != nil {
		return nil, err
	}
	s.log.Warn("the last good DNS provider stays in force", zap.String("provider", name), zap.Error(err))
	return p, nil
}

// presentProvider returns what the file says, and has it kept.
func (s *specs) presentProvider(name, file string) (*spec.Provider, error) {
	text, st, err := s.trust.readFile(file)
	if err != nil {
		return nil, err
	}
	p, err := spec.ParseProvider(file, text)
	if err != nil {
		return nil, err
	}
	if known, missing := s.memory.recall(memoryProvider(name)); missing == nil && bytes.Equal(known, text) {
		return p, nil
	}
	if err := steady(file, st); err != nil {
		return nil, err
	}
	s.note(memoryProvider(name), text)
	return p, nil
}

// keepProvider makes the last good version of one provider durable, and nothing else: it is this one's turn only.
func (s *specs) keepProvider(name string) {
	text, ok := s.news[memoryProvider(name)]
	if !ok {
		return
	}
	if err := s.memory.remember(map[string][]byte{memoryProvider(name): text}); err != nil {
		s.log.Warn("last good DNS provider not kept", zap.String("provider", name), zap.Error(err)) // the next call tries again
	}
}

// saidAt is where it is kept what the program wrote when it set a record.
func saidAt(r Record) string {
	sum := sha256.Sum256([]byte(r.Name + "\x00" + r.Domain + "\x00" + r.Value))
	return path.Join(memorySaid, r.Provider+"."+hex.EncodeToString(sum[:]))
}

// said returns what the program wrote when it set a record, and whether it did.
func (m *memory) said(r Record) (output string, set bool) {
	text, err := m.recall(saidAt(r))
	return string(text), err == nil
}

// prune forgets records of a provider that were never taken away.
func (m *memory) prune(provider string) {
	all, err := fs.ReadDir(m.root.FS(), memorySaid)
	if err != nil {
		return // the next call tries again
	}
	var known []fs.FileInfo
	for _, e := range all {
		hash, ours := strings.CutPrefix(e.Name(), provider+".")
		if info, err := e.Info(); ours && len(hash) == 2*sha256.Size && err == nil {
			known = append(known, info)
		}
	}
	slices.SortFunc(known, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for i, info := range known {
		if i >= saidMost || time.Since(info.ModTime()) > saidFor {
			_ = m.disk.remove(path.Join(memorySaid, info.Name())) // the next call tries again
		}
	}
}
