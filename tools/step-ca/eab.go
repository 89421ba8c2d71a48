package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"

	"github.com/smallstep/nosql"
	"github.com/urfave/cli"
)

// keyTable and binding are those of github.com/smallstep/certificates/acme/db/nosql. A provisioner of ca.json has no ID. All
// fields are there, in this order: step-ca replaces a row only if it would write the old one just so.
const keyTable = "acme_external_account_keys"

type binding struct {
	ID            string    `json:"id"`
	ProvisionerID string    `json:"provisionerID"`
	Reference     string    `json:"reference"`
	Key           []byte    `json:"key"`
	CreatedAt     time.Time `json:"createdAt"`
	BoundAt       time.Time `json:"boundAt"`
}

func addBinding(c *cli.Context) error {
	if c.NArg() != 3 {
		return errors.New("usage: step-ca eab DATABASE KID KEY")
	}
	key, err := base64.RawURLEncoding.DecodeString(c.Args().Get(2))
	if err != nil {
		return err
	}
	kid := c.Args().Get(1)
	row, err := json.Marshal(binding{ID: kid, Key: key, CreatedAt: time.Now().UTC()})
	if err != nil {
		return err
	}
	db, err := nosql.New("badgerv2", c.Args().Get(0))
	if err != nil {
		return err
	}
	return errors.Join(db.CreateTable([]byte(keyTable)), db.Set([]byte(keyTable), []byte(kid), row), db.Close())
}
