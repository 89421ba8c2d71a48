package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/control"
)

func (a *app) reloadCommand() *cobra.Command {
	var req control.ReloadRequest
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Make the daemon read its files again",
		Long: `Make the daemon read its files again, and wait until it has. The good files are in force afterwards; the exit code
is 1 when a file is bad, or when so many specs vanished that they are held until --accept-removals.`,
		Args: argsUpTo(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.reload(cmd.Context(), req) },
	}
	cmd.Flags().BoolVar(&req.AcceptRemovals, "accept-removals", false, "let go of specs that are held")
	return cmd
}

func (a *app) reload(ctx context.Context, req control.ReloadRequest) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	result, err := client.Reload(ctx, req)
	if err != nil {
		return err
	}
	if err := a.result(result, func(time.Time) string { return reloadText(result) }); err != nil {
		return err
	}
	if len(result.Problems) > 0 {
		a.say("%s", problemsText(result.Problems))
	}
	if result.Held != nil {
		a.say("%s", heldText(result.Held))
	}
	if len(result.Problems) > 0 || result.Held != nil {
		return errReported
	}
	return nil
}
