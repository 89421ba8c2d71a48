package deploy

import (
	"io"
	"regexp"
)

// dialogue is how a protocol of lines asks for TLS.
type dialogue struct {
	greeting *regexp.Regexp // the line that ends the greeting; nil: the client begins
	ask      string
	answer   *regexp.Regexp // the line that ends the answer
	yes      *regexp.Regexp // what both say when TLS may begin
}

// dialogues are those of the protocols that need no more than one question.
func dialogues() map[string]dialogue {
	re := regexp.MustCompile
	code := re(`^[0-9]{3}( |$)`) // lines before it have "-" there, or anything
	return map[string]dialogue{
		"ftp":   {code, "AUTH TLS\r\n", code, re(`^2(20|34)`)},                                         // RFC 4217
		"irc":   {nil, "STARTTLS\r\n", re(`^:\S+ (670|691|421|451) |^ERROR`), re(`^:\S+ 670 `)},        // IRCv3 tls
		"nntp":  {code, "STARTTLS\r\n", code, re(`^(20[01]|382)`)},                                     // RFC 4642
		"nut":   {nil, "STARTTLS\n", re(``), re(`^OK STARTTLS`)},                                       // RFC 9271
		"pop3":  {re(``), "STLS\r\n", re(``), re(`^\+OK`)},                                             // RFC 2595
		"sieve": {re(`(?i)^(OK|NO|BYE)\b`), "STARTTLS\r\n", re(`(?i)^(OK|NO|BYE)\b`), re(`(?i)^OK\b`)}, // RFC 5804
	}
}

// hold holds the dialogue up to where TLS begins.
func (d dialogue) hold(conn io.ReadWriter) error {
	if d.greeting != nil {
		if err := d.hear(conn, d.greeting); err != nil {
			return err
		}
	}
	if err := say(conn, d.ask); err != nil {
		return err
	}
	return d.hear(conn, d.answer)
}

// hear reads to the end of what the server says, and refuses all but a yes.
func (d dialogue) hear(conn io.ReadWriter, end *regexp.Regexp) error {
	line, err := readUntil(conn, end.MatchString)
	if err == nil && !d.yes.MatchString(line) {
		err = refusedf("it says %q", line)
	}
	return err
}
