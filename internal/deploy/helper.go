package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"acmed/internal/spec"
	"acmed/internal/store"
)

const (
	// helperBudget is how long a request may be worked on. RuntimeMaxSec= of acmed-deploy@.service is longer, so that
	// the answer is written in any case.
	helperBudget = 30 * time.Minute
	// exchangeTimeout is how long a request may take to come in, and an answer to go out.
	exchangeTimeout = 10 * time.Second
)

// HelperConfig is what a Helper needs.
type HelperConfig struct {
	ConfigFile string   // acmed.yaml, absolute; required
	MemoryDir  string   // the helper's own folder, absolute; required
	Executor   executor // required
	// TrustedUID is who, besides root, may have written what the helper obeys, owns its folder, and may ask. Zero: nobody.
	TrustedUID uint32
	Budget     time.Duration // how long one request may be worked on; zero: half an hour
	Log        *zap.Logger   // nil: nothing is logged
}

// Helper does as root what the daemon asks for and root has written down: a request holds nothing but the names of
// certificates, or the proof for one name of a certificate, and what becomes of them is in files that root alone can
// write.
type Helper struct {
	file, dir string
	executor  executor
	trust     trust
	budget    time.Duration
	patience  time.Duration // for a request to come in, and an answer to go out
	log       *zap.Logger
	step      stepper
}

// NewHelper touches nothing yet.
func NewHelper(c HelperConfig) (*Helper, error) {
	if !filepath.IsAbs(c.ConfigFile) || !filepath.IsAbs(c.MemoryDir) || c.Executor == nil {
		return nil, errors.New("creating a deploy helper: the absolute paths ConfigFile and MemoryDir, and Executor, are required")
	}
	return &Helper{
		file: c.ConfigFile, dir: c.MemoryDir, executor: c.Executor, trust: trust{c.TrustedUID},
		budget: cmp.Or(c.Budget, helperBudget), patience: exchangeTimeout, log: cmp.Or(c.Log, zap.NewNop()),
		step: func(_, _ string, do func() error) error { return do() },
	}, nil
}

// Serve carries out the one request that comes over conn. Its error tells that no answer was written.
func (h *Helper) Serve(ctx context.Context, conn *net.UnixConn) error {
	text, err := h.answer(ctx, conn).encode(maxReply)
	if err == nil {
		err = conn.SetWriteDeadline(time.Now().Add(h.patience))
	}
	if err == nil {
		_, err = conn.Write(text)
	}
	if err == nil {
		err = conn.CloseWrite() // systemd keeps the socket open for as long as the service runs
	}
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return nil
}

// answer reads the request and carries it out.
func (h *Helper) answer(ctx context.Context, conn *net.UnixConn) *reply {
	s, err := h.begin()
	if err != nil {
		return h.refuse(err)
	}
	defer func() { _ = s.memory.close() }() // what was written there is synced
	if err := s.admit(conn); err != nil {
		return h.refuse(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(h.patience)); err != nil {
		return h.refuse(err)
	}
	q, err := readRequest(conn)
	if err != nil {
		return h.refuse(&Error{err, "see that daemon and helper are of one version"})
	}
	ctx, cancel := context.WithTimeout(ctx, h.budget)
	defer cancel()
	if q.Record != nil {
		return s.record(ctx, q.Verb, *q.Record)
	}
	if err := s.memory.acquire(ctx); err != nil {
		return h.refuse(&Error{err, "it is tried again"})
	}
	if q.Verb == verbAccept {
		return &reply{Answers: s.accept(q.Orders)}
	}
	return s.deploy(ctx, q.Orders)
}

// refuse answers a request as a whole.
func (h *Helper) refuse(err error) *reply {
	problem, hint := parts(err)
	h.log.Warn("request refused", zap.String("problem", problem), zap.String("hint", hint))
	return &reply{Problem: problem, Hint: hint}
}

// A session is the work on one request.
type session struct {
	*Helper
	memory *memory
	config *spec.Config
	specs  *specs
	owner  uint32 // of the state folder
}

// begin reads what root has to say before anybody is listened to.
func (h *Helper) begin() (*session, error) {
	m, err := openMemory(h.dir, h.trust, h.step)
	if err != nil {
		return nil, err
	}
	s := &session{Helper: h, memory: m}
	s.specs = &specs{trust: h.trust, memory: m, log: h.log}
	if err := s.configure(); err != nil {
		_ = m.close() // nothing was written there
		return nil, err
	}
	return s, nil
}

// configure reads acmed.yaml, and whose the state folder is.
func (s *session) configure() (err error) {
	if s.config, err = s.specs.configure(s.file); err != nil {
		return err
	}
	s.owner, err = s.trust.owner(s.config.StateDir)
	if errors.Is(err, fs.ErrNotExist) {
		s.owner, err = s.trust.uid, nil
	}
	return err
}

// admit refuses whoever is neither root nor the daemon, to whom the state folder belongs.
func (s *session) admit(conn *net.UnixConn) error {
	peer, err := peerOf(conn)
	if err != nil {
		return fmt.Errorf("finding out who asks: %w", err)
	}
	if peer != 0 && peer != s.trust.uid && peer != s.owner {
		return &Error{fmt.Errorf("uid %d may not ask", peer), fmt.Sprintf("run acmed as the owner of %s", s.config.StateDir)}
	}
	return nil
}

// peerOf returns the user at the other end, as the kernel knows it (SO_PEERCRED of unix(7)).
func peerOf(conn *net.UnixConn) (uid uint32, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var peer *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) { peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, failed); err != nil {
		return 0, err
	}
	return peer.Uid, nil
}

// accept reads the specs and keeps them.
func (s *session) accept(orders []Order) []Answer {
	answers := make([]Answer, len(orders))
	for i, o := range orders {
		answers[i].Name = o.Name
		if err := s.specs.accept(o.Name); err != nil {
			answers[i] = refusal(o.Name, err)
			s.log.Warn("spec not accepted", zap.String("cert", o.Name), zap.String("problem", answers[i].Problem), zap.String("hint", answers[i].Hint))
		}
	}
	if err := s.specs.keep(); err != nil {
		for i := range answers {
			if answers[i].Problem == "" {
				answers[i] = refusal(answers[i].Name, err)
			}
		}
	}
	return answers
}

// deploy delivers what the specs ask for.
func (s *session) deploy(ctx context.Context, orders []Order) *reply {
	state, err := store.OpenReader(s.config.StateDir)
	if err != nil {
		return s.refuse(err)
	}
	defer func() { _ = state.Close() }() // it was only read
	wanted := s.specs.read(orders)
	if err := s.specs.keep(); err != nil {
		s.log.Warn("last good specs not kept", zap.Error(err)) // the next request tries again, this one needs none
	}
	d := desk{state, s.config.StateDir, s.owner, s.executor}
	answers := d.deliver(ctx, orders, func(name string) (*spec.Certificate, error) { return wanted[name].cert, wanted[name].err })
	for i := range answers {
		s.report(&answers[i])
	}
	return &reply{Answers: answers}
}

// report logs what came of one order.
func (s *session) report(a *Answer) {
	log := s.log.With(zap.String("cert", a.Name))
	if a.Problem != "" {
		log.Warn("delivery refused", zap.String("problem", a.Problem), zap.String("hint", a.Hint))
	}
	for _, r := range a.Results {
		target, took := zap.String("target", r.Key), zap.Duration("took", r.Took)
		if r.OK {
			log.Info("delivered", target, took)
		} else {
			log.Warn("not delivered", target, took, zap.String("problem", r.Problem))
		}
	}
}
