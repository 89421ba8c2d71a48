package sd

import (
	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap/zapcore"
)

// NewTestCore returns a journal core that sends to send.
func NewTestCore(
	level zapcore.LevelEnabler, send func(message string, priority journal.Priority, fields map[string]string) error,
) zapcore.Core {
	return &journalCore{LevelEnabler: level, send: send}
}
