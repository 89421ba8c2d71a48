package doctor

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// listener is a listening TCP socket of this machine.
type listener struct {
	at    netip.AddrPort
	inode string
}

// tcpListeners returns the sockets that listen on a TCP port, as the kernel shows them to everybody.
func tcpListeners(port uint16) (all []listener) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue // no IPv6
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if l, ok := parseListener(lines.Text()); ok && l.at.Port() == port {
				all = append(all, l)
			}
		}
		_ = f.Close() // it was only read
	}
	return all
}

// parseListener reads a line of /proc/net/tcp; false if it is of no listener.
func parseListener(line string) (l listener, ok bool) {
	const local, state, inode, listens = 1, 3, 9, "0A"
	fields := strings.Fields(line)
	if len(fields) <= inode || fields[state] != listens {
		return l, false
	}
	address, number, _ := strings.Cut(fields[local], ":")
	raw, err := hex.DecodeString(address)
	port, perr := strconv.ParseUint(number, 16, 16)
	if err != nil || perr != nil || len(raw)%4 != 0 {
		return l, false
	}
	for i := 0; i < len(raw); i += 4 { // words, in the byte order of the machine
		binary.BigEndian.PutUint32(raw[i:], binary.NativeEndian.Uint32(raw[i:]))
	}
	ip, ok := netip.AddrFromSlice(raw)
	return listener{netip.AddrPortFrom(ip.Unmap(), uint16(port)), fields[inode]}, ok
}

// takes reports whether a connection to that address comes to l; one that is no IP address may.
func (l listener) takes(host string) bool {
	a, err := netip.ParseAddr(host)
	at := l.at.Addr()
	return err != nil || a.IsUnspecified() || a.Unmap() == at || at.IsUnspecified() && (at.Is6() || a.Unmap().Is4())
}

// answering returns where a server is reached that listens on listen or, if that is empty, on some address with that port.
func answering(listen string, port uint16) (places []string) {
	add := func(host string) {
		if at := net.JoinHostPort(host, strconv.Itoa(int(port))); !slices.Contains(places, at) {
			places = append(places, at)
		}
	}
	if host, number, err := net.SplitHostPort(listen); err == nil {
		n, _ := strconv.ParseUint(number, 10, 16) // the configuration was checked
		port = uint16(n)
		switch a, err := netip.ParseAddr(host); {
		case err == nil && a.Is4() && a.IsUnspecified():
			add("127.0.0.1")
		case host != "" && (err != nil || !a.IsUnspecified()):
			add(host)
		default:
			add("127.0.0.1")
			add("::1")
		}
		return places
	}
	add("127.0.0.1")
	add("::1")
	for _, l := range tcpListeners(port) {
		if !l.at.Addr().IsUnspecified() {
			add(l.at.Addr().String())
		}
	}
	return places
}

// holders names the processes that listen where a connection to the address comes in, such as "nginx (812)". The kernel
// shows those of others to root alone; what it does not show is left out.
func holders(address string) (names []string) {
	host, number, err := net.SplitHostPort(address)
	port, perr := strconv.ParseUint(number, 10, 16)
	if err != nil || perr != nil {
		return nil
	}
	sockets := map[string]bool{}
	for _, l := range tcpListeners(uint16(port)) {
		if l.takes(host) {
			sockets["socket:["+l.inode+"]"] = true
		}
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is good
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && sockets[target] {
			pid := strings.Split(link, "/")[2]
			comm, _ := os.ReadFile(filepath.Join("/proc", pid, "comm")) // it may have ended
			names = append(names, fmt.Sprintf("%s (%s)", strings.TrimSpace(string(comm)), pid))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// heldBy ends a sentence about an address with who holds its port.
func heldBy(address string) string {
	if names := holders(address); len(names) > 0 {
		return "; the port is held by " + strings.Join(names, ", ")
	}
	return ""
}
