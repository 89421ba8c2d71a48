// Package control is the API between the daemon and its command line: JSON over HTTP on a unix socket.
//
// It owns the wire types, the socket, the server and the client. Who may ask is decided by the socket's mode and
// its folder's, so the package knows no passwords. It never decides anything about a certificate: the daemon
// implements Certificates, Deliveries, Disposals, Accounts, Registrations, Planner and Daemon, and Client offers the same methods on the other end.
package control

import "context"

// Certificates is what can be asked and wanted of certificates. Errors that are no *Error count as Internal.
type Certificates interface {
	// List returns every certificate, sorted by name, also those whose specs are gone.
	List(context.Context) ([]Summary, error)
	// Status returns one certificate, or an *Error with NotFound (see Unknown).
	Status(ctx context.Context, name string) (Certificate, error)
	// Renew asks for renewals and returns once they are noted on disk, with one Done event for each. With
	// RenewRequest.Wait it returns once each is decided, and reports on the way. The function is called from one
	// goroutine at a time and not after the return.
	Renew(context.Context, RenewRequest, func(Event)) error
}

// Troubled is what Certificates may implement to return few of many cheaply.
type Troubled interface {
	// Troubled returns the certificates of List that have a problem.
	Troubled(context.Context) ([]Summary, error)
}

// Deliveries is what can be wanted of certificates that are issued. A certificate that nobody knows is an *Error with
// NotFound.
type Deliveries interface {
	// Deploy hands certificates to all their consumers again, and reports as Certificates.Renew does.
	Deploy(context.Context, DeployRequest, func(Event)) error
	// Hold leaves a certificate as it is for some time, or no longer.
	Hold(context.Context, HoldRequest) error
	// Rollback makes the revision before the live one live and holds it.
	Rollback(context.Context, RollbackRequest) (RollbackResult, error)
}

// Disposals is what can be wanted of certificates that are no longer to be used.
type Disposals interface {
	// SameKey returns what else has the key of a certificate that is to be revoked, and changes nothing.
	SameKey(context.Context, RevokeRequest) ([]SameKey, error)
	// Revoke returns once the CA has revoked it. That its successor has come, Certificates.Status tells.
	Revoke(context.Context, RevokeRequest) (RevokeResult, error)
	// Delete puts a certificate away whose spec is gone.
	Delete(context.Context, DeleteRequest) (DeleteResult, error)
}

// Accounts is what can be asked and wanted of the accounts at CAs. An issuer that nobody knows is an *Error with
// NotFound.
type Accounts interface {
	// Account asks the CA what it knows of the account.
	Account(context.Context, AccountRequest) (Account, error)
	// UpdateAccount gives the CA the contact of the issuer's file.
	UpdateAccount(context.Context, AccountRequest) (Account, error)
	// RolloverAccount has the CA put a new key in the place of the account's.
	RolloverAccount(context.Context, AccountRequest) (Account, error)
}

// Registrations is how accounts end and begin. It takes what Accounts does.
type Registrations interface {
	// DeactivateAccount has the CA end the account, for good. acmed makes no other one by itself.
	DeactivateAccount(context.Context, AccountRequest) (Account, error)
	// RegisterAccount makes another account in the place of one that was deactivated, or the first.
	RegisterAccount(context.Context, AccountRequest) (Account, error)
}

// Planner tells what an edit would do.
type Planner interface {
	// Plan changes nothing. Bad files are in the result, not in the error.
	Plan(context.Context, PlanRequest) (Plan, error)
}

// Daemon is what can be asked and wanted of the daemon itself.
type Daemon interface {
	Info(context.Context) (Info, error)
	// Reload returns when every file has been read; bad files are in the result, not in the error.
	Reload(context.Context, ReloadRequest) (ReloadResult, error)
	// Issuers returns every issuer, those that are built in included, sorted by name.
	Issuers(context.Context) ([]Issuer, error)
}

// The requests of the API.
const (
	pathInfo     = "/v1/daemon"
	pathReload   = "/v1/reload"
	pathIssuers  = "/v1/issuers"
	pathList     = "/v1/certificates"
	pathStatus   = "/v1/certificate" // ?name=
	pathRenew    = "/v1/renew"       // answers a stream of lines
	pathPlan     = "/v1/plan"
	pathDeploy   = "/v1/deploy" // the same
	pathHold     = "/v1/hold"
	pathRollback = "/v1/rollback"
	pathRevoke   = "/v1/revoke"
	pathSameKey  = "/v1/revoke/same-key"
	pathDelete   = "/v1/delete"
	pathAccount  = "/v1/account"
	pathUpdate   = "/v1/account/update"
	pathRollover = "/v1/account/rollover"
	pathEnd      = "/v1/account/deactivate"
	pathRegister = "/v1/account/register"
)

// line is one line of a stream: an event, or the error that ends it.
type line struct {
	Event *Event `json:"event,omitempty"`
	Error *Error `json:"error,omitempty"`
}
