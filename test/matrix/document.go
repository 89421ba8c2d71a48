package matrix

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Result is what came of a cell.
type Result struct {
	Cell
	Issued, Renewed, Revoked bool
	SameKey                  bool // the renewal has the key of the first certificate
	ByKey                    bool // the certificate's own key signed the revocation, not the account's
}

func (r Result) ok() bool { return r.Issued && r.Renewed && r.Revoked }

// Directory is what a CA offers (RFC 8555 §7.1.1, RFC 9773 §4).
type Directory struct {
	NewAuthz, KeyChange, RenewalInfo string
	Meta                             struct {
		ExternalAccountRequired bool
		Profiles                map[string]string
	}
}

// Offer is a CA as it was seen.
type Offer struct {
	CA string
	Directory
	Account      string        // its state
	NewKey       string        // what came of a change of the account's key
	Lifetime     time.Duration // of its certificates
	ChainLength  int           // without the root
	Certificates int
	Advised      int // certificates whose renewal the CA advises on
}

// SenselessTable is of the combinations that are not tried, with what `acmed check` says of each. Providers of dns-01 are
// all alike in that.
func SenselessTable(check func(challenge, identifiers string) string) string {
	rows := [][]string{{"challenge", "identifiers", "why not", "`acmed check` says"}}
	said := map[string]bool{}
	for _, challenge := range Challenges() {
		kind, _, _ := strings.Cut(challenge, " ")
		for _, identifiers := range Identifiers() {
			why := Senseless(challenge, identifiers)
			if why == "" || said[kind+identifiers] {
				continue
			}
			said[kind+identifiers] = true
			rows = append(rows, []string{kind, identifiers, why, check(challenge, identifiers)})
		}
	}
	return Table(rows)
}

// PairwiseTable has a row for each cell.
func PairwiseTable(results []Result) string {
	rows := [][]string{{"challenge", "identifiers", "key", "rotation", "CA", "issued", "renewed with", "revoked by"}}
	for _, r := range results {
		row := append(r.values(), "no", "no", "no")
		if r.Issued {
			row[5] = "yes"
		}
		if r.Renewed {
			row[6] = either(r.SameKey, "the same key", "a new key")
		}
		if r.Revoked {
			row[7] = either(r.ByKey, "its own key", "the account")
		}
		rows = append(rows, row)
	}
	return Table(rows)
}

// FullTable has a row for each challenge with identifiers, and a column for each CA.
func FullTable(results []Result) string {
	rows := [][]string{append([]string{"challenge", "identifiers"}, CAs()...)}
	for _, challenge := range Challenges() {
		for _, identifiers := range Identifiers() {
			if Senseless(challenge, identifiers) != "" {
				continue
			}
			row := []string{challenge, identifiers}
			for _, ca := range CAs() {
				row = append(row, keysSeen(results, challenge, identifiers, ca))
			}
			rows = append(rows, row)
		}
	}
	return Table(rows)
}

// keysSeen names the keys with which all went well under both policies.
func keysSeen(results []Result, challenge, identifiers, ca string) string {
	var keys []string
	for _, key := range Keys() {
		good := 0
		for _, r := range results {
			if r.Challenge == challenge && r.Identifiers == identifiers && r.CA == ca && r.Key == key && r.ok() {
				good++
			}
		}
		if good == len(Rotations()) {
			keys = append(keys, key)
		}
	}
	switch len(keys) {
	case 0:
		return "none"
	case len(Keys()):
		return "all keys"
	}
	return strings.Join(keys, ", ")
}

// OfferTable has a column for each CA.
func OfferTable(offers []Offer) string {
	rows := [][]string{{""}, {"external account binding"}, {"account"}, {"lifetime of certificates"}, {"chain, without the root"},
		{"profiles"}, {"renewal advice (ARI)"}, {"change of the account's key"}, {"authorization before an order"}}
	for _, o := range offers {
		for i, value := range []string{
			o.CA, either(o.Meta.ExternalAccountRequired, "required", "not required"), o.Account, days(o.Lifetime), fmt.Sprint(o.ChainLength, " certificates"),
			profiles(o.Meta.Profiles), advice(o), either(o.KeyChange != "", "offered, "+o.NewKey, "no"), either(o.NewAuthz != "", "offered", "no"),
		} {
			rows[i] = append(rows[i], value)
		}
	}
	return Table(rows)
}

func profiles(all map[string]string) string {
	if len(all) == 0 {
		return "none"
	}
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func advice(o Offer) string {
	switch {
	case o.RenewalInfo == "" && o.Advised == 0:
		return "none"
	case o.RenewalInfo != "" && o.Advised == o.Certificates:
		return "followed"
	}
	return "followed by some only"
}

func days(d time.Duration) string {
	if d == 24*time.Hour {
		return "1 day"
	}
	return fmt.Sprint(int(d/(24*time.Hour)), " days")
}

func either(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

// Table is Markdown, the first row its head.
func Table(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	return b.String()
}

// Rows returns the cells of a text that Table has made.
func Rows(text string) (rows [][]string) {
	for line := range strings.Lines(text) {
		inside, ok := strings.CutPrefix(strings.TrimSuffix(line, " |\n"), "| ")
		if ok {
			rows = append(rows, strings.Split(inside, " | "))
		}
	}
	return rows
}

// Section returns a section of a text, as Rewrite knows it; "" if it is not there.
func Section(text, name string) string {
	_, rest, _ := strings.Cut(text, "<!-- made: "+name+" -->\n")
	section, _, _ := strings.Cut(rest, "<!-- end -->\n")
	return section
}

// Rewrite replaces sections of a text. Each begins after the line `<!-- made: NAME -->` and ends before `<!-- end -->`.
func Rewrite(text string, sections map[string]string) (string, error) {
	for name, section := range sections {
		before, rest, ok := strings.Cut(text, "<!-- made: "+name+" -->\n")
		_, after, ended := strings.Cut(rest, "<!-- end -->\n")
		if !ok || !ended {
			return "", fmt.Errorf("rewriting the section %s: it is not there", name)
		}
		text = before + "<!-- made: " + name + " -->\n" + section + "<!-- end -->\n" + after
	}
	return text, nil
}

// Difference is the lines that are in one text alone.
func Difference(old, young string) string {
	var b strings.Builder
	lines, fresh := strings.Split(old, "\n"), strings.Split(young, "\n")
	for _, line := range lines {
		if !slices.Contains(fresh, line) {
			fmt.Fprintln(&b, "-", line)
		}
	}
	for _, line := range fresh {
		if !slices.Contains(lines, line) {
			fmt.Fprintln(&b, "+", line)
		}
	}
	return b.String()
}
