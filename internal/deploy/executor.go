package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"acmed/internal/spec"
)

// Units reloads systemd units.
type Units interface {
	// Reload has a unit read its files again and waits for the result. The note is what is worth knowing of a success:
	// a unit that does not run needs no reload.
	Reload(ctx context.Context, unit string) (note string, err error)
}

// ExecutorConfig is what an Executor works with.
type ExecutorConfig struct {
	Units Units       // required
	Log   *zap.Logger // what is done, at debug level; nil: silent
}

// Executor delivers certificates: files, check, reload and commands, in this order.
type Executor struct {
	units Units
	log   *zap.Logger
	disk  ops
	grace time.Duration
}

// NewExecutor returns an Executor that has done nothing yet.
func NewExecutor(c ExecutorConfig) (*Executor, error) {
	if c.Units == nil {
		return nil, errors.New("making an executor: Units is required")
	}
	plain := func(_, _ string, do func() error) error { return do() }
	return &Executor{units: c.Units, log: cmp.Or(c.Log, zap.NewNop()), disk: ops{plain}, grace: stopGrace}, nil
}

const (
	checkTimeout = time.Minute
	reloadLimit  = 2 * time.Minute
	parallel     = 8 // commands at a time
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
		answers[i] = Answer{Name: w.job.Name, Results: w.results}
		e.log.Debug("delivered", zap.String("cert", w.job.Name), zap.Int("targets", len(w.results)))
	}
	return answers
}

// work is a job on its way.
type work struct {
	job     *Job
	deploy  *spec.Deploy
	targets []spec.Target
	passed  map[string]bool // fingerprints of what has accepted it
	files   []*placement    // that are new
	results []Result
	mu      sync.Mutex // guards passed and results while commands run
}

func newWork(job *Job) *work {
	w := &work{job: job, deploy: &job.Want.Deploy, targets: job.Want.Deploy.Targets(job.Leaf), passed: map[string]bool{}}
	for _, f := range job.Done {
		w.passed[f] = true
	}
	return w
}

// due are the targets of a stage that are to be tried now: none before all of the earlier stages have passed.
func (w *work) due(stage spec.Stage) (due []spec.Target) {
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

// took takes note of what came of a target.
func (w *work) took(t spec.Target, began time.Time, r Result) {
	r.Key, r.Fingerprint, r.Took = t.Key, t.Fingerprint, time.Since(began)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.results = append(w.results, r)
	if r.OK {
		w.passed[t.Fingerprint] = true
	}
}

// failed is the result of what an error kept from working.
func failed(err error) Result {
	r := Result{Problem: err.Error()}
	if b, ok := errors.AsType[*blocked](err); ok {
		r.Hint = b.hint
	} else {
		r.Hint = "mend that; acmed deploy tries again at once"
	}
	return r
}

// checkWaits tells whether the check is not to be asked yet, and with it nothing is to be changed.
func (w *work) checkWaits() bool {
	return slices.ContainsFunc(w.targets, func(t spec.Target) bool {
		return t.Stage == spec.StageCheck && !w.passed[t.Fingerprint] && slices.Contains(w.job.Wait, t.Fingerprint)
	})
}

// place writes the files: all of them under other names first, so that a disk that is full changes nothing.
func (w *work) place(disk ops) {
	due := w.due(spec.StageFiles)
	if w.checkWaits() || len(due) == 0 {
		return
	}
	began := time.Now()
	errs := make([]error, len(due))
	var bad error
	for i, t := range due {
		p, err := plan(w.deploy.Files[t.Index], w.job)
		if err == nil {
			w.files = append(w.files, p)
			err = p.write(disk)
		}
		errs[i], bad = err, cmp.Or(bad, err)
	}
	for i := 0; bad == nil && i < len(due); i++ {
		errs[i] = w.files[i].place(disk)
		bad = errs[i]
	}
	if bad != nil {
		w.withdraw(disk)
	}
	for i, t := range due {
		switch {
		case errs[i] != nil:
			w.took(t, began, failed(errs[i]))
		case bad == nil:
			w.took(t, began, Result{OK: true})
		default: // it waits for the others
			w.took(t, began, Result{Withdrawn: true, Problem: "not written, for another file could not be"})
		}
	}
}

// withdraw brings back what the files held before.
func (w *work) withdraw(disk ops) {
	for _, p := range w.files {
		_ = p.withdraw(disk) // what cannot be brought back is replaced by the next attempt
	}
	w.files = nil
}

// settle forgets what the files held before.
func (w *work) settle(disk ops) {
	for _, p := range w.files {
		p.settle(disk)
	}
}

// check asks each distinct check once. Where it fails, the files are taken back.
func (e *Executor) check(ctx context.Context, works []*work) {
	for _, group := range grouped(works, spec.StageCheck, func(w *work, _ spec.Target) string { return strings.Join(w.deploy.Check, "\x00") }) {
		if ctx.Err() != nil {
			return
		}
		began := time.Now()
		end := command{argv: group[0].w.deploy.Check, timeout: checkTimeout, grace: e.grace}.run(ctx)
		for _, m := range group {
			if end.problem != "" {
				m.w.refuse(e.disk)
			}
			m.w.took(m.t, began, end.result())
		}
	}
}

// refuse takes the files back that a check did not want.
func (w *work) refuse(disk ops) {
	w.withdraw(disk)
	for i, r := range w.results {
		w.results[i] = Result{Key: r.Key, Fingerprint: r.Fingerprint, Withdrawn: true, Took: r.Took,
			Problem: "taken back, for the check failed"}
		delete(w.passed, r.Fingerprint)
	}
}

func (e ended) result() Result {
	return Result{OK: e.problem == "", Problem: e.problem, Hint: hintOf(e), Note: e.note, Output: outputOf(e)}
}

func hintOf(e ended) string {
	if e.problem == "" {
		return ""
	}
	return e.hint
}

// outputOf keeps what a command said only where somebody has to read it.
func outputOf(e ended) string {
	if e.problem == "" {
		return ""
	}
	return e.output
}

// reload reloads each distinct unit once.
func (e *Executor) reload(ctx context.Context, works []*work) {
	for _, group := range grouped(works, spec.StageReload, func(w *work, t spec.Target) string { return w.deploy.Reload[t.Index] }) {
		if ctx.Err() != nil {
			return
		}
		began := time.Now()
		unit := group[0].w.deploy.Reload[group[0].t.Index]
		r := e.reloadOne(ctx, unit)
		for _, m := range group {
			m.w.took(m.t, began, r)
		}
	}
}

func (e *Executor) reloadOne(ctx context.Context, unit string) Result {
	ctx, cancel := context.WithTimeout(ctx, reloadLimit)
	defer cancel()
	note, err := e.units.Reload(ctx, unit)
	if err != nil {
		return failed(err)
	}
	return Result{OK: true, Note: note}
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

// run runs the commands of each job one after the other, those of several jobs at once.
func (e *Executor) run(ctx context.Context, works []*work) {
	slots := make(chan struct{}, parallel)
	var all sync.WaitGroup
	for _, w := range works {
		due := w.due(spec.StageRun)
		if len(due) == 0 {
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			for _, t := range due {
				if ctx.Err() != nil {
					return
				}
				began := time.Now()
				r := w.deploy.Run[t.Index]
				end := command{argv: r.Command, timeout: r.Timeout, user: r.User, env: variables(w.job), grace: e.grace}.run(ctx)
				w.took(t, began, end.result())
			}
		})
	}
	all.Wait()
}

// variables tell a command what it is run for. The last two are certbot's, for the hooks that people have.
func variables(job *Job) []string {
	names := slices.Clone(job.Want.DNSNames)
	for _, a := range job.Want.IPAddresses {
		names = append(names, a.String())
	}
	all := strings.Join(names, " ")
	return []string{
		"ACMED_CERT=" + job.Name, "ACMED_LIVE=" + job.Live, "ACMED_NAMES=" + all, fmt.Sprintf("ACMED_SHA256=%s", job.Leaf),
		"RENEWED_LINEAGE=" + job.Live, "RENEWED_DOMAINS=" + all,
	}
}
