package acme_test

import (
	"crypto/x509"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"acmed/internal/acme"
)

func TestFetch(t *testing.T) {
	ca, alt := newAuthority(t, "CA"), newAuthority(t, "Other")
	key := newKey(t).Public()
	first, second := pems(ca.leaf(key), ca.cert), pems(alt.leaf(key), alt.cert)
	ten := strings.Repeat(`</no>;rel="alternate",`, 10)
	tests := map[string]struct {
		link      []string
		preferred string
		other     reply
		want      string // the chain's issuer
		requests  int
		offered   string
	}{
		"the default chain":                   {[]string{`</alt>;rel="alternate"`}, "", ok(second), "CA", 1, ""},
		"the default chain is preferred":      {[]string{`</alt>;rel="alternate"`}, "CA", ok(second), "CA", 1, ""},
		"an alternate is preferred":           {[]string{`</alt>;rel="alternate"`}, "Other", ok(second), "Other", 2, ""},
		"an alternate without quotes":         {[]string{`<https://ca.test/alt>; rel=alternate`}, "Other", ok(second), "Other", 2, ""},
		"an alternate among others":           {[]string{`<https://ca.test/dir>;rel="index"`, `</x,y>;title="a,b;c\"";rel=up, </alt>;title="<z>";rel="foo alternate"`}, "Other", ok(second), "Other", 2, ""},
		"no chain is like that":               {[]string{`</alt>;rel="alternate"`}, "Third", ok(second), "CA", 2, "CA, Other"},
		"no alternates":                       {nil, "Other", ok(second), "CA", 1, "CA"},
		"an alternate of another host":        {[]string{`<https://evil.test/alt>;rel="alternate"`}, "Other", ok(second), "CA", 1, "CA"},
		"an alternate that cannot be read":    {[]string{`</alt>;rel="alternate"`}, "Other", reply{status: 500}, "CA", 2, "CA"},
		"an eleventh alternate is not read":   {[]string{ten + `</alt>;rel="alternate"`}, "Other", ok(second), "CA", 11, "CA"},
		"an alternate that is no link at all": {[]string{`/alt;rel="alternate", <`, `>`}, "Other", ok(second), "CA", 1, "CA"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			answer := ok(first)
			for _, l := range tt.link {
				answer = answer.with("Link", l)
			}
			f.on("POST /cert/1", answer)
			f.on("POST /alt", tt.other)
			f.on("POST /no", reply{status: 404})
			der, offered, err := f.client().Fetch(t.Context(), anOrder("valid"), tt.preferred)
			if err != nil || len(der) != 2 {
				t.Fatalf("got %d certificates, %v", len(der), err)
			}
			if cert, err := x509.ParseCertificate(der[0]); err != nil || cert.Issuer.CommonName != tt.want {
				t.Errorf("got the chain of %v, %v", cert.Issuer, err)
			}
			if got := strings.Join(offered, ", "); got != tt.offered {
				t.Errorf("it tells of chains to %q, want %q", got, tt.offered)
			}
			if len(f.bodies) != tt.requests {
				t.Errorf("got %d requests", len(f.bodies))
			}
		})
	}
}

// TestTheChainToTheRootItself has a CA whose new root, R, is cross-signed by an old one.
func TestTheChainToTheRootItself(t *testing.T) {
	root, old, sub := newAuthority(t, "R"), newAuthority(t, "Old"), newAuthority(t, "I")
	intermediate, crossed := root.create(sub.cert, root.cert, sub.key.Public()), old.create(root.cert, old.cert, root.key.Public())
	leaf := sub.leaf(newKey(t).Public())
	toRoot, toOld := pems(leaf, intermediate), pems(leaf, intermediate, crossed)
	withRoot, fromIssuer := pems(leaf, intermediate, root.cert), pems(leaf, intermediate, crossed, old.cert)
	tests := map[string]struct {
		chains    []string // the default one first
		preferred string
		want      string
		offered   string
	}{
		"an alternate that ends at the root wins over a longer one": {[]string{toOld, toRoot}, "R", toRoot, ""},
		"wherever it is offered":                                    {[]string{toOld, fromIssuer, toRoot}, "R", toRoot, ""},
		"the old root is reached by the long one alone":             {[]string{toRoot, toOld}, "Old", toOld, ""},
		"the shortest of two with the same end":                     {[]string{withRoot, toRoot}, "R", toRoot, ""},
		"also where the default chain is the shorter":               {[]string{toOld, fromIssuer}, "Old", toOld, ""},
		"a chain that mentions it is better than none":              {[]string{toOld}, "R", toOld, ""},
		"of those that mention it the shortest":                     {[]string{fromIssuer, toOld}, "R", toOld, ""},
		"the default chain where none has it, of any length":        {[]string{toOld, toRoot}, "X", toOld, "Old, R"},
		"an issuer below the end counts where no end has it":        {[]string{toOld, toRoot}, "I", toRoot, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			first := ok(tt.chains[0])
			for i, text := range tt.chains[1:] {
				path := fmt.Sprintf("/alt/%d", i)
				first = first.with("Link", "<"+path+`>;rel="alternate"`)
				f.on("POST "+path, ok(text))
			}
			f.on("POST /cert/1", first)
			der, offered, err := f.client().Fetch(t.Context(), anOrder("valid"), tt.preferred)
			if err != nil {
				t.Fatal(err)
			}
			if got := pemsOf(der); got != tt.want {
				t.Errorf("got a chain of %d certificates, another one than wanted", len(der))
			}
			if got := strings.Join(offered, ", "); got != tt.offered {
				t.Errorf("it names the ends %q, want %q", got, tt.offered)
			}
		})
	}
}

// TestALeafAlone is of a CA whose root issues.
func TestALeafAlone(t *testing.T) {
	now := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	root, other := newAuthority(t, "R", now), newAuthority(t, "R", now)
	key := newKey(t).Public()
	for sentence, tt := range map[string]struct {
		roots *x509.Certificate // nil: the system's alone
		want  int
	}{
		"is completed with a root of the issuer": {root.cert, 2},
		"stays alone with another root":          {other.cert, 1},
		"stays alone with the system's roots":    {nil, 1},
	} {
		t.Run(sentence, func(t *testing.T) {
			f := newFake(t)
			f.on("POST /cert/1", ok(pems(root.leaf(key, now))))
			der, _, err := f.client(func(c *acme.Config) {
				if tt.roots != nil {
					c.RootCAs = x509.NewCertPool()
					c.RootCAs.AddCert(tt.roots)
				}
			}).Fetch(t.Context(), anOrder("valid"), "")
			if err != nil || len(der) != tt.want {
				t.Fatalf("got %d certificates, %v", len(der), err)
			}
			_, err = acme.Verify(der, key, dns("a.test"), time.Now())
			if tt.want == 2 {
				if err != nil {
					t.Error(err)
				}
			} else if e := errorOf(t, err); !acme.ChainRefused(err) || !strings.Contains(e.Hint, "caBundle") {
				t.Errorf("got %v, hint %q", err, e.Hint)
			}
		})
	}
}

func TestChainsThatAreNone(t *testing.T) {
	ca := newAuthority(t, "CA")
	good := pems(ca.cert)
	tests := map[string]string{
		"a key inside":         good + "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n" + good,
		"text before":          "hello\n" + good,
		"text after":           good + "hello",
		"headers":              strings.Replace(good, "-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1),
		"a broken block first": "-----BEGIN CERTIFICATE-----\n!!!!\n" + good,
		"eleven certificates":  strings.Repeat(good, 11),
		"blank":                " \n",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.on("POST /cert/1", ok(text))
			_, _, err := f.client().Fetch(t.Context(), anOrder("valid"), "")
			if e := errorOf(t, err); e.Problem != "malformedAnswer" || e.Kind != acme.Transient {
				t.Errorf("got %v", e)
			}
		})
	}
	f := newFake(t)
	if _, _, err := f.client().Fetch(t.Context(), &acme.Order{}, ""); errorOf(t, err).Problem != "protocol" {
		t.Errorf("an order without a certificate: got %v", err)
	}
}

func TestRenewalInfo(t *testing.T) {
	leaf := newAuthority(t, "CA").leaf(newKey(t).Public())
	window := func(start, end time.Time) string {
		return fmt.Sprintf(`{"suggestedWindow":{"start":%q,"end":%q},"explanationURL":"https://ca.test/why"}`, start.Format(time.RFC3339), end.Format(time.RFC3339))
	}
	at := func(h int) time.Time { return leaf.NotBefore.Add(time.Duration(h) * time.Hour) }
	tests := map[string]struct {
		answer     reply
		start, end time.Time
		retry      time.Duration
		problem    string
	}{
		"a window":                            {ok(window(at(1), at(2))).with("Retry-After", "3600"), at(1), at(2), time.Hour, ""},
		"no Retry-After":                      {ok(window(at(1), at(2))), at(1), at(2), 6 * time.Hour, ""},
		"a short Retry-After":                 {ok(window(at(1), at(2))).with("Retry-After", "1"), at(1), at(2), time.Minute, ""},
		"a long Retry-After":                  {ok(window(at(1), at(2))).with("Retry-After", "99999999"), at(1), at(2), 24 * time.Hour, ""},
		"a window that ends in the year 9999": {ok(window(at(1), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))), at(1), leaf.NotAfter, 6 * time.Hour, ""},
		"a window before the certificate":     {ok(window(at(-9), at(-8))), leaf.NotBefore, leaf.NotBefore.Add(time.Second), 6 * time.Hour, ""},
		"a window that ends before it starts": {ok(window(at(2), at(1))), time.Time{}, time.Time{}, 0, "protocol"},
		"an empty window":                     {ok(window(at(2), at(2))), time.Time{}, time.Time{}, 0, "protocol"},
		"a window after the certificate":      {ok(window(at(200), at(300))), time.Time{}, time.Time{}, 0, "protocol"},
		"no window":                           {ok(`{}`), time.Time{}, time.Time{}, 0, "protocol"},
		"no JSON":                             {ok(`{`), time.Time{}, time.Time{}, 0, "malformedAnswer"},
		"404":                                 {reply{status: 404}, time.Time{}, time.Time{}, 0, "http"},
		"500":                                 {reply{status: 500}, time.Time{}, time.Time{}, 0, "http"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.on("GET /ari/"+acme.CertID(leaf), tt.answer)
			r, err := f.client().RenewalInfo(t.Context(), renewable(leaf))
			if tt.problem != "" {
				if e := errorOf(t, err); e.Problem != tt.problem || e.Op != acme.OpRenewalInfo {
					t.Errorf("got %v", e)
				}
				return
			}
			if err != nil || !r.Start.Equal(tt.start) || !r.End.Equal(tt.end) || r.RetryAfter != tt.retry || r.ExplanationURL != host+"/why" {
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
}

func TestExplanationsAreLinksOrNothing(t *testing.T) {
	leaf := newAuthority(t, "CA").leaf(newKey(t).Public())
	for _, link := range []string{"", "http://ca.test/", "javascript:alert(1)", "https://a:b@ca.test/", "https://ca.test/" + strings.Repeat("a", 512)} {
		f := newFake(t)
		f.on("GET /ari/"+acme.CertID(leaf), ok(fmt.Sprintf(`{"suggestedWindow":{"start":"2026-11-23T13:00:00Z","end":"2026-11-23T14:00:00Z"},"explanationURL":%q}`, link)))
		if r, err := f.client().RenewalInfo(t.Context(), renewable(leaf)); err != nil || r.ExplanationURL != "" {
			t.Errorf("%.30q: got %q, %v", link, r.ExplanationURL, err)
		}
	}
}

func TestRenewalInfoWithoutRenewalInfo(t *testing.T) {
	ca := newAuthority(t, "CA")
	f := newFake(t)
	f.on("GET /dir", ok(strings.Replace(directoryJSON, "renewalInfo", "x", 1)))
	noAKI := *ca.leaf(newKey(t).Public())
	noAKI.AuthorityKeyId = nil
	for c, leaf := range maps.All(map[*acme.Client]*x509.Certificate{f.client(): ca.cert, newFake(t).client(): &noAKI}) {
		_, err := c.RenewalInfo(t.Context(), renewable(leaf))
		if e := errorOf(t, err); e.Unwrap() != acme.ErrNoRenewalInfo {
			t.Errorf("got %v", err)
		}
	}
	f.on("GET /dir", reply{status: 500})
	if _, err := f.client().RenewalInfo(t.Context(), renewable(ca.cert)); errorOf(t, err).Op != acme.OpDirectory {
		t.Errorf("got %v", err)
	}
}

func renewable(leaf *x509.Certificate) acme.Renewable {
	return acme.Renewable{CertID: acme.CertID(leaf), NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter}
}
