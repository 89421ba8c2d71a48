package deploy

import (
	"cmp"
	"slices"
	"time"

	"acmed/internal/spec"
	"acmed/internal/store"
)

// The files of a job are accepted together or not at all, for a key is of no use with the certificate of another one.
//
// What they held before is kept beside them from before the first of them is replaced until the last one is settled.
// It counts for as long as that of the first file is there: it is kept first, and settled first, which is the instant
// from which the new files are the ones to stay, and brought back last.

// place writes the files of a job: all of them under other names first, so that a disk that is full changes nothing.
func (w *work) place(disk ops) {
	due := w.due(spec.StageFiles)
	if len(due) == 0 || w.waits(spec.StageFiles) || w.waits(spec.StageCheck) {
		return
	}
	for _, t := range due {
		w.files = append(w.files, &placement{target: t, began: time.Now()})
	}
	notWritten := Result{Withdrawn: true, Problem: "not written, for another file could not be", Hint: "see what is wrong with the other one"}
	switch {
	case !w.prepare(disk):
		w.end(notWritten)
	case !w.write(disk):
		w.withdraw(disk, notWritten)
	default:
		for _, p := range w.files {
			w.pass(p.target, true)
		}
	}
}

// prepare finds out what is to be written, and ends what an interrupted attempt had begun to settle. It changes none of
// the files.
func (w *work) prepare(disk ops) bool {
	sound := true
	for _, p := range w.files {
		p.err = p.prepare(w.deploy.Files[p.target.Index], w.job)
		sound = sound && p.err == nil
	}
	w.date()
	if !sound || w.files[0].kept {
		return sound
	}
	return w.each(func(p *placement) error { return p.settle(disk) })
}

// date gives all files one time, which is newer than those of the files that they replace: see store.Newer.
func (w *work) date() {
	var newest time.Time
	for _, p := range w.files {
		if p.from.time.After(newest) {
			newest = p.from.time
		}
	}
	at := store.Newer(time.Now().Add(store.Settling), newest)
	for _, p := range w.files {
		p.time = at
	}
}

// write gives all files their content, or tells that it could not.
func (w *work) write(disk ops) bool {
	keep := (len(w.files) > 1 || len(w.deploy.Check) > 0) && slices.ContainsFunc(w.files, func(p *placement) bool { return p.changes })
	return w.each(func(p *placement) error { return p.write(disk) }) &&
		(!keep || w.each(func(p *placement) error { return p.keep(disk, p == w.files[0]) })) &&
		w.each(func(p *placement) error { return p.place(disk) })
}

// each does something with every file, up to the first with which it does not work.
func (w *work) each(do func(*placement) error) bool {
	for _, p := range w.files {
		if p.err = do(p); p.err != nil {
			return false
		}
	}
	return true
}

// withdraw brings back what the files held before this attempt, or before one that was interrupted, and ends with r.
func (w *work) withdraw(disk ops, r Result) {
	for i, p := range slices.Backward(w.files) {
		if err := p.withdraw(disk); err != nil {
			p.err = cmp.Or(p.err, err)
			for _, p := range w.files[:i] {
				p.err = cmp.Or[error](p.err, &blocked{"not brought back, for another file could not be", "see what is wrong with the other one"})
			}
			break
		}
	}
	w.end(r)
}

// end says of each file what is wrong with it, or else r, of which a zero one says nothing.
func (w *work) end(r Result) {
	for _, p := range w.files {
		w.pass(p.target, false)
		switch took := time.Since(p.began); {
		case p.err != nil:
			w.took(p.target, took, failed(p.err))
		case r.OK || r.Problem != "":
			r := r
			if r.OK {
				r.Note = p.note
			}
			w.took(p.target, took, r)
		}
	}
	w.files = nil
}

// settle accepts the files: what they held before is forgotten, so that nothing can bring it back.
func (w *work) settle(disk ops) {
	for i, p := range w.files {
		p.err = p.settle(disk)
		if p.err != nil && i == 0 {
			for _, p := range w.files[1:] {
				p.err = &blocked{"not settled, for another file could not be", "see what is wrong with the other one"}
			}
			w.end(Result{})
			return
		}
	}
	w.end(Result{OK: true})
}
