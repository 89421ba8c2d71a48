package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

const (
	soon      = 2 * time.Second  // a shorter wait needs no word
	redrawn   = time.Second      // on a terminal, where a line replaces itself
	repeated  = 10 * time.Second // in a log, where each line stays
	clearLine = "\r\x1b[K"
)

// progress shows during a wait what it is for, and that it goes on.
type progress struct {
	out      io.Writer
	terminal bool
}

func newProgress(out *os.File) progress {
	info, err := out.Stat()
	return progress{out, err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"}
}

// while does something that may take long. what is asked each time for what it waits for.
func (p progress) while(what func() string, do func() error) error {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		p.show(what, stop)
	}()
	defer func() {
		close(stop)
		<-ended
	}()
	return do()
}

func (p progress) show(what func() string, stop <-chan struct{}) {
	began, shown := time.Now(), false
	next := time.NewTimer(soon)
	defer next.Stop()
	for {
		select {
		case <-stop:
			if shown && p.terminal {
				fmt.Fprint(p.out, clearLine)
			}
			return
		case <-next.C:
		}
		shown = true
		line := fmt.Sprintf("    … %d s: %s", int(time.Since(began)/time.Second), what())
		if p.terminal {
			fmt.Fprint(p.out, clearLine+line)
			next.Reset(redrawn)
		} else {
			fmt.Fprintln(p.out, line)
			next.Reset(repeated)
		}
	}
}
