package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/control"
	"acmed/internal/doctor"
	"acmed/internal/migrate"
	"acmed/internal/spec"
	"acmed/internal/store"
)

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE…]",
		Short: "Check the configuration and the specs, without a daemon",
		Long: `Check files of certs.d, or without arguments the configuration, every issuer and every spec, and the state folder
where it may be read. Where systemd runs, the units of deploy are looked at, too. No daemon is needed, and nothing is
changed. The exit code is 1 when something is wrong, also if a built-in issuer is known to refuse a certificate: acmed
orders such a certificate nevertheless.`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.check(cmd.Context(), args) },
	}
}

// checked is the answer of `acmed check`.
type checked struct {
	Files    int               `json:"files"`
	Problems []control.Problem `json:"problems"`
	State    []string          `json:"state,omitempty"`    // what is wrong with the state folder
	Warnings []string          `json:"warnings,omitempty"` // about files of deploy; they do not change the exit code
}

func (c checked) good() bool { return len(c.Problems)+len(c.State) == 0 }

func (a *app) check(ctx context.Context, files []string) error {
	config, files, err := a.toCheck(files)
	if err != nil {
		return err
	}
	if foreign := spec.Foreign(config); foreign != "" {
		a.say("%s belongs to another program of this name; it is neither read nor changed", foreign)
	}
	c := checked{Files: len(files), Problems: []control.Problem{}}
	if len(files) == 0 {
		c.Files, c.State = countFiles(config), a.checkState(config.StateDir)
	}
	for _, p := range append(spec.CheckFiles(config, files), checkUnits(ctx, config, files)...) {
		c.Problems = append(c.Problems, control.Problem(*p))
	}
	c.Warnings = append(shutOut(config, files), commandWarnings(config, files)...)
	if err := a.result(c, func(time.Time) string { return checkedText(c) }); err != nil {
		return err
	}
	if !c.good() {
		return errReported
	}
	return nil
}

// shutOut warns of users and groups that the default access control list of a directory lets read, and whom the mode in
// the spec shuts out.
func shutOut(config *spec.Config, files []string) (warnings []string) {
	for _, c := range toWarn(config, files) {
		for _, f := range c.Deploy.Files {
			if who := doctor.ShutOut(&f); who != "" {
				warnings = append(warnings, fmt.Sprintf("%s: mode %#o of %s shuts out %s of the default access control list of %s: set mode \"0640\", or use setfacl on the file after its first deployment",
					c.Name, uint32(f.FileMode()), f.Path, who, filepath.Dir(f.Path)))
			}
		}
	}
	return warnings
}

// commandWarnings warns of commands that cannot work with a private copy of the certificate, or do without one.
func commandWarnings(config *spec.Config, files []string) (warnings []string) {
	for _, c := range toWarn(config, files) {
		commands := [][]string{c.Deploy.Check}
		for _, r := range c.Deploy.Run {
			commands = append(commands, r.Command)
		}
		for _, command := range commands {
			if strings.Contains(strings.Join(command, " "), config.StateDir+"/") {
				warnings = append(warnings, fmt.Sprintf("%s: the command %s reads %s, which the user of acmed can change: use ACMED_LIVE in a command of run, or a file of deploy.files",
					c.Name, command[0], config.StateDir))
			}
			if migrate.KeepsPath(command) {
				warnings = append(warnings, fmt.Sprintf("%s: the command %s seems to keep a path of its private copy, which is gone when the command ends: use a file of deploy.files",
					c.Name, command[0]))
			}
		}
	}
	return warnings
}

// toWarn returns the valid certificates in files, or all.
func toWarn(config *spec.Config, files []string) (certs []*spec.Certificate) {
	if len(files) == 0 {
		if set, err := spec.Preview(spec.LoaderConfig{Config: config}); err == nil {
			for _, c := range set.Certificates() {
				certs = append(certs, c)
			}
		}
		return certs
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if c, err := spec.ParseCertificate(config, file, text, nil); err == nil {
			certs = append(certs, c)
		}
	}
	return certs
}

// toCheck returns what to check files with. Single files can be checked on a machine that has no acmed.yaml; one that
// is broken is checked beside them, and otherwise alone, for nobody knows where it wants to lead.
func (a *app) toCheck(files []string) (*spec.Config, []string, error) {
	file, err := filepath.Abs(cmp.Or(a.config, defaultConfig))
	if err != nil {
		return nil, nil, fmt.Errorf("finding the configuration: %w", err)
	}
	config, err := spec.LoadConfig(file)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err == nil:
		return config, files, nil
	case !missing:
		return spec.DefaultConfig(file), append([]string{file}, files...), nil
	case a.config == "" && len(files) > 0:
		return spec.DefaultConfig(file), files, nil
	default:
		return nil, nil, err
	}
}

// checkUnits looks at the units that good specs name, where systemd is.
func checkUnits(ctx context.Context, config *spec.Config, files []string) []*spec.Problem {
	if !systemdRuns() {
		return nil
	}
	return doctor.Oneshots(ctx, goodSpecs(config, files), doctor.AskSystemd)
}

func systemdRuns() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

// goodSpecs are the certificates of these files, or of all. What is wrong with others is said elsewhere.
func goodSpecs(config *spec.Config, files []string) (certs []*spec.Certificate) {
	for _, file := range files {
		text, err := spec.ReadFile(file)
		if err != nil {
			continue
		}
		if c, err := spec.ParseCertificate(config, file, text, nil); err == nil {
			certs = append(certs, c)
		}
	}
	if len(files) > 0 {
		return certs
	}
	set, err := spec.Preview(spec.LoaderConfig{Config: config})
	if err != nil {
		return nil
	}
	for _, c := range set.Certificates() {
		certs = append(certs, c)
	}
	return certs
}

// checkState checks the state folder, if there is one and whoever asks may read it.
func (a *app) checkState(dir string) []string {
	_, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission):
		a.say("not checking the state folder, which you may not read: %s", dir)
		return nil
	}
	wrong, hidden := stateFindings(store.Check(dir))
	if hidden {
		a.say("not checking all of the state directory, of which you may not read a part: %s", dir)
	}
	return wrong
}

// stateFindings returns the differences that a check of the state directory has found. Files that the caller may not read
// are none: the daemon may.
func stateFindings(errs []error) (wrong []string, hidden bool) {
	for _, err := range errs {
		if errors.Is(err, fs.ErrPermission) {
			hidden = true
			continue
		}
		wrong = append(wrong, err.Error())
	}
	return wrong, hidden
}

// countFiles counts what a check without arguments reads.
func countFiles(config *spec.Config) int {
	n := 1
	for _, pattern := range []string{config.SectigoFile(), filepath.Join(config.IssuerDir, "[^.]*.yaml"), filepath.Join(config.DNSDir, "[^.]*.yaml"), filepath.Join(config.SpecDir, "[^.]*.yaml")} {
		files, _ := filepath.Glob(pattern) // the patterns are good, unless a folder's name is odd
		n += len(files)
	}
	return n
}
