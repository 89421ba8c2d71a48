package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"acmed/internal/control"
	"acmed/internal/newcert"
)

const (
	readSoon   = 2 * time.Second  // after that, a file that the daemon has not read is read by a reload
	soonEnough = 15 * time.Second // a next step beyond that is not waited for, unless an order is pending
)

// awaitAdded shows what happens with a new certificate until it is valid, has failed, or waits for a distant time.
func (a *app) awaitAdded(ctx context.Context, client *control.Client, result added) error {
	w := &addWait{app: a, client: client, name: result.Name, file: result.File, began: time.Now()}
	cert, err := w.run(ctx)
	if err != nil {
		return w.abandoned(ctx, err)
	}
	result.Certificate = &cert
	if err := a.result(result, func(now time.Time) string { return addedText(cert, now) }); err != nil {
		return err
	}
	if cert.Phase == control.Valid || scheduled(cert) {
		return nil
	}
	a.say("%s", w.remains(cert, time.Now()))
	return errReported
}

// addWait waits for a certificate whose spec was created just now.
type addWait struct {
	*app
	client     *control.Client
	name, file string
	began      time.Time
	reloaded   bool
	said       string // the last progress
}

func (w *addWait) run(ctx context.Context) (control.Certificate, error) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		cert, err := w.client.Status(ctx, w.name)
		e, _ := errors.AsType[*control.Error](err)
		switch {
		case e != nil && e.Code == control.NotFound, err == nil && cert.SpecFile == "":
			if err := w.unread(ctx); err != nil {
				return cert, err
			}
		case err != nil:
			return cert, err
		case atRest(cert, time.Now()):
			return cert, nil
		default:
			w.progress(cert)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return cert, ctx.Err()
		}
	}
}

// unread makes the daemon read the file if its watch does not: a network file system reports no changes.
func (w *addWait) unread(ctx context.Context) error {
	switch waited := time.Since(w.began); {
	case waited < readSoon:
		return nil
	case w.reloaded && waited > unreadYet:
		return &failure{fmt.Errorf("the daemon does not read %s", w.file), exitFailed, "run acmed check " + w.file + ", and see the log: journalctl -u acmed"}
	case w.reloaded:
		return nil
	}
	w.reloaded = true
	result, err := w.client.Reload(ctx, control.ReloadRequest{})
	if err != nil {
		return err
	}
	for _, p := range result.Problems {
		if p.File == w.file {
			return &failure{errors.New(joined(": ", p.File, p.Field, p.Problem)), exitFailed, p.Hint}
		}
	}
	return nil
}

// progress shows the present step once.
func (w *addWait) progress(c control.Certificate) {
	step := c.Next.Reason
	if o := c.Order; o != nil && o.URL != "" {
		step = joined(", ", "order at "+o.Issuer, step)
	}
	if step != w.said {
		w.said = step
		w.say("%s: %s", c.Name, step)
	}
}

// abandoned returns the error of a wait that ended early, with what stays and how to undo it.
func (w *addWait) abandoned(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &failure{fmt.Errorf("interrupted; acmed continues in the background, and %s stays", w.file), exitFailed,
			"acmed status " + w.name + " --wait waits again; to undo it, run: rm " + w.file}
	}
	hint := ""
	if f, ok := errors.AsType[*failure](err); ok {
		hint = f.hint
	} else if e, ok := errors.AsType[*control.Error](err); ok {
		hint = e.Hint
	}
	return &failure{fmt.Errorf("%s; %s stays", err.Error(), w.file), exitFailed, joined("; ", hint, "to undo it, run: rm "+w.file)}
}

// remains says what stays after a failure, and how to undo it.
func (w *addWait) remains(c control.Certificate, now time.Time) string {
	again := "acmed continues"
	if c.Next.At.After(now) {
		again = "acmed tries again " + relative(c.Next.At, now)
	}
	if c.Current == nil {
		return fmt.Sprintf("no certificate was issued\n%s stays, and %s\nafter the cause is fixed, run: acmed renew %s --wait\nto undo it, run: rm %s\n",
			w.file, again, w.name, w.file)
	}
	return fmt.Sprintf("the certificate was issued, but its deployment failed\n%[1]s stays, and %[2]s\n"+
		"first set the certificate and the key above in the configuration of the server\n"+
		"after the cause is fixed, run: acmed deploy %[3]s --wait\n"+
		"to undo it, run: rm %[1]s && acmed reload && acmed delete %[3]s\n", w.file, again, w.name)
}

// atRest reports whether nothing happens soon with a certificate.
func atRest(c control.Certificate, now time.Time) bool {
	return c.Phase == control.Valid || failed(c) || c.SpecProblem != nil || c.Order == nil && c.Next.At.After(now.Add(soonEnough))
}

// scheduled reports whether a certificate was issued and waits for its deployment window or the end of a hold.
func scheduled(c control.Certificate) bool { return !failed(c) && c.Waiting != nil }

// notAwaited is the answer of `acmed add --no-wait`.
func notAwaited(d newcert.Draft, down *control.Error) string {
	if down != nil {
		return d.Name + ": the spec is written; acmed reads it when it starts\n"
	}
	return d.Name + ": the spec is written; acmed reads it within a second\n"
}

// addedText is the answer of `acmed add`.
func addedText(c control.Certificate, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", c.Name, c.Phase)
	if r := c.Current; r != nil {
		field(&b, "issued by", joined(", ", r.Issuer, r.IssuedBy))
		field(&b, "expires", moment(r.NotAfter, now))
	}
	if r := c.Renewal; r != nil {
		field(&b, "renewal", relative(r.Due, now)+", "+map[bool]string{true: "as the CA advises (ARI)", false: "by its lifetime"}[r.Source == "ari"])
	}
	if c.Current != nil && c.Live != "" {
		field(&b, "certificate", c.Live+"/fullchain.pem")
		if c.CSRFile == "" {
			field(&b, "key", c.Live+"/privkey.pem")
		}
	}
	if c.Phase != control.Valid && !failed(c) {
		field(&b, "next", joined(": ", strings.TrimSpace(c.Next.Do+" "+moment(c.Next.At, now)), c.Next.Reason))
	}
	field(&b, "spec", c.SpecFile)
	blocks := []string{columns(b.String())}
	if len(c.Targets) > 0 {
		blocks = append(blocks, targetsText(c.Targets, now))
	}
	if c.Refused != nil {
		blocks = append(blocks, setbackText("deployment did not start", *c.Refused, now))
	}
	for _, f := range c.Failures {
		blocks = append(blocks, failureText(f, now))
	}
	if c.SpecProblem != nil {
		blocks = append(blocks, "invalid spec:\n"+problemText(*c.SpecProblem))
	}
	if c.Phase == control.Valid {
		blocks = append(blocks, adviceText(c))
	}
	return strings.Join(blocks, "\n")
}

// adviceText says what remains to be done for a certificate to be served.
func adviceText(c control.Certificate) string {
	var reloads, probes bool
	for _, t := range c.Targets {
		probes = probes || strings.HasPrefix(t.Key, "probe ")
		reloads = reloads || !strings.HasPrefix(t.Key, "probe ")
	}
	const set = "Set the certificate and the key above in the configuration of your server.\n"
	switch {
	case len(c.Targets) == 0:
		return set + "After a renewal, no server is reloaded yet. To change that, add to the spec:\n" +
			"  deploy: {reload: [UNIT], probe: [{address: \"127.0.0.1:443\"}]}\n"
	case reloads && !probes:
		return set + "acmed does not check that the server serves the certificate. To change that, add\n" +
			"to deploy in the spec:\n  probe: [{address: \"127.0.0.1:443\"}]\n"
	}
	return ""
}
