//go:build e2e

package matrix_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"acmed/test/site"
	"acmed/test/zone"
)

// tsig is a secret of the zones' server and of acmed, in base64.
const tsig = "YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcyB5ZXM="

// acmeDNSZone is where acme-dns keeps its records.
const acmeDNSZone = "acme-dns.test"

// startZones answers for the names of all specs, on the port of DNS.
func startZones(t *testing.T) *zone.Server {
	t.Helper()
	return zone.Start(t, zone.Config{TSIG: map[string]string{"acmed.": tsig}, Port: 53, Records: `
example.com. 60 IN SOA ns1.example.com. hostmaster.example.com. 1 3600 600 86400 60
example.com. 60 IN NS ns1.example.com.
acme-dns.test. 60 IN SOA ns1.example.com. hostmaster.example.com. 1 3600 600 86400 60
acme-dns.test. 60 IN NS ns1.example.com.
ns1.example.com. 60 IN A 127.0.0.1
`})
}

// writeProviders writes a file of dns.d for each kind, all of which end in the same zones: by signed updates, or by web
// services that play acme-dns and one for httpreq, which the program of exec asks too.
func writeProviders(t *testing.T, s *site.Site, names *zone.Server, specs []specimen) {
	t.Helper()
	const propagation = "propagation: {resolvers: [\"127.0.0.1:53\"]}\n"
	service := httptest.NewServer(records(names))
	t.Cleanup(service.Close)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.Write(t, "tsig", tsig)
	s.Write(t, "acme-dns", registrations(t, names, specs))
	s.Write(t, "dns.d/rfc2136.yaml", fmt.Sprintf("rfc2136: {server: %q, tsigKeyName: acmed, tsigKeyFile: %s}\n%s", names.Addr, s.Path("tsig"), propagation))
	s.Write(t, "dns.d/acmedns.yaml", fmt.Sprintf("acmeDNS: {url: %q, accountFile: %s}\n%s", service.URL, s.Path("acme-dns"), propagation))
	s.Write(t, "dns.d/httpreq.yaml", fmt.Sprintf("httpReq: {url: %q}\n%s", service.URL, propagation))
	s.Write(t, "dns.d/exec.yaml", fmt.Sprintf("exec: {command: [%s, %s, %q]}\n%s", self, hookVerb, service.URL, propagation))
}

// registrations are what acme-dns has answered for the names of those specs that use it; their CNAMEs are in the zone.
func registrations(t *testing.T, names *zone.Server, specs []specimen) string {
	t.Helper()
	all := map[string]map[string]string{}
	for _, s := range specs {
		if !strings.HasSuffix(s.cell.Challenge, "acmeDNS") {
			continue
		}
		for i, name := range s.dnsNames {
			name = strings.TrimPrefix(name, "*.")
			target := fmt.Sprintf("%s-%d.%s", s.name, i, acmeDNSZone)
			if all[name] == nil {
				all[name] = map[string]string{"username": "u", "password": "p", "subdomain": target, "fulldomain": target}
				names.Add(fmt.Sprintf("_acme-challenge.%s. 60 IN CNAME %s.\n", name, target))
			}
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// records is a web service that writes records: as httpreq does, and as acme-dns, which keeps the last two values.
func records(names *zone.Server) http.Handler {
	var mu sync.Mutex // guards the zone between looking and writing
	mux := http.NewServeMux()
	handle := func(path string, act func(name, value string)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			var body struct{ FQDN, Value, SubDomain, TXT string }
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			act(body.FQDN+body.SubDomain, body.Value+body.TXT)
		})
	}
	handle("/present", names.AddTXT)
	handle("/cleanup", names.RemoveTXT)
	kept := map[string][]string{}
	handle("/update", func(name, value string) {
		if slices.Contains(kept[name], value) {
			return
		}
		if kept[name] = append(kept[name], value); len(kept[name]) > 2 {
			names.RemoveTXT(name, kept[name][0])
			kept[name] = kept[name][1:]
		}
		names.AddTXT(name, value)
	})
	return mux
}

// hookVerb makes this program the one of exec.
const hookVerb = "dns-hook"

// hook asks the service at URL for what lego's exec provider says: URL present|cleanup FQDN VALUE.
func hook(args []string) int {
	body, err := json.Marshal(map[string]string{"fqdn": args[2], "value": args[3]})
	if err != nil {
		panic(err) // strings are never refused
	}
	resp, err := http.Post(args[0]+"/"+args[1], "application/json", bytes.NewReader(body))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		fmt.Fprintln(os.Stderr, resp.Status)
		return 1
	}
	return 0
}
