package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/control"
	"acmed/internal/spec"
)

func (a *app) deployCommand() *cobra.Command {
	var req control.DeployRequest
	cmd := &cobra.Command{
		Use:   "deploy NAME…",
		Short: "Hand certificates to all their consumers again",
		Long: `Hand certificates to all consumers that their specs name again: files, check, reload, commands, probes. What failed is
tried at once. Without --wait the command returns once the request is safely noted.`,
		Example: `  acmed deploy www.example.com --wait
  acmed deploy www.example.com --now`,
		ValidArgsFunction: a.completeNames(-1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if req.Names = args; len(args) == 0 {
				return usagef(cmd, "deploy what? give names")
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			return a.stream(func(report func(control.Event)) error { return client.Deploy(cmd.Context(), req, report) })
		},
	}
	cmd.Flags().BoolVar(&req.Now, "now", false, "do not wait for the window of the spec")
	cmd.Flags().BoolVar(&req.Wait, "wait", false, "wait for the outcome, and tell what happens")
	return cmd
}

func (a *app) rollbackCommand() *cobra.Command {
	until := later(24 * time.Hour)
	cmd := &cobra.Command{
		Use:   "rollback NAME",
		Short: "Serve the certificate before the present one again",
		Long: `Make the revision before the live one live again, have its consumers served, and leave it so for a day, or until
the time given: nothing is ordered meanwhile, unless the certificate would expire. When that time is over, or after
acmed unhold, the newest revision goes live again. Mend before then what is wrong with it.`,
		Args:              oneArg("roll back what? give a name"),
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			end := until.after(time.Now())
			result, err := client.Rollback(cmd.Context(), control.RollbackRequest{Name: args[0], Until: end})
			if err != nil {
				return err
			}
			return a.result(result, func(now time.Time) string {
				return fmt.Sprintf("%s: revision %d is live; left so until %s\n", args[0], result.Revision, moment(end, now))
			})
		},
	}
	cmd.Flags().Var(until, "until", "a `TIME` such as 2026-12-24T12:00, or how long, such as 36h")
	return cmd
}

func (a *app) holdCommand() *cobra.Command {
	until := &deadline{}
	cmd := &cobra.Command{
		Use:   "hold NAME --until TIME",
		Short: "Leave a certificate as it is for some time",
		Long: `Leave a certificate as it is until a time: nothing is ordered, and no new revision goes live. Its consumers go on being
served. So that it does not expire, a hold ends when a twentieth of its lifetime is left.`,
		Example:           `  acmed hold www.example.com --until 36h`,
		Args:              oneArg("hold what? give a name"),
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			end := until.after(time.Now())
			if end.IsZero() {
				return usagef(cmd, "hold it until when? say --until TIME")
			}
			return a.hold(cmd, args[0], end)
		},
	}
	cmd.Flags().Var(until, "until", "a `TIME` such as 2026-12-24T12:00, or how long, such as 36h")
	return cmd
}

func (a *app) unholdCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "unhold NAME",
		Short:             "End a hold",
		Args:              oneArg("release what? give a name"),
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.hold(cmd, args[0], time.Time{})
		},
	}
}

// held is the answer of `acmed hold` and `acmed unhold`.
type held struct {
	Name  string    `json:"name"`
	Until time.Time `json:"until,omitzero"`
}

func (a *app) hold(cmd *cobra.Command, name string, until time.Time) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	if err := client.Hold(cmd.Context(), control.HoldRequest{Name: name, Until: until}); err != nil {
		return err
	}
	return a.result(held{name, until}, func(now time.Time) string {
		if until.IsZero() {
			return name + ": no longer held\n"
		}
		return name + ": left as it is until " + moment(until, now) + "\n"
	})
}

// deadline is a flag that takes a time or a duration from now.
type deadline struct {
	text string
	at   time.Time
	in   time.Duration
}

// later is a deadline some time from now.
func later(in time.Duration) *deadline {
	return &deadline{text: strings.TrimSuffix(in.String(), "0m0s"), in: in}
}

func (d *deadline) String() string { return d.text }
func (d *deadline) Type() string   { return "time" }

func (d *deadline) Set(s string) (err error) {
	d.text, d.at, d.in = s, time.Time{}, 0
	if d.in, err = spec.ParseDuration(s); err == nil {
		return nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if d.at, err = time.ParseInLocation(layout, s, time.Local); err == nil {
			return nil
		}
	}
	return errors.New("say a time such as 2026-12-24T12:00, or how long, such as 36h or 3d")
}

// after is the time meant; zero: none.
func (d *deadline) after(now time.Time) time.Time {
	if d.in != 0 {
		return now.Add(d.in).Round(0)
	}
	return d.at
}
