package challenge

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/miekg/dns"

	"acmed/internal/spec"
)

// updates writes records by dynamic updates (RFC 2136), signed by TSIG (RFC 8945).
type updates struct {
	config   spec.RFC2136
	resolver *resolver
}

func (u *updates) add(ctx context.Context, r record) error {
	return u.update(ctx, r, (*dns.Msg).Insert)
}

func (u *updates) remove(ctx context.Context, r record) error {
	return u.update(ctx, r, (*dns.Msg).Remove)
}

func (u *updates) update(ctx context.Context, r record, change func(*dns.Msg, []dns.RR)) error {
	zone, err := u.resolver.zone(ctx, r.name)
	if err != nil {
		return err
	}
	m := new(dns.Msg)
	m.SetUpdate(zone)
	change(m, []dns.RR{&dns.TXT{
		Hdr: dns.RR_Header{Name: r.name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: uint32(r.ttl / time.Second)}, Txt: []string{r.value},
	}})
	answer, err := u.send(ctx, m)
	switch {
	case errors.Is(err, dns.ErrAuth), errors.Is(err, dns.ErrSig), errors.Is(err, dns.ErrTime), errors.Is(err, dns.ErrKeyAlg):
		return u.unsigned(zone, err.Error())
	case err != nil:
		return fmt.Errorf("updating %s at %s: %w", zone, u.config.Server, err)
	}
	switch answer.Rcode {
	case dns.RcodeSuccess:
		return nil
	case dns.RcodeNotAuth, dns.RcodeBadKey, dns.RcodeBadSig, dns.RcodeBadTime, dns.RcodeBadAlg:
		return u.unsigned(zone, dns.RcodeToString[answer.Rcode])
	case dns.RcodeRefused:
		return &refusal{fmt.Sprintf("%s refuses to update %s", u.config.Server, zone),
			fmt.Sprintf("allow the key there, such as BIND's update-policy { grant %s name %s TXT; };", u.config.TSIGKeyName, r.name)}
	}
	return fmt.Errorf("updating %s at %s: %s", zone, u.config.Server, dns.RcodeToString[answer.Rcode])
}

func (u *updates) unsigned(zone, why string) error {
	return &refusal{fmt.Sprintf("%s does not accept the signature of the update of %s: %s", u.config.Server, zone, why),
		"see that name, algorithm and key are those of the server, that it is primary for the zone, and that both clocks are right"}
}

// send signs an update if there is a key, and sends it.
func (u *updates) send(ctx context.Context, m *dns.Msg) (*dns.Msg, error) {
	client := &dns.Client{Net: "tcp", Timeout: queryTimeout}
	if u.config.TSIGKeyName != "" {
		name := dns.CanonicalName(u.config.TSIGKeyName)
		key, err := tsigKey(u.config.TSIGKeyFile)
		if err != nil {
			return nil, err
		}
		client.TsigSecret = map[string]string{name: key}
		m.SetTsig(name, dns.CanonicalName(u.config.TSIGAlgorithm), 300, time.Now().Unix())
	}
	answer, _, err := client.ExchangeContext(ctx, m, u.config.Server)
	return answer, err
}

var keyFile = regexp.MustCompile(`secret\s+"([^"]+)"`)

// tsigKey reads a key as tsig-keygen writes it, or its base64 alone.
func tsigKey(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", &refusal{err.Error(), "write the TSIG key there, readable by acmed"}
	}
	key := strings.TrimSpace(string(text))
	if m := keyFile.FindStringSubmatch(key); m != nil {
		key = m[1]
	}
	if raw, err := base64.StdEncoding.DecodeString(key); err != nil || len(raw) == 0 {
		return "", &refusal{file + " holds no TSIG key", "write what tsig-keygen prints, or its base64"}
	}
	return key, nil
}
