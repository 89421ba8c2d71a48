package deploy

import (
	"cmp"
	"context"
	"net"
	"time"

	"acmed/internal/spec"
)

// Serves reports whether a server at an address of p serves the leaf with this SHA-256 checksum now, whose key has this
// algorithm. It does not wait for one.
func (p *Prober) Serves(ctx context.Context, at spec.Probe, key, leaf string) bool {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(p.limit, 10*time.Second))
	defer cancel()
	host, port, err := net.SplitHostPort(at.Address)
	if err != nil {
		return false
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return false
	}
	look := look{Probe: at, key: key, leaf: leaf, attempt: cmp.Or(p.attempt, 3*time.Second)}
	for _, a := range addresses {
		if look.at(ctx, net.JoinHostPort(a, port)).OK {
			return true
		}
	}
	return false
}
