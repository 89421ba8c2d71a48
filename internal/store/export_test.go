package store

import "slices"

// OpenWith opens a store whose every change of the disk goes through step.
func OpenWith(c Config, step func(op, path string, do func() error) error) (*Store, error) {
	return open(c, step)
}

// Rules returns the patterns and modes of the contract.
func Rules() map[string]string {
	all := map[string]string{}
	for _, r := range rules() {
		all[r.pattern] = r.mode.String()
	}
	return all
}

// Seal and Unseal are exported for the fuzzer.
var (
	Seal   = seal
	Unseal = unseal
)

// Age makes r as if the kernel did not know openat2.
func (r *Reader) Age() error { return r.base.Close() }

// Waiting tells that an update of l waits for a write that has not begun.
func (l *Ledger) Waiting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next != nil
}

// Numbers returns the numbers of all revisions, oldest first.
func (r *Reader) Numbers(name string) []int {
	numbers, _ := r.numbers(name)
	slices.Reverse(numbers)
	return numbers
}

// HoldsPlaceholder tells whether there is a folder for placeholders.
func (r *Reader) HoldsPlaceholder(name string) bool { return r.exists(placeholderDir(name)) }

// Dir is the state directory.
func (r *Reader) Dir() string { return r.dir }
