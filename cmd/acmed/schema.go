package main

import (
	"strings"

	"github.com/spf13/cobra"

	"acmed/internal/spec"
)

func (a *app) schemaCommand() *cobra.Command {
	files := []string{"certificate", "config", "dns", "issuer", "sectigo"}
	return &cobra.Command{
		Use:   "schema " + strings.Join(files, "|"),
		Short: "Print the JSON Schema of a sort of file, for editors",
		Long: `Print the JSON Schema (draft 7) of a file of certs.d, of acmed.yaml, of a file of issuers.d or dns.d, or of sectigo.yaml. Editors
with a YAML language server complete and check a file whose first line names its schema; those of the package are named so:

    # yaml-language-server: $schema=/usr/share/acmed/schema/certificate.json

acmed check finds more than a schema can say.`,
		ValidArgs: files,
		Args:      argsUpTo(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, ok := spec.Schema(strings.Join(args, ""))
			if !ok {
				return usagef(cmd, "the schema of what? of %s", strings.Join(files, ", "))
			}
			return a.print(string(text))
		},
	}
}
