#!/usr/bin/env bash
# PowerDNS Authoritative Server 4.7.3 answers a dynamic update whose TSIG was made by a clock an hour off with REFUSED and without
# a TSIG record. RFC 8945 §5.2.3 asks for NOTAUTH, the TSIG error BADTIME and the server's time, which BIND 9.18 and Knot 3.2 send.
# So a client cannot tell a wrong clock from a wrong key, nor from an update that is not allowed: all three answers are the same.
#
# Guess before the run: NOTAUTH with BADTIME for the clock, NOTAUTH with BADSIG for the key.
# Seen: right: NOERROR signed; clock an hour off: REFUSED unsigned; wrong secret: REFUSED unsigned
#
# Needs Go with the module proxy, and apt on Debian 12 for downloading (nothing is installed); uses loopback alone. Exits with 1
# if PowerDNS behaves otherwise.
set -euo pipefail
dir=$(mktemp -d); pid=
trap '[ -z "$pid" ] || kill "$pid"; wait; rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
apt-get download pdns-server=4.7.3-2 pdns-backend-lmdb=4.7.3-2 liblmdb0 libboost-serialization1.74.0 libboost-program-options1.74.0 \
	libluajit-5.1-2 libluajit-5.1-common libsodium23 libyaml-cpp0.7 libmaxminddb0 >download.log 2>&1 || { cat download.log >&2; exit 2; }
for package in *.deb; do dpkg -x "$package" root; done
lib=$(dirname "$(find root -name 'liblmdb.so.0' | head -n 1)")
export LD_LIBRARY_PATH=$dir/$lib PATH=$dir/root/usr/sbin:$dir/root/usr/bin:$PATH
mkdir zones
cat >pdns.conf <<C
launch=lmdb
lmdb-filename=$dir/zones/db
module-dir=$dir/$lib/pdns
local-address=127.0.0.1
local-port=5399
socket-dir=$dir/zones
setuid=
setgid=
dnsupdate=yes
allow-dnsupdate-from=127.0.0.0/8
C
printf '$ORIGIN example.test.\n@ 60 IN SOA ns1 hostmaster 1 3600 600 86400 60\n@ 60 IN NS ns1\nns1 60 IN A 127.0.0.1\n' >zone
secret=$(printf 'a secret of thirty-two bytes yes' | base64)
{
	pdnsutil --config-dir=. load-zone example.test zone
	pdnsutil --config-dir=. import-tsig-key key hmac-sha256 "$secret"
	pdnsutil --config-dir=. set-meta example.test TSIG-ALLOW-DNSUPDATE key
} >/dev/null 2>&1
pdns_server --config-dir=. --guardian=no --daemon=no >log 2>&1 &
pid=$!
cat >go.mod <<'G'
module finding
go 1.26.0
G
cat >main.go <<'G'
// It sends three updates to 127.0.0.1:5399, and prints the answer to each.
package main

import (
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

func update(secret string, at time.Time) string {
	m := new(dns.Msg)
	m.SetUpdate("example.test.")
	rr, err := dns.NewRR("www.example.test. 60 IN TXT \"value\"")
	if err != nil {
		log.Fatal(err)
	}
	m.Insert([]dns.RR{rr})
	m.SetTsig("key.", dns.HmacSHA256, 300, at.Unix())
	c := &dns.Client{Net: "tcp", TsigSecret: map[string]string{"key.": secret}}
	for range 100 {
		answer, _, err := c.Exchange(m.Copy(), "127.0.0.1:5399")
		if answer == nil {
			if os.IsTimeout(err) {
				log.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond) // it starts
			continue
		}
		t := answer.IsTsig()
		switch {
		case t == nil:
			return dns.RcodeToString[answer.Rcode] + " unsigned"
		case t.Error != 0:
			return dns.RcodeToString[answer.Rcode] + " " + dns.RcodeToString[int(t.Error)]
		}
		return dns.RcodeToString[answer.Rcode] + " signed"
	}
	return "no answer"
}

func main() {
	right := os.Args[1]
	wrong := base64.StdEncoding.EncodeToString([]byte("another secret of thirty-two byt"))
	fmt.Println(strings.Join([]string{
		"right: " + update(right, time.Now()),
		"clock an hour off: " + update(right, time.Now().Add(-time.Hour)),
		"wrong secret: " + update(wrong, time.Now()),
	}, "; "))
}
G
unset LD_LIBRARY_PATH
go get github.com/miekg/dns@v1.1.72 >get.log 2>&1 || { cat get.log >&2; exit 2; }
seen=$(go run . "$secret")
echo "$seen"
[ "$seen" = "right: NOERROR signed; clock an hour off: REFUSED unsigned; wrong secret: REFUSED unsigned" ]
