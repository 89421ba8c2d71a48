//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"acmed/test/pebble"
)

// hooked proves a wildcard and its apex with hooks as people have them for certbot: they run as root, read a secret that
// the daemon cannot, and the second needs what the first one said.
func hooked(t *testing.T, m *machine, ca *pebble.Server) {
	m.write("/root/dns-password", "sesame\n")
	m.run("chmod", "600", "/root/dns-password")
	server := strings.TrimPrefix(ca.DNSURL, "http://")
	// What challtestsrv takes, in a language that every Debian speaks.
	m.script("/usr/local/bin/txt", `perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(PeerAddr => "`+server+`") or die "connect: $!\n";
print $s "POST /$ARGV[0] HTTP/1.0\r\nContent-Length: " . length($ARGV[1]) . "\r\n\r\n$ARGV[1]"; <$s> =~ / 200 / or die "refused\n"' "$1" "$2"`)
	m.script("/root/auth", `test "$(id -un) $(cat /root/dns-password)" = "root sesame" || exit 3
txt set-txt "{\"host\":\"_acme-challenge.$CERTBOT_DOMAIN.\",\"value\":\"$CERTBOT_VALIDATION\"}" || exit 4
echo "talking to the DNS" >&2
echo "record-of-$CERTBOT_VALIDATION"`)
	m.script("/root/cleanup", `test "$CERTBOT_AUTH_OUTPUT" = "record-of-$CERTBOT_VALIDATION" || exit 5
txt clear-txt "{\"host\":\"_acme-challenge.$CERTBOT_DOMAIN.\"}"
echo "$CERTBOT_ALL_DOMAINS" >>/run/cleaned`)
	m.write("/etc/acmed/dns.d/hooks.yaml", fmt.Sprintf(`exec: {mode: certbot, command: [/root/auth], cleanUp: [/root/cleanup], user: root}
propagation: {check: false, resolvers: [%q]}
`, ca.DNSAddr))
	const want = "dnsNames: [hooked.example.com, \"*.hooked.example.com\"]\nchallenge: {type: dns-01, provider: hooks}\n"
	m.write("/etc/acmed/certs.d/hooked.yaml", want)
	m.eventually(patience, "the hooks prove a wildcard", func() error {
		_, err := m.try("openssl", "x509", "-noout", "-in", "/var/lib/acmed/live/hooked/fullchain.pem", "-checkhost", "a.hooked.example.com")
		return err
	})
	m.eventually(patience, "both records are taken away", func() error {
		if cleaned, err := m.try("cat", "/run/cleaned"); err != nil || strings.Count(cleaned, "hooked.example.com") != 2 {
			return fmt.Errorf("%s: %w", cleaned, err)
		}
		return nil
	})
	if left := m.run("ls", "-A", "/var/lib/acmed-deploy/said"); left != "" {
		t.Errorf("left behind: %s", left)
	}
	if log := m.run("journalctl", "--unit=acmed-deploy@*", "--output=cat"); !strings.Contains(log, "program of the DNS provider called cert=hooked provider=hooks domain=hooked.example.com") {
		t.Errorf("the journal does not tell:\n%s", log)
	}
	// A hook that fails says why, and nothing is proved for a name that no spec of root's has.
	m.script("/root/auth", `echo "no zone for $CERTBOT_DOMAIN" >&2; exit 1`)
	m.write("/etc/acmed/certs.d/unhooked.yaml", strings.ReplaceAll(want, "hooked", "unhooked"))
	m.eventually(patience, "the failure is told", func() error {
		return m.says("unhooked", "/root/auth exited with status 1: no zone for unhooked.example.com")
	})
	out, err := m.askAs("acmed", `{"verb":"present","record":{"certificate":"hooked","provider":"hooks","domain":"bank.example.com",`+
		`"name":"_acme-challenge.bank.example.com.","value":"Xa4JIFZkHkQrjQY1KC-U70WTIscwzSJlsHKJJVIlak0","token":"token","keyAuth":"token.TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT"}}`)
	if err != nil || !strings.Contains(out, "does not name bank.example.com") {
		t.Errorf("%s: %v", out, err)
	}
	m.run("rm", "/etc/acmed/certs.d/unhooked.yaml")
}
