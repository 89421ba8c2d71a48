package control

import "time"

// Issuer is one CA, the account there, and what may be asked of it.
type Issuer struct {
	Name                 string   `json:"name"`
	File                 string   `json:"file,omitempty"` // "": built in
	Directory            string   `json:"directory"`
	Binding              Binding  `json:"externalAccountBinding"`
	TermsOfServiceAgreed bool     `json:"termsOfServiceAgreed"`
	Contact              []string `json:"contact,omitempty"`
	Certificates         int      `json:"certificates"` // specs that name it

	Account *IssuerAccount `json:"account,omitempty"` // nil: none is registered, or Unknown says why it is not known
	Hold    *Hold          `json:"hold,omitempty"`    // nil: it may be asked
	Budgets []Budget       `json:"budgets,omitempty"` // that of its orders, and those of names that are short
	Unknown string         `json:"unknown,omitempty"` // why account, hold and budgets are not known; "": they are
	Hint    string         `json:"hint,omitempty"`    // what to do before an order can work; "": nothing
	Note    string         `json:"note,omitempty"`    // what is worth knowing besides
}

// Binding is how an issuer fares with the external account binding.
type Binding string

// The kinds of binding.
const (
	NoBinding      Binding = "none"
	GivenBinding   Binding = "given"
	MissingBinding Binding = "missing" // the CA asks for one
)

// IssuerAccount is acmed's account at a CA.
type IssuerAccount struct {
	URL     string    `json:"url"`                          // "": its key is made, and the CA has not answered yet
	KID     string    `json:"externalAccountKid,omitempty"` // of the binding that it was made with
	Created time.Time `json:"created"`
}

// AccountRequest names the issuer whose account is meant.
type AccountRequest struct {
	Issuer string `json:"issuer"`
}

// Account is what the CA knows of an account.
type Account struct {
	Issuer     string    `json:"issuer"`
	URL        string    `json:"url"`                      // as CAA records with accounturi name it (RFC 8657)
	Status     string    `json:"status"`                   // "valid", or how it ended: "deactivated", "revoked", "does not exist"
	Detail     string    `json:"detail,omitempty"`         // the CA's words, of one that ended
	Terms      string    `json:"termsOfService,omitempty"` // URL; "": the CA names none, or does not tell of an account that ended
	Agreed     bool      `json:"termsOfServiceAgreed"`
	Ended      time.Time `json:"ended,omitzero"`               // when acmed was told to deactivate it; zero: not
	Dependents []string  `json:"dependents,omitempty"`         // certificates of a deactivated account whose specs name its issuer
	Contact    []string  `json:"contact,omitempty"`            // the CA may keep none
	Thumbprint string    `json:"thumbprint"`                   // of its key (RFC 7638)
	KID        string    `json:"externalAccountKid,omitempty"` // of the binding that it was made with
	Created    time.Time `json:"created"`
}

// Hold is why and until when a CA is left alone.
type Hold struct {
	Until    time.Time `json:"until"`
	Reason   string    `json:"reason,omitempty"`
	Promised bool      `json:"promised,omitzero"` // the CA itself asked for it: nothing but time ends it

	Certificate string `json:"certificate,omitempty"` // whose order was refused: an edit of its spec ends the hold; "": no order caused it
}

// Budget is what is left of a limit that acmed keeps to.
type Budget struct {
	Limit string `json:"limit"` // in words
	Left  int    `json:"left"`
	Max   int    `json:"max"`
	Per   int64  `json:"perSeconds"`
}
