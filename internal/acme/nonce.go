package acme

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	maxNonces  = 64               // that wait in the pool
	maxSeen    = 256              // that are remembered, so that none is used twice
	nonceLife  = 10 * time.Minute // after which a CA may have forgotten one
	nonceBytes = 256
)

// noncePool keeps the nonces that come with every answer (RFC 8555 §6.5), the newest on top: it is the one that the
// CA most likely still knows. No nonce leaves the pool twice, even if a CA or a cache sends it again.
type noncePool struct {
	mu   sync.Mutex
	free []pooledNonce
	seen []string // the last maxSeen of those ever met, oldest first
}

type pooledNonce struct {
	value string
	until time.Time
}

// put keeps a nonce for later, unless it is malformed or was met before.
func (p *noncePool) put(nonce string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.meet(nonce) {
		return
	}
	if len(p.free) == maxNonces {
		p.free = slices.Delete(p.free, 0, 1)
	}
	p.free = append(p.free, pooledNonce{nonce, now.Add(nonceLife)})
}

// take returns a nonce that is still fresh, or "".
func (p *noncePool) take(now time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == 0 {
		return ""
	}
	top := p.free[len(p.free)-1]
	if !now.Before(top.until) {
		p.free = nil // the others are older still
		return ""
	}
	p.free = p.free[:len(p.free)-1]
	return top.value
}

// claim reports whether a nonce may be used at once: it is well-formed and was never met before.
func (p *noncePool) claim(nonce string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.meet(nonce)
}

func (p *noncePool) meet(nonce string) bool {
	if !base64URL(nonce, 1, nonceBytes) || slices.Contains(p.seen, nonce) {
		return false
	}
	if len(p.seen) == maxSeen {
		p.seen = slices.Delete(p.seen, 0, 1)
	}
	p.seen = append(p.seen, nonce)
	return true
}

// base64URL reports whether s is unpadded base64url of a length within the bounds.
func base64URL(s string, shortest, longest int) bool {
	if len(s) < shortest || len(s) > longest {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// nonce returns a nonce that was never used: from the pool, else from the CA.
func (c *Client) nonce(ctx context.Context) (string, error) {
	if nonce := c.nonces.take(time.Now()); nonce != "" {
		return nonce, nil
	}
	d, err := c.directory(ctx)
	if err != nil {
		return "", err
	}
	a, err := c.do(ctx, OpNonce, http.MethodHead, d.newNonce, nil)
	if err != nil {
		return "", err
	}
	nonce := a.header.Get(headerNonce)
	if !c.nonces.claim(nonce) {
		e := oddAnswer(OpNonce, a.status, "the CA sent no nonce, or one that it sent before")
		e.Hint = hintHeaders
		return "", e
	}
	return nonce, nil
}
