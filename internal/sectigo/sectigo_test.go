package sectigo_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/sectigo"
	"acmed/test/scm"
)

func client(t *testing.T, url string, edit func(*sectigo.Config)) *sectigo.Client {
	t.Helper()
	c := sectigo.Config{URL: url, CustomerURI: scm.Customer, Login: scm.Login, Password: scm.Password}
	if edit != nil {
		edit(&c)
	}
	made, err := sectigo.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// TestAccountFromCradleToGrave goes through everything that an account is for, with both versions of the API.
func TestAccountFromCradleToGrave(t *testing.T) {
	for sentence, old := range map[string]bool{"version 2": false, "version 1, where there is no other": true} {
		t.Run(sentence, func(t *testing.T) {
			fake := scm.Start(t, scm.Options{Old: old, Bindings: [][2]string{{"kid-1", "c2VjcmV0LXNlY3JldC1zZWNyZXQ"}}})
			c, ctx := client(t, fake.URL, nil), t.Context()
			server, err := c.Server(ctx, "https://acme.sectigo.com/v2/OV/")
			if err != nil {
				t.Fatal(err)
			}
			id, err := c.CreateAccount(ctx, sectigo.NewAccount{Name: "web", Server: server.Name, OrganizationID: scm.Organization})
			if err != nil {
				t.Fatal(err)
			}
			a, err := c.Account(ctx, id)
			if err != nil || a.ID != id || a.KID != "kid-1" || string(a.Key) != "c2VjcmV0LXNlY3JldC1zZWNyZXQ" || a.Server != "OV ACME Server" {
				t.Fatalf("the account is %+v, %v", a, err)
			}
			if text := fmt.Sprintf("%v %+v %#v", a, a, a); strings.Contains(text, string(a.Key)) {
				t.Errorf("printed, the account shows its key: %s", text)
			}

			missing, err := c.AddDomains(ctx, id, []string{"www.example.com", "www.example.net", "mail.example.com"})
			if err != nil || !slices.Equal(missing, []string{"www.example.net"}) {
				t.Errorf("not added are %v, %v", missing, err)
			}
			left, err := c.RemoveDomains(ctx, id, []string{"mail.example.com", "ftp.example.com"})
			if err != nil || !slices.Equal(left, []string{"ftp.example.com"}) {
				t.Errorf("not removed are %v, %v", left, err)
			}
			domains, err := c.Domains(ctx, id)
			if err != nil || len(domains) != 1 || domains[0].Name != "www.example.com" || (domains[0].ValidUntil == "") != old {
				t.Errorf("the domains are %v, %v", domains, err)
			}
			list, err := c.Accounts(ctx, scm.Organization)
			if err != nil || len(list) != 1 || list[0].ID != id {
				t.Errorf("the accounts are %v, %v", list, err)
			}
			if err := c.DeleteAccount(ctx, id); err != nil {
				t.Error(err)
			}
			if _, err := c.Account(ctx, id); !isRefusal(err, http.StatusNotFound) {
				t.Errorf("the deleted account: %v", err)
			}
			if version := map[bool]string{false: "/acme/v2/", true: "/acme/v1/"}[old]; !strings.Contains(fake.Asked()[1], version) {
				t.Errorf("SCM was asked %q, want %s", fake.Asked()[1], version)
			}
		})
	}
}

// TestServersThatGoByTheirURL is about SCMs that want the URL of a server where the reference has its name.
func TestServersThatGoByTheirURL(t *testing.T) {
	fake := scm.Start(t, scm.Options{ByURL: true})
	c := client(t, fake.URL, nil)
	n := sectigo.NewAccount{Name: "web", Server: "OV ACME Server", OrganizationID: scm.Organization}
	_, err := c.CreateAccount(t.Context(), n)
	check(t, err, "Unknown error. (code -1, HTTP 400)", "name the server by its URL instead of its name")
	n.Server = "https://acme.sectigo.com/v2/OV"
	id, err := c.CreateAccount(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.Account(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := c.Server(t.Context(), a.Server); err != nil || s.Name != "OV ACME Server" {
		t.Errorf("the server of the account is %+v, %v", s, err)
	}
}

func isRefusal(err error, status int) bool {
	e, ok := errors.AsType[*sectigo.Error](err)
	return ok && e.Status == status && e.Code != 0
}

func TestListsAreReadPageByPage(t *testing.T) {
	var servers []scm.Server
	for i := range 401 {
		servers = append(servers, scm.Server{Name: fmt.Sprint("server ", i), URL: fmt.Sprint("https://acme.example/", i)})
	}
	fake := scm.Start(t, scm.Options{Servers: servers})
	got, err := client(t, fake.URL, nil).Servers(t.Context())
	if err != nil || len(got) != len(servers) || got[400].Name != "server 400" {
		t.Errorf("%d servers, %v", len(got), err)
	}
	if n := len(fake.Asked()); n != 3 {
		t.Errorf("SCM was asked %d times", n)
	}
}

// TestRefusals compares SCM's words, its codes, and what to do.
func TestRefusals(t *testing.T) {
	for sentence, test := range map[string]struct {
		edit       func(*sectigo.Config)
		ask        func(*testing.T, *sectigo.Client) error
		want, hint string
	}{
		"wrong credentials": {
			edit: func(c *sectigo.Config) { c.Password = "guess" },
			want: `listing the ACME servers of SCM: Unknown user (code -16, HTTP 401)`, hint: "check customerUri, login and the password",
		},
		"a server that is not offered": {
			ask:  func(t *testing.T, c *sectigo.Client) error { _, err := c.Server(t.Context(), "XV"); return err },
			want: `looking for the ACME server "XV": SCM offers no such server`, hint: `"DV ACME Server", "OV ACME Server", "EV ACME Server"`,
		},
		"an organization that is not there": {
			ask: func(t *testing.T, c *sectigo.Client) error {
				_, err := c.CreateAccount(t.Context(), sectigo.NewAccount{Name: "web", Server: "OV ACME Server", OrganizationID: 7})
				return err
			},
			want: `creating the ACME account "web" in SCM: Organization '7' not found. (code -1023, HTTP 400)`, hint: "--organization",
		},
		"an account that is not there": {
			ask:  func(t *testing.T, c *sectigo.Client) error { return c.DeleteAccount(t.Context(), 999) },
			want: `deleting ACME account 999 of SCM: ACME account 999 not found (code -39, HTTP 404)`, hint: "account list",
		},
		"another URL": {
			edit: func(c *sectigo.Config) { c.URL = strings.TrimSuffix(c.URL, "/api") + "/portal" },
			want: `SCM answers without an error of its own: Not Found (HTTP 404)`, hint: "/portal is the URL of the API",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			fake := scm.New(scm.Options{})
			t.Cleanup(fake.Close)
			ask := test.ask
			if ask == nil {
				ask = func(t *testing.T, c *sectigo.Client) error { _, err := c.Servers(t.Context()); return err }
			}
			check(t, ask(t, client(t, fake.URL, test.edit)), test.want, test.hint)
		})
	}
}

// check wants an error with these words, a hint, and without the password.
func check(t *testing.T, err error, want, hint string) {
	t.Helper()
	e, ok := errors.AsType[*sectigo.Error](err)
	if !ok || !strings.Contains(e.Error(), want) || !strings.Contains(e.Hint, hint) {
		t.Fatalf("got %v, want %q with a hint about %q", err, want, hint)
	}
	if text := fmt.Sprintf("%+v %s", e, e.Hint); strings.Contains(text, scm.Password) || strings.Contains(text, "access-1") {
		t.Errorf("the error shows a secret: %s", text)
	}
}

// TestHostileAnswers is about servers that are not what they seem.
func TestHostileAnswers(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the credentials were sent elsewhere")
	}))
	t.Cleanup(elsewhere.Close)
	for sentence, test := range map[string]struct {
		answer     http.HandlerFunc
		want, hint string
	}{
		"a redirect is not followed": {
			func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
			},
			"it redirects to " + elsewhere.URL, "is the URL of the API",
		},
		"an endless answer ends": {
			func(w http.ResponseWriter, _ *http.Request) {
				for range 5 << 10 {
					_, _ = w.Write(make([]byte, 1<<10))
				}
			},
			"the answer is larger than 4194304 bytes", "is the URL of the API",
		},
		"a page for people":            {serve(200, "<html>Sign in</html>"), "the answer cannot be read: invalid character", "is the URL of the API"},
		"a number for a name":          {serve(200, `[{"name": 5}]`), "the answer cannot be read", "is the URL of the API"},
		"a refusal in HTML":            {serve(403, "<html>WAF</html>"), "Forbidden (HTTP 403)", "role and privileges"},
		"an outage":                    {serve(503, ""), "Service Unavailable (HTTP 503)", "try again later"},
		"words that move the cursor":   {serve(400, `{"code":-1,"description":"a\u001b[2J`+"b\"}"), "a\ufffd[2Jb (code -1, HTTP 400)", "see what SCM says"},
		"words without end":            {serve(400, `{"code":-1,"description":"`+strings.Repeat("é", 9999)+`"}`), "é…", "see what SCM says"},
		"a connection that is cut":     {cut, "EOF", "make sure that this machine reaches"},
		"more pages than there can be": {serve(200, "["+strings.Repeat("{},", 199)+"{}]"), "there are more than 20000", "is the URL"},
	} {
		t.Run(sentence, func(t *testing.T) {
			server := httptest.NewServer(test.answer)
			t.Cleanup(server.Close)
			_, err := client(t, server.URL, nil).Servers(t.Context())
			check(t, err, test.want, test.hint)
			if len(err.Error()) > 800 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func serve(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text))
	}
}

// cut takes the request and gives no answer: whether it was carried out, nobody knows.
func cut(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

// TestLostAnswers is about changes of which nobody knows whether they were made.
func TestLostAnswers(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(cut))
	t.Cleanup(server.Close)
	_, err := client(t, server.URL, nil).CreateAccount(t.Context(), sectigo.NewAccount{Name: "web"})
	check(t, err, "EOF", "whether it was done is not known: look before you repeat it")

	for sentence, location := range map[string]string{
		"no Location": "", "one without a number": "https://scm.example/api/acme/v2/account", "one that lies": "/acme/v2/account/-1",
	} {
		t.Run(sentence, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", location)
				w.WriteHeader(http.StatusCreated)
			}))
			t.Cleanup(server.Close)
			_, err := client(t, server.URL, nil).CreateAccount(t.Context(), sectigo.NewAccount{Name: "web"})
			check(t, err, "SCM made it, but does not say which", "acmed sectigo account list")
		})
	}
}

// silent is a server that takes a request and never answers.
type silent struct{}

func (silent) RoundTrip(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := client(t, "", nil)
		c.Through(silent{})
		start := time.Now()
		_, err := c.Servers(t.Context())
		check(t, err, "cert-manager.com does not answer within 1m0s", "make sure that this machine reaches")
		if took := time.Since(start); took != time.Minute {
			t.Errorf("it took %v", took)
		}

		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		err = c.DeleteAccount(ctx, 122)
		if e, ok := errors.AsType[*sectigo.Error](err); !ok || !errors.Is(err, context.Canceled) || e.Hint != "whether it was done is not known: look before you repeat it" {
			t.Errorf("interrupted: %v", err)
		}
	})
}

func TestRehearsalSendsNothing(t *testing.T) {
	fake := scm.Start(t, scm.Options{})
	var shown []string
	c := client(t, fake.URL, func(c *sectigo.Config) {
		c.Rehearse = func(method, url string, body any) { shown = append(shown, fmt.Sprint(method, " ", url, " ", body)) }
	})
	if err := c.DeleteAccount(t.Context(), 122); !errors.Is(err, sectigo.ErrRehearsed) {
		t.Errorf("the rehearsal ended with %v", err)
	}
	if want := []string{"DELETE " + fake.URL + "/acme/v2/account/122 <nil>"}; !slices.Equal(shown, want) {
		t.Errorf("shown was %q, want %q", shown, want)
	}
	if asked := fake.Asked(); len(asked) > 0 {
		t.Errorf("SCM was asked %q", asked)
	}
}

func TestURLsThatCredentialsAreNotSentTo(t *testing.T) {
	for url, want := range map[string]string{
		"http://cert-manager.com/api":               "it is not https",
		"ftp://localhost/api":                       "it is not https",
		"http://127.0.0.1.example.com/api":          "it is not https",
		"https://robot:secret@cert-manager.com/api": "it holds a user",
		"https://cert-manager.com/api?x=1":          "it holds more than a path",
		"cert-manager.com/api":                      "it has no host",
		"https://cert-manager.com/\n":               "invalid control character",
	} {
		_, err := sectigo.New(sectigo.Config{URL: url, CustomerURI: "a", Login: "b", Password: "c"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", url, err, want)
		}
	}
	if _, err := sectigo.New(sectigo.Config{Login: "b", Password: "c"}); err == nil {
		t.Error("a client without a customer was made")
	}
}

func TestZeroSSL(t *testing.T) {
	for sentence, test := range map[string]struct {
		answer          http.HandlerFunc
		kid, want, hint string
	}{
		"a binding":        {answer: serve(200, `{"success":true,"eab_kid":"kid-1","eab_hmac_key":"c2VjcmV0"}`), kid: "kid-1"},
		"a wrong API key":  {serve(200, `{"success":false,"error":{"code":101,"type":"invalid_access_key"}}`), "", "invalid_access_key (code 101, HTTP 200)", "check the API key"},
		"an empty success": {serve(200, `{"success":1}`), "", "ZeroSSL gave no binding: OK (HTTP 200)", "check the API key"},
		"plain words":      {serve(500, "out of order"), "", "ZeroSSL gave no binding: Internal Server Error (HTTP 500)", "try again later"},
		"a cut connection": {cut, "", "EOF", "make sure that this machine reaches"},
	} {
		t.Run(sentence, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost || r.URL.String() != "/acme/eab-credentials?access_key=access-1" {
					t.Errorf("ZeroSSL was asked %s %s", r.Method, r.URL)
				}
				test.answer(w, r)
			}))
			t.Cleanup(server.Close)
			kid, key, err := sectigo.ZeroSSLBinding(t.Context(), sectigo.ZeroSSLConfig{URL: server.URL, APIKey: "access-1"})
			if test.kid != "" {
				if err != nil || kid != test.kid || string(key) != "c2VjcmV0" {
					t.Errorf("the binding is %q, %v, %v", kid, string(key) == "c2VjcmV0", err)
				}
				return
			}
			check(t, err, test.want, test.hint)
		})
	}
}
