package doctor

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// holders names the processes that listen on the TCP port of an address, such as "nginx (812)". The kernel shows those of
// others to root alone; what it does not show is left out.
func holders(address string) (names []string) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		listeners(table, port, sockets)
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

// listeners adds the sockets of a table of /proc/net, as /proc/PID/fd names them, that listen on the port.
func listeners(table, port string, sockets map[string]bool) {
	const local, state, inode, listen = 1, 3, 9, "0A"
	f, err := os.Open(table)
	if err != nil {
		return // no IPv6
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) <= inode || fields[state] != listen {
			continue
		}
		_, hex, _ := strings.Cut(fields[local], ":")
		if n, err := strconv.ParseUint(hex, 16, 16); err == nil && strconv.FormatUint(n, 10) == port {
			sockets["socket:["+fields[inode]+"]"] = true
		}
	}
}

// heldBy ends a sentence about an address with who holds its port.
func heldBy(address string) string {
	if names := holders(address); len(names) > 0 {
		return "; the port is held by " + strings.Join(names, ", ")
	}
	return ""
}
