// Package page shows how the daemon fares to whoever opens it in a browser: what needs somebody first, each certificate's
// life as a bar, and the issuers.
//
// It owns one page of HTML without scripts, and who may see it. It asks the daemon what the command line asks, decides
// nothing, and changes nothing.
package page

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"acmed/internal/control"
)

// perPage is how many certificates are listed at once, and fewUrgent how many of those that need somebody.
const (
	perPage   = 100
	fewUrgent = 50
)

//go:embed page.html
var pageText string

//go:embed page.css
var styleText string

// Source is what the page tells of.
type Source interface {
	Info(context.Context) (control.Info, error)
	List(context.Context) ([]control.Summary, error)
	Issuers(context.Context) ([]control.Issuer, error)
}

// Config is what a page needs.
type Config struct {
	Source Source // required
	Host   string // the machine's name, for people; "": not told
	// Names are the host names by which the page may be asked for, besides localhost and addresses: a page elsewhere
	// must not read it by a name that it has led here. nil: no others.
	Names []string
	Log   *zap.Logger // nil: nothing is logged
}

// Handler serves the page.
type Handler struct {
	cfg      Config
	template *template.Template
	policy   string
}

// New returns a handler.
func New(c Config) (*Handler, error) {
	if c.Source == nil {
		return nil, errors.New("status page: no source")
	}
	c.Log = cmp.Or(c.Log, zap.NewNop())
	t, err := template.New("page").Funcs(template.FuncMap{"css": func() template.CSS { return template.CSS(styleText) }}).Parse(pageText)
	if err != nil {
		return nil, fmt.Errorf("status page: %w", err)
	}
	sum := sha256.Sum256([]byte(styleText))
	return &Handler{cfg: c, template: t, policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"}, nil
}

// ServeHTTP answers with the page; ?q= finds certificates by name, issuer or phase, and ?page= turns the leaves.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.welcome(r.Host) {
		http.Error(w, "this name does not lead to acmed's status page: ask for an address, or for localhost", http.StatusMisdirectedRequest)
		return
	}
	v, err := h.view(r.Context(), r.URL.Query())
	var out bytes.Buffer
	if err == nil {
		err = h.template.Execute(&out, v)
	}
	if err != nil {
		h.cfg.Log.Warn("status page cannot be made", zap.Error(err))
		http.Error(w, "the page cannot be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", h.policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-store")
	_, _ = w.Write(out.Bytes()) // who asked may be gone
}

// welcome tells whether the page may be asked for by that name. An address cannot be anybody else's.
func (h *Handler) welcome(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	name = strings.ToLower(strings.Trim(name, "[]"))
	if _, err := netip.ParseAddr(name); err == nil || name == "localhost" {
		return true
	}
	return name != "" && slices.ContainsFunc(h.cfg.Names, func(n string) bool { return strings.EqualFold(n, name) })
}

// view is what the template shows.
type view struct {
	Host     string
	Info     control.Info
	Now      time.Time
	Phases   []phaseCount
	Urgent   []row
	MoreBad  int // that Urgent leaves out
	Rows     []row
	Issuers  []issuerRow
	Query    string
	Found    int
	From, To int // of Found
	Earlier  string
	Later    string
}

type phaseCount struct {
	Phase control.Phase
	Count int
	Class string
	Link  string
}

func (h *Handler) view(ctx context.Context, q url.Values) (*view, error) {
	info, err := h.cfg.Source.Info(ctx)
	if err != nil {
		return nil, err
	}
	list, err := h.cfg.Source.List(ctx)
	if err != nil {
		return nil, err
	}
	issuers, err := h.cfg.Source.Issuers(ctx)
	if err != nil {
		return nil, err
	}
	v := &view{Host: h.cfg.Host, Info: info, Now: time.Now(), Query: strings.TrimSpace(q.Get("q"))}
	v.count(list)
	v.find(list, q.Get("page"))
	if v.Query == "" && v.Earlier == "" { // else somebody looks for something
		v.urgent(list)
	}
	for _, i := range issuers {
		if i.Certificates > 0 || i.Hold != nil {
			v.Issuers = append(v.Issuers, newIssuerRow(i, v.Now))
		}
	}
	return v, nil
}

func (v *view) count(list []control.Summary) {
	counts := map[control.Phase]int{}
	for _, s := range list {
		counts[s.Phase]++
	}
	for _, p := range control.Phases() {
		if counts[p] > 0 {
			v.Phases = append(v.Phases, phaseCount{p, counts[p], classOf(p, false), "/?q=" + url.QueryEscape(string(p))})
		}
	}
}

// urgent takes what needs somebody, what ends first before the others.
func (v *view) urgent(list []control.Summary) {
	bad := slices.DeleteFunc(slices.Clone(list), func(s control.Summary) bool { return !s.Problem })
	slices.SortStableFunc(bad, func(a, b control.Summary) int { return a.NotAfter.Compare(b.NotAfter) })
	for _, s := range bad[:min(len(bad), fewUrgent)] {
		v.Urgent = append(v.Urgent, newRow(s, v.Now))
	}
	v.MoreBad = max(0, len(bad)-fewUrgent)
}

// find takes one leaf of what the query finds.
func (v *view) find(list []control.Summary, page string) {
	found := slices.DeleteFunc(slices.Clone(list), func(s control.Summary) bool { return !matches(s, v.Query) })
	n, _ := strconv.Atoi(page) // what is no number is the first leaf
	n = max(0, min(n, (len(found)-1)/perPage))
	v.Found, v.From, v.To = len(found), min(n*perPage+1, len(found)), min((n+1)*perPage, len(found))
	for _, s := range found[max(0, v.From-1):v.To] {
		v.Rows = append(v.Rows, newRow(s, v.Now))
	}
	leaf := func(n int) string {
		return "/?" + url.Values{"q": {v.Query}, "page": {strconv.Itoa(n)}}.Encode() + "#all"
	}
	if n > 0 {
		v.Earlier = leaf(n - 1)
	}
	if v.To < len(found) {
		v.Later = leaf(n + 1)
	}
}

func matches(s control.Summary, query string) bool {
	q := strings.ToLower(query)
	return q == "" || strings.Contains(s.Name, q) || s.Issuer == q || string(s.Phase) == q ||
		slices.ContainsFunc(s.Names, func(n string) bool { return strings.Contains(n, q) || strings.Contains(s.Unicode[n], q) })
}
