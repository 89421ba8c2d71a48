package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
)

// String returns the algorithm and the size, such as "ECDSA-256".
func (k PrivateKey) String() string {
	return k.Algorithm + "-" + strconv.Itoa(k.Size)
}

// Request returns a short stable hash of all that an order brings: the names and addresses as a set, the key type, the
// profile, the preferred chain and the CSR. The issuers are no part of it: a certificate from another issuer of the list
// still is what was asked for.
func (c *Certificate) Request() string {
	var addresses []string
	for _, a := range c.IPAddresses {
		addresses = append(addresses, a.String())
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %q %q",
		sorted(c.DNSNames), sorted(addresses), c.PrivateKey.String(), c.Profile, c.PreferredChain)
	if c.CSR != nil {
		fmt.Fprintf(h, " %q", c.CSR.SHA256)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func sorted(s []string) []string {
	return slices.Sorted(slices.Values(s))
}
