package sectigo

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
)

// ZeroSSLURL is ZeroSSL's API.
const ZeroSSLURL = "https://api.zerossl.com"

// ZeroSSLConfig says how to ask ZeroSSL.
type ZeroSSLConfig struct {
	URL       string // of the API; "": ZeroSSLURL
	APIKey    string // of the ZeroSSL account; required
	UserAgent string // "": "acmed"
	// Rehearse is told what would be sent instead of sending it, without the API key; see Config.Rehearse.
	Rehearse func(method, url string, body any)
}

// ZeroSSLBinding asks ZeroSSL for an external account binding of the account that the API key is of. Each question makes
// a new one; those of before stay good.
func ZeroSSLBinding(ctx context.Context, c ZeroSSLConfig) (kid string, key Secret, err error) {
	const op = "asking ZeroSSL for an external account binding"
	if c.APIKey == "" {
		return "", "", errors.New(op + ": the API key is empty")
	}
	x, err := newExchange(cmp.Or(c.URL, ZeroSSLURL), c.UserAgent)
	if err != nil {
		return "", "", err
	}
	r := request{op: op, method: http.MethodPost, path: "/acme/eab-credentials"}
	if c.Rehearse != nil {
		c.Rehearse(r.method, x.url(r).String()+"?access_key=redacted", nil)
		return "", "", ErrRehearsed
	}
	r.query = url.Values{"access_key": {c.APIKey}}
	a, err := x.do(ctx, r)
	if err != nil {
		return "", "", err
	}
	return x.zeroSSLAnswer(op, a)
}

// zeroSSLAnswer reads the binding, or the refusal, which may come with a 200.
func (x *exchange) zeroSSLAnswer(op string, a *answer) (kid string, key Secret, err error) {
	var said struct {
		KID   string `json:"eab_kid"`
		Key   string `json:"eab_hmac_key"`
		Error struct {
			Code    int    `json:"code"`
			Type    string `json:"type"`
			Details string `json:"details"`
		} `json:"error"`
	}
	err = x.decode(op, a, &said)
	if err == nil && a.status == http.StatusOK && said.KID != "" && said.Key != "" {
		return said.KID, Secret(said.Key), nil
	}
	what := cmp.Or(clean(cmp.Or(said.Error.Details, said.Error.Type)), "ZeroSSL gave no binding: "+http.StatusText(a.status))
	e := &Error{Op: op, Status: a.status, Code: said.Error.Code, Description: what, Err: err}
	e.Hint = "check the API key: ZeroSSL shows it at https://app.zerossl.com/developer"
	if a.status >= http.StatusTooManyRequests {
		e.Hint = "try again later"
	}
	return "", "", e
}
