// Package scm plays Sectigo Certificate Manager: the part of its REST API that is about ACME accounts, as Sectigo's
// reference of release 25.5 describes it request by request, with its status codes and error objects.
//
// It owns accounts and domains in memory, and what it was asked. It never speaks ACME. A request that the reference
// does not know is a fault of the client: it is answered, and reported by Misuse.
package scm

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Server is an ACME service.
type Server struct {
	Name            string `json:"name"`
	URL             string `json:"url"`
	CAID            int    `json:"caId"`
	SingleProductID int    `json:"singleProductId"`
	MultiProductID  int    `json:"multiProductId"`
	WCProductID     int    `json:"wcProductId"`
	ValidationType  string `json:"certValidationType"`
}

// Domain is one of an account.
type Domain struct {
	Name         string `json:"name"`
	ValidUntil   string `json:"validUntil,omitempty"`
	StickyUntil  string `json:"stickyUntil,omitempty"`
	ValidationID string `json:"validationId,omitempty"`
}

// Account is an ACME account.
type Account struct {
	ID             int      `json:"id"`
	AccountID      string   `json:"accountId"`
	MACID          string   `json:"macId"`
	MACKey         string   `json:"macKey"`
	Server         string   `json:"acmeServer"`
	Name           string   `json:"name"`
	OrganizationID int      `json:"organizationId"`
	ValidationType string   `json:"certValidationType"`
	Status         string   `json:"status"`
	ValidationID   string   `json:"validationId"`
	Contacts       string   `json:"contacts"`
	Domains        []Domain `json:"domains,omitempty"` // version 1 only
}

// Options of a fake. The zero value knows the customer "cst1", who logs in as "robot" with "Password123!", the
// organization 1841, one server of each validation type, and validated every domain below example.com.
type Options struct {
	Servers []Server
	// Bindings are handed out to the accounts, in this order, each as key identifier and key; then made-up ones.
	Bindings [][2]string
	// Old lacks version 2 of the accounts.
	Old bool
	// ByURL calls servers by their URLs where the reference has their names, as customers show it of their SCMs.
	ByURL bool
	// Answer may answer in place of the fake, and then returns true.
	Answer func(w http.ResponseWriter, r *http.Request) bool
}

// Fake is an SCM on a loopback address.
type Fake struct {
	URL string // of the API

	options Options
	server  *httptest.Server

	mu       sync.Mutex // guards the following
	accounts map[int]*Account
	next     int // ID
	asked    []string
	misuse   []string
}

// Login, Password, Customer and Organization are what the fake accepts.
const (
	Login        = "robot"
	Password     = "Password123!"
	Customer     = "cst1"
	Organization = 1841
	date         = "2027-05-21T12:28:57.544Z"
)

// New starts a fake, which the caller must Close.
func New(o Options) *Fake {
	if o.Servers == nil {
		for i, kind := range []string{"DV", "OV", "EV"} {
			o.Servers = append(o.Servers, Server{
				Name: kind + " ACME Server", URL: "https://acme.sectigo.com/v2/" + kind, CAID: 40485 + i, SingleProductID: 66362,
				MultiProductID: 23234, WCProductID: 14608, ValidationType: kind,
			})
		}
	}
	f := &Fake{options: o, accounts: map[int]*Account{}, next: 122}
	f.server = httptest.NewServer(f)
	f.URL = f.server.URL + "/api"
	return f
}

// Start is New for tests: it ends with the test, which fails when the fake was misused.
func Start(t testing.TB, o Options) *Fake {
	t.Helper()
	f := New(o)
	t.Cleanup(func() {
		f.Close()
		for _, fault := range f.Misuse() {
			t.Errorf("SCM was asked what its reference does not know: %s", fault)
		}
	})
	return f
}

// Close ends the fake.
func (f *Fake) Close() { f.server.Close() }

// Misuse returns what was asked against the reference.
func (f *Fake) Misuse() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.misuse)
}

// Asked returns the requests so far: "POST /acme/v2/account", and its body after a space.
func (f *Fake) Asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// ServeHTTP implements http.Handler.
func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.options.Answer != nil && f.options.Answer(w, r) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/api")
	if r.Header.Get("login") != Login || r.Header.Get("password") != Password || r.Header.Get("customerUri") != Customer {
		refuse(w, http.StatusUnauthorized, -16, "Unknown user")
		return
	}
	f.route(w, r, path)
}

func (f *Fake) wrong(r *http.Request, what string) {
	f.misuse = append(f.misuse, r.Method+" "+r.URL.String()+" "+what)
}

// refuse answers with the error object that every refusal has.
func refuse(w http.ResponseWriter, status, code int, description string) {
	answer(w, status, map[string]any{"code": code, "description": description})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // who asked is gone
}

// unknown is what stands behind the API for a path that it does not have: it knows no error objects.
func unknown(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusNotFound, map[string]any{"timestamp": date, "status": 404, "error": "Not Found", "path": r.URL.Path})
}

func (f *Fake) route(w http.ResponseWriter, r *http.Request, path string) {
	if path == "/acme/v1/server" && r.Method == http.MethodGet {
		f.note(r, path, nil)
		answer(w, http.StatusOK, page(f.options.Servers, r))
		return
	}
	for _, version := range []int{1, 2} {
		below, ok := strings.CutPrefix(path, fmt.Sprintf("/acme/v%d/account", version))
		if !ok {
			continue
		}
		if version == 2 && f.options.Old {
			unknown(w, r)
			return
		}
		f.account(w, r, version, path, strings.Split(strings.Trim(below, "/"), "/"))
		return
	}
	if strings.HasPrefix(path, "/acme/") { // else the operator has mistyped the URL of the API
		f.wrong(r, "is no resource")
	}
	unknown(w, r)
}

// account serves accounts; parts are below "account".
func (f *Fake) account(w http.ResponseWriter, r *http.Request, version int, path string, parts []string) {
	if parts[0] == "" {
		f.collection(w, r, version, path)
		return
	}
	id, err := strconv.Atoi(parts[0])
	a := f.accounts[id]
	if err != nil || a == nil {
		f.note(r, path, nil)
		refuse(w, http.StatusNotFound, -39, "ACME account "+parts[0]+" not found") // the reference names no code for it
		return
	}
	domains := map[int]string{1: "domains", 2: "domain"}[version]
	switch {
	case len(parts) == 1 && r.Method == http.MethodGet:
		f.note(r, path, nil)
		answer(w, http.StatusOK, a.in(version))
	case len(parts) == 1 && r.Method == http.MethodDelete:
		f.note(r, path, nil)
		delete(f.accounts, id)
		w.WriteHeader(http.StatusNoContent)
	case len(parts) == 2 && parts[1] == domains && r.Method == http.MethodGet && version == 2:
		f.note(r, path, nil)
		w.Header().Set("X-Total-Count", strconv.Itoa(len(a.Domains)))
		answer(w, http.StatusOK, page(a.Domains, r))
	case len(parts) == 2 && parts[1] == domains && r.Method == http.MethodPost:
		f.change(w, r, path, a, f.add, "notAddedDomains")
	case len(parts) == 2 && parts[1] == domains && r.Method == http.MethodDelete:
		f.change(w, r, path, a, f.remove, "notRemovedDomains")
	default:
		f.wrong(r, "is no resource")
		unknown(w, r)
	}
}

// in is an account as a version of the API shows it.
func (a Account) in(version int) Account {
	if version == 2 {
		a.Domains = nil
		return a
	}
	names := []Domain{}
	for _, d := range a.Domains {
		names = append(names, Domain{Name: d.Name})
	}
	a.Domains = names
	return a
}

func (f *Fake) collection(w http.ResponseWriter, r *http.Request, version int, path string) {
	switch r.Method {
	case http.MethodGet:
		f.note(r, path, nil)
		var found []Account
		organization := r.FormValue("organizationId")
		for _, id := range slices.Sorted(maps.Keys(f.accounts)) {
			if a := f.accounts[id]; organization == "" || organization == strconv.Itoa(a.OrganizationID) {
				found = append(found, a.in(version))
			}
		}
		w.Header().Set("X-Total-Count", strconv.Itoa(len(found)))
		answer(w, http.StatusOK, page(found, r))
	case http.MethodPost:
		f.create(w, r, version, path)
	default:
		f.wrong(r, "is no resource")
		unknown(w, r)
	}
}

func (f *Fake) create(w http.ResponseWriter, r *http.Request, version int, path string) {
	var want struct {
		Name           string
		AcmeServer     string
		OrganizationID *int
	}
	if !f.read(r, path, &want) {
		refuse(w, http.StatusBadRequest, -1, "Unknown error.")
		return
	}
	n := slices.IndexFunc(f.options.Servers, func(s Server) bool { return s.Name == want.AcmeServer || s.URL == want.AcmeServer })
	switch {
	case want.OrganizationID == nil:
		refuse(w, http.StatusBadRequest, -1001, "Value of 'organizationId' must not be null.")
	case *want.OrganizationID != Organization:
		refuse(w, http.StatusBadRequest, -1023, fmt.Sprintf("Organization '%d' not found.", *want.OrganizationID))
	case f.options.ByURL && f.options.Servers[max(n, 0)].URL != want.AcmeServer:
		refuse(w, http.StatusBadRequest, -1, "Unknown error.")
	case n < 0 || want.Name == "" || len(want.Name) > 128:
		f.wrong(r, fmt.Sprintf("asks for the account %q at the server %q", want.Name, want.AcmeServer))
		refuse(w, http.StatusBadRequest, -1, "Unknown error.")
	default:
		s, id := f.options.Servers[n], f.next
		f.next++
		f.accounts[id] = f.made(id, want.Name, s)
		w.Header().Set("Location", fmt.Sprintf("%s/acme/v%d/account/%d", f.URL, version, id))
		w.WriteHeader(http.StatusCreated)
	}
}

func (f *Fake) made(id int, name string, s Server) *Account {
	kid, key := fmt.Sprintf("5a394e8d-297f-4edc-932e-ac7705c0%04d", id), "e0453c5c-ef20-4e7a-8b41-270e9dd708ab"
	if len(f.options.Bindings) > 0 {
		kid, key = f.options.Bindings[0][0], f.options.Bindings[0][1]
		f.options.Bindings = f.options.Bindings[1:]
	}
	called := s.Name
	if f.options.ByURL {
		called = s.URL
	}
	return &Account{
		ID: id, AccountID: kid, MACID: kid, MACKey: key, Server: called, Name: name, OrganizationID: Organization,
		ValidationType: s.ValidationType, Status: "pending", ValidationID: "1256086866", Contacts: "email@example.com",
	}
}

// change applies one change to each domain of a request, and answers with those that did not work.
func (f *Fake) change(w http.ResponseWriter, r *http.Request, path string, a *Account, apply func(*Account, string) bool, word string) {
	var want struct{ Domains []Domain }
	if !f.read(r, path, &want) || len(want.Domains) == 0 {
		refuse(w, http.StatusBadRequest, -1001, "Value of 'domains' must not be empty.")
		return
	}
	failed := map[string][]string{}
	for _, d := range want.Domains {
		if d.Name == "" || len(d.Name) > 1024 {
			f.wrong(r, "names a domain without a name")
		}
		if !apply(a, d.Name) {
			failed[word] = append(failed[word], d.Name)
		}
	}
	answer(w, http.StatusOK, failed)
}

// add refuses domains that are not validated.
func (f *Fake) add(a *Account, name string) bool {
	if name != "example.com" && !strings.HasSuffix(name, ".example.com") {
		return false
	}
	if !slices.ContainsFunc(a.Domains, func(d Domain) bool { return d.Name == name }) {
		a.Domains = append(a.Domains, Domain{Name: name, ValidUntil: date, StickyUntil: date, ValidationID: "1735820302"})
	}
	return true
}

func (f *Fake) remove(a *Account, name string) bool {
	before := len(a.Domains)
	a.Domains = slices.DeleteFunc(a.Domains, func(d Domain) bool { return d.Name == name })
	return len(a.Domains) < before
}

// note remembers a request.
func (f *Fake) note(r *http.Request, path string, body []byte) {
	line := r.Method + " " + path
	if len(body) > 0 {
		line += " " + string(body)
	}
	f.asked = append(f.asked, line)
}

// read decodes the body of a request, which has to say that it is JSON.
func (f *Fake) read(r *http.Request, path string, v any) bool {
	var body json.RawMessage
	err := json.NewDecoder(r.Body).Decode(&body)
	f.note(r, path, body)
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); kind != "application/json" {
		f.wrong(r, "has the content type "+kind)
	}
	if err == nil {
		err = json.Unmarshal(body, v)
	}
	if err != nil {
		f.wrong(r, "has the body "+string(body)+": "+err.Error())
	}
	return err == nil
}

// page cuts out of a list what position and size ask for.
func page[T any](all []T, r *http.Request) []T {
	position, _ := strconv.Atoi(r.FormValue("position"))
	size, err := strconv.Atoi(r.FormValue("size"))
	if err != nil {
		size = 10
	}
	from := min(max(position, 0), len(all))
	return slices.Concat([]T{}, all[from:min(from+size, len(all))])
}
