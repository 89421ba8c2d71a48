package control

import (
	"context"
	"net/http"
)

// SameKey is a certificate that has the key of a revoked one.
type SameKey struct {
	Name      string `json:"name"`
	Revisions []int  `json:"revisions,omitempty"` // that have the key and have not expired; empty: only CSRFile has it
	CSRFile   string `json:"csrFile,omitempty"`   // holds the key, which only the operator can replace
	Replaced  bool   `json:"replaced,omitzero"`   // acmed orders it again, with a new key
}

// SameKey returns what else has the key of a certificate that is to be revoked.
func (c *Client) SameKey(ctx context.Context, req RevokeRequest) ([]SameKey, error) {
	return call[[]SameKey](ctx, c, http.MethodPost, pathSameKey, req)
}

// sameKey changes nothing: it is not logged.
func (s *Server) sameKey(w http.ResponseWriter, r *http.Request) {
	req, err := requested[RevokeRequest](w, r)
	if err != nil {
		answer(w, r, nil, err)
		return
	}
	found, err := s.disposals.SameKey(r.Context(), req)
	if found == nil {
		found = []SameKey{}
	}
	answer(w, r, found, err)
}
