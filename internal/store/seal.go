package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
)

// A sealed file is one line of JSON, {"sha256":"…","data":…}, with the checksum of data's bytes.
const (
	sealHead = `{"sha256":"`
	sealNeck = `","data":`
	sealTail = "}\n"
	sealData = len(sealHead) + 2*sha256.Size + len(sealNeck) // offset of data
)

// seal encodes v so that unseal notices every changed byte.
func seal(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, sealData+len(data)+len(sealTail))
	out = append(out, sealHead...)
	out = append(out, sum(data)...)
	out = append(out, sealNeck...)
	out = append(out, data...)
	return append(out, sealTail...), nil
}

// unseal decodes what seal made into v.
func unseal(sealed []byte, v any) error {
	body, whole := bytes.CutSuffix(sealed, []byte(sealTail))
	if !whole || len(body) < sealData {
		return errors.New("it is truncated")
	}
	head, data := body[:sealData], body[sealData:]
	if string(head) != sealHead+sum(data)+sealNeck {
		return errors.New("its checksum is wrong")
	}
	return json.Unmarshal(data, v)
}

// sum is the SHA-256 checksum in hex.
func sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}
