package control

import (
	"context"
	"net"
	"net/http"
)

const (
	MaxBody      = maxBody
	ReadTimeout  = readTimeout
	WriteTimeout = writeTimeout
	AskTimeout   = askTimeout
)

// Distance is exported for its table.
func Distance(a, b string) int { return distance(a, b) }

// DialFunc returns a client whose connections come from dial.
func DialFunc(dial func(context.Context) (net.Conn, error)) *Client {
	c := Dial("test.sock")
	c.http.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }
	return c
}
