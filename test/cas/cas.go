// Package cas tries all that acmed does at a CA with each CA that runs as a subprocess: Pebble, step-ca, Caddy's acme_server
// and the PKI engine of HashiCorp Vault.
//
// It owns the list of CAs, the list of features, and a section of docs/compatibility.md. How a feature is tried is in its
// tests, which need the tag e2e:
//
//	make cas         all but the tests that wait for many minutes
//	make cas-full    every test
package cas

import "acmed/test/matrix"

// Section is the name of the section of docs/compatibility.md.
const Section = "suite"

// CAs returns the CAs, with the versions that the modules in tools pin.
func CAs() []string { return []string{"Pebble", "step-ca", "Caddy", "Vault"} }

// The features that are tried.
const (
	HTTP01        = "http-01, DNS name"
	HTTP01Address = "http-01, IPv4 address"
	TLSALPN01     = "tls-alpn-01"
	DNS01         = "dns-01, wildcard and its apex"
	Lifetime      = "lifetime of certificates by default"
	Renewal       = "renewals without a command"
	Requests      = "signed requests for the first certificate, for a renewal"
	Revocation    = "revocation, signed by the account"
	ByKey         = "revocation, signed by the certificate's key"
	Again         = "revocation of a revoked certificate"
	Update        = "account: new contact"
	Rollover      = "account: new key"
	Deactivation  = "account: deactivation"
	Ended         = "account: a deactivated one is shown as ended"
	Registration  = "account: registration after deactivation"
	Binding       = "EAB: accounts after five restarts of acmed"
	WrongBinding  = "EAB: unknown key identifier, wrong key"
	UsedBinding   = "EAB: key of another account"
	Kill          = "acmed killed while an order is pending: orders"
	Restart       = "CA killed while an order is pending"
	LateDNS       = "DNS name that appears after the first validation"
	LateServer    = "web server that appears after the first validation"
	WrongServer   = "another web server responds"
	NoServer      = "no web server responds: reason"
	Hanging       = "sixteen orders without a response do not delay a certificate"
	Fallback      = "no web server responds: the fallback issuer issues"
	LateOrder     = "order whose own notAfter is near"
)

// Features returns all of them, in the order of the table.
func Features() []string {
	return []string{
		HTTP01, HTTP01Address, TLSALPN01, DNS01, Lifetime, Renewal, Requests, Revocation, ByKey, Again,
		Update, Rollover, Deactivation, Ended, Registration, Binding, WrongBinding, UsedBinding,
		Kill, Restart, LateDNS, LateServer, WrongServer, NoServer, Hanging, Fallback, LateOrder,
	}
}

// Seen is what was seen: by feature, then by CA.
type Seen map[string]map[string]string

// Table has a row for each feature and a column for each CA. versions are by CA. A feature that the CA was not asked for has
// an empty cell.
func Table(seen Seen, versions map[string]string) string {
	head := []string{""}
	for _, ca := range CAs() {
		head = append(head, ca+" "+versions[ca])
	}
	rows := [][]string{head}
	for _, feature := range Features() {
		row := []string{feature}
		for _, ca := range CAs() {
			row = append(row, seen[feature][ca])
		}
		rows = append(rows, row)
	}
	return matrix.Table(rows)
}

// Keep fills the cells that were not tried from the table that there is.
func Keep(seen Seen, table string) {
	for _, cells := range matrix.Rows(table) {
		for i, ca := range CAs() {
			if len(cells) != 1+len(CAs()) || cells[0] == "" {
				continue
			}
			if seen[cells[0]] == nil {
				seen[cells[0]] = map[string]string{}
			}
			if _, tried := seen[cells[0]][ca]; !tried {
				seen[cells[0]][ca] = cells[1+i]
			}
		}
	}
}
