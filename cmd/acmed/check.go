package main

import (
	"cmp"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/control"
	"acmed/internal/spec"
)

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE…]",
		Short: "Check the configuration and the specs, without a daemon",
		Long: `Check files of certs.d, or without arguments the configuration, every issuer and every spec. No daemon is needed, and
nothing is changed. The exit code is 1 when something is wrong.`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(_ *cobra.Command, args []string) error { return a.check(args) },
	}
}

// checked is the answer of `acmed check`.
type checked struct {
	Files    int               `json:"files"`
	Problems []control.Problem `json:"problems"`
}

func (a *app) check(files []string) error {
	config, err := a.loadConfig(len(files) > 0)
	problems, err := problemsOf(err)
	if err != nil {
		return err
	}
	if config != nil {
		problems = append(problems, spec.CheckFiles(config, files)...)
	}
	c := checked{Files: len(files), Problems: []control.Problem{}}
	if config != nil && len(files) == 0 {
		c.Files = countFiles(config)
	}
	for _, p := range problems {
		c.Problems = append(c.Problems, control.Problem(*p))
	}
	if err := a.result(c, func(time.Time) string { return checkedText(c) }); err != nil {
		return err
	}
	if len(problems) > 0 {
		return errReported
	}
	return nil
}

// loadConfig reads acmed.yaml. Single files can be checked on a machine that has none.
func (a *app) loadConfig(optional bool) (*spec.Config, error) {
	file := cmp.Or(a.config, defaultConfig)
	config, err := spec.LoadConfig(file)
	if optional && a.config == "" && errors.Is(err, fs.ErrNotExist) {
		return spec.DefaultConfig(file), nil
	}
	return config, err
}

// problemsOf takes the problems out of err, or returns err when it is something else.
func problemsOf(err error) ([]*spec.Problem, error) {
	if p, ok := err.(*spec.Problem); ok {
		return []*spec.Problem{p}, nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil, err
	}
	var problems []*spec.Problem
	for _, e := range joined.Unwrap() {
		more, err := problemsOf(e)
		if err != nil {
			return nil, err
		}
		problems = append(problems, more...)
	}
	return problems, nil
}

// countFiles counts what a check without arguments reads.
func countFiles(config *spec.Config) int {
	n := 1
	for _, dir := range []string{config.IssuerDir, config.SpecDir} {
		files, _ := filepath.Glob(filepath.Join(dir, "[^.]*.yaml")) // the pattern is good
		n += len(files)
	}
	return n
}
