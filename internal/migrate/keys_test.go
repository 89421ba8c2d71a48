package migrate_test

import (
	"crypto"
	"testing"

	"acmed/internal/migrate"
)

// FuzzKeys reads keys as strangers write them. What is taken for a key must be able to sign.
func FuzzKeys(f *testing.F) {
	f.Add([]byte(`{"kty": "EC", "crv": "P-256", "d": "AQ"}`))
	f.Add([]byte(`{"kty": "RSA", "n": "AQ", "e": "AQAB", "d": "AQ", "p": "Aw", "q": "BQ"}`))
	f.Add([]byte("-----BEGIN EC PRIVATE KEY-----\nMHc=\n-----END EC PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, parse := range []func([]byte) (crypto.Signer, error){migrate.ParseJWK, migrate.ParseKey} {
			if key, err := parse(data); err == nil && key.Public() == nil {
				t.Error("a key without its public half")
			}
		}
	})
}
