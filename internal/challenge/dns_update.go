package challenge

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"acmed/internal/spec"
)

// updates writes records by dynamic updates (RFC 2136), signed by TSIG (RFC 8945).
type updates struct{ config spec.RFC2136 }

func (u *updates) add(ctx context.Context, r record) error {
	return u.update(ctx, r, (*dns.Msg).Insert)
}

func (u *updates) remove(ctx context.Context, r record) error {
	return u.update(ctx, r, (*dns.Msg).Remove)
}

func (u *updates) update(ctx context.Context, r record, change func(*dns.Msg, []dns.RR)) error {
	zone := r.zone
	if u.config.Zone != "" {
		zone = dns.Fqdn(u.config.Zone)
	}
	if managed(zone) {
		return &refusal{fmt.Sprintf("the zone of %s is not known, and %s is not updated: it is not one person's", r.name, strconv.Quote(zone)),
			"name your zone in rfc2136.zone"}
	}
	m := new(dns.Msg)
	m.SetUpdate(zone)
	change(m, []dns.RR{&dns.TXT{
		Hdr: dns.RR_Header{Name: r.name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: uint32(r.ttl / time.Second)}, Txt: []string{r.value},
	}})
	answer, err := u.send(ctx, m)
	switch {
	case answer != nil && u.signatureRefused(answer) != nil:
		return u.signatureRefused(answer)
	case answer != nil && (errors.Is(err, dns.ErrSig) || errors.Is(err, dns.ErrTime) || errors.Is(err, dns.ErrKeyAlg)):
		return &refusal{fmt.Sprintf("the answer of %s is not signed with the key: %s", u.config.Server, err), "see that nobody answers in the server's place"}
	case err != nil && (answer == nil || !errors.Is(err, dns.ErrAuth)): // which stands for the code NOTAUTH
		return fmt.Errorf("updating %s at %s: %w", zone, u.config.Server, err)
	}
	return u.judge(answer, r.name, zone)
}

// judge reads the answer to an update (RFC 2136 §2.2, §3.8) whose signature nobody complains about. What servers mean by their codes
// was tried; docs/dns.md has the table.
func (u *updates) judge(answer *dns.Msg, name, zone string) error {
	says := fmt.Sprintf("%s answers %s to an update of %s", u.config.Server, dns.RcodeToString[answer.Rcode], zone)
	allow := fmt.Sprintf("allow the key to change this record, such as BIND's update-policy { grant %s name %s TXT; }; ", cmp.Or(u.config.TSIGKeyName, "KEY"), name)
	switch answer.Rcode {
	case dns.RcodeSuccess:
		return nil
	case dns.RcodeRefused:
		return &refusal{says, allow + "a secondary says so too: server is the primary of the zone; and PowerDNS, to a key that it does not know or that TSIG-ALLOW-DNSUPDATE does not name, and when clocks differ"}
	case dns.RcodeNotAuth:
		return &refusal{says, "server has to be the primary of the zone, which rfc2136.zone can name; Knot says so of an update that is not signed"}
	case dns.RcodeNotImplemented:
		return &refusal{says, "this server takes no updates, as NSD does not: name the primary of the zone in rfc2136.server"}
	case dns.RcodeNotZone:
		return &refusal{says, "the record is in another zone: see rfc2136.zone in the provider's file"}
	}
	return errors.New(says)
}

// signatureRefused is the reason why a server does not accept the signature of an update (RFC 8945 §5.2); nil: it does.
func (u *updates) signatureRefused(answer *dns.Msg) error {
	t := answer.IsTsig()
	if t == nil || t.Error == dns.RcodeSuccess {
		return nil
	}
	says := fmt.Sprintf("%s does not accept the signature: %s", u.config.Server, dns.RcodeToString[int(t.Error)])
	switch t.Error {
	case dns.RcodeBadKey:
		return &refusal{says, fmt.Sprintf("the server knows no key %s with %s, or, if it is Knot, no acl of the zone allows it this update", u.config.TSIGKeyName, u.config.TSIGAlgorithm)}
	case dns.RcodeBadSig:
		return &refusal{says, fmt.Sprintf("the secret in %s is not that of the server's key %s", u.config.TSIGKeyFile, u.config.TSIGKeyName)}
	case dns.RcodeBadTime:
		return &refusal{says + clocks(t), "set both clocks: timedatectl shows whether this one is synchronized"}
	}
	return &refusal{says, "see that name, algorithm and secret of the key are those of the server"}
}

// clocks says how far the server's clock is from this machine's, if it tells (RFC 8945 §5.2.3).
func clocks(t *dns.TSIG) string {
	seconds, err := strconv.ParseInt(t.OtherData, 16, 64)
	if err != nil || t.OtherLen != 6 {
		return ""
	}
	there := time.Unix(seconds, 0).UTC()
	return fmt.Sprintf(": its clock says %s, and this machine's %s", there.Format(time.RFC3339), time.Now().UTC().Format(time.RFC3339))
}

// ask asks the server that takes the updates, signed as those are: it may answer nobody else.
func (u *updates) ask(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	answer, err := u.send(ctx, question(name, kind, false))
	switch {
	case err != nil:
		return nil, err
	case !answer.Authoritative:
		return nil, fmt.Errorf("%s has no zone that holds %s", u.config.Server, name)
	}
	return answer, nil
}

// send signs a message if there is a key, and sends it. An answer whose signature is not good comes with an error.
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
