package scale_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"acmed/test/pebble"
)

// advisedPoll is how often Let's Encrypt asks to be asked when to renew.
const advisedPoll = 6 * time.Hour

// ca stands for a CA that is asked much and issues nothing. It advises to renew in a month, and refuses every order
// after having taken its time.
type ca struct {
	server *httptest.Server
	roots  string     // PEM file of what vouches for server
	orders chan order // that arrived
}

type order struct {
	name string // the first
	at   time.Time
}

func newCA(t testing.TB) *ca {
	t.Helper()
	c := &ca{orders: make(chan order, 1000), roots: filepath.Join(t.TempDir(), "roots.pem")}
	mux := http.NewServeMux()
	mux.HandleFunc("/dir", c.directory)
	mux.HandleFunc("/nonce", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/order", c.refuse)
	mux.HandleFunc("/ari/{id}", c.advise)
	var nonces atomic.Int64
	c.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Replay-Nonce", fmt.Sprintf("nonce-%d", nonces.Add(1)))
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(c.server.Close)
	vouch := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.server.Certificate().Raw})
	if err := os.WriteFile(c.roots, vouch, 0o644); err != nil {
		t.Fatal(err)
	}
	return c
}

// described is what a site has to know of it. It looks for no proofs, yet the daemon listens for it: one that does not
// says sooner or later that nobody does.
func (c *ca) described(t testing.TB) *pebble.Server {
	return &pebble.Server{DirectoryURL: c.server.URL + "/dir", RootsFile: c.roots, HTTPAddr: freeAddr(t)}
}

func (c *ca) directory(w http.ResponseWriter, _ *http.Request) {
	answer(w, "application/json", http.StatusOK, map[string]string{
		"newNonce": c.server.URL + "/nonce", "newAccount": c.server.URL + "/account", "newOrder": c.server.URL + "/order",
		"renewalInfo": c.server.URL + "/ari",
	})
}

func (c *ca) advise(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", fmt.Sprint(int(advisedPoll.Seconds())))
	soon := time.Now().Truncate(24*time.Hour).AddDate(0, 0, 30)
	answer(w, "application/json", http.StatusOK, map[string]any{
		"suggestedWindow": map[string]time.Time{"start": soon, "end": soon.AddDate(0, 0, 2)},
	})
}

func (c *ca) refuse(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	var signed struct{ Payload string }
	var asked struct{ Identifiers []struct{ Value string } }
	err := json.NewDecoder(r.Body).Decode(&signed)
	if payload, berr := base64.RawURLEncoding.DecodeString(signed.Payload); err == nil && berr == nil {
		err = json.Unmarshal(payload, &asked)
	}
	if err != nil || len(asked.Identifiers) == 0 {
		http.Error(w, "not an order", http.StatusBadRequest)
		return
	}
	c.orders <- order{asked.Identifiers[0].Value, at}
	answer(w, "application/problem+json", http.StatusForbidden, map[string]string{
		"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "nothing is issued here",
	})
}

func answer(w http.ResponseWriter, kind string, status int, v any) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone misses nothing
}
