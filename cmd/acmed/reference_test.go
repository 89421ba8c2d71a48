package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestCommandReference wants docs/cli.md to be what the commands say of themselves. UPDATE=1 in the environment writes it
// anew.
func TestCommandReference(t *testing.T) {
	root := (&app{stdout: io.Discard, stderr: io.Discard}).command()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	var b strings.Builder
	b.WriteString(`# Commands

Made from the program's own help by a test; ` + "`acmed COMMAND --help`" + ` and the man pages say the same.

Results go to stdout, all else to stderr behind ` + "`acmed: `" + `. With ` + "`--output json`" + ` a result is a document, or a line for
each event ([json.md](json.md)).

| exit code | means |
|---|---|
| ` + code(exitOK) + ` | done |
| ` + code(exitFailed) + ` | it did not work, or a file is bad: stderr says what to do |
| ` + code(exitUsage) + ` | the command line is wrong |
| ` + code(exitConfig) + ` | of ` + "`acmed run`" + `: the configuration is wrong, and a restart would not help |

These options go with every command:

`)
	writeOptions(&b, root.PersistentFlags())
	for _, cmd := range root.Commands() {
		writeCommand(&b, cmd)
	}
	page(t, "../../docs/cli.md", b.String())
}

func code(n int) string { return fmt.Sprint(n) }

// writeCommand writes the section of a command, and those of the commands below it.
func writeCommand(b *strings.Builder, cmd *cobra.Command) {
	if cmd.Hidden || cmd.Name() == "help" {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n%s.\n\n    %s\n", cmd.CommandPath(), cmd.Short, usage(cmd))
	if long := strings.TrimSpace(cmd.Long); long != "" && cmd.Parent().Name() != "completion" {
		fmt.Fprintf(b, "\n%s\n", long)
	}
	if cmd.LocalNonPersistentFlags().HasAvailableFlags() {
		b.WriteString("\n")
		writeOptions(b, cmd.LocalNonPersistentFlags())
	}
	if cmd.Example != "" {
		b.WriteString("\nFor example:\n\n")
		for line := range strings.Lines(cmd.Example) {
			b.WriteString("  " + line)
		}
		b.WriteString("\n")
	}
	for _, below := range cmd.Commands() {
		writeCommand(b, below)
	}
}

// usage is the command line without its options.
func usage(cmd *cobra.Command) string {
	if cmd.HasSubCommands() {
		return cmd.CommandPath() + " COMMAND"
	}
	return strings.TrimSuffix(cmd.UseLine(), " [flags]")
}

// writeOptions writes a table of flags.
func writeOptions(b *strings.Builder, flags *pflag.FlagSet) {
	b.WriteString("| option | means |\n|---|---|\n")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		value, means := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if value != "" {
			name += " " + value
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", name, strings.ReplaceAll(means, "|", `\|`))
	})
}

// page compares a page of the documentation with what it has to be.
func page(t *testing.T, file, want string) {
	t.Helper()
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Errorf("%s is not what the program says; UPDATE=1 go test ./cmd/acmed writes it anew, then read the difference", file)
	}
}
