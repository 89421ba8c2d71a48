package control

import "time"

// Simulation is the load to come on each issuer, when every order works and issuers grant and advise what they did
// before. Days are those of UTC.
type Simulation struct {
	From         time.Time         `json:"from"`
	Until        time.Time         `json:"until"`
	Certificates int               `json:"certificates"`          // that specs ask for
	Issuers      []SimulatedIssuer `json:"issuers"`               // that are asked, sorted by name
	Delayed      int               `json:"delayed,omitzero"`      // certificates that wait for a limit, for 10 minutes or more
	Delays       []SimulatedDelay  `json:"delays,omitempty"`      // the 100 longest of those waits
	Ended        int               `json:"ended,omitzero"`        // certificates that end before their successors come
	Gaps         []SimulatedGap    `json:"gaps,omitempty"`        // the 100 longest of those gaps
	Assumptions  []SimulatedGrant  `json:"assumptions,omitempty"` // about what issuers grant and advise
}

// SimulatedIssuer is the load on one issuer.
type SimulatedIssuer struct {
	Issuer string           `json:"issuer"`
	Total  SimulatedLoad    `json:"total"`
	Limits []SimulatedLimit `json:"limits,omitempty"` // that orders take from, each where it comes nearest to its end
	Days   []SimulatedDay   `json:"days"`             // on which something happens, in order
}

// SimulatedDay is the load on one issuer in one day.
type SimulatedDay struct {
	Day    string           `json:"day"` // such as 2026-11-27
	Load   SimulatedLoad    `json:"load"`
	Limits []SimulatedLimit `json:"limits,omitempty"` // that orders of this day take from
}

// SimulatedLoad counts what happens in some time.
type SimulatedLoad struct {
	Orders      int `json:"orders"`
	New         int `json:"new,omitzero"`         // of Orders: for names that no certificate is for; the others are renewals
	Exempt      int `json:"exempt,omitzero"`      // of Orders: issuers' limits do not count them, because they advised to renew (ARI)
	BusiestHour int `json:"busiestHour,omitzero"` // the most Orders within any hour
	InFlight    int `json:"inFlight,omitzero"`    // the most orders open at once
	Held        int `json:"held,omitzero"`        // certificates that begin to wait for a limit, for 10 minutes or more
	Ended       int `json:"ended,omitzero"`       // certificates that end before their successors come
}

// SimulatedLimit is how near orders come to a limit that acmed keeps to at an issuer, below the CA's own.
type SimulatedLimit struct {
	Limit string    `json:"limit"`
	Left  int       `json:"left"` // the least at any time
	Max   int       `json:"max"`
	Per   int64     `json:"perSeconds"` // time in which Max are let through
	At    time.Time `json:"at"`         // when Left was left
}

// SimulatedDelay is a certificate whose order has to wait for a limit.
type SimulatedDelay struct {
	Name   string    `json:"name"`
	Issuer string    `json:"issuer"`
	Limit  string    `json:"limit"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until,omitzero"` // of the order; zero: not within the simulation
}

// SimulatedGap is a certificate that ends before its successor comes.
type SimulatedGap struct {
	Name  string    `json:"name"`
	Since time.Time `json:"since"`
	Until time.Time `json:"until,omitzero"` // zero: not within the simulation
}

// SimulatedGrant is what an issuer is taken to grant and advise.
type SimulatedGrant struct {
	Issuer  string `json:"issuer"`
	Profile string `json:"profile,omitempty"` // "": the issuer's choice
	Life    int64  `json:"lifetimeSeconds"`
	Seen    bool   `json:"seen,omitzero"`    // in a certificate that is at hand; else it is assumed
	Advises bool   `json:"advises,omitzero"` // when to renew, as it did before; else the share of the lifetime decides
}
