package boulder

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"

	"github.com/miekg/dns"
)

// nonceRecords are what the front end looks up to find the nonce services. All other services are configured by address.
const nonceRecords = `
_nonce-all._tcp.service.consul. 5 IN SRV 1 1 9301 a.nonce.service.consul.
_nonce-all._tcp.service.consul. 5 IN SRV 1 1 9401 b.nonce.service.consul.
_nonce-a._tcp.service.consul. 5 IN SRV 1 1 9301 a.nonce.service.consul.
_nonce-b._tcp.service.consul. 5 IN SRV 1 1 9401 b.nonce.service.consul.
a.nonce.service.consul. 5 IN A 127.0.0.1
b.nonce.service.consul. 5 IN A 127.0.0.1
`

// managementAddress is where challtestsrv is controlled.
const managementAddress = "127.0.0.1:8055"

// Point makes names resolve to an address alone, in the eyes of all perspectives.
func (l *Lab) Point(ctx context.Context, address netip.Addr, names ...string) error {
	for _, name := range names {
		body := map[string]any{"host": dns.Fqdn(name), "addresses": []string{address.String()}}
		for _, verb := range []string{"clear-a", "clear-servfail", "add-a"} {
			if err := l.SetDNS(ctx, verb, body); err != nil {
				return err
			}
		}
	}
	return nil
}

// ResolverAddress is where challtestsrv answers DNS queries.
const ResolverAddress = "127.0.0.1:8053"

// SetDNS calls challtestsrv, for example SetDNS(ctx, "set-servfail", map[string]any{"host": "www.example.com."}).
func (l *Lab) SetDNS(ctx context.Context, verb string, body map[string]any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+managementAddress+"/"+verb, bytes.NewReader(data))
	if err != nil {
		return err
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return fmt.Errorf("calling challtestsrv: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("calling challtestsrv: %s %s: %s", verb, resp.Status, bytes.TrimSpace(text))
	}
	return err
}
