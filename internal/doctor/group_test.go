package doctor_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"acmed/internal/doctor"
	"acmed/internal/spec"
)

// TestOneCauseIsReportedOnce is about causes that many names, certificates, units or files share.
func TestOneCauseIsReportedOnce(t *testing.T) {
	mute, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := mute.LocalAddr().String()
	if err := mute.Close(); err != nil { // nobody listens there now
		t.Fatal(err)
	}
	dir := t.TempDir()
	for sentence, tt := range map[string]struct {
		names []string
		edit  func(c *doctor.Config)
		want  []string // prefixes
	}{
		"a DNS server that does not listen": {
			names: numbered(9), edit: func(c *doctor.Config) { c.Resolvers = []string{closed} },
			want: []string{
				"failure name n0.example.com, n1.example.com, n2.example.com (3): querying " + closed + " for A: ",
				"skipped name n3.example.com, n4.example.com, n5.example.com, n6.example.com, n7.example.com (6): not looked up: ",
			},
		},
		"names without an address": {
			names: numbered(7), want: []string{"failure name n0.example.com, n1.example.com, n2.example.com, n3.example.com, n4.example.com (7): it has no address"},
		},
		"two causes in turn": {
			names: []string{"away.example.com", "n1.example.com", "away.example.com", "n2.example.com", "silent.example.com"},
			want: []string{
				"warning name away.example.com, away.example.com (2): it leads to 198.51.100.7",
				"failure name n1.example.com, n2.example.com (2): it has no address",
				"failure name silent.example.com: querying ",
			},
		},
		"a directory that several certificates lack": {
			edit: func(c *doctor.Config) {
				var certs []*spec.Certificate
				for i := range 3 {
					name := fmt.Sprintf("c%d", i)
					certs = append(certs, &spec.Certificate{Name: name, DNSNames: []string{"www.example.com"}, Issuers: []string{"ca"}, Challenge: spec.Challenge{Type: "dns-01"},
						Deploy: spec.Deploy{Files: []spec.File{{Path: filepath.Join(dir, "missing", name+".pem")}}}})
				}
				c.Set = spec.NewSet(certs, []*spec.Issuer{c.Set.Issuer("ca")})
			},
			want: []string{"failure delivery c0, c1, c2 (3): " + dir + "/missing does not exist"},
		},
		"units that all have failed": {
			names: []string{"www.example.com"},
			edit: func(c *doctor.Config) {
				c.Set.Certificate("one").Deploy = spec.Deploy{Reload: []string{"a.service", "b.service"}, Restart: []string{"c.service"}}
				c.Unit = func(_ context.Context, unit string) (doctor.Unit, error) {
					return doctor.Unit{Loaded: true, Active: map[bool]string{true: "active", false: "failed"}[strings.HasPrefix(unit, "acmed")]}, nil
				}
			},
			want: []string{"failure unit a.service, b.service, c.service (3): it has failed"},
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			c := patient(t, tt.names...)
			if tt.edit != nil {
				tt.edit(&c)
			}
			got := trouble(t, c)
			if !slices.EqualFunc(got, tt.want, strings.HasPrefix) {
				t.Errorf("got\n%s", strings.Join(got, "\n"))
			}
		})
	}
}

// TestAHintForSeveralNamesNoneOfThem is about hints that hold what was looked at.
func TestAHintForSeveralNamesNoneOfThem(t *testing.T) {
	c := patient(t, "www.example.com")
	c.Set.Certificate("one").Deploy = spec.Deploy{Reload: []string{"a.service", "b.service"}}
	c.Unit = func(context.Context, string) (doctor.Unit, error) {
		return doctor.Unit{Loaded: true, Active: "failed"}, nil
	}
	var hints []string
	if err := doctor.Run(t.Context(), c, func(f doctor.Finding) { hints = append(hints, f.Hint) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(hints, "systemctl status NAME") || slices.Contains(hints, "systemctl status a.service") {
		t.Errorf("got %q", hints)
	}
}

// numbered returns that many names which have no address.
func numbered(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("n%d.example.com", i))
	}
	return names
}
