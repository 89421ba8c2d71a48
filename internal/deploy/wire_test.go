package deploy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"acmed/internal/deploy"
)

const fingerprint = "0123456789abcdef0123456789abcdef"

func TestRequestsAreRefused(t *testing.T) {
	many := make([]string, deploy.MaxOrders+1)
	for i := range many {
		many[i] = fmt.Sprintf(`{"name":"c%d"}`, i)
	}
	for sentence, c := range map[string]struct{ request, want string }{
		"nothing at all":                {``, "decoding the request"},
		"no JSON":                       {`deploy a`, "decoding the request"},
		"no object":                     {`["deploy"]`, "decoding the request"},
		"null":                          {`null`, "unknown verb"},
		"half of it":                    {`{"verb":"deploy","orders":[{"name":"a"}`, "decoding the request"},
		"two of them":                   {`{"verb":"accept","orders":[{"name":"a"}]}{"verb":"deploy","orders":[{"name":"a"}]}`, "something follows"},
		"something behind it":           {`{"verb":"accept","orders":[{"name":"a"}]} x`, "something follows"},
		"a verb nobody knows":           {`{"verb":"revoke","orders":[{"name":"a"}]}`, `unknown verb "revoke"`},
		"no verb":                       {`{"orders":[{"name":"a"}]}`, `unknown verb ""`},
		"no orders":                     {`{"verb":"deploy","orders":[]}`, "0 orders"},
		"too many orders":               {`{"verb":"accept","orders":[` + strings.Join(many, ",") + `]}`, "257 orders"},
		"a key nobody knows":            {`{"verb":"deploy","orders":[{"name":"a"}],"config":"/tmp/x"}`, `unknown field "config"`},
		"a key nobody knows, inside":    {`{"verb":"deploy","orders":[{"name":"a","path":"/tmp/x"}]}`, `unknown field "path"`},
		"a name that is none":           {`{"verb":"deploy","orders":[{"name":7}]}`, "decoding the request"},
		"an empty name":                 {`{"verb":"deploy","orders":[{"name":""}]}`, "not the name"},
		"a path":                        {`{"verb":"deploy","orders":[{"name":"../shadow"}]}`, "not the name"},
		"an absolute path":              {`{"verb":"deploy","orders":[{"name":"/etc/shadow"}]}`, "not the name"},
		"a name with two dots":          {`{"verb":"deploy","orders":[{"name":"a..b"}]}`, "not the name"},
		"a name that starts with a dot": {`{"verb":"deploy","orders":[{"name":".a"}]}`, "not the name"},
		"a capital":                     {`{"verb":"deploy","orders":[{"name":"A"}]}`, "not the name"},
		"a name that ends in a newline": {`{"verb":"deploy","orders":[{"name":"a\n"}]}`, "not the name"},
		"a NUL":                         {`{"verb":"deploy","orders":[{"name":"a\u0000b"}]}`, "not the name"},
		"a name of 129 bytes":           {`{"verb":"deploy","orders":[{"name":"` + strings.Repeat("a", 129) + `"}]}`, "not the name"},
		"the same name twice":           {`{"verb":"deploy","orders":[{"name":"a"},{"name":"a"}]}`, "named twice"},
		"a fingerprint that is none":    {`{"verb":"deploy","orders":[{"name":"a","done":["x"]}]}`, "not a fingerprint"},
		"another one":                   {`{"verb":"deploy","orders":[{"name":"a","wait":["` + strings.ToUpper(fingerprint) + `"]}]}`, "not a fingerprint"},
		"an end that is none":           {`{"verb":"deploy","orders":[{"name":"a","ended":["/etc/shadow"]}]}`, "not a fingerprint"},
		"a second try that is none":     {`{"verb":"deploy","orders":[{"name":"a","again":["nginx.service"]}]}`, "not a fingerprint"},
		"ends to accept":                {`{"verb":"accept","orders":[{"name":"a","ended":["` + fingerprint + `"]}]}`, "for deploy only"},
		"fingerprints to accept":        {`{"verb":"accept","orders":[{"name":"a","done":["` + fingerprint + `"]}]}`, "for deploy only"},
		"a megabyte and a byte":         {strings.Repeat(" ", 1<<20+1), "over 1048576 bytes"},
	} {
		if _, _, err := deploy.ReadRequest(strings.NewReader(c.request)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", sentence, err)
		}
	}
}

func TestRequestsHoldAsMuchAsTheyMay(t *testing.T) {
	orders := make([]deploy.Order, 1000)
	for i := range orders {
		orders[i].Name = strings.Repeat("n", 120) + fmt.Sprint(i)
		for range i / 10 {
			orders[i].Done = append(orders[i].Done, fingerprint)
			orders[i].Wait = append(orders[i].Wait, fingerprint)
			orders[i].Ended = append(orders[i].Ended, fingerprint)
			orders[i].Again = append(orders[i].Again, fingerprint)
		}
	}
	total := 0
	counts, sizes := deploy.Requests(func(v any) []byte { text, _ := json.Marshal(v); return text }, orders)
	for i := range counts {
		if total += counts[i]; counts[i] == 0 || counts[i] > deploy.MaxOrders || sizes[i] > 1<<20 {
			t.Errorf("%d orders in %d bytes", counts[i], sizes[i])
		}
	}
	if total != len(orders) || len(counts) < 4 || len(counts) > 16 {
		t.Errorf("%d orders in %d", total, counts)
	}
}

func TestAnswersAreCutToFit(t *testing.T) {
	long := strings.Repeat("é", 32<<10) + "the end"
	answers := make([]deploy.Answer, 100)
	for i := range answers {
		answers[i] = deploy.Answer{Name: "a", Results: []deploy.Result{{Key: "run x", Problem: "exit status 1", Output: long}}}
	}
	for most, want := range map[int]string{32 << 20: long, 1 << 20: "the end", 12 << 10: "exit status 1", 1 << 10: "the answer is too long"} {
		text, err := deploy.EncodeReply(answers, most)
		if err != nil || len(text) > most {
			t.Errorf("%d: %d bytes, %v", most, len(text), err)
		}
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("%d: %.200s", most, text)
		}
		for i := range answers {
			answers[i].Results[0].Output = long
		}
	}
}

// FuzzRequest holds the decoder to what the helper builds on: it never fails badly, and what it accepts is a bounded
// list of names that are safe as the names of files.
func FuzzRequest(f *testing.F) {
	for _, text := range []string{
		`{"verb":"accept","orders":[{"name":"www.example.com"}]}`,
		`{"verb":"deploy","orders":[{"name":"a","done":["` + fingerprint + `"],"wait":[]},{"name":"b-c_d.e"}]}`,
		`{"verb":"deploy","orders":[{"name":"a","ended":["` + fingerprint + `"],"again":["` + fingerprint + `"]}]}`,
		`{"verb":"deploy","orders":[{"name":"../a"}]}`, `{"Verb":"deploy","ORDERS":[{"Name":"a"}]}`, `{"verb":"deploy","orders":null}`,
		`[[[[[[`, "{}{}", "\ufeff{}", `{"verb":"accept","orders":[{"name":"a"}]}` + "\x00",
		recordRequest("present", proof(site)), `{"verb":"cleanup","record":{"name":"a."}}`, `{"verb":"present","record":null}`,
	} {
		f.Add([]byte(text))
	}
	safe := regexp.MustCompile(`\A[a-z0-9][a-z0-9._-]{0,127}\z`)
	f.Fuzz(func(t *testing.T, text []byte) {
		verb, orders, err := deploy.ReadRequest(bytes.NewReader(text))
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Fatalf("%d bytes of error", len(err.Error()))
			}
			return
		}
		if verb == "present" || verb == "cleanup" {
			wantRecord(t, text)
			return
		}
		if verb != "accept" && verb != "deploy" || len(orders) < 1 || len(orders) > deploy.MaxOrders {
			t.Fatalf("%s %d", verb, len(orders))
		}
		for _, o := range orders {
			if !safe.MatchString(o.Name) || strings.Contains(o.Name, "..") {
				t.Fatalf("%q", o.Name)
			}
		}
		again, err := json.Marshal(map[string]any{"verb": verb, "orders": orders})
		if err != nil {
			t.Fatal(err)
		}
		if v, o, err := deploy.ReadRequest(bytes.NewReader(again)); err != nil || v != verb || len(o) != len(orders) || !reflect.DeepEqual(o[0].Name, orders[0].Name) {
			t.Fatalf("%s became %s %v: %v", again, v, o, err)
		}
	})
}
