package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"acmed/internal/spec"
)

func (a *app) configCommand() *cobra.Command {
	show := &cobra.Command{
		Use:   "show [NAME]",
		Short: "Show effective settings and where each comes from",
		Long: `Show each effective setting with its origin: a line of a file, a flag, the environment, a built-in issuer, or the default.
Without a name, the settings of acmed.yaml and of each issuer in use are shown; with a name, those of that certificate.
The files are read as they are now; a setting that the daemon does not use yet is marked. Secrets are not shown: of a
command only the program, of a webhook only the host.`,
		Example: `  acmed config show
  acmed config show www.example.com`,
		Args:              argsUpTo(1),
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.configShow(cmd.Context(), args)
		},
	}
	return a.group("config", "Show the configuration", "", show)
}

// section is a part of the answer of `acmed config show`: what one file, or a built-in issuer, sets.
type section struct {
	Kind     string    `json:"kind"`           // "config", "issuer" or "certificate"
	Name     string    `json:"name,omitempty"` // of the issuer or certificate
	File     string    `json:"file,omitempty"` // that describes it; "": there is none
	Settings []setting `json:"settings"`       // in the order of the reference, docs/spec.md
}

// setting is one effective value.
type setting struct {
	Key     string `json:"key"`               // dotted, such as deploy.probe[0].address
	Value   any    `json:"value"`             // without secrets; null: not set
	Origin  string `json:"origin"`            // "file", "flag", "environment", "issuer" for a built-in issuer, or "default"
	From    string `json:"from,omitempty"`    // path of the file, or name of the flag, the variable or the issuer
	Line    int    `json:"line,omitzero"`     // in the file
	Pending string `json:"pending,omitempty"` // why the running daemon does not use the value yet
}

func (a *app) configShow(ctx context.Context, names []string) error {
	config, err := a.configuration()
	if err != nil {
		return err
	}
	all, err := spec.NewSettings(config)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		file, settings, err := all.OfCertificate(names[0])
		if p, ok := errors.AsType[*spec.Problem](err); ok {
			return problemFailure(p)
		}
		return a.showSections([]section{{"certificate", names[0], file, settingsOf(settings)}})
	}
	sections := []section{{"config", "", existing(config.File), a.overridden(settingsOf(all.OfConfig()))}}
	for _, name := range all.Issuers() {
		file, settings := all.OfIssuer(name)
		sections = append(sections, section{"issuer", name, file, settingsOf(settings)})
	}
	a.markPending(ctx, config, sections[0].Settings)
	return a.showSections(sections)
}

func (a *app) showSections(sections []section) error {
	return a.result(sections, func(time.Time) string { return sectionsText(sections) })
}

// existing returns "" for a file that does not exist.
func existing(file string) string {
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}

func settingsOf(settings []spec.Setting) []setting {
	out := make([]setting, len(settings))
	for i, s := range settings {
		out[i] = setting{Key: s.Key, Value: s.Value, Origin: "default"}
		switch {
		case s.File != "":
			out[i].Origin, out[i].From, out[i].Line = "file", s.File, s.Line
		case s.BuiltIn != "":
			out[i].Origin, out[i].From = "issuer", s.BuiltIn
		}
	}
	return out
}

// overridden returns the settings with the socket that this command uses.
func (a *app) overridden(settings []setting) []setting {
	for i := range settings {
		s := &settings[i]
		switch socket := os.Getenv("ACMED_SOCKET"); {
		case s.Key != "control.socket":
		case a.socket != "":
			*s = setting{Key: s.Key, Value: a.socket, Origin: "flag", From: "--socket"}
		case socket != "":
			*s = setting{Key: s.Key, Value: socket, Origin: "environment", From: "ACMED_SOCKET"}
		}
	}
	return settings
}

// markPending marks what the running daemon does not use yet.
func (a *app) markPending(ctx context.Context, config *spec.Config, settings []setting) {
	client, err := a.client()
	if err != nil {
		return
	}
	info, err := client.Info(ctx)
	if err != nil || !sameFile(info.Config, config.File) {
		return
	}
	for _, p := range info.Problems {
		for i := range settings {
			if s := &settings[i]; p.File == config.File && p.Field != "" && (s.Key == p.Field || strings.HasPrefix(s.Key, p.Field+".")) {
				s.Pending = p.Problem
			}
		}
	}
	if changedSince(config.File, info.ConfigRead) {
		a.say("%s was changed after the daemon read it", config.File)
		a.say("what to do: systemctl reload acmed")
	}
}

// sameFile reports whether two paths lead to one file.
func sameFile(a, b string) bool {
	x, errx := os.Stat(a)
	y, erry := os.Stat(b)
	return a == b || errx == nil && erry == nil && os.SameFile(x, y)
}

// changedSince reports whether a file was changed after a time; false if that is not known.
func changedSince(file string, t time.Time) bool {
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil || t.IsZero() {
		return false
	}
	return time.Unix(0, max(st.Mtim.Nano(), st.Ctim.Nano())).After(t)
}

// sectionsText is the answer of `acmed config show`.
func sectionsText(sections []section) string {
	var blocks []string
	for _, s := range sections {
		var b strings.Builder
		title := joined(" ", s.Kind, s.Name)
		if s.Kind == "config" {
			title = "configuration"
		}
		fmt.Fprintf(&b, "%s: %s\n", title, cmp.Or(s.File, map[string]string{"issuer": "built in"}[s.Kind], "no file, defaults only"))
		for _, v := range s.Settings {
			if v.Value != nil {
				fmt.Fprintf(&b, "  %s\t%s\t%s\n", originText(v), v.Key, valueText(v.Value)+prefixed("    not in effect: ", v.Pending))
			}
		}
		blocks = append(blocks, columns(b.String()))
	}
	return strings.Join(blocks, "\n")
}

func originText(s setting) string {
	switch s.Origin {
	case "file":
		return filepath.Base(s.From) + ":" + strconv.Itoa(s.Line)
	case "issuer":
		return "built-in"
	case "flag", "environment":
		return s.From
	}
	return s.Origin
}

func valueText(v any) string {
	switch v := v.(type) {
	case []string:
		return "[" + strings.Join(v, ", ") + "]"
	case map[string]string:
		var pairs []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			pairs = append(pairs, key+": "+v[key])
		}
		return "{" + strings.Join(pairs, ", ") + "}"
	case string:
		return cmp.Or(v, `""`)
	}
	return fmt.Sprint(v)
}

// problemFailure is the failure of a command that cannot go on because of one file.
func problemFailure(p *spec.Problem) error {
	return &failure{errors.New(joined(": ", p.File+position(p.Line)+position(p.Column), p.Field, p.Problem)), exitFailed, p.Hint}
}
