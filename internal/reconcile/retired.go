package reconcile

import (
	"maps"
	"slices"
	"strings"
	"time"

	"acmed/internal/spec"
)

// Retirement is what is known of a certificate whose spec is gone, of which a server may not know. It is immutable.
type Retirement struct {
	At     time.Time
	Leaf   string       // SHA-256 checksum of what was served last, hex
	Key    string       // algorithm of its key: "ECDSA" or "RSA"
	Probes []spec.Probe // where it was to be served, each with a name to ask for
}

// retirement is nil while there is a spec, or if there never was a certificate.
func retirement(in *Input) *Retirement {
	is := in.Have.Serving()
	if in.Want != nil || is == nil {
		return nil
	}
	algorithm, _, _ := strings.Cut(is.Key, "-")
	t := &Retirement{At: in.Have.Retired, Leaf: is.SHA256, Key: algorithm}
	for _, key := range slices.Sorted(maps.Keys(in.Have.Targets)) {
		if p, ok := spec.ParseProbeKey(key); ok {
			if p.ServerName == "" && len(is.DNSNames) > 0 {
				p.ServerName = strings.TrimPrefix(is.DNSNames[0], "*.")
			}
			t.Probes = append(t.Probes, p)
		}
	}
	return t
}

// sighting is what a probe of a retired certificate has seen.
type sighting struct {
	leaf   string
	served bool
}

// Sighted takes note of whether a server still serves the leaf of a retired certificate.
func (r *Reconciler) Sighted(name, leaf string, served bool) {
	r.board.mu.Lock()
	defer r.board.mu.Unlock()
	if r.board.sightings == nil {
		r.board.sightings = map[string]sighting{}
	}
	r.board.sightings[name] = sighting{leaf, served}
}

// sighted returns whether a retired certificate was seen; known is false while no probe has looked.
func (b *board) sighted(v View) (served, known bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	s, known := b.sightings[v.Name]
	return s.served, known && s.leaf == v.Retirement.Leaf
}
