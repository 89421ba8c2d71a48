package main

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// version is set by -ldflags "-X main.version=…" where packages are built; "": the build information knows.
var version string

// versionInfo is the answer of `acmed version`.
type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
	ACME     string `json:"acme,omitempty"` // version of golang.org/x/crypto

	time time.Time // of the revision; the epoch when it is not known
}

func readVersion() versionInfo {
	v := versionInfo{Version: version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, time: time.Unix(0, 0)}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		build = new(debug.BuildInfo)
	}
	v.Version = cmp.Or(version, build.Main.Version, "(devel)")
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			if t, err := time.Parse(time.RFC3339, s.Value); err == nil {
				v.time = t
			}
		}
	}
	for _, m := range build.Deps {
		if m.Path == "golang.org/x/crypto" {
			v.ACME = m.Version
		}
	}
	return v
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  argsUpTo(0),
		RunE: func(*cobra.Command, []string) error {
			v := readVersion()
			return a.result(v, func(time.Time) string { return versionText(v) })
		},
	}
}

// manCommand writes the man pages, the same ones whenever it runs: they are dated $SOURCE_DATE_EPOCH, or like the
// revision.
func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the man pages into a folder",
		Hidden: true,
		Args:   argsUpTo(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef(cmd, "write the man pages where?")
			}
			return writeManPages(cmd.Root(), readVersion(), args[0])
		},
	}
}

func writeManPages(root *cobra.Command, v versionInfo, dir string) error {
	date := v.time.UTC()
	if epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		date = time.Unix(epoch, 0).UTC()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("creating the man pages' folder: %w", err)
	}
	root.DisableAutoGenTag = true
	header := &doc.GenManHeader{Section: "1", Date: &date, Source: "acmed " + v.Version, Manual: "acmed"}
	return doc.GenManTree(root, header, dir)
}
