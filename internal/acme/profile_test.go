package acme_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acme"
)

// offering is a directory with these profiles, as JSON.
func offering(profiles string) reply {
	return ok(strings.Replace(directoryJSON, `{"short":"a week"}`, profiles, 1))
}

// TestProfilesAreListed tells what the CA has, whether acmed or the CA refuses what a spec asks for.
func TestProfilesAreListed(t *testing.T) {
	long := strings.Repeat("ü", 300)
	var many []string
	for i := range 20 {
		many = append(many, fmt.Sprintf(`"p%02d":""`, i))
	}
	refused := refusal(400, "invalidProfile", "no")
	for sentence, tt := range map[string]struct {
		before, after string // what the directory has an hour ago and now; "" after: it is not read once more
		answers       []reply
		profile       string
		hint          string // "": the order is made
	}{
		"one that was never there":     {`{"short":"a week","long":"a year"}`, `{"short":"a week","long":"a year"}`, nil, "x", "it offers: long (a year), short (a week)"},
		"one that is new":              {`{"short":""}`, `{"short":"","x":""}`, []reply{located(201, "order/1", orderJSON("pending"))}, "x", ""},
		"one that has gone":            {`{"short":"a week","x":"y"}`, `{"short":"a week"}`, []reply{refused}, "x", "it offers: short (a week)"},
		"one that others may have":     {`{"short":"a week","x":"y"}`, `{"short":"a week","x":"y"}`, []reply{refused}, "x", "it offers: short (a week)"},
		"the only one":                 {`{"x":"y"}`, `{"x":"y"}`, []reply{refused}, "x", "the CA lists this one alone"},
		"a CA that has none":           {`{}`, `{}`, nil, "x", "the CA offers none"},
		"a description without an end": {`{"short":"` + long + `"}`, `{"short":"` + long + `"}`, nil, "x", "short (" + long[:200] + "…)"},
		"no descriptions, but many":    {"{" + strings.Join(many, ",") + "}", "{" + strings.Join(many, ",") + "}", nil, "x", "p06, p07, and 12 more"},
		"what would garble a terminal": {`{"short":"a\u001b[31m"}`, `{"short":"a\u001b[31m"}`, nil, "x", `short (a\x1b[31m)`},
	} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				f.on("GET /dir", offering(tt.before), offering(tt.after))
				f.on("POST /new", tt.answers...)
				c := f.client()
				if _, err := c.Directory(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				_, err := c.NewOrder(t.Context(), acme.OrderRequest{Identifiers: dns("a.test"), Profile: tt.profile})
				if tt.hint == "" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				if e := errorOf(t, err); e.Problem != "invalidProfile" || e.Kind != acme.Permanent || !strings.Contains(e.Hint, tt.hint) {
					t.Errorf("%+v", e)
				}
				// Others who ask for the same do not have the directory read again.
				before := len(f.log)
				_, err = c.NewOrder(t.Context(), acme.OrderRequest{Identifiers: dns("a.test"), Profile: tt.profile})
				if errorOf(t, err); strings.Contains(strings.Join(f.log[before:], " "), "/dir") {
					t.Errorf("asked %q", f.log[before:])
				}
			})
		})
	}
}
