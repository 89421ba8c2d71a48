package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// webhookTimeout is for one request.
const webhookTimeout = 30 * time.Second

// Command sends messages by a program of the operator's: it gets the message as JSON on its standard input, and
// ACMED_SUBJECT and ACMED_TEXT in its environment.
type Command struct {
	Argv []string
	// Run runs a program with these variables besides the usual ones, and ends all that it started.
	Run func(ctx context.Context, argv, env []string, stdin []byte) error
}

// Send implements Sender.
func (c Command) Send(ctx context.Context, m Message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding the message: %w", err)
	}
	if err := c.Run(ctx, c.Argv, []string{"ACMED_SUBJECT=" + m.Subject, "ACMED_TEXT=" + m.Text}, body); err != nil {
		return fmt.Errorf("notify.command %s: %w", c.Argv[0], err)
	}
	return nil
}

// Webhook sends messages by a POST of JSON.
type Webhook struct {
	URL       string
	URLFile   string // holds the URL, where that is a secret, and is read on use; "": URL counts
	TokenFile string // holds what is sent as the bearer token, and is read on use; "": none
	Client    *http.Client
}

// NewWebhook returns one that follows no redirects, which might lead the token elsewhere.
func NewWebhook(address, addressFile, tokenFile string) Webhook {
	return Webhook{URL: address, URLFile: addressFile, TokenFile: tokenFile, Client: &http.Client{
		Timeout:       webhookTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Send implements Sender.
func (w Webhook) Send(ctx context.Context, m Message) error {
	if err := w.post(ctx, m); err != nil {
		return fmt.Errorf("notify.url: %w", err)
	}
	return nil
}

func (w Webhook) post(ctx context.Context, m Message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding the message: %w", err)
	}
	address, err := secret(w.URL, w.URLFile)
	if err != nil {
		return err
	}
	token, err := secret("", w.TokenFile)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return errors.New("what the file holds is no URL")
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := w.Client.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the answer is %s: see that the URL and the token are right", resp.Status)
	}
	return nil
}

// secret is what a file holds, or text where there is no file.
func secret(text, file string) (string, error) {
	if file == "" {
		return text, nil
	}
	content, err := os.ReadFile(file)
	return strings.TrimSpace(string(content)), err
}

// withoutURL leaves out the URL, which is a secret at many services.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
