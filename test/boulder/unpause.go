package boulder

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Unpause does what a person does at the page that Boulder names to a paused account: it opens the page and sends its form.
func (l *Lab) Unpause(ctx context.Context, page string) error {
	u, err := url.Parse(page)
	if err != nil {
		return err
	}
	u.Scheme = "http" // at Let's Encrypt, a proxy in front of the page has the certificate
	if err := l.visit(ctx, http.MethodGet, u); err != nil {
		return err
	}
	u.Path = strings.TrimSuffix(u.Path, "/unpause") + "/do-unpause"
	return l.visit(ctx, http.MethodPost, u)
}

func (l *Lab) visit(ctx context.Context, method string, u *url.URL) error {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return err
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, u.Path, resp.Status, body)
	}
	return err
}
