// Command boulder is the part of Let's Encrypt's CA software that issues certificates: each service is a subcommand. It
// lacks the services for revocation lists, logs, administration and key ceremonies, which a test never starts.
package main

import (
	"fmt"
	"os"

	"github.com/letsencrypt/boulder/cmd"

	_ "github.com/letsencrypt/boulder/cmd/boulder-ca"
	_ "github.com/letsencrypt/boulder/cmd/boulder-publisher"
	_ "github.com/letsencrypt/boulder/cmd/boulder-ra"
	_ "github.com/letsencrypt/boulder/cmd/boulder-sa"
	_ "github.com/letsencrypt/boulder/cmd/boulder-va"
	_ "github.com/letsencrypt/boulder/cmd/boulder-wfe2"
	_ "github.com/letsencrypt/boulder/cmd/nonce-service"
	_ "github.com/letsencrypt/boulder/cmd/remoteva"
	_ "github.com/letsencrypt/boulder/cmd/sfe"
)

func main() {
	if len(os.Args) < 2 || cmd.LookupCommand(os.Args[1]) == nil {
		fmt.Fprintf(os.Stderr, "usage: boulder SERVICE [FLAGS]\nservices: %v\n", cmd.AvailableCommands())
		os.Exit(2)
	}
	service := cmd.LookupCommand(os.Args[1])
	os.Args = os.Args[1:]
	service()
}
