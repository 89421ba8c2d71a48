package challenge

import (
	"net/netip"
	"os"
)

// BreakRename makes f's renames report err, after they took effect if applied.
func (f *Folder) BreakRename(err error, applied bool) {
	f.ops.rename = func(root *os.Root, from, to string) error {
		if applied {
			if err := root.Rename(from, to); err != nil {
				return err
			}
		}
		return err
	}
}

// BreakRemove makes f's removals report err, after they took effect if applied.
func (f *Folder) BreakRemove(err error, applied bool) {
	f.ops.remove = func(root *os.Root, name string) error {
		if applied {
			if err := root.Remove(name); err != nil {
				return err
			}
		}
		return err
	}
}

// Mend ends BreakRename and BreakRemove.
func (f *Folder) Mend() { f.ops = ops{rename: (*os.Root).Rename, remove: (*os.Root).Remove} }

// ExemptNone makes s hold loopback to MaxConnsPerNetwork too.
func (s *Server) ExemptNone() { s.guard.exempt = func(netip.Addr) bool { return false } }

// AskAt makes d ask the servers of zones at another port than that of DNS.
func (d *DNS) AskAt(port string) { d.locator.port = port }

// Occupy has the program of d run for ever, and wait once more.
func (d *DNS) Occupy() {
	p := d.writer.(*program)
	p.turn <- struct{}{}
	p.wanted.Add(2)
}
