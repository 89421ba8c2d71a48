// Command step-ca is Smallstep's CA without its plug-ins for the key stores of clouds and hardware, which take a third of
// the time to build it.
//
// `step-ca eab DATABASE KID KEY` adds a key for an external account binding to the database of a CA that does not run. The
// published step-ca requires such keys where its configuration says so, but only its makers' hosted service creates them.
package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli"

	"github.com/smallstep/certificates/commands"

	_ "github.com/smallstep/certificates/cas/softcas"
	_ "go.step.sm/crypto/kms/softkms"
)

func main() {
	app := cli.NewApp()
	app.Name = "step-ca"
	app.Flags = commands.AppCommand.Flags
	app.Action = commands.AppCommand.Action
	app.Commands = []cli.Command{{Name: "eab", Action: addBinding}}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
