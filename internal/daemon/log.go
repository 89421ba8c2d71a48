package daemon

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"acmed/internal/sd"
	"acmed/internal/spec"
)

// newLogger logs natively to the journal when stderr is the journal, for people on a terminal, else as JSON.
func newLogger(c spec.Log, stderr io.Writer) (*zap.Logger, zap.AtomicLevel, error) {
	level, err := zap.ParseAtomicLevel(c.Level)
	if err != nil {
		return nil, level, fmt.Errorf("log.level: %w", err)
	}
	core, err := newCore(logFormat(c.Format, stderr), level, stderr)
	if err != nil {
		return nil, level, fmt.Errorf("log.format: %w", err)
	}
	return zap.New(core), level, nil
}

func logFormat(format string, stderr io.Writer) string {
	switch {
	case format != "auto" && format != "":
		return format
	case stderr == os.Stderr && sd.StderrIsJournal():
		return "journal"
	case isTerminal(stderr):
		return "console"
	default:
		return "json"
	}
}

func newCore(format string, level zapcore.LevelEnabler, stderr io.Writer) (zapcore.Core, error) {
	enc := zap.NewProductionEncoderConfig()
	enc.TimeKey, enc.MessageKey = "time", "message"
	enc.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	enc.EncodeDuration = zapcore.StringDurationEncoder
	switch format {
	case "journal":
		return sd.NewJournalCore(level, messageIDs())
	case "console":
		enc.EncodeTime = encodeBriefly
		return zapcore.NewCore(zapcore.NewConsoleEncoder(enc), zapcore.Lock(zapcore.AddSync(stderr)), level), nil
	default:
		return zapcore.NewCore(zapcore.NewJSONEncoder(enc), zapcore.Lock(zapcore.AddSync(stderr)), level), nil
	}
}

// encodeBriefly writes a time of today without its date, and the end of a certificate with it.
func encodeBriefly(t time.Time, enc zapcore.PrimitiveArrayEncoder) {
	layout := time.DateTime
	if time.Until(t).Abs() < 12*time.Hour {
		layout = time.TimeOnly
	}
	enc.AppendString(t.Format(layout))
}

// messageIDs are what MESSAGE_ID says of the events that others may wait for: see docs/operations.md.
func messageIDs() map[string]string {
	return map[string]string{
		"ready":                  "0863e1a514cb4302991720d572a04ed8",
		"stopped":                "dee9beb826a44c8795f8413c35e0aa7a",
		"issued certificate":     "613d5c23426941efb1c0fff53a7a5ef5",
		"attempt did not work":   "6a71b34b0ee249ae86681ff5eeaaed07",
		"activated revision":     "69692c268ac4414b9903f06f83ade674",
		"delivered":              "1931100f3a114e3787417586efe99fdc",
		"delivery did not work":  "b6872c4c879d41aebbf72d973e7fb045",
		"delivery did not begin": "95eb691cd9df4ba3a99291437659a03e",
		"found a problem":        "7e735aaebc3a48d7b1add883fb71f1a1",
		"holding removals":       "de3f83a343a24d2ea9ac9dac4800d1fa",
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// buildTime is a time that the clock cannot be before: that of the commit, or else of the first release.
func buildTime() time.Time {
	first := time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return first
	}
	for _, s := range info.Settings {
		if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
			return t
		}
	}
	return first
}
