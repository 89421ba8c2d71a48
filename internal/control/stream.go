package control

import (
	"encoding/json"
	"net/http"
	"time"
)

// stream writes lines of JSON, each at once.
type stream struct {
	w       http.ResponseWriter
	started bool
}

func (s *stream) send(l line) {
	if !s.started {
		s.w.Header().Set("Content-Type", "application/x-ndjson")
		s.started = true
	}
	conn := http.NewResponseController(s.w)
	_ = conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_ = json.NewEncoder(s.w).Encode(l) // when the reader is gone, the request's context ends
	_ = conn.Flush()
}
