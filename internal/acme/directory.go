package acme

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

const directoryLife = 24 * time.Hour

// directory is a CA's directory as it was read; it never changes.
type directory struct {
	Directory
	newNonce, newAccount, newOrder, renewalInfo string
	revokeCert                                  string          // "": the CA revokes nothing
	keyChange                                   string          // "": keys cannot be changed
	hosts                                       map[string]bool // that the CA's URLs may name
	raw                                         []byte
}

// wireDirectory is a directory object (RFC 8555 §7.1.1, RFC 9773 §4.1).
type wireDirectory struct {
	NewNonce    string
	NewAccount  string
	NewOrder    string
	RenewalInfo string
	RevokeCert  string
	KeyChange   string
	Meta        struct {
		TermsOfService          string
		Website                 string
		CAAIdentities           []string
		ExternalAccountRequired bool
		Profiles                map[string]string
	}
}

// flight is one reading of the directory, shared by all who need it meanwhile.
type flight struct {
	done  chan struct{}
	dir   *directory
	err   error
	ended bool // the context of the one who flew had ended: the others must see for themselves
}

// Directory returns what the CA offers. It is read once a day, and after an answer that suggests that it changed.
func (c *Client) Directory(ctx context.Context) (_ Directory, err error) {
	defer c.finish(OpDirectory, &err)
	d, err := c.directory(ctx)
	if err != nil {
		return Directory{}, err
	}
	return d.Directory, nil
}

// directory returns the cached directory, or reads it: one caller for all, each of whom waits no longer than its
// own context lasts.
func (c *Client) directory(ctx context.Context) (*directory, error) {
	for {
		d, f, first := c.board()
		switch {
		case d != nil:
			return d, nil
		case first:
			f.dir, f.err = c.readDirectory(ctx)
			f.ended = ctx.Err() != nil
			c.land(f)
			return f.dir, f.err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, networkError(OpDirectory, nil, ctx.Err())
		}
		if f.err == nil || !f.ended {
			return f.dir, f.err
		}
	}
}

// board returns the fresh directory, or the flight to wait for; first tells the caller to fly it.
func (c *Client) board() (d *directory, f *flight, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dir != nil && time.Now().Before(c.until) {
		return c.dir, nil, false
	}
	if first = c.flight == nil; first {
		c.flight = &flight{done: make(chan struct{})}
	}
	return nil, c.flight, first
}

func (c *Client) land(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.err == nil {
		c.dir, c.until = f.dir, time.Now().Add(directoryLife)
	}
	c.flight = nil
	close(f.done)
}

// current returns the directory as it is now, or, where it cannot be read, as it was last.
func (c *Client) current(ctx context.Context) *directory {
	c.mu.Lock()
	last := c.dir
	c.until = time.Time{}
	c.mu.Unlock()
	if d, err := c.directory(ctx); err == nil {
		return d
	}
	return last
}

// doubtDirectory has the directory read anew if it is what named the URL.
func (c *Client) doubtDirectory(url string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.dir; d != nil && (url == d.newNonce || url == d.newAccount || url == d.newOrder) {
		c.until = time.Time{}
	}
}

func (c *Client) readDirectory(ctx context.Context) (*directory, error) {
	a, err := c.do(ctx, OpDirectory, http.MethodGet, c.base.String(), nil)
	if err != nil {
		return nil, err
	}
	return parseDirectory(a, hostOf(c.base))
}

func parseDirectory(a *answer, host string) (*directory, error) {
	var w wireDirectory
	if err := a.decode(OpDirectory, &w); err != nil {
		return nil, err
	}
	w.clean()
	if w.NewNonce == "" || w.NewAccount == "" || w.NewOrder == "" {
		return nil, oddAnswer(OpDirectory, a.status, "the answer is no ACME directory: newNonce, newAccount or newOrder is missing")
	}
	d := &directory{
		newNonce: w.NewNonce, newAccount: w.NewAccount, newOrder: w.NewOrder, renewalInfo: w.RenewalInfo,
		revokeCert: w.RevokeCert, keyChange: w.KeyChange,
		hosts: map[string]bool{host: true}, raw: a.body,
		Directory: Directory{
			TermsOfService: w.Meta.TermsOfService, Website: w.Meta.Website,
			CAA: w.Meta.CAAIdentities, ExternalAccountRequired: w.Meta.ExternalAccountRequired,
			Profiles: w.Meta.Profiles, RenewalInfo: w.RenewalInfo != "",
		},
	}
	for _, s := range []string{w.NewNonce, w.NewAccount, w.NewOrder, w.RenewalInfo, w.RevokeCert, w.KeyChange} {
		if err := d.admit(s, host); err != nil {
			return nil, oddAnswer(OpDirectory, a.status, err.Error())
		}
	}
	return d, nil
}

// clean makes the directory's texts harmless.
func (w *wireDirectory) clean() {
	w.Meta.TermsOfService, w.Meta.Website = clean(w.Meta.TermsOfService), clean(w.Meta.Website)
	for i, s := range w.Meta.CAAIdentities {
		w.Meta.CAAIdentities[i] = clean(s)
	}
	maps.DeleteFunc(w.Meta.Profiles, func(name, _ string) bool { return name != clean(name) })
	for name, description := range w.Meta.Profiles {
		w.Meta.Profiles[name] = clean(description)
	}
}

// admit adds the host of one of the directory's URLs to those that may be asked. A directory cannot send acmed to
// an address or a local name that the operator did not write.
func (d *directory) admit(s, host string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err == nil {
		err = checkURL(u)
	}
	if err != nil {
		return fmt.Errorf("the directory names %q: %w", s, err)
	}
	if h := hostOf(u); h != host && isLocal(u.Hostname()) {
		return fmt.Errorf("the directory names %q: a local host", s)
	}
	d.hosts[hostOf(u)] = true
	return nil
}

func isLocal(hostname string) bool {
	_, err := netip.ParseAddr(hostname)
	return err == nil || !strings.Contains(hostname, ".")
}

// allowed refuses every URL but https ones of the directory's hosts.
func (c *Client) allowed(u *url.URL) error {
	if err := checkURL(u); err != nil {
		return fmt.Errorf("refusing %q: %w", u.Redacted(), err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := hostOf(u); h != hostOf(c.base) && (c.dir == nil || !c.dir.hosts[h]) {
		return fmt.Errorf("refusing %q: its host is not one of the CA's directory", u.Redacted())
	}
	return nil
}

func checkURL(u *url.URL) error {
	switch {
	case u.Scheme != "https":
		return errors.New("it is not https")
	case u.Hostname() == "" || u.Opaque != "":
		return errors.New("it has no host")
	case u.User != nil:
		return errors.New("it holds a user")
	}
	return nil
}

// hostOf returns host and port in the one spelling that is compared.
func hostOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// resolve makes a URL that may be asked of a reference of the CA's; op names the step for the error.
func (c *Client) resolve(op string, base *url.URL, ref string) (string, error) {
	u, err := base.Parse(ref)
	if err != nil || ref == "" {
		e := oddAnswer(op, 0, "the CA's answer lacks a URL, or names one that cannot be parsed")
		e.Hint = hintHeaders
		return "", e
	}
	if err := c.allowed(u); err != nil {
		e := oddAnswer(op, 0, err.Error())
		e.Hint = "let the CA use the host of its directory, " + c.base.Host + ", in its URLs; for Vault, set path of config/cluster"
		return "", e
	}
	return u.String(), nil
}
