package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/sectigo"
)

func (a *app) zeroSSLCommand() *cobra.Command {
	return a.group("zerossl", "Get an external account binding from ZeroSSL", "", a.zeroSSLBindingCommand())
}

// zeroSSLBinding is the answer of `acmed zerossl eab`.
type zeroSSLBinding struct {
	KID   string   `json:"kid"`
	Key   string   `json:"hmacKey,omitempty"` // only when it was asked for
	Files []string `json:"files,omitempty"`   // that were written
}

func (a *app) zeroSSLBindingCommand() *cobra.Command {
	c := sectigo.ZeroSSLConfig{UserAgent: userAgent()}
	var keyFile string
	var w wish
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "eab --api-key-file FILE",
		Short: "Make an external account binding with your API key",
		Long: `Ask ZeroSSL for a new external account binding of the account that your API key is of. The API key, which ZeroSSL shows
at https://app.zerossl.com/developer, is read from a file. Bindings of before stay good.`,
		Example: `  acmed zerossl eab --api-key-file /root/zerossl-key --write-issuer zerossl`,
		Args:    argsUpTo(0),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			switch {
			case keyFile == "":
				return usagef(cmd, "where is the API key? say --api-key-file")
			case w.issuer.name == "" && !w.showKey && !dryRun:
				return usagef(cmd, "what is to become of the binding? say --write-issuer, or --show-key: ZeroSSL shows it only once")
			}
			if err := w.issuer.check(a); err != nil {
				return err
			}
			if c.APIKey, err = readSecret(keyFile); err != nil {
				return err
			}
			plan := rehearsal{Files: w.issuer.files(a)}
			if dryRun {
				c.Rehearse = plan.request
			}
			kid, key, err := sectigo.ZeroSSLBinding(cmd.Context(), c)
			if errors.Is(err, sectigo.ErrRehearsed) {
				return plan.show(a)
			}
			if err != nil {
				return err
			}
			return a.presentZeroSSL(kid, key, w)
		},
	}
	cmd.Flags().StringVar(&keyFile, "api-key-file", "", "`FILE` that holds the API key")
	cmd.Flags().StringVar(&c.URL, "url", "", "the API's `URL` (default "+sectigo.ZeroSSLURL+")")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be sent, and send nothing")
	w.addTo(cmd)
	return cmd
}

func (a *app) presentZeroSSL(kid string, key sectigo.Secret, w wish) (err error) {
	b := zeroSSLBinding{KID: kid}
	if w.showKey {
		b.Key = string(key)
	}
	origin := "External account binding of ZeroSSL, made with `acmed zerossl eab`."
	if b.Files, err = w.issuer.write(a, binding{"https://acme.zerossl.com/v2/DV90", kid, key, origin}); err != nil {
		return err
	}
	return a.result(b, func(time.Time) string {
		var s strings.Builder
		fmt.Fprintln(&s, "external account binding of ZeroSSL")
		field(&s, "key ID", b.KID)
		field(&s, "HMAC key", b.Key)
		for _, file := range b.Files {
			field(&s, "wrote", file)
		}
		return columns(s.String())
	})
}
