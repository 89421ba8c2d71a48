package main

import (
	"cmp"
	"fmt"
	"strings"

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
	fmt.Fprintf(&b, "account %d, %s: %s\n", a.ID, a.Name, a.Status)
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
	var b strings.Builder
	b.WriteString("ID\tNAME\tSTATUS\tSERVER\tORGANIZATION\n")
	for _, a := range list {
		fmt.Fprintf(&b, "%d\t%s\t%s\t%s\t%d\n", a.ID, a.Name, a.Status, a.Server, a.Organization)
	}
	return columns(b.String())
}

func serversText(servers []sectigo.Server) string {
	var b strings.Builder
	b.WriteString("NAME\tVALIDATION\tDIRECTORY\n")
	for _, s := range servers {
		fmt.Fprintf(&b, "%s\t%s\t%s\n", s.Name, cmp.Or(s.ValidationType, "-"), s.URL)
	}
	return columns(b.String())
}

func domainsText(domains []sectigo.Domain) string {
	var b strings.Builder
	b.WriteString("DOMAIN\tVALIDATED UNTIL\n")
	for _, d := range domains {
		fmt.Fprintf(&b, "%s\t%s\n", d.Name, cmp.Or(d.ValidUntil, "-"))
	}
	return columns(b.String())
}

func changedText(c changed, done string) string {
	var b strings.Builder
	for _, name := range c.Done {
		fmt.Fprintf(&b, "%s was %s\n", name, done)
	}
	return b.String()
}
