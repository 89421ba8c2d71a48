package acme_test

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"acmed/internal/acme"
)

func TestExamineLooksAndRegistersNothing(t *testing.T) {
	f := newFake(t)
	f.on("GET /dir", ok(directoryJSON).with("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)))
	seen, err := acme.Examine(t.Context(), acme.Config{Directory: host + "/dir", Transport: f})
	if err != nil {
		t.Fatal(err)
	}
	if d := seen.Directory; d.TermsOfService != host+"/terms" || !d.RenewalInfo || d.Profiles["short"] == "" {
		t.Errorf("the directory is %+v", d)
	}
	if off := (seen.Skew - time.Hour).Abs(); off > 5*time.Second {
		t.Errorf("the clock is %v ahead, want an hour", seen.Skew)
	}
	if want := []string{"GET /dir", "HEAD /nonce"}; !slices.Equal(f.log, want) {
		t.Errorf("the CA was asked %q, want %q", f.log, want)
	}
}

func TestExamineTellsWhatDoesNotWork(t *testing.T) {
	for sentence, test := range map[string]struct {
		edit func(*fakeCA, *acme.Config)
		op   string
	}{
		"no directory":  {func(f *fakeCA, _ *acme.Config) { f.on("GET /dir", ok("{}")) }, acme.OpDirectory},
		"no nonce":      {func(f *fakeCA, _ *acme.Config) { f.on("HEAD /nonce", reply{status: 503, noNonce: true}) }, acme.OpNonce},
		"no usable URL": {func(_ *fakeCA, c *acme.Config) { c.Directory = "http://ca.test/dir" }, acme.OpDirectory},
	} {
		t.Run(sentence, func(t *testing.T) {
			f := newFake(t)
			c := acme.Config{Directory: host + "/dir", Transport: f}
			test.edit(f, &c)
			_, err := acme.Examine(t.Context(), c)
			if e, ok := errors.AsType[*acme.Error](err); !ok || e.Op != test.op {
				t.Errorf("got %v, want an error of the step %s", err, test.op)
			}
		})
	}
}

func TestSkew(t *testing.T) {
	at := func(seconds float64) time.Time {
		return time.Unix(1000, 0).Add(time.Duration(seconds * float64(time.Second)))
	}
	for sentence, test := range map[string]struct{ sent, came, date, want float64 }{
		"the same second":                  {0.2, 0.3, 0, 0},
		"the CA's second ended on the way": {0.9, 1.1, 0, 0},
		"a slow answer proves nothing":     {0, 20, 10, 0},
		"ahead":                            {90, 90.5, 0, 90},
		"behind":                           {0, 0.5, 90, -89},
		"behind by less than is known of a second ": {0, 0.5, 1, 0},
	} {
		if got := acme.Skew(at(test.sent), at(test.came), at(test.date)); got != time.Duration(test.want)*time.Second {
			t.Errorf("%s: %v, want %v s", sentence, got, test.want)
		}
	}
}
