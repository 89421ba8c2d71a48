package deploy

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"acmed/internal/spec"
)

// ExecutorConfig is what an Executor works with.
type ExecutorConfig struct {
	Units Units // required
	// Copies are directories for the private copies of certificates that commands read: absolute paths, of which at least
	// one is required. The first one that is in memory is used, and created if only the last element is missing.
	Copies []string
	Log    *zap.Logger // what is done, at debug level; nil: silent
}

// Executor delivers certificates: files, check, reload and commands, in this order.
type Executor struct {
	units  Units
	copies copies
	log    *zap.Logger
	disk   ops
	grace  time.Duration
}

// NewExecutor returns an Executor that has done nothing yet.
func NewExecutor(c ExecutorConfig) (*Executor, error) {
	if c.Units == nil || len(c.Copies) == 0 || slices.ContainsFunc(c.Copies, func(dir string) bool { return !filepath.IsAbs(dir) }) {
		return nil, errors.New("creating an executor: Units and absolute paths in Copies are required")
	}
	plain := func(_, _ string, do func() error) error { return do() }
	return &Executor{
		units: c.Units, copies: copies{c.Copies, inMemory}, log: cmp.Or(c.Log, zap.NewNop()), disk: ops{plain}, grace: stopGrace,
	}, nil
}

// Sweep removes the private copies that a process which was killed has left behind.
func (e *Executor) Sweep() {
	if err := e.copies.sweep(); err != nil {
		e.log.Warn("removing old private copies failed", zap.Error(err))
	}
}

const (
	checkTimeout = time.Minute
	reloadLimit  = 2 * time.Minute
	parallel     = 8 // checks, and jobs with commands, at a time
)

// Deploy does what jobs ask for, as far as ctx lets it, and answers each. What many have in common is done once: a
// check, when all files are in place, and a reload.
func (e *Executor) Deploy(ctx context.Context, jobs []Job) []Answer {
	works := make([]*work, len(jobs))
	for i := range jobs {
		works[i] = newWork(&jobs[i])
		if ctx.Err() == nil {
			works[i].place(e.disk)
		}
	}
	e.check(ctx, works)
	for _, w := range works {
		w.settle(e.disk)
	}
	e.reload(ctx, works)
	e.run(ctx, works)
	answers := make([]Answer, len(works))
	for i, w := range works {
		answers[i] = w.answer()
		e.log.Debug("worked on", zap.String("cert", w.job.Name), zap.Int("targets", len(answers[i].Results)))
	}
	return answers
}

// work is a job on its way.
type work struct {
	job     *Job
	deploy  *spec.Deploy
	targets []spec.Target
	files   []*placement // that are on their way

	mu      sync.Mutex        // guards the following
	passed  map[string]bool   // fingerprints of what has accepted it
	results map[string]Result // by fingerprint
}

func newWork(job *Job) *work {
	w := &work{job: job, deploy: new(spec.Deploy), passed: map[string]bool{}, results: map[string]Result{}}
	for _, f := range job.Done {
		w.passed[f] = true
	}
	if job.Want != nil {
		w.deploy, w.targets = &job.Want.Deploy, job.Want.Deploy.Targets(job.Leaf)
	}
	return w
}

// due are the targets of a stage that are to be tried now: none before all of the earlier stages have passed.
func (w *work) due(stage spec.Stage) (due []spec.Target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.targets {
		switch {
		case w.passed[t.Fingerprint]:
		case t.Stage < stage:
			return nil
		case t.Stage == stage && !slices.Contains(w.job.Wait, t.Fingerprint):
			due = append(due, t)
		}
	}
	return due
}

// waits tells whether a target of a stage has not accepted the certificate and is not to be tried yet.
func (w *work) waits(stage spec.Stage) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.targets, func(t spec.Target) bool {
		return t.Stage == stage && !w.passed[t.Fingerprint] && slices.Contains(w.job.Wait, t.Fingerprint)
	})
}

// pass lets what comes after a target begin, or not.
func (w *work) pass(t spec.Target, passed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.passed[t.Fingerprint] = passed
}

// took takes note of what came of a target.
func (w *work) took(t spec.Target, took time.Duration, r Result) {
	r.Key, r.Fingerprint, r.Took = t.Key, t.Fingerprint, took
	w.pass(t, r.OK)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.results[t.Fingerprint] = r
}

// answer is what came of the job, in the order of its targets.
func (w *work) answer() Answer {
	a := Answer{Name: w.job.Name, Results: []Result{}}
	if w.job.Want == nil {
		a.Problem, a.Hint = "nothing says what to deliver", "see that its file is in certs.d"
	}
	for _, t := range w.targets {
		if r, ok := w.results[t.Fingerprint]; ok {
			a.Results = append(a.Results, r)
		}
	}
	return a
}

// failed is the result of what an error kept from working.
func failed(err error) Result {
	r := Result{Problem: oneLine(err.Error()), Hint: "mend that; acmed deploy tries again at once"}
	b, isBlocked := errors.AsType[*blocked](err)
	switch {
	case isBlocked:
		r.Hint = b.hint
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		r.Hint = "make room there"
	case errors.Is(err, syscall.EROFS):
		r.Hint = "nothing can be written there; acmed-deploy@.service keeps /usr and /boot as they are, and a drop-in can allow more"
	case errors.Is(err, fs.ErrPermission):
		r.Hint = writeHint(os.Geteuid())
	}
	return r
}

// member is a target of a work that shares something with others.
type member struct {
	w *work
	t spec.Target
}

// grouped are the due targets of a stage, those together that have the same key, in the order of the jobs.
func grouped(works []*work, stage spec.Stage, key func(*work, spec.Target) string) (groups [][]member) {
	index := map[string]int{}
	for _, w := range works {
		for _, t := range w.due(stage) {
			k := key(w, t)
			i, known := index[k]
			if !known {
				i = len(groups)
				index[k], groups = i, append(groups, nil)
			}
			groups[i] = append(groups[i], member{w, t})
		}
	}
	return groups
}

// atOnce calls f for 0 to n-1, for a few of them at a time, and waits for them all.
func atOnce(n int, f func(i int)) {
	slots := make(chan struct{}, parallel)
	var all sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			f(i)
		})
	}
	all.Wait()
}

// run runs the commands of each job one after the other, those of several jobs at once.
func (e *Executor) run(ctx context.Context, works []*work) {
	jobs := grouped(works, spec.StageRun, func(w *work, _ spec.Target) string { return w.job.Name })
	atOnce(len(jobs), func(i int) {
		for _, m := range jobs[i] {
			if ctx.Err() != nil {
				return
			}
			began := time.Now()
			r := e.runOne(ctx, m.w.job, m.w.deploy.Run[m.t.Index])
			m.w.took(m.t, time.Since(began), r)
		}
	})
}

// runOne runs a command with a private copy of the certificate, which is gone when it returns.
func (e *Executor) runOne(ctx context.Context, job *Job, r spec.Run) Result {
	c := command{argv: r.Command, timeout: r.Timeout, user: r.User, grace: e.grace}
	user, err := readerOf(r.User)
	if err != nil {
		return c.run(ctx).result() // which says so
	}
	key := r.Privkey || user == nil || user.credential.Uid == 0 || user.credential.Uid == job.Owner
	dir, remove, err := e.copies.create(job, copiedFiles(job, key), user)
	if err != nil {
		return failed(err)
	}
	defer func() {
		if err := remove(); err != nil {
			e.log.Warn("removing a private copy failed", zap.String("cert", job.Name), zap.Error(err))
		}
	}()
	c.env = variables(job, dir)
	return c.run(ctx).result()
}

// readerOf returns the user who reads a copy; nil is the user of this process.
func readerOf(name string) (*account, error) {
	if name == "" {
		return nil, nil
	}
	a, err := accountOf(name)
	if err != nil || a.credential == nil {
		return nil, err
	}
	return &a, nil
}

// variables describe to a command the certificate that it runs for. The last two are those of certbot, for existing hooks.
func variables(job *Job, dir string) []string {
	names := slices.Clone(job.Want.DNSNames)
	for _, a := range job.Want.IPAddresses {
		names = append(names, a.String())
	}
	all := strings.Join(names, " ")
	return []string{
		"ACMED_CERT=" + job.Name, "ACMED_LIVE=" + dir, "ACMED_NAMES=" + all, "ACMED_SHA256=" + job.Leaf,
		"RENEWED_LINEAGE=" + dir, "RENEWED_DOMAINS=" + all,
	}
}
