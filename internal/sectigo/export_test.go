package sectigo

import "net/http"

// Through makes the client ask by way of t.
func (c *Client) Through(t http.RoundTripper) { c.exchange.http.Transport = t }
