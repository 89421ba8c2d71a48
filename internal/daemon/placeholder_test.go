package daemon_test

import (
	"crypto/tls"
	"path/filepath"
	"strings"
	"testing"

	"acmed/internal/acmetest"
	"acmed/internal/control"
)

func TestAPlaceholderIsNotTakenForACertificate(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.write("issuers.d/down.yaml", "directory: https://"+s.host+":1/directory\n")
	s.spec(www, "issuers: [down]\nplaceholder: true\n")
	s.start()
	eventually(t, "the CA was asked", func() bool { return s.list()[www].Error != "" })

	c, st := s.list()[www], s.status(www)
	if !c.Placeholder || !strings.HasSuffix(c.Reason, "; "+control.Standing) || c.Revision != 0 || !c.NotAfter.IsZero() {
		t.Errorf("list shows %+v", c)
	}
	if !st.Placeholder || st.Current != nil || st.Phase == control.Valid {
		t.Errorf("status shows %+v", st)
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(st.Live, "fullchain.pem"), filepath.Join(st.Live, "privkey.pem")); err != nil {
		t.Error(err)
	}
	if body, _ := s.get("/metrics"); strings.Contains(body, "acmed_certificate_expiry_timestamp_seconds{") {
		t.Error("a metric counts the placeholder")
	}

	s.spec(www, "issuers: [ca]\nplaceholder: true\n")
	s.await(www, 1)
	if c := s.list()[www]; c.Placeholder || c.Reason != "by its lifetime" {
		t.Errorf("list shows %+v", c)
	}
	if body, _ := s.get("/metrics"); !strings.Contains(body, "acmed_certificate_expiry_timestamp_seconds{") {
		t.Error("no metric counts the certificate")
	}
}
