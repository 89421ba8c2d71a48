// Command certmagic obtains many certificates with certmagic and its default storage, its own rate limit raised.
package main

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"acmed/tools/peers/load"
)

func main() { load.Main(prepare) }

func prepare(_ context.Context, job load.Job) (func(context.Context, string) error, error) {
	_, port, err := net.SplitHostPort(job.Listen)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	certmagic.RateLimitEvents, certmagic.RateLimitEventsWindow = 100_000, time.Second
	config := certmagic.Config{Storage: &certmagic.FileStorage{Path: job.Dir}, Logger: zap.NewNop()}
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return &config, nil }, Logger: zap.NewNop(),
	})
	magic := certmagic.New(cache, config)
	magic.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(magic, certmagic.ACMEIssuer{
		CA: job.Directory, Email: "pki@example.com", Agreed: true, DisableTLSALPNChallenge: true, ListenHost: "127.0.0.1", AltHTTPPort: number,
		TrustedRoots: job.Roots, Logger: zap.NewNop(),
	})}
	return magic.ObtainCertSync, nil
}
