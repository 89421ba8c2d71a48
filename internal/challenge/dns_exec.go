package challenge

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"acmed/internal/spec"
)

// program writes records by a program of the operator's, called as lego's exec provider or certbot call theirs.
type program struct {
	config spec.Exec
	run    func(context.Context, Command) (string, error)

	said sync.Map // what certbot's auth hook wrote, by value: its cleanup hook gets it
}

// plain are the characters of what is passed on: nothing of a CA's or a zone's can be taken for something else.
var plain = regexp.MustCompile(`^[A-Za-z0-9_.*-]*$`)

func (p *program) add(ctx context.Context, r record) error {
	out, err := p.call(ctx, "present", p.config.Command, r)
	if err == nil {
		p.said.Store(r.value, out)
	}
	return err
}

func (p *program) remove(ctx context.Context, r record) error {
	argv := p.config.Command
	if p.config.Mode == "certbot" {
		if argv = p.config.CleanUp; len(argv) == 0 {
			return nil
		}
	}
	_, err := p.call(ctx, "cleanup", argv, r)
	if err == nil {
		p.said.Delete(r.value)
	}
	return err
}

func (p *program) call(ctx context.Context, verb string, argv []string, r record) (string, error) {
	domain := r.proof.Identifier.Value
	for _, s := range []string{r.name, domain, r.value, r.proof.Token, r.proof.KeyAuth} {
		if !plain.MatchString(s) {
			return "", &refusal{fmt.Sprintf("%q is not passed to a program", s), "see where the CNAME of " + challengeName(r.proof) + " leads"}
		}
	}
	c := Command{Argv: argv, Timeout: p.config.Timeout}
	switch p.config.Mode {
	case "raw":
		c.Argv = append(append([]string{}, argv...), verb, "--", domain, r.proof.Token, r.proof.KeyAuth)
	case "certbot":
		said, _ := p.said.Load(r.value)
		output, _ := said.(string)
		c.Env = []string{ // without CERTBOT_TOKEN, by which hooks know http-01
			"CERTBOT_DOMAIN=" + strings.TrimPrefix(domain, "*."), "CERTBOT_VALIDATION=" + r.value,
			"CERTBOT_AUTH_OUTPUT=" + strings.TrimSpace(output), "CERTBOT_REMAINING_CHALLENGES=0", "CERTBOT_ALL_DOMAINS=" + strings.TrimPrefix(domain, "*."),
		}
	default:
		c.Argv = append(append([]string{}, argv...), verb, r.name, r.value)
	}
	return p.run(ctx, c)
}
