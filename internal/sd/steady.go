package sd

import (
	"errors"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// The pauses after a failed accept.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
)

// Steady returns a listener whose Accept goes on after each error that does not end l for good: too many open files, no memory,
// or an error of one connection. It logs the first error of several, and when the errors are over. log may be nil.
func Steady(l net.Listener, log *zap.Logger) net.Listener {
	if log == nil {
		log = zap.NewNop()
	}
	return &steady{Listener: l, log: log, closed: make(chan struct{})}
}

type steady struct {
	net.Listener
	log    *zap.Logger
	once   sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (s *steady) Accept() (net.Conn, error) {
	for pause := time.Duration(0); ; {
		c, err := s.Listener.Accept()
		if err == nil {
			if pause > 0 {
				s.log.Info("connections are accepted again", zap.Stringer("address", s.Addr()))
			}
			return c, nil
		}
		if final(err) {
			return nil, err
		}
		if pause == 0 {
			s.log.Warn("connections are not accepted", zap.Stringer("address", s.Addr()), zap.Error(err))
		}
		pause = min(max(2*pause, firstPause), lastPause)
		select {
		case <-s.closed:
			return nil, net.ErrClosed
		case <-time.After(pause):
		}
	}
}

// Close implements net.Listener.
func (s *steady) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Listener.Close()
}

// final reports whether a listener that returned err will never accept again: it is closed, or no listener at all.
func final(err error) bool {
	for _, e := range []error{net.ErrClosed, unix.EBADF, unix.EINVAL, unix.ENOTSOCK, unix.EOPNOTSUPP} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
