// Command vault serves the PKI engine of HashiCorp Vault at /v1/pki/, as Vault does, and nothing else of Vault.
//
// Vault's tokens, policies, seals and mounts never meet an ACME client, and take most of the time to build Vault. So every
// path of the engine is open to every client here: the program is for tests on loopback. Headers of a response reach the
// client as from a mount with allowed_response_headers=Location,Link,Replay-Nonce.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/builtin/logical/pki"
	"github.com/hashicorp/vault/helper/namespace"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/file"
)

// The lifetimes of a mount: Vault's default, and the maximum that Vault's documentation of the engine sets.
const (
	defaultLeaseTTL = 768 * time.Hour
	maxLeaseTTL     = 87600 * time.Hour
)

func main() {
	listen := flag.String("listen", "", "host:port of the HTTPS listener")
	certificate := flag.String("certificate", "", "PEM file of the listener's certificate")
	key := flag.String("key", "", "PEM file of the listener's key")
	storage := flag.String("storage", "", "directory of Vault's storage")
	flag.Parse()
	if err := serve(*listen, *certificate, *key, *storage); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(listen, certificate, key, storage string) error {
	e, err := start(storage)
	if err != nil {
		return fmt.Errorf("starting the PKI engine: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/v1/pki/", http.StripPrefix("/v1/pki/", e))
	server := &http.Server{Addr: listen, Handler: mux, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	return server.ListenAndServeTLS(certificate, key)
}

// start sets the engine up on what an earlier process has stored.
func start(dir string) (*engine, error) {
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: os.Stderr})
	files, err := file.NewFileBackend(map[string]string{"path": dir}, log)
	if err != nil {
		return nil, err
	}
	ctx := namespace.RootContext(context.Background())
	e := &engine{storage: logical.NewLogicalStorage(files)}
	e.backend, err = pki.Factory(ctx, &logical.BackendConfig{
		Logger:      log,
		StorageView: e.storage,
		System:      logical.StaticSystemView{DefaultLeaseTTLVal: defaultLeaseTTL, MaxLeaseTTLVal: maxLeaseTTL},
		BackendUUID: "00000000-0000-0000-0000-000000000001",
	})
	if err != nil {
		return nil, err
	}
	return e, e.backend.Initialize(ctx, &logical.InitializationRequest{Storage: e.storage})
}
