package main

import (
	"cmp"
	"fmt"
	"strings"

	"acmed/internal/control"
	"acmed/internal/sectigo"
)

// account is an ACME account of SCM as it is shown.
type account struct {
	ID             int              `json:"id"`
	Name           string           `json:"name"`
	Status         string           `json:"status"`
	Server         string           `json:"server"`
	Directory      string           `json:"directory,omitempty"`
	Organization   int              `json:"organization"`
	ValidationType string           `json:"validationType"`
	KID            string           `json:"kid"`
	Key            string           `json:"hmacKey,omitempty"` // only when it was asked for
	Contacts       string           `json:"contacts,omitempty"`
	Domains        []sectigo.Domain `json:"domains,omitempty"`
	Files          []string         `json:"files,omitempty"` // that were written
}

func newAccount(a sectigo.Account) account {
	return account{
		ID: a.ID, Name: a.Name, Status: strings.ToLower(a.Status), Server: a.Server, Organization: a.OrganizationID,
		ValidationType: a.ValidationType, KID: a.KID, Contacts: a.Contacts,
	}
}

func accountText(a account) string {
	var b strings.Builder
	b.WriteString(control.OneLine(fmt.Sprintf("account %d, %s: %s", a.ID, a.Name, a.Status)) + "\n")
	field(&b, "server", joined(", ", a.Server, a.ValidationType))
	field(&b, "directory", a.Directory)
	field(&b, "organization", fmt.Sprint(a.Organization))
	field(&b, "key ID", a.KID)
	field(&b, "HMAC key", cmp.Or(a.Key, "not shown; --show-key shows it"))
	field(&b, "contacts", a.Contacts)
	domains := make([]string, len(a.Domains))
	for i, d := range a.Domains {
		domains[i] = d.Name
	}
	field(&b, "domains", cmp.Or(abridged(domains), fmt.Sprintf("none yet; acmed sectigo domain add %d DOMAIN", a.ID)))
	for _, file := range a.Files {
		field(&b, "wrote", file)
	}
	return columns(b.String())
}

func accountsText(list []account) string {
	table := newTable("ID", "NAME", "STATUS", "SERVER", "ORGANIZATION")
	for _, a := range list {
		table.row(a.ID, a.Name, a.Status, a.Server, a.Organization)
	}
	return table.String()
}

func serversText(servers []sectigo.Server) string {
	table := newTable("NAME", "VALIDATION", "DIRECTORY")
	for _, s := range servers {
		table.row(s.Name, cmp.Or(s.ValidationType, "-"), s.URL)
	}
	return table.String()
}

func domainsText(domains []sectigo.Domain) string {
	table := newTable("DOMAIN", "VALIDATED UNTIL")
	for _, d := range domains {
		table.row(d.Name, cmp.Or(d.ValidUntil, "-"))
	}
	return table.String()
}

func changedText(c changed, done string) string {
	var b strings.Builder
	for _, name := range c.Done {
		fmt.Fprintf(&b, "%s was %s\n", control.OneLine(name), done)
	}
	return b.String()
}
