package challenge

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"acmed/internal/spec"
)

// maxAnswer is how much of a service's answer is read, and maxWords how much of that is shown.
const (
	maxAnswer = 64 << 10
	maxWords  = 200
)

// service is a web service that writes records.
type service struct{ client *http.Client }

func newService() service {
	return service{&http.Client{
		Timeout:       stepTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // it might lead a password elsewhere
	}}
}

// post sends v as JSON and wants a success.
func (s service) post(ctx context.Context, address string, v any, sign func(*http.Request)) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding a request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	sign(req)
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // for people only
	switch {
	case resp.StatusCode/100 == 2:
		return nil
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return &refusal{fmt.Sprintf("%s answers %s: %s", address, resp.Status, words(text)), "see that the login is right and may change this record"}
	}
	return fmt.Errorf("%s answers %s: %s", address, resp.Status, words(text))
}

// words is what a service says, for a log.
func words(text []byte) string {
	s := strings.ToValidUTF8(strings.TrimSpace(string(text)), "")
	return fmt.Sprintf("%.*q", maxWords, s)
}

// acmeDNS writes records by acme-dns (https://github.com/joohoi/acme-dns), which keeps the last two values of a name
// and forgets none.
type acmeDNS struct {
	service
	config spec.ACMEDNS

	mu     sync.Mutex                   // guards the following
	values map[string]map[string]string // that the CA may still look for: by name, and the certificate of each
	freed  chan struct{}                // closed when a value is no longer looked for
}

// acmeDNSValues is how many values of a name acme-dns keeps.
const acmeDNSValues = 2

func newACMEDNS(config spec.ACMEDNS) *acmeDNS {
	return &acmeDNS{service: newService(), config: config, values: map[string]map[string]string{}, freed: make(chan struct{})}
}

// registration is what acme-dns answers to /register.
type registration struct {
	Username   string `json:"username"`
	Password   string `json:"password"`
	FullDomain string `json:"fulldomain"`
	SubDomain  string `json:"subdomain"`
	ServerURL  string `json:"server_url"` // that acme-dns-client and lego add
}

func (a *acmeDNS) add(ctx context.Context, r record) error {
	reg, err := a.registration(r.proof.Identifier.Value)
	if err != nil {
		return err
	}
	if dns.CanonicalName(reg.FullDomain) != r.name {
		return &refusal{fmt.Sprintf("%s does not lead to %s", challengeName(r.proof), reg.FullDomain),
			fmt.Sprintf("write to the zone: %s CNAME %s", challengeName(r.proof), dns.Fqdn(reg.FullDomain))}
	}
	address := cmp.Or(a.config.URL, reg.ServerURL)
	if address == "" {
		return &refusal{a.config.AccountFile + " does not say where the server is", "write url beside accountFile"}
	}
	if err := a.claim(ctx, r); err != nil {
		return err
	}
	return a.post(ctx, strings.TrimSuffix(address, "/")+"/update", map[string]string{"subdomain": reg.SubDomain, "txt": r.value}, func(req *http.Request) {
		req.Header.Set("X-Api-User", reg.Username)
		req.Header.Set("X-Api-Key", reg.Password)
	})
}

// remove lets others write, for acme-dns removes nothing.
func (a *acmeDNS) remove(_ context.Context, r record) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.values[r.name], r.value)
	if len(a.values[r.name]) == 0 {
		delete(a.values, r.name)
	}
	close(a.freed)
	a.freed = make(chan struct{})
	return nil
}

// claim waits until another value of the name pushes out none that the CA may still look for.
func (a *acmeDNS) claim(ctx context.Context, r record) error {
	for {
		freed, others := a.take(r)
		if len(others) == 0 {
			return nil
		}
		if others[0] == r.certificate && others[len(others)-1] == r.certificate {
			return &refusal{fmt.Sprintf("more than %d names of this certificate lead to %s, of which acme-dns keeps %[1]d values", acmeDNSValues, r.name),
				fmt.Sprintf("register %s by itself, and write to the zone: %s CNAME <fulldomain of the answer>", r.proof.Identifier.Value, challengeName(r.proof))}
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return fmt.Errorf("%s holds the values of %s, and acme-dns keeps %d", r.name, strings.Join(others, " and "), acmeDNSValues)
		}
	}
}

// take notes a value if there is room. Otherwise it returns whose the others are, sorted, and what is closed when one goes.
func (a *acmeDNS) take(r record) (freed <-chan struct{}, others []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	values := a.values[r.name]
	if _, ok := values[r.value]; ok || len(values) < acmeDNSValues {
		if values == nil {
			values = map[string]string{}
			a.values[r.name] = values
		}
		values[r.value] = r.certificate
		return a.freed, nil
	}
	return a.freed, slices.Compact(slices.Sorted(maps.Values(values)))
}

// registration reads that of a domain, or the only one.
func (a *acmeDNS) registration(domain string) (reg registration, err error) {
	text, err := os.ReadFile(a.config.AccountFile)
	if err != nil {
		return reg, &refusal{err.Error(), "write the answer of the server's /register there, readable by acmed"}
	}
	if err := json.Unmarshal(text, &reg); err == nil && reg.FullDomain != "" {
		return reg, nil
	}
	var all map[string]registration
	if err := json.Unmarshal(text, &all); err != nil {
		return reg, &refusal{a.config.AccountFile + " is not the JSON of a registration", "write the answer of the server's /register there"}
	}
	for _, name := range []string{domain, strings.TrimPrefix(domain, "*.")} {
		if reg, ok := all[name]; ok && reg.FullDomain != "" {
			return reg, nil
		}
	}
	return reg, &refusal{fmt.Sprintf("%s has no registration for %s", a.config.AccountFile, domain), "register it, and add the answer under its name"}
}

// httpReq writes records by the protocol of lego's httpreq provider.
type httpReq struct {
	service
	config spec.HTTPReq
}

func newHTTPReq(config spec.HTTPReq) *httpReq { return &httpReq{newService(), config} }

func (h *httpReq) add(ctx context.Context, r record) error { return h.call(ctx, "present", r) }

func (h *httpReq) remove(ctx context.Context, r record) error { return h.call(ctx, "cleanup", r) }

func (h *httpReq) call(ctx context.Context, verb string, r record) error {
	address, err := url.JoinPath(h.config.URL, verb)
	if err != nil {
		return err
	}
	body := map[string]string{"fqdn": r.name, "value": r.value}
	if h.config.Mode == "raw" {
		body = map[string]string{"domain": r.proof.Identifier.Value, "token": r.proof.Token, "keyAuth": r.proof.KeyAuth}
	}
	password := ""
	if h.config.Username != "" {
		text, err := os.ReadFile(h.config.PasswordFile)
		if err != nil {
			return &refusal{err.Error(), "write the password there, readable by acmed"}
		}
		password = strings.TrimSpace(string(text))
	}
	return withoutQuery(h.post(ctx, address, body, func(req *http.Request) {
		if h.config.Username != "" {
			req.SetBasicAuth(h.config.Username, password)
		}
	}))
}

// withoutQuery leaves out what a URL may hold of secrets.
func withoutQuery(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
