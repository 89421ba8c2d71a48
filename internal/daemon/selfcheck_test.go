package daemon_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acme"
	"acmed/internal/challenge"
	"acmed/internal/daemon"
)

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestTheSelfCheckTellsWhoAnswers(t *testing.T) {
	t.Parallel()
	const nobody = "nobody answers on port 80"
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for sentence, c := range map[string]struct {
		handler http.Handler // nil: the responder's
		closed  bool         // nobody listens at the first address
		alone   bool         // nor is there another address
		text    string
		trouble string
	}{
		"nobody listens":                            {closed: true, alone: true, text: "systemctl enable --now acmed-http.socket", trouble: nobody},
		"the folder is served":                      {text: "port 80 answers from DIR"},
		"the folder is served at another address":   {closed: true, text: "port 80 answers from DIR"},
		"a web server has no such page":             {handler: http.NotFoundHandler(), text: "let the web server serve that folder", trouble: "port 80 is answered by something else"},
		"a web server has the same page for all":    {handler: answer(200, "welcome"), text: "let the web server", trouble: "port 80 is answered by something else"},
		"a web server adds to the proof":            {handler: answer(200, strings.Repeat("x", 1<<20)), text: "let the web server", trouble: "port 80 is answered by something else"},
		"a web server sends everybody to https":     {handler: http.RedirectHandler("https://a.example.com/", http.StatusFound), text: "port 80 redirects"},
		"a server breaks the connection each time":  {handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), text: nobody, trouble: nobody},
		"a server knows the certificate's own name": {handler: &vhost{}, text: "port 80 answers from"},
	} {
		t.Run(sentence, func(t *testing.T) {
			dir := t.TempDir()
			folder, err := challenge.OpenFolder(dir)
			if err != nil {
				t.Fatal(err)
			}
			if c.handler == nil {
				c.handler = responder(t, folder)
			}
			if v, ok := c.handler.(*vhost); ok {
				v.Handler = responder(t, folder)
			}
			server := httptest.NewServer(c.handler)
			defer server.Close()
			hosts := []string{server.Listener.Addr().String()}
			if c.closed {
				hosts = []string{closedPort(t), hosts[0]}
			}
			if c.alone {
				hosts = hosts[:1]
			}
			text, trouble := daemon.SelfCheck(t.Context(), folder, "a.example.com", hosts...)
			if !strings.Contains(text, c.text) || trouble != c.trouble {
				t.Errorf("%q, %q", text, trouble)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

func responder(t *testing.T, folder *challenge.Folder) http.Handler {
	t.Helper()
	h, err := challenge.NewHandler(challenge.HandlerConfig{Tokens: folder})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// vhost answers under one name only.
type vhost struct{ http.Handler }

func (v *vhost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Host != "a.example.com" {
		http.NotFound(w, r)
		return
	}
	v.Handler.ServeHTTP(w, r)
}

// shelf is a solver that counts.
type shelf struct {
	refuses          error
	shown, takenAway int
}

func (s *shelf) Present(_ context.Context, p acme.Proof) error {
	s.shown++
	if p.Type != "http-01" || !strings.HasPrefix(p.KeyAuth, p.Token+".") {
		return errors.New("no proof at all")
	}
	return s.refuses
}

func (s *shelf) CleanUp(context.Context, acme.Proof) error {
	s.takenAway++
	return errors.New("it is stuck")
}

func TestTheSelfCheckTellsThatProofsCannotBeShown(t *testing.T) {
	t.Parallel()
	s := &shelf{refuses: errors.New("presenting: read-only file system")}
	text, trouble := daemon.SelfCheck(t.Context(), s, "a.example.com", "127.0.0.1:1")
	if text != "presenting: read-only file system" || trouble != "proofs cannot be shown" || s.takenAway > 0 {
		t.Errorf("%q, %q, cleaned up %d times", text, trouble, s.takenAway)
	}
}

// A certificate is wanted after an hour only.
func TestTheSelfCheckGoesOnButSaysAThingOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin, s, told := time.Now(), &shelf{}, []string(nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour+time.Minute+time.Second)
		defer cancel()
		err := daemon.SelfCheckUntil(ctx, s,
			func() bool { return time.Since(begin) > time.Hour },
			func(trouble string) { told = append(told, trouble) })
		if err != nil || s.shown != 4 || s.takenAway != 4 || !slices.Equal(told, []string{"nobody answers on port 80"}) {
			t.Errorf("within a minute, it showed %d proofs, removed %d and told %q: %v", s.shown, s.takenAway, told, err)
		}
	})
}

func TestPort80IsThatOfThisMachine(t *testing.T) {
	t.Parallel()
	for _, address := range daemon.Port80() {
		host, port, err := net.SplitHostPort(address)
		if ip := net.ParseIP(host); err != nil || port != "80" || ip == nil || ip.IsUnspecified() {
			t.Errorf("%s: %v", address, err)
		}
	}
}
