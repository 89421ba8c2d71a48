package daemon

import (
	"context"

	"acmed/internal/deploy"
	"acmed/internal/notify"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

// newNotifier returns nil where nobody wants to be told.
func newNotifier(config *spec.Config, d *daemon, host string) (*notify.Notifier, error) {
	c := config.Notify
	if !c.Wanted() {
		return nil, nil
	}
	var senders []notify.Sender
	if len(c.Command) > 0 {
		senders = append(senders, notify.Command{Argv: c.Command, Run: tell})
	}
	if c.URL != "" || c.URLFile != "" {
		senders = append(senders, notify.NewWebhook(c.URL, c.URLFile, c.TokenFile))
	}
	var events []notify.Event
	for _, e := range c.Events {
		events = append(events, notify.Event(e))
	}
	return notify.New(notify.Config{
		Senders: senders, Memory: d.store, Events: events, Expiring: c.Expiring, Host: host, Metrics: d.metrics.notify, Log: d.log,
	})
}

// tell runs the program of notify:.
func tell(ctx context.Context, argv, env []string, stdin []byte) error {
	_, err := deploy.Run(ctx, deploy.Program{Argv: argv, Env: env, Stdin: stdin})
	return err
}

// seen passes a view on to who may want to tell people of it.
func (d *daemon) seen(v reconcile.View) {
	if d.news == nil {
		return
	}
	d.news.Observe(notify.State{
		Name: v.Name, Issuer: v.Issuer, Committed: v.Committed, NotAfter: v.NotAfter, Problem: v.Error, Hint: v.Hint, Stuck: v.Stuck,
		Gone: v.Phase == reconcile.PhaseRetired,
	})
}
