package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/eab"
	"acmed/internal/sectigo"
	"acmed/internal/spec"
)

// issuerFlags are for the commands that get an external account binding: they may write it where acmed reads it.
type issuerFlags struct {
	name  string
	force bool
}

func (i *issuerFlags) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&i.name, "write-issuer", "", "write the issuer `NAME`: its file in issuers.d, its HMAC key among the secrets")
	cmd.Flags().BoolVar(&i.force, "force", false, "let --write-issuer replace files that are there")
}

// binding is an external account binding, and where it is from.
type binding struct {
	directory, kid string
	key            sectigo.Secret
	origin         string
}

func (i *issuerFlags) target(config *spec.Config) eab.Target {
	return eab.Target{Config: config, Name: i.name, Replace: i.force}
}

// check tells before anything is asked for what would keep write from working.
func (i *issuerFlags) check(a *app) error {
	if i.name == "" {
		return nil
	}
	config, err := a.configuration()
	if err != nil {
		return err
	}
	return unwritable(i.target(config).Check())
}

// unwritable says what to do about an issuer that cannot be written.
func unwritable(err error) error {
	switch {
	case errors.Is(err, fs.ErrExist):
		return &failure{err, exitFailed, "choose another name, or let it be replaced: --force"}
	case errors.Is(err, fs.ErrPermission):
		return &failure{err, exitFailed, "run the command as root"}
	}
	return err
}

// files names what write would write.
func (i *issuerFlags) files(a *app) []string {
	config, err := a.configuration()
	if err != nil || i.name == "" {
		return nil
	}
	return []string{i.target(config).KeyFile(), i.target(config).IssuerFile()}
}

// write writes the issuer, if that is wished, and returns the files.
func (i *issuerFlags) write(a *app, b binding) ([]string, error) {
	if i.name == "" {
		return nil, nil
	}
	config, err := a.configuration()
	if err != nil {
		return nil, err
	}
	t := i.target(config)
	err = eab.Write(t, eab.Binding{Directory: b.directory, KID: b.kid, Key: string(b.key), Origin: b.origin})
	if err != nil {
		return nil, unwritable(err)
	}
	if !config.TermsOfServiceAgreed {
		a.say("before acmed can use %s, agree to the CA's terms: termsOfServiceAgreed: true in %s", i.name, config.File)
	}
	return i.files(a), nil
}

// rehearsal is what --dry-run shows.
type rehearsal struct {
	Requests []sent   `json:"requests"`
	Files    []string `json:"files,omitempty"` // that would be written
}

// sent is one request, without those of its headers that hold credentials.
type sent struct {
	Method string `json:"method"`
	URL    string `json:"url"`
	Body   any    `json:"body,omitempty"`
}

func (r *rehearsal) request(method, url string, body any) {
	r.Requests = append(r.Requests, sent{method, url, body})
}

func (r *rehearsal) show(a *app) error {
	return a.result(r, func(time.Time) string {
		var b strings.Builder
		for _, s := range r.Requests {
			fmt.Fprintf(&b, "would send %s %s\n", s.Method, s.URL)
			if text, err := json.Marshal(s.Body); err == nil && s.Body != nil {
				fmt.Fprintf(&b, "  %s\n", text)
			}
		}
		for _, file := range r.Files {
			fmt.Fprintf(&b, "would write %s\n", file)
		}
		return b.String()
	})
}

// readSecret reads a password or an API key, which is the only line of its file.
func readSecret(file string) (string, error) {
	const most = 4 << 10
	f, err := os.Open(file)
	if err != nil {
		return "", &failure{fmt.Errorf("reading the secret: %w", err), exitFailed, "write it there, as one line, for root alone: chmod 0600"}
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&0o007 != 0 {
		return "", &failure{fmt.Errorf("everybody may read or write the secret in %s", file), exitFailed, "chmod o= " + file + ", and change the secret if others use this machine"}
	}
	text, rerr := io.ReadAll(io.LimitReader(f, most+1))
	if err := errors.Join(err, rerr); err != nil {
		return "", fmt.Errorf("reading the secret: %w", err)
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" || len(text) > most || strings.ContainsAny(secret, "\r\n\x00") {
		return "", &failure{fmt.Errorf("reading the secret: %s does not hold one line", file), exitFailed, "write the secret there and nothing else"}
	}
	return secret, nil
}
