// Package matrix tries acmed's ways to a certificate with each other: challenge, identifiers, key, what becomes of the key
// at a renewal, and CA.
//
// It owns the list of what is combined, the reasons why some of it cannot be, and docs/compatibility.md. Which CAs take
// part and how a cell is tried is in its tests, which need the tag e2e:
//
//	make e2e         each pair of values in some cell
//	make e2e-full    every cell
package matrix

import (
	"cmp"
	"slices"
	"strings"
)

// Cell is one combination.
type Cell struct {
	Challenge   string // of a spec; for dns-01 with the kind of provider, as in "dns-01 rfc2136"
	Identifiers string
	Key         string // algorithm and size
	Rotation    string // rotationPolicy of the key
	CA          string
}

func (c Cell) values() []string {
	return []string{c.Challenge, c.Identifiers, c.Key, c.Rotation, c.CA}
}

func (c Cell) String() string { return strings.Join(c.values(), ", ") }

// Challenges are those that acmed has, with each provider of dns-01.
func Challenges() []string {
	return []string{"http-01", "tls-alpn-01", "dns-01 rfc2136", "dns-01 acmeDNS", "dns-01 httpReq", "dns-01 exec"}
}

// Identifiers are the kinds of sets of names and addresses.
func Identifiers() []string {
	return []string{"one name", "many names", "IDN", "wildcard", "IPv4", "IPv6", "names and addresses"}
}

// Keys are those that a spec can ask for.
func Keys() []string { return []string{"ECDSA 256", "ECDSA 384", "RSA 2048", "RSA 3072", "RSA 4096"} }

// Rotations are the policies for a renewal's key.
func Rotations() []string { return []string{"Always", "Never"} }

// CAs are those that the tests run.
func CAs() []string { return []string{"Pebble", "Pebble, EAB", "step-ca"} }

// Senseless tells why a challenge cannot prove such identifiers; "": it can.
func Senseless(challenge, identifiers string) string {
	dns := strings.HasPrefix(challenge, "dns-01")
	switch {
	case identifiers == "wildcard" && challenge == "http-01":
		return "a wildcard has no server to ask: CAs offer only dns-01 for it (Baseline Requirements §3.2.2.4.19)"
	case identifiers == "wildcard" && challenge == "tls-alpn-01":
		return "a wildcard has no server to ask: CAs offer only dns-01 for it (Baseline Requirements §3.2.2.4.20)"
	case dns && slices.Contains([]string{"IPv4", "IPv6", "names and addresses"}, identifiers):
		return "an address has no TXT record: dns-01 must not be used for one (RFC 8738 §7)"
	}
	return ""
}

// Cells are all combinations that make sense, in the order of the lists above, the CA changing fastest.
func Cells() (cells []Cell) {
	for _, challenge := range Challenges() {
		for _, identifiers := range Identifiers() {
			if Senseless(challenge, identifiers) != "" {
				continue
			}
			for _, key := range Keys() {
				for _, rotation := range Rotations() {
					for _, ca := range CAs() {
						cells = append(cells, Cell{challenge, identifiers, key, rotation, ca})
					}
				}
			}
		}
	}
	return cells
}

// Pairwise picks cells that hold each pair of values that some cell holds: again and again the first of those with the
// most pairs that are missing, and among these with the values that were picked least. The same cells come of the same
// list.
func Pairwise(all []Cell) (picked []Cell) {
	missing, uses := map[[2]string]bool{}, map[string]int{}
	for _, c := range all {
		for _, p := range pairs(c) {
			missing[p] = true
		}
	}
	worth := func(c Cell) (news, used int) {
		for _, p := range pairs(c) {
			if missing[p] {
				news++
			}
		}
		for _, v := range c.values() {
			used += uses[v]
		}
		return news, used
	}
	for len(missing) > 0 {
		best := slices.MaxFunc(all, func(a, b Cell) int {
			newsA, usedA := worth(a)
			newsB, usedB := worth(b)
			return cmp.Or(cmp.Compare(newsA, newsB), cmp.Compare(usedB, usedA))
		})
		for _, p := range pairs(best) {
			delete(missing, p)
		}
		for _, v := range best.values() {
			uses[v]++
		}
		picked = append(picked, best)
	}
	return picked
}

// pairs are the pairs of values of a cell. No value is in two lists.
func pairs(c Cell) (pairs [][2]string) {
	values := c.values()
	for i, v := range values {
		for _, w := range values[i+1:] {
			pairs = append(pairs, [2]string{v, w})
		}
	}
	return pairs
}
