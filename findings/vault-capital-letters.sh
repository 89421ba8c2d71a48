#!/usr/bin/env bash
# The ACME server of HashiCorp Vault v1.21.4 (PKI engine) refuses an order for a DNS name with capital letters: 400 malformed,
# "idna: disallowed rune U+0057". The same name in lower case is accepted. DNS names are case-insensitive (RFC 4343), and the
# engine's own endpoints issue for both.
#
# Guess before the run: Vault accepts the order, and folds the name to lower case.
# Seen: acme WWW.example.com: 400 malformed: value argument (WWW.example.com) failed validation: idna: disallowed rune U+0057 …
#
# Needs Go and the Go module proxy; builds for some minutes; uses loopback alone. Exits with 1 if Vault behaves otherwise.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'G'
module finding
go 1.26.0
G
cat >main.go <<'G'
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/builtin/logical/pki"
	"github.com/hashicorp/vault/helper/namespace"
	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/crypto/acme"
)

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// engine serves what Vault serves below /v1/pki/.
type engine struct {
	backend logical.Backend
	storage logical.Storage
}

func (e engine) handle(op logical.Operation, path string, data map[string]any) (*logical.Response, error) {
	return e.backend.HandleRequest(namespace.RootContext(context.Background()), &logical.Request{
		Operation: op, Path: path, Data: data, Storage: e.storage, MountPoint: "pki/", Connection: &logical.Connection{},
	})
}

func (e engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	op := map[string]logical.Operation{"GET": logical.ReadOperation, "HEAD": logical.HeaderOperation, "POST": logical.UpdateOperation}[r.Method]
	data := map[string]any{}
	if err := json.NewDecoder(r.Body).Decode(&data); err != nil && !errors.Is(err, io.EOF) {
		log.Fatal(err)
	}
	resp := must(e.handle(op, strings.TrimPrefix(r.URL.Path, "/v1/pki/"), data))
	for name, values := range resp.Headers {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", fmt.Sprint(resp.Data[logical.HTTPContentType]))
	w.WriteHeader(resp.Data[logical.HTTPStatusCode].(int))
	body, _ := resp.Data[logical.HTTPRawBody].([]byte)
	w.Write(body)
}

func main() {
	ctx := namespace.RootContext(context.Background())
	e := engine{storage: &logical.InmemStorage{}}
	e.backend = must(pki.Factory(ctx, &logical.BackendConfig{
		Logger: hclog.NewNullLogger(), StorageView: e.storage, System: logical.TestSystemView(), BackendUUID: "pki",
	}))
	if err := e.backend.Initialize(ctx, &logical.InitializationRequest{Storage: e.storage}); err != nil {
		log.Fatal(err)
	}
	server := httptest.NewTLSServer(e)
	write := func(path string, data map[string]any) *logical.Response {
		resp := must(e.handle(logical.UpdateOperation, path, data))
		if resp.IsError() {
			log.Fatal(path, ": ", resp.Error())
		}
		return resp
	}
	write("root/generate/internal", map[string]any{"common_name": "root", "key_type": "ec", "ttl": "20h"})
	write("config/cluster", map[string]any{"path": server.URL + "/v1/pki"})
	write("config/acme", map[string]any{"enabled": true})
	write("roles/any", map[string]any{"allow_any_name": true, "key_type": "ec", "ttl": "1h"})

	client := &acme.Client{
		Key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), DirectoryURL: server.URL + "/v1/pki/acme/directory", HTTPClient: server.Client(),
	}
	must(client.Register(ctx, &acme.Account{}, acme.AcceptTOS))
	for _, name := range []string{"www.example.com", "WWW.example.com"} {
		write("issue/any", map[string]any{"common_name": name})
		fmt.Printf("issue %s: <nil>\n", name)
		_, err := client.AuthorizeOrder(ctx, acme.DomainIDs(name))
		fmt.Printf("acme %s: %v\n", name, err)
	}
}
G
export CGO_ENABLED=0 GOFLAGS=-mod=mod
go get github.com/hashicorp/vault@v1.21.4 golang.org/x/crypto@v0.46.0 >get.log 2>&1 || { cat get.log; exit 2; }
go mod tidy >get.log 2>&1 || { cat get.log; exit 2; }
go run . | tee seen
diff seen - <<'S'
issue www.example.com: <nil>
acme www.example.com: <nil>
issue WWW.example.com: <nil>
acme WWW.example.com: 400 urn:ietf:params:acme:error:malformed: value argument (WWW.example.com) failed validation: idna: disallowed rune U+0057: The request message was malformed
S
