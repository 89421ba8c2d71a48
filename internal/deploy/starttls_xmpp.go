package deploy

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

const xmppTLS = "urn:ietf:params:xml:ns:xmpp-tls"

// startXMPP is RFC 6120 §5, for clients and for servers.
func startXMPP(conn io.ReadWriter, namespace, name string) error {
	var to strings.Builder
	if err := xml.EscapeText(&to, []byte(name)); err != nil {
		return err
	}
	open := "<?xml version='1.0'?><stream:stream to='" + to.String() + "' xmlns='" + namespace +
		"' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
	if err := say(conn, open); err != nil {
		return err
	}
	stream := xml.NewDecoder(&slowReader{conn, maxXML})
	if err := xmppFeatures(stream); err != nil {
		return err
	}
	if err := say(conn, "<starttls xmlns='"+xmppTLS+"'/>"); err != nil {
		return err
	}
	answer, err := nextElement(stream)
	if err != nil {
		return err
	}
	if answer.Name.Local != "proceed" {
		return refusedf("it answers with <%s>", answer.Name.Local)
	}
	return orNoXML(stream.Skip()) // to the end of the element, where TLS begins
}

// xmppFeatures reads up to the end of the features, of which TLS has to be one.
func xmppFeatures(stream *xml.Decoder) error {
	for _, want := range []string{"stream", "features"} {
		got, err := nextElement(stream)
		if err != nil {
			return err
		}
		if got.Name.Local != want {
			return refusedf("it says <%s>, and not <%s>", got.Name.Local, want)
		}
	}
	offered := false
	for {
		token, err := stream.Token()
		if err != nil {
			return orNoXML(err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			offered = offered || t.Name.Space == xmppTLS && t.Name.Local == "starttls"
			if err := stream.Skip(); err != nil {
				return orNoXML(err)
			}
		case xml.EndElement:
			if !offered {
				return refusedf("it does not offer TLS")
			}
			return nil
		}
	}
}

// nextElement is the next element that begins.
func nextElement(stream *xml.Decoder) (xml.StartElement, error) {
	for {
		token, err := stream.Token()
		if err != nil {
			return xml.StartElement{}, orNoXML(err)
		}
		if t, ok := token.(xml.StartElement); ok {
			return t, nil
		}
	}
}

// orNoXML says of what is no XML that it is none.
func orNoXML(err error) error {
	if _, malformed := errors.AsType[*xml.SyntaxError](err); malformed {
		return refusedf("its answer is no XML")
	}
	return err
}

// maxXML is the most that a server may say before TLS begins.
const maxXML = 64 << 10

// slowReader gives a decoder one byte at a time, and so not a byte more than it needs: what follows may be TLS.
type slowReader struct {
	io.Reader
	left int
}

// ReadByte implements io.ByteReader.
func (r *slowReader) ReadByte() (byte, error) {
	if r.left--; r.left < 0 {
		return 0, refusedf("it says more than %d bytes", maxXML)
	}
	b := make([]byte, 1)
	_, err := io.ReadFull(r.Reader, b)
	return b[0], err
}
