package challenge

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"acmed/internal/spec"
)

// callSlack is how much longer than the program itself a call of it may take.
const callSlack = 30 * time.Second

// program writes records by a program of the operator's, for one record at a time: what people have written is not
// made to run twice at once.
type program struct {
	provider *spec.Provider
	programs Programs
	turn     chan struct{} // holds a value while it runs
	wanted   atomic.Int64  // how many calls run or wait for their turn
}

// maxWanted is how many calls may wait or run before others are better off elsewhere.
const maxWanted = 2

// busy tells what another call would wait for; "": nothing, or not for long.
func (p *program) busy() string {
	if p.wanted.Load() < maxWanted {
		return ""
	}
	return "its turn with " + p.provider.Exec.Command[0] + ", which is called for one record after the other"
}

// ProgramError is why a program was not called, or how it failed.
type ProgramError struct {
	Problem string
	Hint    string // what to do; "": nothing is known
}

func (e *ProgramError) Error() string { return e.Problem }

// plain are the characters of what is passed on: nothing of a CA's or a zone's can be taken for something else.
var plain = regexp.MustCompile(`^[A-Za-z0-9_.-]*$`)

func (p *program) add(ctx context.Context, r record) error {
	return p.call(ctx, r, p.programs.Present)
}

func (p *program) remove(ctx context.Context, r record) error {
	return p.call(ctx, r, p.programs.CleanUp)
}

func (p *program) call(ctx context.Context, r record, do func(context.Context, Record) error) error {
	for _, s := range []string{r.name, r.proof.Identifier.Value, r.value, r.proof.Token, r.proof.KeyAuth} {
		if !plain.MatchString(s) {
			return &refusal{fmt.Sprintf("%q is not passed to a program", s), "see where the CNAME of " + challengeName(r.proof) + " leads"}
		}
	}
	p.wanted.Add(1)
	defer p.wanted.Add(-1)
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return &ProgramError{fmt.Sprintf("there was no time for %s: it is called for one record after the other", p.provider.Exec.Command[0]), "it is tried again"}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*p.provider.Exec.Timeout+callSlack) // a call of another daemon's may still run
	defer cancel()
	return do(ctx, Record{Certificate: r.certificate, Provider: p.provider.Name, Proof: r.proof, Name: strings.ToLower(r.name)})
}
