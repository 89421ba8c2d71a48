package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"acmed/internal/deploy"
)

var errPulled = errors.New("the plug was pulled")

// mishaps are all that is tried at each change of the helper's own folder.
func mishaps() map[string]mishap {
	return map[string]mishap{
		"killed before":          {err: errPulled, lasting: true},
		"killed after":           {err: errPulled, lasting: true, applied: true},
		"no space, not applied":  {err: syscall.ENOSPC},
		"I/O error, applied":     {err: syscall.EIO, applied: true},
		"read-only from then on": {err: syscall.EROFS, lasting: true},
	}
}

// mishap is what goes wrong at one operation.
type mishap struct {
	err     error
	applied bool // although it is reported as failed
	lasting bool // and nothing works from then on

	at, count int
	trace     []string
}

func (m *mishap) step(op, path string, do func() error) error {
	m.count++
	m.trace = append(m.trace, op+" "+path)
	if m.at == 0 || m.count < m.at || m.count > m.at && !m.lasting {
		return do()
	}
	if m.count == m.at && m.applied {
		if err := do(); err != nil {
			return err
		}
	}
	return &fs.PathError{Op: op, Path: path, Err: m.err}
}

// TestMishapsInTheHelpersFolder lets every change of it fail in every way while a new spec is accepted. A last good
// version is the old or the new one, whole, and the next request finds nothing in its way.
func TestMishapsInTheHelpersFolder(t *testing.T) {
	const next = "deploy: {run: [{command: [/bin/new]}]}\n"
	for sentence, kind := range mishaps() {
		for at := 1; ; at++ {
			r := newRealm(t)
			r.delivers(site)
			r.spec(site, next)
			r.spec("new.example.com", "")
			m := kind
			m.at = at
			r.step = m.step
			err := r.client().Accept(t.Context(), []string{site, "new.example.com"})
			if m.count < at {
				if err != nil || at < 10 {
					t.Errorf("%s: %d operations, %v", sentence, m.count, err)
				}
				break
			}
			if err == nil {
				t.Errorf("%s at %s: nobody was told", sentence, m.trace[at-1])
			}
			if got := r.kept(site); got != siteSpec && got != next {
				t.Errorf("%s at %s: kept %q", sentence, m.trace[at-1], got)
			}
			r.step = nil
			if err := r.client().Accept(t.Context(), []string{site, "new.example.com"}); err != nil || r.kept(site) != next {
				t.Errorf("%s at %s: afterwards %v, kept %q", sentence, m.trace[at-1], err, r.kept(site))
			}
			if left, _ := filepath.Glob(r.path("memory/specs/.*.tmp")); len(left) > 0 {
				t.Errorf("%s at %s: left %q", sentence, m.trace[at-1], left)
			}
		}
	}
}

// TestMishapsDoNotStopADelivery: the last good version is for later.
func TestMishapsDoNotStopADelivery(t *testing.T) {
	for sentence, kind := range mishaps() {
		r := newRealm(t)
		r.delivers(site)
		r.spec(site, "deploy: {run: [{command: [/bin/new]}]}\n")
		m := kind
		m.at, m.lasting = 1, true
		r.step = m.step
		if a := r.deploy(site); len(a.Results) != 1 || a.Results[0].Key != "run /bin/new" {
			t.Errorf("%s: %+v", sentence, a)
		}
		if r.logs.FilterMessage("last good specs not kept").Len() != 1 {
			t.Errorf("%s: nobody was told", sentence)
		}
	}
}

// TestKeepingASpec lists every change of the disk.
func TestKeepingASpec(t *testing.T) {
	r := newRealm(t)
	m := &mishap{}
	r.step = m.step
	r.delivers(site)
	want := []string{
		"mkdir specs", "create lock", "create .acmed.yaml.tmp", "write .acmed.yaml.tmp", "sync .acmed.yaml.tmp", "rename acmed.yaml",
		"create specs/.www.example.com.yaml.tmp", "write specs/.www.example.com.yaml.tmp", "sync specs/.www.example.com.yaml.tmp",
		"rename specs/www.example.com.yaml", "sync .", "sync specs",
	}
	if fmt.Sprint(m.trace) != fmt.Sprint(want) {
		t.Errorf("%q", m.trace)
	}
	m.trace = nil
	r.delivers(site)
	if len(m.trace) > 0 {
		t.Errorf("nothing is new, and %q", m.trace)
	}
}

// TestRequestsWaitForEachOther: one at a time changes anything.
func TestRequestsWaitForEachOther(t *testing.T) {
	r := newRealm(t)
	var mu sync.Mutex
	working := 0
	r.hands.do = func(context.Context, []deploy.Job) []deploy.Answer { return nil }
	r.config.Executor = lone{func() {
		mu.Lock()
		working++
		if working > 1 {
			t.Error("two at once")
		}
		mu.Unlock()
		<-time.After(20 * time.Millisecond)
		mu.Lock()
		working--
		mu.Unlock()
	}}
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() { r.deploy(site) })
	}
	asking.Wait()
}

// lone is an executor that does one thing.
type lone struct{ do func() }

func (l lone) Deploy(context.Context, []deploy.Job) []deploy.Answer {
	l.do()
	return nil
}

func TestARequestWaitsForTheLockOnlySoLong(t *testing.T) {
	r := newRealm(t)
	r.delivers(site)
	f, err := os.Open(r.path("memory/lock"))
	r.no(err)
	defer f.Close()
	r.no(syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	r.config.Budget = 10 * time.Millisecond
	answer := r.ask(`{"verb":"deploy","orders":[{"name":"` + site + `"}]}`)
	if !strings.Contains(answer, "another request is still being carried out") {
		t.Errorf("%s", answer)
	}
}
