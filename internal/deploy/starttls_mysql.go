package deploy

import (
	"encoding/binary"
	"io"
)

// Flags of the protocol of MySQL and MariaDB.
const (
	mysqlProtocol41 = 1 << 9
	mysqlSSL        = 1 << 11
	mysqlSecure     = 1 << 15
)

// startMySQL answers the greeting of MySQL's protocol 10 with its SSLRequest.
func startMySQL(conn io.ReadWriter) error {
	greeting, err := readMySQL(conn)
	if err != nil {
		return err
	}
	switch capabilities, ok := mysqlCapabilities(greeting); {
	case len(greeting) > 3 && greeting[0] == 0xff: // an error: a code of two bytes, and a text
		return refusedf("it says %q", greeting[3:])
	case !ok:
		return refusedf("its greeting is not that of MySQL")
	case capabilities&mysqlSSL == 0:
		return refusedf("it offers no TLS: have_ssl is off")
	}
	request := make([]byte, 4+32)
	request[0], request[3] = 32, 1 // the length of what follows, and the number of the packet
	binary.LittleEndian.PutUint32(request[4:], mysqlProtocol41|mysqlSSL|mysqlSecure)
	binary.LittleEndian.PutUint32(request[8:], 1<<24) // the longest packet
	request[12] = 33                                  // utf8
	return say(conn, string(request))
}

// readMySQL reads the first packet.
func readMySQL(r io.Reader) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	length := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if length == 0 || length > maxLine || head[3] != 0 {
		return nil, refusedf("its greeting is not that of MySQL")
	}
	packet := make([]byte, length)
	_, err := io.ReadFull(r, packet)
	return packet, err
}

// mysqlCapabilities are the lower ones of a greeting: protocol, version, NUL, thread (4), salt (8), NUL, capabilities (2).
func mysqlCapabilities(greeting []byte) (flags uint16, ok bool) {
	if greeting[0] != 10 {
		return 0, false
	}
	for i, b := range greeting {
		if at := i + 1 + 4 + 8 + 1; b == 0 && at+2 <= len(greeting) {
			return binary.LittleEndian.Uint16(greeting[at:]), true
		}
	}
	return 0, false
}
