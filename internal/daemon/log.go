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
		return sd.NewJournalCore(level)
	case "console":
		enc.EncodeTime = zapcore.TimeEncoderOfLayout(time.TimeOnly)
		return zapcore.NewCore(zapcore.NewConsoleEncoder(enc), zapcore.Lock(zapcore.AddSync(stderr)), level), nil
	default:
		return zapcore.NewCore(zapcore.NewJSONEncoder(enc), zapcore.Lock(zapcore.AddSync(stderr)), level), nil
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
