package sd_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"acmed/internal/sd"
)

// entry is what journald is sent.
type entry struct {
	message  string
	priority journal.Priority
	fields   map[string]string
}

// capture returns a logger into the journal and the entries that arrive there.
func capture(t *testing.T, level zapcore.Level) (*zap.Logger, *[]entry) {
	t.Helper()
	var entries []entry
	core := sd.NewTestCore(level, map[string]string{"visit failed": "0123456789abcdef0123456789abcdef"}, func(message string, priority journal.Priority, fields map[string]string) error {
		entries = append(entries, entry{message, priority, fields})
		return nil
	})
	return zap.New(core), &entries
}

func TestStreamLines(t *testing.T) {
	var out strings.Builder
	log := zap.New(sd.NewStreamCore(zap.InfoLevel, &out)).With(zap.String("cert", "www.example.com"))
	log.Debug("not told")
	log.Info("delivered", zap.String("target", "reload nginx.service"))
	log.Warn("not delivered", zap.String("problem", "two\nlines"))
	want := "<6>delivered cert=www.example.com target=\"reload nginx.service\"\n" +
		"<4>not delivered cert=www.example.com problem=\"two\\nlines\"\n"
	if out.String() != want {
		t.Errorf("%s", out.String())
	}
}

func TestJournalEntry(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	log, entries := capture(t, zap.InfoLevel)
	log.Named("reconcile").With(zap.String("cert", "www.example.com")).Warn("visit failed",
		zap.NamedError("err", errors.New("the CA says:\n\"no\"")),
		zap.Int("attempt", 3),
		zap.Duration("took", 1500*time.Millisecond),
		zap.Time("next", time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)),
		zap.Strings("domain", []string{"a", "b"}),
		zap.Float64("x-y", math.NaN()),
		zap.String("reason", ""),
	)
	if len(*entries) != 1 {
		t.Fatalf("got %d entries, want 1", len(*entries))
	}
	got := (*entries)[0]
	wantMessage := `visit failed cert=www.example.com err="the CA says:\n\"no\"" attempt=3 took=1.5s ` +
		`next=2026-01-02T03:04:05Z domain="[\"a\",\"b\"]" x-y=NaN reason=""`
	if got.message != wantMessage {
		t.Errorf("message\n%s\nwant\n%s", got.message, wantMessage)
	}
	if got.priority != journal.PriWarning {
		t.Errorf("priority %d", got.priority)
	}
	wantFields := map[string]string{
		"SYSLOG_IDENTIFIER": "acmed",
		"MESSAGE_ID":        id,
		"ACMED_LOGGER":      "reconcile",
		"ACMED_CERTIFICATE": "www.example.com",
		"ACMED_ERR":         "the CA says:\n\"no\"",
		"ACMED_ATTEMPT":     "3",
		"ACMED_TOOK":        "1.5s",
		"ACMED_NEXT":        "2026-01-02T03:04:05Z",
		"ACMED_DOMAIN":      `["a","b"]`,
		"ACMED_X_Y":         "NaN",
		"ACMED_REASON":      "",
	}
	if !maps.Equal(got.fields, wantFields) {
		t.Errorf("fields\n%v\nwant\n%v", got.fields, wantFields)
	}
}

func TestJournalPriorities(t *testing.T) {
	for level, want := range map[zapcore.Level]journal.Priority{
		zap.DebugLevel:  journal.PriDebug,
		zap.InfoLevel:   journal.PriInfo,
		zap.WarnLevel:   journal.PriWarning,
		zap.ErrorLevel:  journal.PriErr,
		zap.DPanicLevel: journal.PriCrit,
	} {
		log, entries := capture(t, zap.DebugLevel)
		log.Log(level, "something")
		if len(*entries) != 1 || (*entries)[0].priority != want {
			t.Errorf("%s: got %v, want priority %d", level, *entries, want)
		}
	}
}

func TestJournalKeepsToItsLevel(t *testing.T) {
	log, entries := capture(t, zap.WarnLevel)
	log.Info("quiet")
	if len(*entries) != 0 {
		t.Errorf("got %v", *entries)
	}
}

func TestLoggersDoNotShareFields(t *testing.T) {
	log, entries := capture(t, zap.InfoLevel)
	parent := log.With(zap.String("a", "1"))
	parent.With(zap.String("b", "2"))
	parent.With(zap.String("b", "3")).Info("child")
	parent.Info("parent")
	if got := (*entries)[0].message + "|" + (*entries)[1].message; got != "child a=1 b=3|parent a=1" {
		t.Errorf("got %s", got)
	}
}

func TestJournalFieldNameIsBounded(t *testing.T) {
	log, entries := capture(t, zap.InfoLevel)
	log.Info("something", zap.Bool(strings.Repeat("long", 50), true))
	for name := range (*entries)[0].fields {
		if len(name) > 64 {
			t.Errorf("journald drops a field whose name has %d bytes", len(name))
		}
	}
}

func TestStackIsAFieldOfItsOwn(t *testing.T) {
	log, entries := capture(t, zap.InfoLevel)
	log.WithOptions(zap.AddStacktrace(zap.ErrorLevel)).Error("something")
	if got := (*entries)[0]; got.message != "something" || got.fields["ACMED_STACK"] == "" {
		t.Errorf("got %v", got)
	}
}

func TestJournalErrorIsReported(t *testing.T) {
	gone := errors.New("gone")
	core := sd.NewTestCore(zap.InfoLevel, nil, func(string, journal.Priority, map[string]string) error { return gone })
	if err := core.Write(zapcore.Entry{}, nil); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
	if err := core.Sync(); err != nil {
		t.Errorf("sync: %v", err)
	}
}

func TestNoJournaldIsAnError(t *testing.T) {
	if _, err := os.Stat("/run/systemd/journal/socket"); err == nil {
		t.Skip("journald runs here")
	}
	if _, err := sd.NewJournalCore(zap.InfoLevel, nil); err == nil {
		t.Error("a journal core without journald")
	}
}

func TestStderrIsJournal(t *testing.T) {
	var stat syscall.Stat_t
	if err := syscall.Fstat(syscall.Stderr, &stat); err != nil {
		t.Fatal(err)
	}
	for sentence, tt := range map[string]struct {
		stream string
		want   bool
	}{
		"without a stream":             {"", false},
		"the stream is our stderr":     {fmt.Sprintf("%d:%d", stat.Dev, stat.Ino), true},
		"the stream is another file":   {fmt.Sprintf("%d:%d", stat.Dev, stat.Ino+1), false},
		"the stream is a puzzle to us": {"x", false},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Setenv("JOURNAL_STREAM", tt.stream)
			if got := sd.StderrIsJournal(); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
