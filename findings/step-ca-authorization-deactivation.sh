#!/usr/bin/env bash
# step-ca v0.30.2 refuses to deactivate a valid authorization (RFC 8555 §7.5.2): 400 malformed, and in its log "expected
# POST-as-GET". The authorization stays valid. Caddy v2.11.9 contains the same code.
#
# Guess before the run: the authorization becomes "deactivated", as it does at Vault v1.21.4.
# Seen: deactivate: 400 urn:ietf:params:acme:error:malformed: The request message was malformed; then: valid
#
# Needs Go, openssl and the Go module proxy; uses loopback alone. Exits with 1 if step-ca behaves otherwise.
set -euo pipefail
dir=$(mktemp -d); pid=
trap '[ -z "$pid" ] || kill "$pid"; wait; rm -rf "$dir"' EXIT
cd "$dir"
mkdir ca client
cat >go.mod <<'G'
module finding
go 1.26.0
G
cat >ca/main.go <<'G'
package main

import (
	"fmt"
	"os"

	"github.com/smallstep/certificates/commands"
	"github.com/urfave/cli"

	_ "github.com/smallstep/certificates/cas/softcas"
	_ "go.step.sm/crypto/kms/softkms"
)

func main() {
	app := cli.NewApp()
	app.Flags, app.Action = commands.AppCommand.Flags, commands.AppCommand.Action
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
G
cat >client/main.go <<'G'
// client DIRECTORY ROOT HTTP-PORT
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"golang.org/x/crypto/acme"
)

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func main() {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(must(os.ReadFile(os.Args[2])))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	c := &acme.Client{Key: key, DirectoryURL: os.Args[1], HTTPClient: &http.Client{Transport: transport}}
	ctx := context.Background()
	must(c.Register(ctx, &acme.Account{}, acme.AcceptTOS))
	order := must(c.AuthorizeOrder(ctx, acme.IPIDs("127.0.0.1")))
	authz := must(c.GetAuthorization(ctx, order.AuthzURLs[0]))
	listener := must(net.Listen("tcp", "127.0.0.1:"+os.Args[3]))
	for _, challenge := range authz.Challenges {
		if challenge.Type == "http-01" {
			response := must(c.HTTP01ChallengeResponse(challenge.Token))
			go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, response) }))
			must(c.Accept(ctx, challenge))
		}
	}
	fmt.Println("before:", must(c.WaitAuthorization(ctx, authz.URI)).Status)
	fmt.Println("deactivate:", c.RevokeAuthorization(ctx, authz.URI))
	fmt.Println("after:", must(c.GetAuthorization(ctx, authz.URI)).Status)
}
G
export CGO_ENABLED=0 GOFLAGS=-mod=mod
go get github.com/smallstep/certificates@v0.30.2 golang.org/x/crypto@v0.49.0 >get.log 2>&1 || { cat get.log; exit 2; }
go build -o step-ca ./ca
go build -o client/client ./client

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out root.pem -subj /CN=root -days 30 \
	-addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout issuer.key -out issuer.csr -subj /CN=issuer 2>/dev/null
printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n' >ext
openssl x509 -req -in issuer.csr -CA root.pem -CAkey root.key -days 20 -extfile ext -out issuer.pem -set_serial 5 2>/dev/null
cat >ca.json <<J
{"root":"$dir/root.pem","crt":"$dir/issuer.pem","key":"$dir/issuer.key","address":"127.0.0.1:29443","dnsNames":["127.0.0.1"],
"logger":{"format":"json"},"db":{"type":"badgerv2","dataSource":"$dir/db"},
"authority":{"provisioners":[{"type":"ACME","name":"acme"}]}}
J
STEPPATH=$dir HOME=$dir ./step-ca --insecure --acme-http-port 29080 --acme-tls-port 29081 ca.json >ca.log 2>&1 & pid=$!
for _ in $(seq 60); do
	openssl s_client -connect 127.0.0.1:29443 </dev/null >/dev/null 2>&1 && break
	sleep 0.5
done
client/client https://127.0.0.1:29443/acme/acme/directory root.pem 29080 | tee seen
grep -o '"error":"[^"]*"' ca.log | tee -a seen
diff seen - <<'S'
before: valid
deactivate: 400 urn:ietf:params:acme:error:malformed: The request message was malformed
after: valid
"error":"expected POST-as-GET"
S
