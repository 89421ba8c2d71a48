package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/control"
	"acmed/internal/daemon"
	"acmed/internal/sd"
)

// listing is what `acmed logs` is asked for.
type listing struct {
	name   string
	since  time.Time // zero: from the beginning
	follow bool
}

func (a *app) logsCommand() *cobra.Command {
	since := &past{}
	var follow bool
	cmd := &cobra.Command{
		Use:        "logs NAME",
		Short:      "Show the history of a certificate",
		SuggestFor: []string{"history", "journal", "events"},
		Long: `Show the history of a certificate, oldest first: the entries of the journal, and the events of its record that the journal
does not have, such as revisions whose entries were rotated away. Where there is no journal, or where you may not read
it, only the record is shown, and a message says so.

With --follow, new entries are shown until Ctrl-C. With --output json, each entry is one line.`,
		Example: `  acmed logs www.example.com --since 7d
  acmed logs www.example.com --follow`,
		Args:              oneArg("missing certificate name"),
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.logs(cmd.Context(), listing{args[0], since.from, follow})
		},
	}
	cmd.Flags().Var(since, "since", "show entries from `TIME` on, such as 2026-12-24T12:00, or of the last 7d")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "show new entries as they appear, until Ctrl-C")
	return cmd
}

// past is a flag that takes a time or a duration before now.
type past struct {
	deadline
	from time.Time
}

func (p *past) Set(s string) error {
	if err := p.deadline.Set(s); err != nil {
		return errors.New("expected a time such as 2026-12-24T12:00, or a duration such as 36h or 7d")
	}
	p.from = p.at
	if p.in != 0 {
		p.from = time.Now().Add(-p.in)
	}
	return nil
}

func (a *app) logs(ctx context.Context, l listing) error {
	j := &journal{app: a, listing: l, trusted: a.trusted()}
	fromJournal, noJournal := j.read(ctx)
	fromRecord, noRecord := a.record(ctx, l.name)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if noRecord != nil && len(fromJournal) == 0 {
		a.sayNoJournal("", noJournal)
		return noRecord
	}
	a.sayNoJournal("only the record is shown: ", noJournal)
	if noJournal == nil && len(fromJournal) == 0 && l.since.IsZero() {
		a.say("only the record is shown: the journal has no entries about %s", l.name)
	}
	if noRecord != nil {
		a.say("only the journal is shown: %v", noRecord)
	}
	all := l.merge(fromJournal, fromRecord)
	for _, e := range all {
		if err := a.logEntry(e); err != nil {
			return err
		}
	}
	if l.follow {
		// acmed may log elsewhere than to the journal of this machine.
		return j.follow(ctx, noJournal == nil && (len(fromJournal) > 0 || len(fromRecord) == 0 || !l.since.IsZero()), all)
	}
	if len(all) == 0 {
		a.say("no entries")
	}
	return nil
}

// sayNoJournal says why the journal is not shown, after what that means.
func (a *app) sayNoJournal(means string, err error) {
	switch {
	case err == nil:
	case errors.Is(err, sd.ErrNoJournal):
		a.say("%sthere is no journal on this machine", means)
		a.say("the log of acmed is on its standard error, such as in the log of its container")
	case errors.Is(err, sd.ErrJournalDenied):
		a.say("%syou may not read the journal", means)
		a.say("what to do: run the command with sudo, or join the group systemd-journal")
	default:
		a.say("%s%v", means, err)
	}
}

// record returns what the record of a certificate shows: as the daemon says, or as its files do if no daemon responds.
func (a *app) record(ctx context.Context, name string) ([]control.LogEntry, error) {
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	entries, err := client.History(ctx, name)
	if e, ok := errors.AsType[*control.Error](err); !ok || e.Code != control.Unavailable {
		return entries, err
	}
	config, cerr := a.configuration()
	if cerr != nil {
		return nil, err
	}
	entries, herr := daemon.History(config, name)
	unknown, _ := errors.AsType[*control.Error](herr)
	_, serr := os.Stat(filepath.Join(config.SpecDir, name+".yaml"))
	if errors.Is(herr, os.ErrPermission) || unknown != nil && serr == nil {
		return nil, err // the daemon would have shown it, or is still to read the spec
	}
	return entries, herr
}

// merge returns the entries of both in the order of time. An event of the record is left out if the journal has an entry of
// its level within two seconds: that is the same event.
func (l listing) merge(journal, record []control.LogEntry) []control.LogEntry {
	const same = 2 * time.Second
	all := slices.Clone(journal)
	for _, e := range record {
		twice := slices.ContainsFunc(journal, func(j control.LogEntry) bool {
			return j.Level == e.Level && j.Time.Sub(e.Time).Abs() <= same
		})
		if !twice && !e.Time.Before(l.since) {
			all = append(all, e)
		}
	}
	slices.SortStableFunc(all, func(a, b control.LogEntry) int { return a.Time.Compare(b.Time) })
	return all
}

// logEntry shows one entry.
func (a *app) logEntry(e control.LogEntry) error {
	for i := range e.Fields {
		e.Fields[i].Value = printable(e.Fields[i].Value)
	}
	e.Message = printable(e.Message)
	if a.output == "json" {
		return a.json(e, "")
	}
	return a.print(logText(e, terminalOf(a.stdout).width))
}

// journal reads entries about one certificate.
type journal struct {
	*app
	listing
	trusted []string // users whose processes may write about it
	cursor  string
}

// trusted returns the users that acmed runs as: every user may write to the journal.
func (a *app) trusted() []string {
	users := []string{"0", strconv.Itoa(os.Geteuid())}
	if u, err := user.Lookup("acmed"); err == nil {
		users = append(users, u.Uid)
	}
	if config, err := a.configuration(); err == nil {
		if info, err := os.Stat(config.StateDir); err == nil {
			users = append(users, fmt.Sprint(info.Sys().(*syscall.Stat_t).Uid))
		}
	}
	return users
}

func (j *journal) query() sd.JournalQuery {
	return sd.JournalQuery{Match: []string{"ACMED_CERTIFICATE=" + j.name}, Since: j.since, After: j.cursor}
}

// read returns the entries that there are.
func (j *journal) read(ctx context.Context) (entries []control.LogEntry, err error) {
	err = sd.ReadJournal(ctx, j.query(), func(e sd.JournalEntry) error {
		j.cursor = e.Cursor
		if slices.Contains(j.trusted, e.UID) {
			entries = append(entries, fromJournal(e))
		}
		return nil
	})
	return entries, err
}

// follow shows new entries: of the journal, or of the record where the journal has none.
func (j *journal) follow(ctx context.Context, inJournal bool, seen []control.LogEntry) error {
	var err error
	if !inJournal {
		err = j.poll(ctx, seen)
	} else {
		q := j.query()
		if q.Follow = true; q.After == "" {
			q.Since = time.Now()
		}
		err = sd.ReadJournal(ctx, q, func(e sd.JournalEntry) error {
			if !slices.Contains(j.trusted, e.UID) {
				return nil
			}
			return j.logEntry(fromJournal(e))
		})
	}
	if errors.Is(err, context.Canceled) {
		return nil // Ctrl-C is how it ends
	}
	return err
}

const recordEvery = time.Second // while somebody follows a record

// poll shows what appears in the record.
func (j *journal) poll(ctx context.Context, seen []control.LogEntry) error {
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	last := j.since
	for _, e := range seen {
		last = e.Time
	}
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		entries, err := j.record(ctx, j.name)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Time.After(last) {
				last = e.Time
				if err := j.logEntry(e); err != nil {
					return err
				}
			}
		}
	}
}

func fromJournal(e sd.JournalEntry) control.LogEntry {
	level := "info"
	switch {
	case e.Priority < 4:
		level = "error"
	case e.Priority == 4:
		level = "warn"
	case e.Priority > 6:
		level = "debug"
	}
	out := control.LogEntry{Time: e.Time.UTC(), Source: "journal", Level: level, Message: e.Message}
	for _, f := range e.Fields {
		if f.Key != "cert" {
			out.Fields = append(out.Fields, control.LogField{Key: f.Key, Value: f.Value})
		}
	}
	return out
}
