package sectigo_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"acmed/internal/sectigo"
)

// always is a server that gives every request the same answer.
type always struct {
	status         int
	location, body string
}

func (a always) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: a.status, Header: http.Header{"Location": {a.location}}, Body: io.NopCloser(strings.NewReader(a.body)), Request: req,
	}, nil
}

// FuzzAnswers lets a server say anything: what comes of it is a result or an error that a terminal can show.
func FuzzAnswers(f *testing.F) {
	f.Add(200, "", `[{"name":"OV ACME Server","url":"https://acme.sectigo.com/v2/OV","certValidationType":"OV"}]`)
	f.Add(200, "", `{"id":122,"macId":"kid","macKey":"key","domains":[{"name":"a"}]}`)
	f.Add(200, "", `{"notAddedDomains":["a","\u001b[2J"]}`)
	f.Add(201, "https://cert-manager.com/api/acme/v2/account/100", "")
	f.Add(401, "", `{"code":-16,"description":"Unknown user"}`)
	f.Add(404, "", `{"status":404,"error":"Not Found"}`)
	f.Add(302, "https://evil.example/\x1b[2J", "<html>")
	f.Fuzz(func(t *testing.T, status int, location, body string) {
		status = 200 + (status%400+400)%400 // 1xx never leave net/http
		for name, ask := range asks(t.Context()) {
			c, err := sectigo.New(sectigo.Config{CustomerURI: "a", Login: "b", Password: "pass-1"})
			if err != nil {
				t.Fatal(err)
			}
			c.Through(always{status, location, body})
			err = ask(c)
			if err == nil {
				continue
			}
			e, ok := errors.AsType[*sectigo.Error](err)
			if !ok {
				t.Fatalf("%s: an error of another kind: %v", name, err)
			}
			text := e.Error() + e.Hint
			if e.Hint == "" || len(text) > 4<<10 || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%s: the error is %q, the hint %q", name, e.Error(), e.Hint)
			}
		}
	})
}

func asks(ctx context.Context) map[string]func(*sectigo.Client) error {
	return map[string]func(*sectigo.Client) error{
		"servers": func(c *sectigo.Client) error { _, err := c.Server(ctx, "x"); return err },
		"account": func(c *sectigo.Client) error { _, err := c.Account(ctx, 122); return err },
		"domains": func(c *sectigo.Client) error { _, err := c.Domains(ctx, 122); return err },
		"delete":  func(c *sectigo.Client) error { return c.DeleteAccount(ctx, 122) },
		"add":     func(c *sectigo.Client) error { _, err := c.AddDomains(ctx, 122, []string{"a"}); return err },
		"create": func(c *sectigo.Client) error {
			_, err := c.CreateAccount(ctx, sectigo.NewAccount{Name: "web"})
			return err
		},
	}
}
