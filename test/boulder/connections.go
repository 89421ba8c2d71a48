package boulder

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// connections returns how many clients are connected to a service of Boulder, and 0 for all others.
//
// A client that has lost its connection tries again by itself, after a second and then less and less often. Until then its
// calls fail, although the service is up.
func connections(s Service) (int, error) {
	if slices.Contains([]Service{DNS, Database, Redis, CT, WFE, SFE}, s) {
		return 0, nil
	}
	table, err := os.ReadFile("/proc/net/tcp") // of the network namespace
	if err != nil {
		return 0, err
	}
	n := 0
	for line := range strings.Lines(string(table)) {
		const local, state, established = 1, 3, "01"
		fields := strings.Fields(line)
		if len(fields) > state && strings.HasSuffix(fields[local], fmt.Sprintf(":%04X", s.port())) && fields[state] == established {
			n++
		}
	}
	return n, nil
}

// callers are the services that call a service.
func (s Service) callers() []Service {
	switch s {
	case RemoteA, RemoteB, RemoteC, RemoteD:
		return []Service{VA}
	case VA, CA, Publisher:
		return []Service{RA}
	case NonceA, NonceB:
		return []Service{WFE}
	case RA:
		return []Service{CA, WFE, SFE}
	case SA:
		return []Service{RA, CA, WFE, SFE}
	}
	return nil
}

// awaitClients waits until as many clients are connected to a service as before it was stopped, except for those that were
// started together with it: they connect when they call.
func (l *Lab) awaitClients(ctx context.Context, s Service, together []Service) error {
	l.mu.Lock()
	want := l.clients[s]
	l.mu.Unlock()
	for _, caller := range s.callers() {
		if slices.Contains(together, caller) {
			want--
		}
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		n, err := connections(s)
		if err != nil || n >= want {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the clients of %s: %d of %d are connected: %w", s, n, want, ctx.Err())
		case <-tick.C:
		}
	}
}
