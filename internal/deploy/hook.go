package deploy

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"acmed/internal/spec"
)

// hook is a program of a DNS provider's, called for one record.
type hook struct {
	config spec.Exec
	record Record
	names  []string // of the certificate, as far as they are known
	user   string   // "": who runs this
}

// call sets the record or takes it away. said is what the program wrote when it set the record.
func (h hook) call(ctx context.Context, verb, said string) (output string, err error) {
	c, ok := h.command(verb, said)
	if !ok {
		return "", nil
	}
	e := c.run(ctx)
	if e.problem == "" {
		return e.said, nil
	}
	problem := c.argv[0] + " " + e.problem
	if e.stopped {
		problem, e.hint = c.argv[0]+" was ended, for there was no more time for it", "it is run again"
	}
	if out := strings.TrimSpace(e.output); out != "" {
		problem += ": " + out
	}
	if e.hint == hintAgain {
		e.hint = "see what it says, and mend the cause; acmed renew " + h.record.Certificate + " tries again at once"
	}
	return "", &Error{errors.New(problem), e.hint}
}

// command is the call as lego's exec provider or as certbot makes it. certbot may have nothing for the end.
func (h hook) command(verb, said string) (c command, ok bool) {
	c = command{argv: h.config.Command, timeout: h.config.Timeout, user: h.user, grace: stopGrace, apart: true}
	r := &h.record
	switch h.config.Mode {
	case "raw":
		c.argv = slices.Concat(c.argv, []string{verb, "--", r.Domain, r.Token, r.KeyAuth})
	case "certbot":
		if verb == verbCleanUp {
			c.argv = h.config.CleanUp
		}
		c.env = h.likeCertbot(said)
	default:
		c.argv = slices.Concat(c.argv, []string{verb, r.Name, r.Value})
	}
	return c, len(c.argv) > 0
}

// likeCertbot is what certbot tells its manual hooks. It calls them one after the other, and so is each the last.
func (h hook) likeCertbot(said string) []string {
	domain := h.record.Domain
	var all []string
	for _, name := range h.names {
		if name = strings.TrimPrefix(name, "*."); !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return []string{ // without CERTBOT_TOKEN, by which hooks know http-01
		"CERTBOT_DOMAIN=" + domain, "CERTBOT_VALIDATION=" + h.record.Value, "CERTBOT_AUTH_OUTPUT=" + strings.TrimSpace(said),
		"CERTBOT_REMAINING_CHALLENGES=0", "CERTBOT_ALL_DOMAINS=" + cmp.Or(strings.Join(all, ","), domain),
	}
}
