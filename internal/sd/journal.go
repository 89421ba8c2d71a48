package sd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap/zapcore"
)

// StderrIsJournal tells whether what we write to standard error goes to the journal, so that writing there
// natively says the same and more.
func StderrIsJournal() bool {
	is, err := journal.StderrIsJournalStream()
	return is && err == nil
}

// NewJournalCore returns a core that writes to journald in its own protocol: each zap field as ACMED_FIELD, and all
// of them behind the message as well, since journalctl shows nothing else by default. A message that ids has gets its
// MESSAGE_ID: 32 hexadecimal digits that name one kind of event. It fails where there is no journald.
func NewJournalCore(level zapcore.LevelEnabler, ids map[string]string) (zapcore.Core, error) {
	if !journal.Enabled() {
		return nil, errors.New("opening the journal: journald does not listen; use another log format")
	}
	return &journalCore{LevelEnabler: level, ids: ids, send: journal.Send}, nil
}

// NewStreamCore returns a core that writes the same messages to w, one a line, each behind its priority as in
// sd-daemon(3). It is for processes that end right after they have said something: by the time that journald looks for
// the unit of a native message, there may be no process any more, but it knows whose standard error it reads.
func NewStreamCore(level zapcore.LevelEnabler, w io.Writer) zapcore.Core {
	return &journalCore{LevelEnabler: level, send: func(message string, p journal.Priority, _ map[string]string) error {
		_, err := fmt.Fprintf(w, "<%d>%s\n", p, message)
		return err
	}}
}

type journalCore struct {
	zapcore.LevelEnabler
	ids    map[string]string // by message
	send   func(message string, priority journal.Priority, fields map[string]string) error
	fields []zapcore.Field // of every entry
}

// With is part of zapcore.Core.
func (c *journalCore) With(fields []zapcore.Field) zapcore.Core {
	clone := *c
	clone.fields = slices.Concat(c.fields, fields)
	return &clone
}

// Check is part of zapcore.Core.
func (c *journalCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write is part of zapcore.Core.
func (c *journalCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	var message strings.Builder
	message.WriteString(entry.Message)
	vars := map[string]string{"SYSLOG_IDENTIFIER": "acmed"}
	if id := c.ids[entry.Message]; id != "" {
		vars["MESSAGE_ID"] = id
	}
	for _, field := range slices.Concat(c.fields, fields) {
		values := zapcore.NewMapObjectEncoder()
		field.AddTo(values)
		for _, key := range slices.Sorted(maps.Keys(values.Fields)) {
			text := render(values.Fields[key])
			vars[variable(key)] = text
			fmt.Fprintf(&message, " %s=%s", key, quote(text))
		}
	}
	if entry.LoggerName != "" {
		vars[variable("logger")] = entry.LoggerName
	}
	if entry.Stack != "" {
		vars[variable("stack")] = entry.Stack
	}
	if err := c.send(message.String(), priority(entry.Level), vars); err != nil {
		return fmt.Errorf("writing to the journal: %w", err)
	}
	return nil
}

// Sync is part of zapcore.Core. Every entry is sent at once.
func (c *journalCore) Sync() error { return nil }

// priority is the level in the words of syslog(3).
func priority(level zapcore.Level) journal.Priority {
	switch {
	case level >= zapcore.DPanicLevel:
		return journal.PriCrit
	case level == zapcore.ErrorLevel:
		return journal.PriErr
	case level == zapcore.WarnLevel:
		return journal.PriWarning
	case level == zapcore.InfoLevel:
		return journal.PriInfo
	default:
		return journal.PriDebug
	}
}

// variable makes a name that journald accepts: capitals, digits and underscores, 64 bytes at most.
func variable(key string) string {
	if key == "cert" {
		return "ACMED_CERTIFICATE" // what people look for
	}
	name := "ACMED_" + strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		default:
			return '_'
		}
	}, key)
	return name[:min(len(name), 64)]
}

func render(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case time.Time:
		return v.Format(time.RFC3339)
	case fmt.Stringer:
		return v.String()
	}
	if text, err := json.Marshal(value); err == nil {
		return string(text)
	}
	return fmt.Sprint(value)
}

// quote keeps one entry on one line and one field one word.
func quote(s string) string {
	special := func(r rune) bool { return r == ' ' || r == '"' || r == '=' || !unicode.IsPrint(r) }
	if s == "" || strings.ContainsFunc(s, special) {
		return strconv.Quote(s)
	}
	return s
}
