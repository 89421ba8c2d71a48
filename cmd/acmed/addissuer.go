package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"acmed/internal/control"
	"acmed/internal/newcert"
	"acmed/internal/spec"
)

// refuseIssuers returns an error if no issuer of a draft can be used yet.
func (a *app) refuseIssuers(ctx context.Context, config *spec.Config, d newcert.Draft) error {
	list, err := a.issuers(ctx)
	if err != nil {
		return err
	}
	var first *control.Issuer
	for _, name := range d.Certificate.Issuers {
		n := slices.IndexFunc(list, func(i control.Issuer) bool { return i.Name == name })
		if n < 0 || list[n].Hint == "" || list[n].Unknown != "" {
			return nil // the daemon reports what it finds
		}
		if first == nil {
			first = &list[n]
		}
	}
	if first == nil {
		return nil
	}
	problem, hint := unready(config, first)
	return &failure{fmt.Errorf("%s; nothing was written", problem), exitFailed, hint}
}

// refresh makes the daemon read its files if it would not use acmed.yaml, or the issuers of a new certificate, as they are
// now: it would request the certificate somewhere else.
func (a *app) refresh(ctx context.Context, client *control.Client, config *spec.Config, info control.Info, c *spec.Certificate) error {
	changed := ""
	if changedSince(config.File, info.ConfigRead) {
		changed = config.File
	}
	known, err := client.Issuers(ctx)
	if err != nil {
		return err
	}
	for _, name := range c.Issuers {
		now, err := findIssuer(config, name)
		n := slices.IndexFunc(known, func(i control.Issuer) bool { return i.Name == name })
		if err == nil && (n < 0 || known[n].Directory != now.Directory || known[n].File != now.File) {
			changed = cmp.Or(now.File, "issuer "+name)
		}
	}
	if changed == "" {
		return nil
	}
	a.say("the daemon reads its files again: %s was changed", changed)
	_, err = client.Reload(ctx, control.ReloadRequest{})
	return err // a problem of another file is none of this certificate
}

// unready returns why an issuer cannot be used, and how to change that.
func unready(config *spec.Config, i *control.Issuer) (problem, hint string) {
	reread := "make the daemon read it: systemctl reload acmed, then run this command again"
	now, err := findIssuer(config, i.Name)
	switch {
	case i.TermsOfServiceAgreed && i.Binding == control.MissingBinding && (err != nil || now.Binding == nil):
		return i.Name + " needs an external account binding (EAB)", i.Hint
	case i.TermsOfServiceAgreed:
		return "the daemon has not read the external account binding (EAB) of " + i.Name, reread
	case err == nil && now.TermsOfServiceAgreed:
		return "the daemon has not read " + config.File + " since termsOfServiceAgreed was set", reread
	}
	return "the terms of service of " + i.Name + " are not agreed to",
		"read them (acmed issuer test " + i.Name + " shows where), set contact and termsOfServiceAgreed: true in " + config.File + ", then run: systemctl reload acmed"
}
