package sd

import (
	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap/zapcore"
)

// NewTestCore returns a journal core that sends to send.
func NewTestCore(
	level zapcore.LevelEnabler, ids map[string]string, send func(message string, priority journal.Priority, fields map[string]string) error,
) zapcore.Core {
	return &journalCore{LevelEnabler: level, ids: ids, send: send}
}
