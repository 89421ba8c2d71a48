package control

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

const pathHistory = "/v1/certificate/history" // ?name=

// Remembering is implemented by Certificates that keep a record of each certificate.
type Remembering interface {
	// History returns what the record of a certificate shows, oldest first, or an *Error with NotFound.
	History(ctx context.Context, name string) ([]LogEntry, error)
}

// LogEntry is one event in the life of a certificate.
type LogEntry struct {
	Time    time.Time  `json:"time"`
	Source  string     `json:"source"`           // "journal", or "record" for the state directory
	Level   string     `json:"level"`            // "debug", "info", "warn" or "error"
	Message string     `json:"message"`          // event
	Fields  []LogField `json:"fields,omitempty"` // in the order of the log
}

// LogField is one detail of a LogEntry.
type LogField struct {
	Key   string `json:"key"`   // name of the detail, as in the log
	Value string `json:"value"` // without control characters
}

// History returns what the record of a certificate shows, oldest first.
func (c *Client) History(ctx context.Context, name string) ([]LogEntry, error) {
	return ask[[]LogEntry](ctx, c, pathHistory+"?"+url.Values{"name": {name}}.Encode())
}

func (s *Server) history(w http.ResponseWriter, r *http.Request) {
	name := r.FormValue("name")
	remembering, ok := s.certs.(Remembering)
	if !ok {
		answer(w, r, nil, Errorf(NotFound, "no record of %q", name))
		return
	}
	entries, err := remembering.History(r.Context(), name)
	answer(w, r, entries, err)
}
