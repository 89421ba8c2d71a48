package store

import (
	"cmp"
	"time"
)

// Record is what must not be forgotten about one certificate beside its files: ledger/NAME.json. The zero Record
// is a certificate that nothing is known about.
type Record struct {
	// Issued sums up the newest sound revision, so that start-up reads no PEM; nil before the first. The files are the
	// truth: the record follows.
	Issued *Revision `json:"issued,omitempty"`
	// Live sums up the revision that live/NAME points at, while that is another one; nil: it is Issued.
	Live *Revision `json:"live,omitempty"`
	ARI  ARI       `json:"ari,omitzero"`
	// Failures holds the newest failure by issuer; they go when a certificate comes, or nobody tries that any more, but
	// for what the CA has asked for until then.
	Failures map[string]Failure `json:"failures,omitempty"`
	// Requested is when the operator asked for a renewal that has not happened yet; zero: not.
	Requested time.Time `json:"requested,omitzero"`
	// Forced lets the requested renewal pass acmed's own budgets.
	Forced bool `json:"forced,omitempty"`
	// Revoked are those of its certificates that have not expired and that their CA has revoked, by SHA256; empty: none.
	Revoked map[string]Revocation `json:"revoked,omitempty"`
	// Hurried is when the operator asked that a revision which waits for its window go live at once; zero: not.
	Hurried time.Time `json:"hurried,omitzero"`
	// Held is until when the operator wants it left as it is; zero: not at all.
	Held time.Time `json:"held,omitzero"`
	// RolledBack is when the operator put Live in the place of Issued; zero: not.
	RolledBack time.Time `json:"rolledBack,omitzero"`
	// Retired is when the spec went away; zero: it is wanted.
	Retired time.Time `json:"retired,omitzero"`
	// Targets holds what is known of each consumer, by the key that its spec gives it.
	Targets map[string]Target `json:"targets,omitempty"`
	// Refused is why the last delivery could not even begin; nil: it could.
	Refused *Setback `json:"refused,omitempty"`
}

// Serving is the revision that consumers read; nil: there is none.
func (r *Record) Serving() *Revision { return cmp.Or(r.Live, r.Issued) }

// Revocation is what is known of a revoked certificate.
type Revocation struct {
	At       time.Time `json:"at"`               // when that became known
	Reason   string    `json:"reason,omitempty"` // of RFC 5280 §5.3.1; "": nobody said
	NotAfter time.Time `json:"notAfter"`         // of the certificate: it is forgotten then
	SPKI     string    `json:"spki,omitempty"`   // SHA-256 of its public key, hex
}

// Revocation is what is known of the revocation of a revision; false: nothing.
func (r *Record) Revocation(rev *Revision) (Revocation, bool) {
	if rev == nil {
		return Revocation{}, false
	}
	found, ok := r.Revoked[rev.SHA256]
	return found, ok
}

// Target is what is known of one consumer of a certificate.
type Target struct {
	Accepted string    `json:"accepted,omitempty"` // fingerprint of what it accepted last; "": nothing yet, or it is to be served again
	Revision int       `json:"revision,omitempty"` // that it accepted last; zero: none
	At       time.Time `json:"at,omitzero"`        // when
	Note     string    `json:"note,omitempty"`     // what is worth knowing about that
	Served   time.Time `json:"served,omitzero"`    // of a probe: the end of the certificate that it saw last
	Failed   *Setback  `json:"failed,omitempty"`   // why it has not accepted what it was given last; nil: it has
}

// Setback is why a delivery did not work.
type Setback struct {
	Fingerprint string    `json:"fingerprint,omitempty"` // of what was not accepted
	Count       int       `json:"count"`                 // in a row
	At          time.Time `json:"at"`
	RetryAt     time.Time `json:"retryAt"`
	Problem     string    `json:"problem"`
	Hint        string    `json:"hint,omitempty"`
	Output      string    `json:"output,omitempty"` // the end of what a command said
	Ended       bool      `json:"ended,omitzero"`   // of a unit: it ended with its reload or restart
}

// ARI is the CA's renewal advice for the certificate with ID CertID (RFC 9773).
type ARI struct {
	CertID      string    `json:"certId,omitempty"` // "": never asked
	Start       time.Time `json:"start,omitzero"`   // zero: the CA has no advice
	End         time.Time `json:"end,omitzero"`
	Chosen      time.Time `json:"chosen,omitzero"` // the random instant, drawn once per window
	Explanation string    `json:"explanation,omitempty"`
	NextPoll    time.Time `json:"nextPoll,omitzero"`
}

// Failure is why the last attempt with one issuer did not work.
type Failure struct {
	Kind     string    `json:"kind"`             // "transient", "rateLimited", "validation", "permanent" or "local"
	Count    int       `json:"count"`            // in a row
	ByHand   int       `json:"byHand,omitempty"` // of Count, those that the operator has asked for
	At       time.Time `json:"at"`
	Attended time.Time `json:"attended,omitzero"` // when the spec was last edited, or a renewal asked for
	RetryAt  time.Time `json:"retryAt"`
	Request  string    `json:"request,omitempty"` // what was asked for, and how control was to be proved: a failure of something else does not count
	Op       string    `json:"op,omitempty"`
	Problem  string    `json:"problem,omitempty"`
	Detail   string    `json:"detail,omitempty"` // the CA's own words
	Hint     string    `json:"hint,omitempty"`
	Name     string    `json:"identifier,omitempty"`
	Subs     []Sub     `json:"subproblems,omitempty"`
	Promised time.Time `json:"promised,omitzero"` // the CA's own Retry-After, which nothing but time clears
}

// Sub is what the CA says of one identifier.
type Sub struct {
	Identifier string `json:"identifier"`
	Problem    string `json:"problem"`
	Detail     string `json:"detail"`
}

// Revision describes one issued key and chain: certs/NAME/rev/NUMBER/meta.json.
type Revision struct {
	Number    int    `json:"number"`
	Issuer    string `json:"issuer"`            // name of the issuer in issuers.d
	Directory string `json:"directory"`         // ACME directory URL
	Account   string `json:"account"`           // account URL
	Order     string `json:"order,omitempty"`   // order URL
	Profile   string `json:"profile,omitempty"` // the profile asked for
	// Granted is the profile that the CA issued by, where it names another one than Profile; "": that one, or none.
	Granted     string    `json:"grantedProfile,omitempty"`
	DNSNames    []string  `json:"dnsNames,omitempty"`
	IPAddresses []string  `json:"ipAddresses,omitempty"`
	Key         string    `json:"key"`            // "ECDSA-256", "RSA-2048", …
	CSR         string    `json:"csr,omitempty"`  // SHA-256 of the operator's CSR, hex: its key is elsewhere; "": the key is here
	SPKI        string    `json:"spki,omitempty"` // SHA-256 of that CSR's public key, hex
	Serial      string    `json:"serial"`
	SHA256      string    `json:"sha256"` // of the leaf, hex
	CertID      string    `json:"certId,omitempty"`
	IssuedBy    string    `json:"issuedBy,omitempty"` // common name of the leaf's issuer
	NotBefore   time.Time `json:"notBefore"`
	NotAfter    time.Time `json:"notAfter"`
	Committed   time.Time `json:"committed"`
	// Instead is why a standby issued it, and not the first issuer of its spec; "": the first did.
	Instead string `json:"instead,omitempty"`
	// IssuerEnds is the end of the CA's own certificate where it comes with or before that of the leaf; zero: it comes later.
	IssuerEnds time.Time `json:"issuerEnds,omitzero"`
	// Unmet is the preferred chain that the CA did not offer; "": it did, or none was preferred.
	Unmet string `json:"unmetChain,omitempty"`
	// Offered names the topmost issuers of the chains that it offered instead; nil unless Unmet is set.
	Offered []string `json:"offeredChains,omitempty"`
	// Sums are the SHA-256 checksums, hex, of the files beside meta.json; nil in a Record.
	Sums map[string]string `json:"sums,omitempty"`
}

// Order is the order in flight of one certificate: certs/NAME/pending/order.
type Order struct {
	Issuer      string    `json:"issuer"`
	Directory   string    `json:"directory"`
	Account     string    `json:"account"`
	Request     string    `json:"request"` // hash of what was asked for
	DNSNames    []string  `json:"dnsNames,omitempty"`
	IPAddresses []string  `json:"ipAddresses,omitempty"`
	Profile     string    `json:"profile,omitempty"`
	Key         string    `json:"key"`
	CSR         []byte    `json:"csr,omitempty"` // the operator's own, DER; nil: the order has a key
	Replaces    string    `json:"replaces,omitempty"`
	URL         string    `json:"url,omitempty"` // "": newOrder was not answered yet, or the answer was lost
	Status      string    `json:"status,omitempty"`
	Created     time.Time `json:"created"`
	Expires     time.Time `json:"expires,omitzero"`
	// Authorizations are the URLs of the CA's first answer: some CAs leave them out once the order is invalid.
	Authorizations []string `json:"authorizations,omitempty"`
	// Failing is since when a validation of the pending order fails, while the CA lets it be tried again; zero: none does.
	Failing time.Time `json:"failingSince,omitzero"`
	// Failure is why, in the CA's words; nil: none fails.
	Failure *Failure `json:"failure,omitempty"`
	// Finalizes counts the requests to finalize the order that failed, and FinalizeFailed is the first of them.
	Finalizes      int       `json:"failedFinalizes,omitempty"`
	FinalizeFailed time.Time `json:"finalizeFailedSince,omitzero"`

	Proofs    []Proof `json:"proofs,omitempty"`  // to be taken away when the order ends
	Reason    string  `json:"reason"`            // why it was ordered, in the words of reconcile
	Instead   string  `json:"instead,omitempty"` // why it was not made at the first issuer of the spec; "": it was
	Charged   bool    `json:"charged"`           // it counts against the budgets of its issuer
	Renewal   bool    `json:"renewal,omitempty"` // but the CA counts it among certificates of the same names only
	Validated bool    `json:"validated,omitempty"`
}

// Proof names what was made visible to the CA, and where: the spec may say something else by the time it is to go.
type Proof struct {
	Type       string `json:"type"`
	Identifier string `json:"identifier"`
	Token      string `json:"token"`
	Webroot    string `json:"webroot,omitempty"`  // of the challenge; "": acmed's own way
	Provider   string `json:"provider,omitempty"` // of the challenge
	Value      string `json:"value,omitempty"`    // of the TXT record; "": there is none
	Label      string `json:"label,omitempty"`    // of the account, before _acme-challenge; "": there is none
	KeyAuth    string `json:"keyAuth,omitempty"`  // the key authorization, where a provider is told; no secret
}

// Account is acmed's account at one CA: accounts/ISSUER/account.json; its key lies beside it.
type Account struct {
	Directory string    `json:"directory"`
	URL       string    `json:"url"` // "": the key exists, the account may not
	Contact   []string  `json:"contact,omitempty"`
	KID       string    `json:"externalAccountKid,omitempty"` // of the binding, never its key
	Created   time.Time `json:"created"`
	// Ended is when the operator had it deactivated; zero: not. Durable before the CA is asked: no other takes its place.
	Ended time.Time `json:"ended,omitzero"`
}

// Notice is what people were told about one certificate and still holds. The zero Notice is that nothing is wrong.
type Notice struct {
	Failing     bool    `json:"failing,omitempty"`     // it could not be issued or renewed
	Undelivered bool    `json:"undelivered,omitempty"` // a consumer has not accepted it
	Expiring    float64 `json:"expiring,omitempty"`    // the share of its lifetime left that was told last; zero: none
}

// IssuerState is what acmed must not forget about one issuer: issuers/NAME.json.
type IssuerState struct {
	// Hold is until when the CA asked to be left alone; zero: it did not.
	Hold    time.Time `json:"hold,omitzero"`
	HoldWhy string    `json:"holdWhy,omitempty"`
	// Promised tells that the CA itself asked for Hold: nothing but time ends it.
	Promised bool `json:"promised,omitempty"`
	// HoldBy is the certificate whose order was refused, which caused Hold; "": no order did, or the CA asked for Hold.
	HoldBy string `json:"holdBy,omitempty"`
	// HoldSpec sums up the spec of HoldBy at that time: a spec that says something else ends Hold.
	HoldSpec string `json:"holdSpec,omitempty"`
	// HoldNew limits Hold to orders for new names: the CA lets renewals of unchanged names pass.
	HoldNew bool `json:"holdNew,omitempty"`
	// Outage counts the requests in a row that the CA did not answer, or answered with a 5xx.
	Outage int `json:"outage,omitempty"`
	// Budgets hold the theoretical arrival time of each GCRA bucket, keyed by "orders", "set:HASH",
	// "domain:example.com", "failures:www.example.com". An entry in the past means nothing and is dropped.
	Budgets map[string]time.Time `json:"budgets,omitempty"`
}
