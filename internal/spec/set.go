package spec

import (
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Set is everything that is in force at one moment. It is immutable.
type Set struct {
	certificates []*Certificate // by name
	issuers      []*Issuer      // by name, the built-in ones included
	providers    []*Provider    // by name

	Problems []*Problem // by file, line and column
	Deferred []Deferred // edits that wait before they take effect, by name
	Held     *Held      // nil: nothing is held
}

// Deferred is an edit that takes names away and therefore waits a moment for second thoughts.
type Deferred struct {
	Name    string // of the certificate
	Removes []string
	Until   time.Time
}

// Held is what stays in force although its files vanished, because so much at once looks like an accident.
type Held struct {
	Certificates []string // names, sorted
	Issuers      []string // names, sorted
	Providers    []string // names, sorted
}

func (h *Held) String() string {
	var what []string
	for noun, names := range map[string][]string{"certificate": h.Certificates, "issuer": h.Issuers, "DNS provider": h.Providers} {
		if len(names) > 0 {
			what = append(what, count(len(names), noun)+" ("+abridge(names, 5)+")")
		}
	}
	slices.Sort(what)
	return "the files of " + strings.Join(what, " and of ") +
		" vanished; they stay in effect until `acmed reload --accept-removals`"
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func abridge(names []string, n int) string {
	if len(names) <= n {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:n], ", "), len(names)-n)
}

// NewSet returns a set without problems of certificates, issuers and DNS providers with unique names. It keeps no slice.
func NewSet(certificates []*Certificate, issuers []*Issuer, providers ...*Provider) *Set {
	s := &Set{certificates: slices.Clone(certificates), issuers: slices.Clone(issuers), providers: slices.Clone(providers)}
	slices.SortFunc(s.providers, func(a, b *Provider) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(s.certificates, func(a, b *Certificate) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(s.issuers, func(a, b *Issuer) int { return strings.Compare(a.Name, b.Name) })
	return s
}

// Len returns the number of certificates.
func (s *Set) Len() int { return len(s.certificates) }

// Certificate returns nil when there is none of that name.
func (s *Set) Certificate(name string) *Certificate {
	i, found := slices.BinarySearchFunc(s.certificates, name, func(c *Certificate, name string) int {
		return strings.Compare(c.Name, name)
	})
	if !found {
		return nil
	}
	return s.certificates[i]
}

// Certificates yields every certificate in the order of the names.
func (s *Set) Certificates() iter.Seq2[string, *Certificate] {
	return func(yield func(string, *Certificate) bool) {
		for _, c := range s.certificates {
			if !yield(c.Name, c) {
				return
			}
		}
	}
}

// Issuer returns nil when there is none of that name. A certificate whose last good version is kept may name an
// issuer that is gone.
func (s *Set) Issuer(name string) *Issuer {
	for _, i := range s.issuers {
		if i.Name == name {
			return i
		}
	}
	return nil
}

// Provider returns nil when there is none of that name.
func (s *Set) Provider(name string) *Provider {
	for _, p := range s.providers {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Twin returns the issuer at which orders of another one can be rehearsed, called like that one and then -staging or
// -test; nil: there is none.
func (s *Set) Twin(name string) *Issuer {
	if i := s.Issuer(name + "-staging"); i != nil {
		return i
	}
	return s.Issuer(name + "-test")
}

// Issuers yields every issuer, built-in ones included, in the order of the names.
func (s *Set) Issuers() iter.Seq2[string, *Issuer] {
	return func(yield func(string, *Issuer) bool) {
		for _, i := range s.issuers {
			if !yield(i.Name, i) {
				return
			}
		}
	}
}

// Change is what happened to a certificate between two sets.
type Change uint8

// The changes that Diff yields.
const (
	Added  Change = iota + 1
	Edited        // its value changed, or that of one of its issuers, or of its DNS provider
	Removed
)

func (c Change) String() string {
	return [...]string{"unchanged", "added", "edited", "removed"}[c]
}

// Diff yields the names whose certificate differs, in order. Without an old set everything is Added.
// Certificates that the same Loader left alone cost a comparison of pointers.
func Diff(old, new *Set) iter.Seq2[string, Change] {
	if old == nil {
		old = &Set{}
	}
	return func(yield func(string, Change) bool) {
		moved, changed := changedIssuers(old, new), changedProviders(old, new)
		a, b := old.certificates, new.certificates
		for len(a) > 0 || len(b) > 0 {
			switch {
			case len(b) == 0 || len(a) > 0 && a[0].Name < b[0].Name:
				if !yield(a[0].Name, Removed) {
					return
				}
				a = a[1:]
			case len(a) == 0 || b[0].Name < a[0].Name:
				if !yield(b[0].Name, Added) {
					return
				}
				b = b[1:]
			default:
				if edited(a[0], b[0], moved, changed) && !yield(b[0].Name, Edited) {
					return
				}
				a, b = a[1:], b[1:]
			}
		}
	}
}

func edited(a, b *Certificate, moved, changed map[string]bool) bool {
	if changed[b.Challenge.Provider] || a != b && !reflect.DeepEqual(a, b) {
		return true
	}
	return len(moved) > 0 && slices.ContainsFunc(b.Issuers, func(issuer string) bool { return moved[issuer] })
}

// changedProviders returns the names whose provider came, went or changed.
func changedProviders(old, new *Set) map[string]bool {
	changed := map[string]bool{}
	for _, p := range slices.Concat(old.providers, new.providers) {
		a, b := old.Provider(p.Name), new.Provider(p.Name)
		if a != b && !reflect.DeepEqual(a, b) {
			changed[p.Name] = true
		}
	}
	return changed
}

// changedIssuers returns the names whose issuer came, went or changed.
func changedIssuers(old, new *Set) map[string]bool {
	moved := map[string]bool{}
	for name, i := range new.Issuers() {
		if o := old.Issuer(name); o != i && !reflect.DeepEqual(o, i) {
			moved[name] = true
		}
	}
	for name := range old.Issuers() {
		if new.Issuer(name) == nil {
			moved[name] = true
		}
	}
	return moved
}
