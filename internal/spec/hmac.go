package spec

import (
	"encoding/base64"
	"errors"
	"strings"
)

// ParseHMACKey reads the HMAC key of an external account binding from the text of its file. CAs hand it out in
// base64url (RFC 8555 §7.3.4); the other alphabet, padding and white space around it do no harm.
func ParseHMACKey(text []byte) ([]byte, error) {
	clean := strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(strings.TrimSpace(string(text)), "="))
	key, err := base64.RawURLEncoding.DecodeString(clean)
	if err != nil || len(key) == 0 {
		return nil, errors.New("not the base64url text of a key")
	}
	return key, nil
}
