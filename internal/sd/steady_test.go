package sd_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"acmed/internal/sd"
)

// troubled returns errors before it accepts one connection, and then is closed.
type troubled struct {
	errs []error
	n    int
}

func (l *troubled) Accept() (net.Conn, error) {
	if l.n++; l.n <= len(l.errs) {
		return nil, l.errs[l.n-1]
	}
	a, b := net.Pipe()
	return a, b.Close()
}

func (*troubled) Close() error   { return nil }
func (*troubled) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443} }

// TestNoTemporaryErrorEndsAListener is about all errors of accept(2).
func TestNoTemporaryErrorEndsAListener(t *testing.T) {
	for _, errno := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EPROTO, syscall.EPERM,
		syscall.ENETDOWN, syscall.EHOSTUNREACH, syscall.ETIMEDOUT,
	} {
		t.Run(errno.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.InfoLevel)
				err := &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", errno)}
				began := time.Now()
				c, failed := sd.Steady(&troubled{errs: []error{err, err, err, fmt.Errorf("once more: %w", err)}}, zap.New(core)).Accept()
				if failed != nil {
					t.Fatal(failed)
				}
				c.Close()
				if took := time.Since(began); took < 50*time.Millisecond || took > 2*time.Second {
					t.Errorf("it took %v", took)
				}
				if all := logs.All(); len(all) != 2 || all[0].Level != zap.WarnLevel || all[1].Level != zap.InfoLevel {
					t.Errorf("log: %v", all)
				}
			})
		})
	}
	for _, err := range []error{net.ErrClosed, syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK} {
		if _, got := sd.Steady(&troubled{errs: []error{err}}, nil).Accept(); !errors.Is(got, err) {
			t.Errorf("after %v: %v", err, got)
		}
	}
}

func TestAClosedListenerDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errs := make([]error, 1000)
		for i := range errs {
			errs[i] = syscall.EMFILE
		}
		l := sd.Steady(&troubled{errs: errs}, nil)
		ended := make(chan error)
		go func() { _, err := l.Accept(); ended <- err }()
		time.Sleep(time.Minute)
		if err := errors.Join(l.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}
