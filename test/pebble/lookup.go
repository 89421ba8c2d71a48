package pebble

import (
	"context"
	"net"
)

func lookup(ctx context.Context, dnsAddr string) error {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, dnsAddr)
	}}
	_, err := resolver.LookupIP(ctx, "ip4", "ready.test.")
	return err
}
