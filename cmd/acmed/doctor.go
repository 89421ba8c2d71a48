package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/acme"
	"acmed/internal/control"
	"acmed/internal/doctor"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

func (a *app) doctorCommand() *cobra.Command {
	var resolvers []string
	cmd := &cobra.Command{
		Use:   "doctor [NAME…]",
		Short: "Look at all that certificates depend on, and say what is wrong",
		Long: `Look at all that certificates depend on, from this machine: the files, the CAs (and the clock), the accounts there, the
names with their addresses, CAA records and DNSSEC, who answers on ports 80 and 443, the files, programs and units of deploy. Every finding that is
not good says what to do. Nothing is changed and nothing is ordered; no daemon is needed, and no certificate yet. What
only root may see is named as skipped. The exit code is 1 when something cannot work as it is.`,
		Example: `  acmed doctor
  acmed doctor www.example.com`,
		ValidArgsFunction: a.completeNames(-1),
		RunE: func(cmd *cobra.Command, args []string) error {
			servers, err := dnsServers(resolvers)
			if err != nil {
				return usagef(cmd, "--resolver: %w", err)
			}
			return a.doctor(cmd.Context(), args, servers)
		},
	}
	cmd.Flags().StringSliceVar(&resolvers, "resolver", nil, "DNS `SERVER` to query, as HOST or HOST:PORT (port 53), instead of those in /etc/resolv.conf")
	return cmd
}

// dnsServers completes the addresses of DNS servers with port 53; nil if there are none.
func dnsServers(given []string) (servers []string, err error) {
	for _, s := range given {
		at, err := spec.ParseDNSServer(s)
		if err != nil {
			return nil, err
		}
		servers = append(servers, at)
	}
	return servers, nil
}

func (a *app) doctor(ctx context.Context, names, resolvers []string) error {
	config, err := a.configuration()
	if err != nil {
		return err
	}
	set, err := spec.Preview(spec.LoaderConfig{Config: config})
	if err != nil {
		return err
	}
	c := doctor.Config{Settings: config, Set: set, Names: names, Resolvers: resolvers, Examine: examine, Account: accountOf(config.StateDir)}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		c.Unit = doctor.AskSystemd
	}
	findings, failed := []doctor.Finding{}, false
	err = doctor.Run(ctx, c, func(f doctor.Finding) {
		findings = append(findings, f)
		failed = failed || f.Level == doctor.Failure
		if a.output == "text" {
			_ = a.print(findingText(f)) // as it comes; if nobody reads any more, the last write fails too
		}
	})
	if err != nil {
		return err
	}
	if err := a.result(findings, func(time.Time) string { return diagnosis(findings) }); err != nil {
		return err
	}
	if failed {
		return errReported
	}
	return nil
}

// examine asks a CA as the daemon would.
func examine(ctx context.Context, i *spec.Issuer) (acme.Examined, error) {
	how, err := reconcile.ClientConfig(i)
	if err != nil {
		return acme.Examined{}, err
	}
	how.UserAgent = userAgent()
	return acme.Examine(ctx, how)
}

// accountOf reads the accounts of a state folder, and has the CAs tell whether they know them. That changes nothing.
func accountOf(dir string) func(context.Context, *spec.Issuer) (doctor.Account, error) {
	return func(ctx context.Context, i *spec.Issuer) (a doctor.Account, err error) {
		state, err := store.OpenReader(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return a, nil
		}
		if err != nil {
			return a, err
		}
		defer func() { _ = state.Close() }() // it was only read
		stored, key, err := state.Account(i.Name)
		if err != nil || stored == nil {
			return a, err
		}
		a = doctor.Account{URL: stored.URL, Directory: stored.Directory, Ended: !stored.Ended.IsZero()}
		if a.URL == "" || a.Ended || a.Directory != i.Directory {
			return a, nil
		}
		how, err := reconcile.ClientConfig(i)
		if err != nil {
			return a, err
		}
		how.Key, how.KID, how.UserAgent = key, a.URL, userAgent()
		client, err := acme.New(how)
		if err != nil {
			return a, err
		}
		defer client.Close()
		told, err := client.Account(ctx)
		a.Status = told.Status
		return a, err
	}
}

// findingText is a line for what is good, and what to do below what is not.
func findingText(f doctor.Finding) string {
	const below = "              "
	mark := map[doctor.Level]string{doctor.Good: "ok", doctor.Skipped: "--", doctor.Warning: "?", doctor.Failure: "!!"}[f.Level]
	subject := f.Subject
	if f.Count > 0 {
		subject = count(f.Count, subjectNoun(f.Check))
	}
	s := fmt.Sprintf("%-3s %-9s %s\n", mark, control.OneLine(f.Check), control.OneLine(joined(": ", subject, f.Text)))
	if f.Count > 0 {
		s += below + control.OneLine(someOf(f.Subjects, f.Count)) + "\n"
	}
	if f.Hint != "" {
		s += below + "what to do: " + control.OneLine(f.Hint) + "\n"
	}
	return s
}

// subjectNoun is what a check looks at.
func subjectNoun(check string) string {
	switch check {
	case "delivery":
		return "certificate"
	case "files":
		return "file"
	case "issuer", "account":
		return "issuer"
	case "dns":
		return "provider"
	case "unit":
		return "unit"
	}
	return "name"
}

// someOf lists the first of all subjects.
func someOf(first []string, all int) string {
	text := strings.Join(first, ", ")
	if more := all - len(first); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// diagnosis sums up.
func diagnosis(findings []doctor.Finding) string {
	counts := map[doctor.Level]int{}
	for _, f := range findings {
		counts[f.Level]++
	}
	if counts[doctor.Failure]+counts[doctor.Warning] == 0 {
		return "\nnothing is wrong that can be seen from here\n"
	}
	return fmt.Sprintf("\n%s, %s\n", count(counts[doctor.Failure], "failure"), count(counts[doctor.Warning], "warning"))
}
