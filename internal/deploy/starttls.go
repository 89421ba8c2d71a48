package deploy

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// noTLS is what a server said instead of starting TLS.
type noTLS struct{ said string }

func (r *noTLS) Error() string { return r.said }

func refusedf(format string, args ...any) error { return &noTLS{fmt.Sprintf(format, args...)} }

// startTLS asks a server to go on with TLS, in the words of a protocol; "": it speaks TLS from the start. The name is that
// of the server.
func startTLS(conn io.ReadWriter, protocol, name string) error {
	switch protocol {
	case "":
		return nil
	case "smtp":
		return startSMTP(conn, "EHLO")
	case "lmtp":
		return startSMTP(conn, "LHLO")
	case "imap":
		return startIMAP(conn)
	case "ldap":
		return startLDAP(conn)
	case "mysql":
		return startMySQL(conn)
	case "postgres":
		return startPostgres(conn)
	case "xmpp":
		return startXMPP(conn, "jabber:client", name)
	case "xmpp-server":
		return startXMPP(conn, "jabber:server", name)
	}
	if d, ok := dialogues()[protocol]; ok {
		return d.hold(conn)
	}
	return refusedf("acmed does not know the protocol %q", protocol)
}

const (
	maxLine  = 1000 // bytes
	maxLines = 100  // of one answer
)

// readLine reads up to a line's end, and not a byte more: what follows may be TLS.
func readLine(r io.Reader) (string, error) {
	var line strings.Builder
	for b := make([]byte, 1); line.Len() < maxLine; {
		if _, err := io.ReadFull(r, b); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return strings.TrimSuffix(line.String(), "\r"), nil
		}
		line.WriteByte(b[0])
	}
	return "", refusedf("it sends a line of more than %d bytes", maxLine)
}

// readUntil reads lines until last accepts one.
func readUntil(r io.Reader, last func(line string) bool) (string, error) {
	for range maxLines {
		line, err := readLine(r)
		if err != nil {
			return "", err
		}
		if last(line) {
			return line, nil
		}
	}
	return "", refusedf("it sends more than %d lines", maxLines)
}

func say(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}

// startSMTP is RFC 3207, and RFC 2033 for LMTP, which says hello in another way.
func startSMTP(conn io.ReadWriter, hello string) error {
	for _, step := range []struct{ say, want string }{{"", "220"}, {hello + " acmed.invalid\r\n", "250"}, {"STARTTLS\r\n", "220"}} {
		if err := say(conn, step.say); err != nil {
			return err
		}
		line, err := readUntil(conn, func(line string) bool { return len(line) < 4 || line[3] != '-' })
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, step.want) {
			return refusedf("it says %q", line)
		}
	}
	return nil
}

// startIMAP is RFC 9051 §6.2.1.
func startIMAP(conn io.ReadWriter) error {
	greeting, err := readLine(conn)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(greeting, "* OK") {
		return refusedf("it says %q", greeting)
	}
	if err := say(conn, "a STARTTLS\r\n"); err != nil {
		return err
	}
	line, err := readUntil(conn, func(line string) bool { return strings.HasPrefix(line, "a ") })
	if err == nil && !strings.HasPrefix(line, "a OK") {
		err = refusedf("it says %q", line)
	}
	return err
}

// startLDAP is the extended request of RFC 4511 §4.14.
func startLDAP(conn io.ReadWriter) error {
	const oid = "1.3.6.1.4.1.1466.20037"
	request := "\x02\x01\x01" + "\x77" + string(rune(len(oid)+2)) + "\x80" + string(rune(len(oid))) + oid
	if err := say(conn, "\x30"+string(rune(len(request)))+request); err != nil {
		return err
	}
	message, err := readBER(conn, 0x30)
	if err != nil {
		return err
	}
	id, rest, ok := cutBER(message, 0x02)
	response, _, ok2 := cutBER(rest, 0x78)
	code, _, ok3 := cutBER(response, 0x0a)
	if !ok || !ok2 || !ok3 || string(id) != "\x01" || len(code) != 1 {
		return refusedf("its answer is no LDAP")
	}
	if code[0] != 0 {
		return refusedf("it answers with result code %d", code[0])
	}
	return nil
}

// maxBER is the most that an answer may hold.
const maxBER = 4096

// readBER reads one element with that tag and returns what it holds.
func readBER(r io.Reader, tag byte) ([]byte, error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	length := int(head[1])
	if head[1]&0x80 != 0 {
		n := int(head[1] & 0x7f)
		if n == 0 || n > 4 {
			return nil, refusedf("its answer is no LDAP")
		}
		more := make([]byte, n)
		if _, err := io.ReadFull(r, more); err != nil {
			return nil, err
		}
		length = int(binary.BigEndian.Uint32(append(make([]byte, 4-n), more...)))
	}
	if head[0] != tag || length > maxBER {
		return nil, refusedf("its answer is no LDAP")
	}
	content := make([]byte, length)
	_, err := io.ReadFull(r, content)
	return content, err
}

// cutBER takes the first element with that tag from data.
func cutBER(data []byte, tag byte) (content, rest []byte, ok bool) {
	r := strings.NewReader(string(data))
	content, err := readBER(r, tag)
	return content, data[len(data)-r.Len():], err == nil
}

// startPostgres is SSLRequest of PostgreSQL's protocol.
func startPostgres(conn io.ReadWriter) error {
	if err := say(conn, "\x00\x00\x00\x08\x04\xd2\x16\x2f"); err != nil {
		return err
	}
	answer := make([]byte, 1)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if answer[0] != 'S' {
		return refusedf("it answers %q: ssl is off", answer)
	}
	return nil
}
