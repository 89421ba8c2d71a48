package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"acmed/internal/sd"
)

const (
	maxBody      = 1 << 20          // bytes of a request's body
	maxHeader    = 16 << 10         // bytes of a request's header
	readTimeout  = 10 * time.Second // for a request to arrive
	writeTimeout = 30 * time.Second // for one answer, or one line of a stream, to be taken
	idleTimeout  = time.Minute
	stopGrace    = 5 * time.Second // for open requests when the server stops
)

// ServerConfig is what a Server needs.
type ServerConfig struct {
	Certificates  Certificates  // required
	Deliveries    Deliveries    // required
	Disposals     Disposals     // required
	Accounts      Accounts      // required
	Registrations Registrations // required
	Planner       Planner       // required
	Daemon        Daemon        // required
	Log           *zap.Logger   // every change that is asked for, with its result; nil: nothing is logged
}

// Server answers the command line.
type Server struct {
	certs         Certificates
	deliveries    Deliveries
	disposals     Disposals
	accounts      Accounts
	registrations Registrations
	planner       Planner
	daemon        Daemon
	log           *zap.Logger
}

// NewServer returns a server that does nothing until Serve.
func NewServer(c ServerConfig) (*Server, error) {
	if c.Certificates == nil || c.Deliveries == nil || c.Disposals == nil || c.Accounts == nil || c.Registrations == nil || c.Planner == nil || c.Daemon == nil {
		return nil, errors.New("control server: Certificates, Deliveries, Disposals, Accounts, Registrations, Planner and Daemon are required")
	}
	log := c.Log
	if log == nil {
		log = zap.NewNop()
	}
	return &Server{certs: c.Certificates, deliveries: c.Deliveries, disposals: c.Disposals, accounts: c.Accounts, registrations: c.Registrations, planner: c.Planner, daemon: c.Daemon, log: log}, nil
}

// Serve answers on ln until ctx ends, which is no error, and closes ln. Requests that are under way see their
// context end and have a few seconds to answer.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	server := &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: readTimeout, // decode sets the body's: ReadTimeout would end streams
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withPeer,
		ErrorLog:          zap.NewStdLog(s.log),
	}
	stopped := make(chan error, 1)
	unhook := context.AfterFunc(ctx, func() { stopped <- stop(server) })
	err := server.Serve(sd.Steady(ln, s.log))
	if unhook() {
		return errors.Join(fmt.Errorf("serving the control socket: %w", err), server.Close())
	}
	return <-stopped
}

// stop lets open requests end for a while, then cuts them off.
func stop(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return server.Close()
	}
	return nil
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathInfo, s.info)
	mux.HandleFunc("POST "+pathReload, s.reload)
	mux.HandleFunc("GET "+pathIssuers, s.issuers)
	mux.HandleFunc("GET "+pathList, s.list)
	mux.HandleFunc("GET "+pathStatus, s.status)
	mux.HandleFunc("GET "+pathHistory, s.history)
	mux.HandleFunc("POST "+pathRenew, func(w http.ResponseWriter, r *http.Request) {
		streamed(s, w, r, "renewal requested", s.certs.Renew)
	})
	mux.HandleFunc("POST "+pathPlan, s.plan)
	mux.HandleFunc("POST "+pathDeploy, func(w http.ResponseWriter, r *http.Request) {
		streamed(s, w, r, "delivery requested", s.deliveries.Deploy)
	})
	mux.HandleFunc("POST "+pathHold, func(w http.ResponseWriter, r *http.Request) {
		changed(s, w, r, "hold requested", func(ctx context.Context, req HoldRequest) (struct{}, error) {
			return struct{}{}, s.deliveries.Hold(ctx, req)
		})
	})
	mux.HandleFunc("POST "+pathRollback, func(w http.ResponseWriter, r *http.Request) {
		changed(s, w, r, "rollback requested", s.deliveries.Rollback)
	})
	mux.HandleFunc("POST "+pathRevoke, func(w http.ResponseWriter, r *http.Request) {
		changed(s, w, r, "revocation requested", s.disposals.Revoke)
	})
	mux.HandleFunc("POST "+pathSameKey, s.sameKey)
	mux.HandleFunc("POST "+pathDelete, func(w http.ResponseWriter, r *http.Request) {
		changed(s, w, r, "deletion requested", s.disposals.Delete)
	})
	mux.HandleFunc("POST "+pathAccount, s.account)
	mux.HandleFunc("POST "+pathUpdate, func(w http.ResponseWriter, r *http.Request) {
		changed(s, w, r, "account update requested", s.accounts.UpdateAccount)
	})
	mux.HandleFunc("POST "+pathRollover, func(w http.ResponseWriter, r *http.Request) {
		changed(s, w, r, "account rollover requested", s.accounts.RolloverAccount)
	})
	mux.HandleFunc("POST "+pathEnd, func(w http.ResponseWriter, r *http.Request) {
		changed(s, w, r, "account deactivation requested", s.registrations.DeactivateAccount)
	})
	mux.HandleFunc("POST "+pathRegister, func(w http.ResponseWriter, r *http.Request) {
		changed(s, w, r, "account registration requested", s.registrations.RegisterAccount)
	})
	return mux
}

func (s *Server) info(w http.ResponseWriter, r *http.Request) {
	info, err := s.daemon.Info(r.Context())
	answer(w, r, info, err)
}

func (s *Server) issuers(w http.ResponseWriter, r *http.Request) {
	list, err := s.daemon.Issuers(r.Context())
	answer(w, r, list, err)
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	get, few := s.certs.List, r.FormValue("problem") == "true"
	if t, ok := s.certs.(Troubled); ok && few {
		get = t.Troubled
	}
	list, err := get(r.Context())
	if list == nil {
		list = []Summary{}
	}
	if few {
		list = slices.DeleteFunc(list, func(s Summary) bool { return !s.Problem })
	}
	answer(w, r, list, err)
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	cert, err := s.certs.Status(r.Context(), r.FormValue("name"))
	answer(w, r, cert, err)
}

// plan is asked with a body for the drafts, and nevertheless changes nothing: it is not logged.
func (s *Server) plan(w http.ResponseWriter, r *http.Request) {
	var req PlanRequest
	if err := decode(w, r, &req); err != nil {
		answer(w, r, nil, err)
		return
	}
	plan, err := s.planner.Plan(r.Context(), req)
	answer(w, r, plan, err)
}

// account asks a CA, and changes nothing: it is not logged.
func (s *Server) account(w http.ResponseWriter, r *http.Request) {
	req, err := requested[AccountRequest](w, r)
	if err != nil {
		answer(w, r, nil, err)
		return
	}
	a, err := s.accounts.Account(r.Context(), req)
	answer(w, r, a, err)
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	var req ReloadRequest
	if err := decode(w, r, &req); err != nil {
		answer(w, r, nil, err)
		return
	}
	start := time.Now()
	result, err := s.daemon.Reload(r.Context(), req)
	s.logChange(r, start, err, "reload requested",
		zap.Bool("acceptRemovals", req.AcceptRemovals), zap.Int("problems", len(result.Problems)))
	answer(w, r, result, err)
}

// request is a change that can be asked for.
type request interface {
	validate() error
	fields() []zap.Field // what was asked for, for the log
}

// changed answers a change with what came of it.
func changed[Q request, A any](s *Server, w http.ResponseWriter, r *http.Request, message string, do func(context.Context, Q) (A, error)) {
	req, err := requested[Q](w, r)
	if err != nil {
		answer(w, r, nil, err)
		return
	}
	start := time.Now()
	result, err := do(r.Context(), req)
	s.logChange(r, start, err, message, req.fields()...)
	answer(w, r, result, err)
}

// streamed answers a change with events. An error before the first of them is an ordinary answer, a later one the
// last line.
func streamed[Q request](s *Server, w http.ResponseWriter, r *http.Request, message string, do func(context.Context, Q, func(Event)) error) {
	req, err := requested[Q](w, r)
	if err != nil {
		answer(w, r, nil, err)
		return
	}
	start := time.Now()
	out := stream{w: w}
	err = do(r.Context(), req, func(e Event) { out.send(line{Event: &e}) })
	s.logChange(r, start, err, message, req.fields()...)
	switch {
	case err != nil && out.started:
		out.send(line{Error: asAnswer(r, err)})
	case err != nil:
		answer(w, r, nil, err)
	}
}

// requested reads what is asked for.
func requested[Q request](w http.ResponseWriter, r *http.Request) (req Q, err error) {
	if err := decode(w, r, &req); err != nil {
		return req, err
	}
	return req, req.validate()
}

// validate refuses a request that names nothing, or more than one kind of thing.
func (r RenewRequest) validate() error {
	ways := 0
	for _, given := range []bool{len(r.Names) > 0, r.All, r.Issuer != "", r.Revoked} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return Errorf(Invalid, "renew what? Give names, or all, or an issuer, or what is revoked: exactly one of them")
	}
	return nil
}

func (r RenewRequest) fields() []zap.Field {
	force := zap.Bool("force", r.Force)
	switch {
	case r.All:
		return []zap.Field{zap.Bool("all", true), force}
	case r.Revoked:
		return []zap.Field{zap.Bool("revoked", true), force}
	case r.Issuer != "":
		return []zap.Field{zap.String("issuer", r.Issuer), force}
	default:
		return []zap.Field{zap.Strings("cert", r.Names), force}
	}
}

func (r DeployRequest) validate() error {
	if len(r.Names) == 0 {
		return Errorf(Invalid, "deploy what? Give names")
	}
	return nil
}

func (r DeployRequest) fields() []zap.Field {
	return []zap.Field{zap.Strings("cert", r.Names), zap.Bool("now", r.Now)}
}

func (r HoldRequest) validate() error { return nil }

func (r HoldRequest) fields() []zap.Field {
	return []zap.Field{zap.String("cert", r.Name), zap.Time("until", r.Until)}
}

func (r RollbackRequest) validate() error {
	if r.Until.IsZero() {
		return Errorf(Invalid, "roll back until when?")
	}
	return nil
}

func (r RollbackRequest) fields() []zap.Field {
	return []zap.Field{zap.String("cert", r.Name), zap.Time("until", r.Until)}
}

func (r RevokeRequest) validate() error {
	if r.Name == "" {
		return Errorf(Invalid, "revoke what? Give a name")
	}
	return nil
}

func (r RevokeRequest) fields() []zap.Field {
	return []zap.Field{zap.String("cert", r.Name), zap.Int("revision", r.Revision), zap.String("reason", r.Reason)}
}

func (r DeleteRequest) validate() error {
	if r.Name == "" {
		return Errorf(Invalid, "delete what? Give a name")
	}
	return nil
}

func (r DeleteRequest) fields() []zap.Field { return []zap.Field{zap.String("cert", r.Name)} }

func (r AccountRequest) validate() error {
	if r.Issuer == "" {
		return Errorf(Invalid, "the account of which issuer?")
	}
	return nil
}

func (r AccountRequest) fields() []zap.Field { return []zap.Field{zap.String("issuer", r.Issuer)} }

// logChange records who wanted what to change, and what came of it.
func (s *Server) logChange(r *http.Request, start time.Time, err error, message string, what ...zap.Field) {
	fields := append(what, zap.Int64("uid", peerOf(r.Context())), zap.Duration("took", time.Since(start)))
	if err != nil {
		s.log.Warn(message, append(fields, zap.Error(err))...)
		return
	}
	s.log.Info(message, fields...)
}

// decode reads the request's body into v.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	conn := http.NewResponseController(w)
	// A connection without deadlines does without. After an error the deadline stays, for the server reads on.
	_ = conn.SetReadDeadline(time.Now().Add(readTimeout))
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return Errorf(Invalid, "reading the request: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Errorf(Invalid, "reading the request: something follows the JSON value")
	}
	_ = conn.SetReadDeadline(time.Time{})
	return nil
}

// answer writes v, or err with its HTTP status.
func answer(w http.ResponseWriter, r *http.Request, v any, err error) {
	code := http.StatusOK
	if err != nil {
		e := asAnswer(r, err)
		v, code = e, e.Code.status()
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // who asked is gone: nobody is left to tell
}

// askAgain is the hint for a request whose end is not known.
const askAgain = "ask again: only a request that was on disk already goes on when acmed starts again"

// asAnswer is asError, but for the daemon's own end, which is no fault.
func asAnswer(r *http.Request, err error) *Error {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return &Error{Code: Unavailable, Message: "the daemon is stopping",
			Hint: askAgain}
	}
	return asError(err)
}
