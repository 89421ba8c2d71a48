package spec

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// This file visits the values that a file sets or leaves to the defaults, one by one.

// A walker is on its way through a value.
type walker struct {
	path string // dotted, as in a Problem
	// fresh is the innermost key on the path that replaces its default as a whole where it is written; "": none does.
	fresh string
	leaf  func(w walker, v any)
}

func (w walker) into(key string) walker {
	w.path = join(w.path, key)
	return w
}

func (w walker) whole() walker {
	w.fresh = w.path
	return w
}

// visit reports t, or what it consists of.
func visit[T any](w walker, k kind[T], t *T) {
	switch {
	case k.walk != nil:
		k.walk(w, t)
	case k.shown != nil:
		w.leaf(w, k.shown(*t))
	default:
		w.leaf(w, plainly(*t))
	}
}

func walkFields[T any](fields []field[T]) func(w walker, t *T) {
	return func(w walker, t *T) {
		for _, f := range fields {
			f.walk(w, t)
		}
	}
}

// walkList returns nil for lists of plain values, which are one value.
func walkList[T any](each kind[T]) func(w walker, list *[]T) {
	if each.walk == nil {
		return nil
	}
	return func(w walker, list *[]T) {
		if len(*list) == 0 {
			w.leaf(w, []string{})
		}
		for i := range *list {
			in := w.whole()
			in.path += "[" + strconv.Itoa(i) + "]"
			visit(in, each, &(*list)[i])
		}
	}
}

func walkPointer[T any](k kind[T]) func(w walker, t **T) {
	return func(w walker, t **T) {
		if *t == nil {
			w.leaf(w, nil)
			return
		}
		visit(w.whole(), k, *t)
	}
}

// showing makes people see something else than the value.
func showing[T any](shown func(T) any, k kind[T]) kind[T] {
	k.shown, k.walk = shown, nil
	return k
}

// shownCommand hides arguments: they may contain a password.
func shownCommand(words []string) any {
	if len(words) < 2 {
		return append([]string{}, words...)
	}
	return []string{words[0], fmt.Sprintf("(%s not shown)", count(len(words)-1, "argument"))}
}

// shownWebhook hides the path and the query of a URL: they may be the secret.
func shownWebhook(s string) any {
	u, err := url.Parse(s)
	if s == "" || err != nil {
		return s
	}
	if u.RequestURI() == "/" {
		return s
	}
	return u.Scheme + "://" + u.Host + "/(not shown)"
}

func shownBefore(r Renew) any {
	switch {
	case r.Before > 0:
		return durationWords(r.Before)
	case r.Fraction > 0:
		return percentWords(r.Fraction)
	}
	return ""
}

// plainly returns a value of a file as a string, a number, a boolean, or a list of those; nil: there is none.
func plainly(v any) any {
	switch v := v.(type) {
	case time.Duration:
		return durationWords(v)
	case uint32:
		if v == 0 {
			return nil
		}
		return fmt.Sprintf("%04o", v)
	case []string:
		return append([]string{}, v...)
	case []netip.Addr:
		out := []string{}
		for _, a := range v {
			out = append(out, a.String())
		}
		return out
	case []float64:
		out := []string{}
		for _, f := range v {
			out = append(out, percentWords(f))
		}
		return out
	}
	return v
}

func percentWords(f float64) string {
	return strconv.FormatFloat(f*100, 'g', 10, 64) + "%"
}

// durationWords returns a duration as parseDuration reads it.
func durationWords(d time.Duration) string {
	var out []string
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := d / u.of; n > 0 {
			out = append(out, strconv.FormatInt(int64(n), 10)+u.name)
			d -= n * u.of
		}
	}
	if len(out) == 0 {
		return "0s"
	}
	return strings.Join(out, " ")
}
