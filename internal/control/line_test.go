package control_test

import (
	"testing"

	"acmed/internal/control"
)

func TestAnErrorStaysInOneLine(t *testing.T) {
	for given, want := range map[string]string{
		"one line":                              "one line",
		"two\nlines":                            "two lines",
		"an end\r\n\r\n":                        "an end",
		"a\ttable\t\tof it":                     "a table of it",
		"  an indent":                           "  an indent",
		"red \x1b[31mand back\x07":              "red \ufffd[31mand back\ufffd",
		"right to left \u202eevil":              "right to left \ufffdevil",
		"paragraphs\u2028and\u0085more\v\fends": "paragraphs and more ends",
		"bytes \xff\xfe":                        "bytes \ufffd\ufffd",
	} {
		if got := control.OneLine(given); got != want {
			t.Errorf("%q becomes %q, want %q", given, got, want)
		}
	}
}

func TestTheCauseComesFirstAndIsSaidOnce(t *testing.T) {
	name := []string{"www.example.com"}
	for want, s := range map[string]control.Summary{
		"by its lifetime": {Phase: control.Valid, Reason: "by its lifetime"},
		// What the phase says already.
		"dns: no A record":              {Phase: control.BackingOff, Error: "dns: no A record", Reason: control.AttemptFailed},
		"caa: forbidden":                {Phase: control.Parked, Error: "caa: forbidden", Reason: control.RetriedDaily},
		"line 3: dnsName: unknown key":  {Phase: control.Parked, Error: "line 3: dnsName: unknown key", Reason: control.NeverValid},
		"run push: exited with 3":       {Phase: control.DeployFailed, Error: "run push: exited with 3", Reason: control.DeployBroken},
		"check: exited with 1":          {Phase: control.DeployFailed, Error: "check: exited with 1", Reason: control.CheckRefused},
		"line 2: bad":                   {Phase: control.Valid, Error: "line 2: bad", Reason: "as the CA advises"},
		"dns: none":                     {Phase: control.BackingOff, Error: "dns: none", Reason: control.AttemptFailed + "; " + control.Standing},
		"run hook --now: exited with 3": {Phase: control.DeployFailed, Error: "run /usr/local/lib/acmed/hook --now: exited with 3", Reason: control.DeployBroken},
		"file www.pem: no space left":   {Phase: control.DeployFailed, Error: "file /etc/haproxy/certs/www.pem: no space left", Reason: control.DeployBroken},
		// What it says itself.
		"cannot be reached: EOF; issuer ca is paused": {Phase: control.BackingOff, Error: "cannot be reached: EOF", Reason: "cannot be reached: EOF; issuer ca is paused"},
		"disk full": {Phase: control.Valid, Error: "disk full", Reason: "disk full"},
		// What the line says: the name of the certificate.
		"unauthorized: status 404": {Phase: control.BackingOff, Names: name, Error: "unauthorized: www.example.com: status 404", Reason: control.AttemptFailed},
		"status 500":               {Phase: control.BackingOff, Names: name, Error: "www.example.com: status 500", Reason: control.AttemptFailed},
		"dns: www.example.com: of two": {Phase: control.BackingOff, Names: []string{"www.example.com", "example.com"},
			Error: "dns: www.example.com: of two", Reason: control.AttemptFailed},
		// What somebody tried, in the way of what came of it.
		"connection: 192.0.2.7: Connection refused": {Phase: control.BackingOff, Names: name, Reason: control.AttemptFailed,
			Error: "connection: www.example.com: 192.0.2.7: Fetching http://www.example.com/.well-known/acme-challenge/nCMX4Rif-_x: Connection refused"},
		"connection: 192.0.2.7:80: connection refused": {Phase: control.BackingOff, Names: name, Reason: control.AttemptFailed,
			Error: `connection: www.example.com: Get "http://www.example.com:80/.well-known/acme-challenge/nCMX4Rif": dial tcp 192.0.2.7:80: connect: connection refused`},
		"unauthorized: 192.0.2.7: Invalid response: 404": {Phase: control.BackingOff, Names: name, Reason: control.AttemptFailed,
			Error: "unauthorized: www.example.com: 192.0.2.7: Invalid response from http://www.example.com/.well-known/acme-challenge/nCMX4Rif: 404"},
		"network: lookup ca.example.net on 192.0.2.53:53: no such host": {Phase: control.BackingOff, Reason: control.AttemptFailed,
			Error: "network: dial tcp: lookup ca.example.net on 192.0.2.53:53: no such host"},
		"network: [2001:db8::1]:443: network is unreachable": {Phase: control.BackingOff, Reason: control.AttemptFailed,
			Error: "network: dial tcp [2001:db8::1]:443: connect: network is unreachable"},
		"network: 192.0.2.7:443: i/o timeout": {Phase: control.BackingOff, Reason: control.AttemptFailed,
			Error: "network: dial tcp 192.0.2.7:443: i/o timeout"},
		// Another reason is more to know.
		"dns: no; too many orders; issuer ca is paused": {Phase: control.BackingOff, Error: "dns: no", Reason: "too many orders; issuer ca is paused"},
		"two lines of it": {Phase: control.DeployFailed, Error: "two\nlines\n\tof it", Reason: control.DeployBroken},
	} {
		if got := s.Cause(); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}
