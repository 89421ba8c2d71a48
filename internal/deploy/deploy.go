// Package deploy hands certificates to their consumers: it writes their files, asks their check, reloads their units,
// runs their commands, and looks whether they serve what they were given.
//
// It owns how that is done and who may ask for it. The same Executor works in the daemon's own process, with the
// daemon's rights, and in a helper that systemd starts as root for each request: the helper obeys only files that
// root alone can write, and takes nothing from who asks but the names of certificates. The programs of DNS providers go
// the same way, with the proofs of names that root wants to be proved.
//
// It never decides when a certificate is due or keeps a record of who has accepted it, and reads of the state folder
// only what live/NAME points at.
package deploy

import (
	"context"
	"time"

	"acmed/internal/spec"
	"acmed/internal/store"
)

// Order asks for the delivery of one certificate.
type Order struct {
	Name string `json:"name"`
	// Done are the fingerprints of the targets that have accepted the certificate: they are left alone.
	Done []string `json:"done,omitempty"`
	// Wait are the fingerprints of those whose next try is later: they are left alone as well, and what comes after
	// them is not begun.
	Wait []string `json:"wait,omitempty"`
	// Ended are those whose unit ended with an earlier reload or restart and has accepted none since.
	Ended []string `json:"ended,omitempty"`
	// Again are those of Ended whose unit ended with this very certificate: once it runs again, it has read it.
	Again []string `json:"again,omitempty"`
}

// Result is what came of one target. Targets that were not tried have none.
type Result struct {
	Key         string        `json:"key"`         // spec.Target's
	Fingerprint string        `json:"fingerprint"` // spec.Target's
	OK          bool          `json:"ok"`
	Note        string        `json:"note,omitempty"`     // with OK: what is worth knowing, such as "not running"
	Problem     string        `json:"problem,omitempty"`  // without OK: what happened
	Hint        string        `json:"hint,omitempty"`     // what to do
	Output      string        `json:"output,omitempty"`   // the last of what a command said, up to 64 KiB
	Took        time.Duration `json:"took"`               // nanoseconds
	NotAfter    time.Time     `json:"notAfter,omitzero"`  // of a probe: the end of the leaf that is served
	Ended       bool          `json:"ended,omitzero"`     // without OK, of a unit: it ended with the reload or restart
	Withdrawn   bool          `json:"withdrawn,omitzero"` // without OK, of a file: what it held before is back, since a check failed
}

// Answer is what came of one Order.
type Answer struct {
	Name    string   `json:"name"`
	Results []Result `json:"results"`
	// Problem is why nothing could be tried; "": see Results.
	Problem string `json:"problem,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// MaxOrders is how many certificates one request may name.
const MaxOrders = 256

// Courier does what orders ask for. Its error is about all of them: nobody could be asked.
type Courier interface {
	Deploy(context.Context, []Order) ([]Answer, error)
}

// Programs call the programs of DNS providers, which set TXT records and take them away. Their *Error says what to do.
type Programs interface {
	Present(context.Context, Record) error
	CleanUp(context.Context, Record) error
}

// Job is one certificate that an Executor delivers.
type Job struct {
	Order
	Want  *spec.Certificate
	Leaf  string      // SHA-256 checksum of the leaf, hex
	Files store.Files // what is delivered
	Live  string      // the folder that consumers read, such as /var/lib/acmed/live/NAME
	Owner uint32      // user of the state directory, who can read the key anyway
}
