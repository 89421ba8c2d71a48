// Command caddy is Caddy with no more modules than its acme_server needs, which takes a part of the time to build it. Its
// argument is a configuration in Caddy's JSON.
package main

import (
	"fmt"
	"os"

	"github.com/caddyserver/caddy/v2"

	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddypki/acmeserver"
	_ "github.com/caddyserver/caddy/v2/modules/caddytls"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("starting caddy: %d arguments, want a configuration file", len(args))
	}
	config, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	if err := caddy.Load(config, false); err != nil {
		return err
	}
	caddy.TrapSignals()
	select {}
}
