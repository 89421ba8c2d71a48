package deploy

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"net"
	"slices"
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
	look := look{Probe: at, attempt: cmp.Or(p.attempt, 3*time.Second)}
	return slices.ContainsFunc(addresses, func(a string) bool { return look.shows(ctx, net.JoinHostPort(a, port), key, leaf) })
}

// shows reports whether a server shows the leaf, by itself or when a certificate with that type of key is asked for.
func (l look) shows(ctx context.Context, address, key, leaf string) bool {
	for _, c := range []*tls.Config{{}, {MaxVersion: tls.VersionTLS12, CipherSuites: suitesFor(key)}} {
		if shown, _ := l.connect(ctx, address, c); len(shown) > 0 { // what fails later has shown it
			if sum := sha256.Sum256(shown[0].Raw); hex.EncodeToString(sum[:]) == leaf {
				return true
			}
		}
	}
	return false
}
