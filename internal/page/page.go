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
	"net/http"
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
	Source Source      // required
	Host   string      // the machine's name, for people; "": not told
	Log    *zap.Logger // nil: nothing is logged
}

// Handler serves the page.
type Handler struct {
	cfg      Config
	template *template.Template
	policy   string
	turn     chan struct{} // has room for one: a page of many certificates takes memory
	known    *facts        // of the last page; nil: none, or they are old. Belongs to who has the turn
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
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'", turn: make(chan struct{}, 1)}, nil
}

// ServeHTTP answers with the page; ?q= finds certificates by name, issuer or phase, ?phase= shows those in exactly that phase,
// and ?page= turns the leaves.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out, err := h.render(r)
	switch {
	case errors.Is(err, errBusy):
		w.Header().Set("Retry-After", "5")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	case err != nil:
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
	_, _ = w.Write(out) // the client may be gone
}

// errBusy is returned when others have asked for too many pages.
var errBusy = errors.New("too many pages are asked for at once")

// patience is how long a request waits for its turn.
const patience = 5 * time.Second

// render makes the page when it is the request's turn: one is made at a time. A slow reader does not keep the turn.
func (h *Handler) render(r *http.Request) ([]byte, error) {
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case h.turn <- struct{}{}:
		defer func() { <-h.turn }()
	case <-late.C:
		return nil, errBusy
	case <-r.Context().Done():
		return nil, errBusy
	}
	v, err := h.view(r.Context(), r.URL.Query())
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := h.template.Execute(&out, v); err != nil {
		return nil, err
	}
	return bytes.Clone(out.Bytes()), nil
}

// facts are what a page is made of.
type facts struct {
	at      time.Time
	info    control.Info
	list    []control.Summary
	issuers []control.Issuer
}

// fresh is for how long further pages are made of the same facts: to gather them for many certificates takes time.
const fresh = time.Second

// facts returns what the source says, or what it said just now. Only who has the turn may call it.
func (h *Handler) facts(ctx context.Context) (*facts, error) {
	if h.known != nil && time.Since(h.known.at) < fresh {
		return h.known, nil
	}
	h.known = nil // before there are others: they are large
	f := &facts{at: time.Now()}
	var err error
	if f.info, err = h.cfg.Source.Info(ctx); err != nil {
		return nil, err
	}
	if f.list, err = h.cfg.Source.List(ctx); err != nil {
		return nil, err
	}
	if f.issuers, err = h.cfg.Source.Issuers(ctx); err != nil {
		return nil, err
	}
	h.known = f
	time.AfterFunc(fresh, h.forget)
	return f, nil
}

// forget gives the memory of old facts back.
func (h *Handler) forget() {
	select {
	case h.turn <- struct{}{}:
		if h.known != nil && time.Since(h.known.at) >= fresh {
			h.known = nil
		}
		<-h.turn
	default: // a page is being made: its facts are forgotten later
	}
}

// view is what the template shows.
type view struct {
	Host     string
	Info     control.Info
	Now      time.Time
	Phases   []phaseCount
	Urgent   []row
	MoreBad  int // that Urgent leaves out
	Files    []badFile
	MoreBads int // that Files leaves out
	Rows     []row
	Issuers  []issuerRow
	Query    string
	Phase    control.Phase // the only one that is shown; "": all are
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
	Shown bool // it is the only one that is
}

func (h *Handler) view(ctx context.Context, q url.Values) (*view, error) {
	f, err := h.facts(ctx)
	if err != nil {
		return nil, err
	}
	list, issuers := f.list, f.issuers
	v := &view{Host: h.cfg.Host, Info: f.info, Now: time.Now(), Query: strings.TrimSpace(q.Get("q")), Phase: control.Phase(q.Get("phase"))}
	v.count(list)
	v.find(list, q.Get("page"))
	if v.Whole() {
		v.urgent(list)
		v.files(f.info.Problems)
	}
	for _, i := range issuers {
		if i.Certificates > 0 || i.Hold != nil {
			v.Issuers = append(v.Issuers, newIssuerRow(i, v.Now))
		}
	}
	return v, nil
}

// Whole reports whether all is shown: nobody looks for something.
func (v *view) Whole() bool { return v.Query == "" && v.Phase == "" && v.Earlier == "" }

func (v *view) count(list []control.Summary) {
	counts := map[control.Phase]int{}
	for i := range list {
		counts[list[i].Phase]++
	}
	for _, p := range control.Phases() {
		if counts[p] > 0 {
			v.Phases = append(v.Phases, phaseCount{p, counts[p], classOf(p, false), "/?phase=" + url.QueryEscape(string(p)), p == v.Phase})
		}
	}
}

// urgent takes what needs somebody, the most urgent first. What is only invalid is shown by its file.
func (v *view) urgent(list []control.Summary) {
	var bad []int // in list
	for i := range list {
		if list[i].Problem && !list[i].InvalidSpec {
			bad = append(bad, i)
		}
	}
	slices.SortStableFunc(bad, func(a, b int) int { return control.Urgency(&list[a], &list[b]) })
	for _, i := range bad[:min(len(bad), fewUrgent)] {
		v.Urgent = append(v.Urgent, newRow(list[i], v.Now))
	}
	v.MoreBad = max(0, len(bad)-fewUrgent)
}

// find takes one leaf of what the query finds.
func (v *view) find(list []control.Summary, page string) {
	var found []int // in list, which may be long
	query := strings.ToLower(v.Query)
	for i := range list {
		if (v.Phase == "" || list[i].Phase == v.Phase) && matches(&list[i], query) {
			found = append(found, i)
		}
	}
	n, _ := strconv.Atoi(page) // what is no number is the first leaf
	n = max(0, min(n, (len(found)-1)/perPage))
	v.Found, v.From, v.To = len(found), min(n*perPage+1, len(found)), min((n+1)*perPage, len(found))
	for _, i := range found[max(0, v.From-1):v.To] {
		v.Rows = append(v.Rows, newRow(list[i], v.Now))
	}
	leaf := func(n int) string {
		q := url.Values{"page": {strconv.Itoa(n)}}
		if v.Query != "" {
			q.Set("q", v.Query)
		}
		if v.Phase != "" {
			q.Set("phase", string(v.Phase))
		}
		return "/?" + q.Encode() + "#all"
	}
	if n > 0 {
		v.Earlier = leaf(n - 1)
	}
	if v.To < len(found) {
		v.Later = leaf(n + 1)
	}
}

// matches reports whether q, which is in lower case, finds s.
func matches(s *control.Summary, q string) bool {
	return q == "" || strings.Contains(s.Name, q) || s.Issuer == q || string(s.Phase) == q ||
		slices.ContainsFunc(s.Names, func(n string) bool { return strings.Contains(n, q) || strings.Contains(s.Unicode[n], q) })
}
