#!/usr/bin/env bash
# step-ca v0.30.2 validates http-01 over a connection that it kept open, so it reaches the old server after the name's address
# record has changed: its HTTP client reuses connections by name and never closes an idle one (acme/client.go). After a record is
# corrected, each new attempt fails until the old server closes the connection (nginx: 75 s by default). Caddy v2.11.9 contains
# the same code.
#
# Guess before the run: each validation resolves the name and connects anew.
# Seen: the record says 127.0.0.2, which has the response, and the second validation is answered by 127.0.0.1.
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
// client DIRECTORY ROOT HTTP-PORT DNS-PORT
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
	"sync/atomic"

	"github.com/miekg/dns"
	"golang.org/x/crypto/acme"
)

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func main() {
	var record, response atomic.Value // the address of the name, and the challenge response
	record.Store("127.0.0.1")
	answer := func(w dns.ResponseWriter, m *dns.Msg) {
		reply := new(dns.Msg).SetReply(m)
		if m.Question[0].Qtype == dns.TypeA {
			reply.Answer = append(reply.Answer, must(dns.NewRR(m.Question[0].Name+" 0 IN A "+record.Load().(string))))
		}
		w.WriteMsg(reply)
	}
	started := make(chan struct{})
	go (&dns.Server{Addr: "127.0.0.1:" + os.Args[4], Net: "udp", Handler: dns.HandlerFunc(answer), NotifyStartedFunc: func() { close(started) }}).ListenAndServe()
	<-started
	for _, address := range []string{"127.0.0.1", "127.0.0.2"} {
		listener := must(net.Listen("tcp", address+":"+os.Args[3]))
		go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Printf("the record says %s, asked is %s\n", record.Load(), address)
			if address == "127.0.0.2" {
				io.WriteString(w, response.Load().(string))
			} else {
				io.WriteString(w, "welcome")
			}
		}))
	}

	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(must(os.ReadFile(os.Args[2])))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	c := &acme.Client{Key: key, DirectoryURL: os.Args[1], HTTPClient: &http.Client{Transport: transport}}
	ctx := context.Background()
	must(c.Register(ctx, &acme.Account{}, acme.AcceptTOS))
	for _, address := range []string{"127.0.0.1", "127.0.0.2"} {
		record.Store(address)
		order := must(c.AuthorizeOrder(ctx, acme.DomainIDs("www.example.test")))
		for _, challenge := range must(c.GetAuthorization(ctx, order.AuthzURLs[0])).Challenges {
			if challenge.Type != "http-01" {
				continue
			}
			response.Store(must(c.HTTP01ChallengeResponse(challenge.Token)))
			must(c.Accept(ctx, challenge))
			fmt.Println("the challenge is", must(c.GetChallenge(ctx, challenge.URI)).Status)
		}
	}
}
G
export CGO_ENABLED=0 GOFLAGS=-mod=mod
go get github.com/smallstep/certificates@v0.30.2 golang.org/x/crypto@v0.49.0 github.com/miekg/dns@v1.1.72 >get.log 2>&1 || { cat get.log; exit 2; }
go build -o step-ca ./ca
go build -o client/client ./client

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out root.pem -subj /CN=root -days 30 \
	-addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout issuer.key -out issuer.csr -subj /CN=issuer 2>/dev/null
printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n' >ext
openssl x509 -req -in issuer.csr -CA root.pem -CAkey root.key -days 20 -extfile ext -out issuer.pem -set_serial 5 2>/dev/null
cat >ca.json <<J
{"root":"$dir/root.pem","crt":"$dir/issuer.pem","key":"$dir/issuer.key","address":"127.0.0.1:29444","dnsNames":["127.0.0.1"],
"logger":{"format":"json"},"db":{"type":"badgerv2","dataSource":"$dir/db"},
"authority":{"provisioners":[{"type":"ACME","name":"acme"}]}}
J
STEPPATH=$dir HOME=$dir ./step-ca --insecure --resolver 127.0.0.1:29053 --acme-http-port 29082 --acme-tls-port 29083 ca.json >ca.log 2>&1 & pid=$!
for _ in $(seq 60); do
	openssl s_client -connect 127.0.0.1:29444 </dev/null >/dev/null 2>&1 && break
	sleep 0.5
done
client/client https://127.0.0.1:29444/acme/acme/directory root.pem 29082 29053 | tee seen
diff seen - <<'S'
the record says 127.0.0.1, asked is 127.0.0.1
the challenge is invalid
the record says 127.0.0.2, asked is 127.0.0.1
the challenge is invalid
S
