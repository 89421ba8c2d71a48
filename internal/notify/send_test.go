package notify_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acmed/internal/notify"
)

func message() notify.Message {
	return notify.Message{Host: "here", Time: time.Unix(0, 0), Subject: "one line", Text: "one line\nmore\n",
		News: []notify.News{{Cert: "www.example.com", Event: notify.Failing, Problem: "dns: no A record"}}}
}

func TestWebhook(t *testing.T) {
	for sentence, tt := range map[string]struct {
		answer  func(http.ResponseWriter, *http.Request)
		problem string
	}{
		"the message arrives with the token":       {func(http.ResponseWriter, *http.Request) {}, ""},
		"an answer that is no success is an error": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, "403 Forbidden"},
		"a redirect is not followed": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, "307"},
	} {
		t.Run(sentence, func(t *testing.T) {
			var asked int
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				body, err := io.ReadAll(r.Body)
				var got map[string]any
				if err != nil || json.Unmarshal(body, &got) != nil || got["text"] != "one line\nmore\n" || got["subject"] != "one line" {
					t.Errorf("got %s, %v", body, err)
				}
				if r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer hunter2" || r.Header.Get("Content-Type") != "application/json" {
					t.Errorf("got %s with %v", r.Method, r.Header)
				}
				tt.answer(w, r)
			}))
			defer server.Close()
			dir := t.TempDir()
			token, address := filepath.Join(dir, "token"), filepath.Join(dir, "url")
			if err := errors.Join(os.WriteFile(token, []byte("hunter2\n"), 0o600), os.WriteFile(address, []byte(server.URL+"\n"), 0o600)); err != nil {
				t.Fatal(err)
			}
			for _, hook := range []notify.Webhook{notify.NewWebhook(server.URL, "", token), notify.NewWebhook("", address, token)} {
				err := hook.Send(t.Context(), message())
				if tt.problem == "" && err != nil || tt.problem != "" && (err == nil || !strings.Contains(err.Error(), tt.problem)) {
					t.Errorf("got %v; want %q", err, tt.problem)
				}
			}
			if asked != 2 {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}

func TestAnErrorDoesNotShowTheURL(t *testing.T) {
	file := filepath.Join(t.TempDir(), "url")
	for _, text := range []string{"http://127.0.0.1:1/T0KEN", "http://127.0.0.1:port/T0KEN", ":T0KEN"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := notify.NewWebhook("", file, "").Send(t.Context(), message()); err == nil || strings.Contains(err.Error(), "T0KEN") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := notify.NewWebhook("", file+"2", "").Send(t.Context(), message()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestCommand(t *testing.T) {
	var failure error
	c := notify.Command{Argv: []string{"/bin/tell", "me"}, Run: func(_ context.Context, argv, env []string, stdin []byte) error {
		var got notify.Message
		if err := json.Unmarshal(stdin, &got); err != nil || len(got.News) != 1 || got.News[0].Cert != "www.example.com" {
			t.Errorf("got %s, %v", stdin, err)
		}
		if strings.Join(argv, " ") != "/bin/tell me" || strings.Join(env, "|") != "ACMED_SUBJECT=one line|ACMED_TEXT=one line\nmore\n" {
			t.Errorf("ran %q with %q", argv, env)
		}
		return failure
	}}
	if err := c.Send(t.Context(), message()); err != nil {
		t.Error(err)
	}
	failure = errors.New("exited with status 1")
	if err := c.Send(t.Context(), message()); err == nil || err.Error() != "notify.command /bin/tell: exited with status 1" {
		t.Errorf("got %v", err)
	}
}
