package boulder

import (
	"cmp"
	"maps"
	"time"
)

// Options are what a test chooses of the configuration. The zero Options are close to Let's Encrypt: its three profiles and
// its rate limits, except that the limit on new accounts is out of the way.
type Options struct {
	SyncFinalize bool             // the answer to finalize waits for the certificate
	Terms        string           // URL of the terms of service; "": one
	Limits       map[string]Limit // replace DefaultLimits, by Boulder's names
	Profiles     map[string]Profile
}

// Limit is a rate limit.
type Limit struct {
	Count  int
	Period time.Duration
	Burst  int // 0: Count
}

// Profile adds to or replaces the profiles classic, tlsserver and shortlived. Zero fields are those of classic.
type Profile struct {
	Validity       time.Duration // of its certificates, from notBefore; 0: 90 days
	Backdate       time.Duration // notBefore lies 0.9 of it before the issuance; 0: 65 minutes
	Authorizations time.Duration // how long a valid authorization is reused; 0: 30 days
	MaxNames       int           // 0: 100
	Addresses      bool          // IP addresses are allowed
	Bare           bool          // no common name, subject key identifier, key encipherment
	Allowed        []int64       // accounts; nil: all, empty: none
}

// The limits by Boulder's names.
const (
	NewOrders   = "NewOrdersPerAccount"
	PerDomain   = "CertificatesPerDomain"
	PerNameSet  = "CertificatesPerFQDNSet"
	Failures    = "FailedAuthorizationsPerDomainPerAccount"
	Pausing     = "FailedAuthorizationsForPausingPerDomainPerAccount"
	perAddress  = "NewRegistrationsPerIPAddress"
	perIPv6     = "NewRegistrationsPerIPv6Range"
	day         = 24 * time.Hour
	week        = 7 * day
	unlimited   = 1_000_000
	defaultLife = 90 * day
)

// DefaultLimits are those of Let's Encrypt but for new accounts.
func DefaultLimits() map[string]Limit {
	return map[string]Limit{
		perAddress: {Count: unlimited, Period: 3 * time.Hour},
		perIPv6:    {Count: unlimited, Period: 3 * time.Hour},
		NewOrders:  {Count: 300, Period: 3 * time.Hour},
		PerDomain:  {Count: 50, Period: week},
		PerNameSet: {Count: 5, Period: week},
		Failures:   {Count: 5, Period: time.Hour},
		Pausing:    {Count: 1, Period: day, Burst: 3600},
	}
}

// Unlimited are limits that no test reaches.
func Unlimited() map[string]Limit {
	limits := DefaultLimits()
	for name := range limits {
		limits[name] = Limit{Count: unlimited, Period: time.Hour}
	}
	return limits
}

func (o Options) limits() map[string]Limit {
	limits := DefaultLimits()
	maps.Copy(limits, o.Limits)
	return limits
}

// profiles are those of Let's Encrypt and what the test adds or replaces.
func (o Options) profiles() map[string]Profile {
	all := map[string]Profile{
		"classic":    {},
		"tlsserver":  {Validity: 45 * day, Authorizations: 7 * time.Hour, MaxNames: 25, Bare: true},
		"shortlived": {Validity: 160 * time.Hour, Authorizations: 7 * time.Hour, MaxNames: 25, Bare: true, Addresses: true},
	}
	maps.Copy(all, o.Profiles)
	for name, p := range all {
		p.Validity = cmp.Or(p.Validity, defaultLife)
		p.Backdate = cmp.Or(p.Backdate, 65*time.Minute)
		p.Authorizations = cmp.Or(p.Authorizations, 30*day)
		p.MaxNames = cmp.Or(p.MaxNames, 100)
		all[name] = p
	}
	return all
}
