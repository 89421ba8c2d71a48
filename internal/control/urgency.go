package control

import "cmp"

// Urgency orders certificates for people: outages and what leads to one first, then invalid specs with no other trouble, then
// the rest. In each, what expires first comes first, and in the first two what has no certificate comes last.
func Urgency(a, b *Summary) int {
	kind := a.kind()
	return cmp.Or(cmp.Compare(kind, b.kind()), kind.none(a)-kind.none(b), a.NotAfter.Compare(b.NotAfter))
}

// concern is how much a certificate concerns somebody.
type concern int

const (
	outage concern = iota
	invalid
	calm
)

func (s *Summary) kind() concern {
	switch {
	case s.InvalidSpec:
		return invalid
	case s.Problem:
		return outage
	}
	return calm
}

// none is 1 for what has no certificate to expire, where that is less urgent, else 0.
func (c concern) none(s *Summary) int {
	if c != calm && s.NotAfter.IsZero() {
		return 1
	}
	return 0
}
