package sd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
)

var (
	// ErrNoJournal is returned by ReadJournal on a machine without a journal.
	ErrNoJournal = errors.New("no journal on this machine")
	// ErrJournalDenied is returned by ReadJournal if the journal of the system may not be read.
	ErrJournalDenied = errors.New("the journal may not be read")
)

// JournalQuery selects entries.
type JournalQuery struct {
	Match  []string  // of journalctl(1), such as "ACMED_CERTIFICATE=www.example.com"
	Since  time.Time // zero: from the beginning
	After  string    // cursor of the entry before the first; "": see Since
	Follow bool      // until the context ends
}

// JournalEntry is one message that NewJournalCore wrote, with its fields in their order.
type JournalEntry struct {
	Time     time.Time
	Cursor   string
	UID      string // of the process, as the kernel reports it
	Priority int    // of syslog(3)
	Message  string // without the fields
	Fields   []JournalField
}

// JournalField is a field of an entry under its name in the log.
type JournalField struct{ Key, Value string }

// ReadJournal runs journalctl and reports each entry, oldest first. Control characters are replaced: an entry may contain
// text of a CA.
func ReadJournal(ctx context.Context, q JournalQuery, report func(JournalEntry) error) error {
	cmd := exec.CommandContext(ctx, "journalctl", q.arguments()...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.WaitDelay = time.Second
	var said bytes.Buffer
	cmd.Stderr = &limited{&said, 4096}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if errors.Is(err, exec.ErrNotFound) {
		return ErrNoJournal
	}
	if err != nil {
		return fmt.Errorf("running journalctl: %w", err)
	}
	entries := 0
	err = decodeEntries(out, func(e JournalEntry) error {
		entries++
		return report(e)
	})
	if err != nil {
		_ = cmd.Process.Kill() // it may wait for a reader
	}
	ended := cmd.Wait()
	switch text := said.String(); {
	case ctx.Err() != nil:
		return ctx.Err()
	case strings.Contains(text, "No journal files were found"):
		return ErrNoJournal
	case strings.Contains(text, "insufficient permissions"), strings.Contains(text, "not seeing messages from other users"):
		return ErrJournalDenied
	case err != nil:
		return fmt.Errorf("reading the journal: %w", err)
	case ended != nil:
		return fmt.Errorf("reading the journal: %s", strings.TrimSpace(text))
	case entries == 0 && empty():
		return ErrNoJournal
	}
	return nil
}

// empty reports whether there are no journal files: journalctl does not always say so.
func empty() bool {
	for _, pattern := range []string{"/var/log/journal/*/*.journal", "/run/log/journal/*/*.journal"} {
		if files, err := filepath.Glob(pattern); err != nil || len(files) > 0 {
			return false
		}
	}
	return true
}

func (q *JournalQuery) arguments() []string {
	args := []string{"--output=json", "--all", "--no-pager", "--no-tail"}
	if q.Follow {
		args = append(args, "--follow")
	}
	switch {
	case q.After != "":
		args = append(args, "--after-cursor="+q.After)
	case !q.Since.IsZero():
		args = append(args, "--since=@"+strconv.FormatInt(q.Since.Unix(), 10))
	}
	return append(args, q.Match...)
}

func decodeEntries(r io.Reader, report func(JournalEntry) error) error {
	for lines := json.NewDecoder(r); ; {
		raw := map[string]any{}
		err := lines.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = report(newEntry(raw))
		}
		if err != nil {
			return err
		}
	}
}

// newEntry takes the message apart that journalCore.Write has put together.
func newEntry(raw map[string]any) JournalEntry {
	microseconds, _ := strconv.ParseInt(text(raw["__REALTIME_TIMESTAMP"]), 10, 64)
	priority, err := strconv.Atoi(text(raw["PRIORITY"]))
	if err != nil {
		priority = 6
	}
	e := JournalEntry{Time: time.UnixMicro(microseconds), Cursor: text(raw["__CURSOR"]), UID: text(raw["_UID"]), Priority: priority}
	rest := text(raw["MESSAGE"])
	for at := 0; ; {
		n := strings.IndexByte(rest[at:], '=')
		if n < 0 {
			break
		}
		start := strings.LastIndexByte(rest[:at+n], ' ') + 1
		if _, is := raw[variable(rest[start:at+n])]; is && start > 0 {
			e.Message, e.Fields = printed(rest[:start-1]), fields(rest[start:])
			return e
		}
		at += n + 1
	}
	e.Message = printed(rest)
	return e
}

// fields reads key=value pairs as journalCore.Write quotes them.
func fields(s string) (out []JournalField) {
	for s != "" {
		key, rest, ok := strings.Cut(s, "=")
		if !ok {
			return append(out, JournalField{"", printed(s)})
		}
		value, behind, _ := strings.Cut(rest, " ")
		if quoted, err := strconv.QuotedPrefix(rest); err == nil {
			value, _ = strconv.Unquote(quoted)
			behind = strings.TrimPrefix(rest[len(quoted):], " ")
		}
		out = append(out, JournalField{printed(key), printed(value)})
		s = behind
	}
	return out
}

// text returns a field of journalctl's JSON: what is no UTF-8 comes as a list of bytes.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []any:
		if len(v) > 0 {
			if s, ok := v[0].(string); ok {
				return s // a field that occurs several times
			}
		}
		var b strings.Builder
		for _, n := range v {
			if f, ok := n.(float64); ok {
				b.WriteByte(byte(f))
			}
		}
		return b.String()
	}
	return ""
}

// printed replaces what a terminal would obey.
func printed(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// limited keeps the first bytes of what is written.
type limited struct {
	*bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	l.Buffer.Write(p[:n])
	return len(p), nil
}
