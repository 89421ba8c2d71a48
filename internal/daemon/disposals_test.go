package daemon_test

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"acmed/internal/acmetest"
	"acmed/internal/control"
)

func TestADeletedCertificateIsPutAwayAndCanComeBack(t *testing.T) {
	t.Parallel()
	s := newDelivering(t)
	_, err := s.run.Delete(t.Context(), control.DeleteRequest{Name: www})
	expectError(t, err, control.Conflict, "is wanted by", "remove that file first")

	s.remove(www)
	s.reload(false)
	eventually(t, "it is retired", func() bool { return s.status(www).Phase == control.Retired })
	eventually(t, "it is listed so", func() bool { return s.list()[www].Phase == control.Retired })
	if l := s.list()[www]; l.Phase != control.Retired || l.Revision != 1 || l.NotAfter.IsZero() || l.Reason == "" {
		t.Errorf("it is listed as %+v", l)
	}
	s.spec(www, "") // which nobody has read yet
	_, err = s.run.Delete(t.Context(), control.DeleteRequest{Name: www})
	expectError(t, err, control.Conflict, "there is a file for it: ", "remove it first")
	s.remove(www)
	got, err := s.run.Delete(t.Context(), control.DeleteRequest{Name: www})
	if err != nil {
		t.Fatal(err)
	}
	if l, ok := s.list()[www]; ok {
		t.Errorf("it is still listed as %+v", l)
	}
	if want := []string{s.dir + "/out/crt.pem", s.dir + "/out/key.pem"}; !slices.Equal(got.Remaining, want) || got.Revoked || len(got.Archived) != 2 {
		t.Errorf("got %+v", got)
	}
	for _, path := range got.Archived {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	for _, gone := range []string{"state/live/" + www, "state/certs/" + www, "state/ledger/" + www + ".json"} {
		if _, err := os.Lstat(s.path(gone)); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
	_, err = s.run.Delete(t.Context(), control.DeleteRequest{Name: www})
	expectError(t, err, control.NotFound, www, "")

	s.ca.AllowRepeat(www)
	s.spec(www, "")
	s.await(www, 1)
	s.stop()
}

func TestWhatIsRevokedShowsSo(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.spec(www, "")
	s.start()
	s.await(www, 1)
	_, err := s.run.Revoke(t.Context(), control.RevokeRequest{Name: www, Retired: true})
	expectError(t, err, control.Conflict, "is wanted by", "remove that file first")
	_, err = s.run.Revoke(t.Context(), control.RevokeRequest{Name: www, Revision: 9})
	expectError(t, err, control.NotFound, "9", "acmed status "+www)
	if same, err := s.run.SameKey(t.Context(), control.RevokeRequest{Name: www}); err != nil || len(same) != 0 {
		t.Errorf("its key is that of %+v, %v", same, err)
	}
	_, err = s.run.SameKey(t.Context(), control.RevokeRequest{Name: "ww.example.com"})
	expectError(t, err, control.NotFound, "ww.example.com", "did you mean "+www)
	_, err = s.run.Revoke(t.Context(), control.RevokeRequest{Name: "ww.example.com"})
	expectError(t, err, control.NotFound, "ww.example.com", "did you mean "+www)

	s.remove(www)
	s.reload(false)
	eventually(t, "it is retired", func() bool { return s.status(www).Phase == control.Retired })
	got, err := s.run.Revoke(t.Context(), control.RevokeRequest{Name: www, Reason: "superseded", Retired: true})
	if err != nil || got.Replaced || got.Revision != 1 || got.Reason != "superseded" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if r := s.status(www).Current.Revoked; r == nil || r.Reason != "superseded" || r.At.IsZero() {
		t.Errorf("the status shows %+v", r)
	}
	s.stop()
}

func TestAnAccountGetsANewKey(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.spec(www, "")
	s.start()
	s.await(www, 1)
	_, err := s.run.RolloverAccount(t.Context(), control.AccountRequest{Issuer: "cb"})
	expectError(t, err, control.NotFound, `there is no issuer "cb"`, "acmed issuer list")
	before, err := s.run.Account(t.Context(), control.AccountRequest{Issuer: "ca"})
	if err != nil {
		t.Fatal(err)
	}
	after, err := s.run.RolloverAccount(t.Context(), control.AccountRequest{Issuer: "ca"})
	if err != nil || after.URL != before.URL || after.Thumbprint == before.Thumbprint {
		t.Errorf("got %+v, %v after %+v", after, err, before)
	}
	s.ca.Intercept(func(r *http.Request) *http.Response {
		if !strings.HasSuffix(r.URL.Path, "/key-change") {
			return nil
		}
		return &http.Response{StatusCode: http.StatusNotImplemented, Header: http.Header{}, Body: http.NoBody}
	})
	_, err = s.run.RolloverAccount(t.Context(), control.AccountRequest{Issuer: "ca"})
	expectError(t, err, control.Conflict, "changing the account's key", "keeps the one that it has")
	s.stop()
}

func TestAnAccountThatHasEndedIsShown(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.spec(www, "")
	s.start()
	s.await(www, 1)
	ca := control.AccountRequest{Issuer: "ca"}
	got, err := s.run.Account(t.Context(), ca)
	if err != nil || got.Terms == "" || !got.Agreed || got.Dependents != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err = s.run.RegisterAccount(t.Context(), ca)
	expectError(t, err, control.Conflict, "is in use", "acmed account deactivate")
	got, err = s.run.DeactivateAccount(t.Context(), ca)
	if err != nil || got.Status != "deactivated" || got.Ended.IsZero() || !slices.Equal(got.Dependents, []string{www}) {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = s.run.Account(t.Context(), ca)
	if err != nil || got.Status != "deactivated" || got.Detail == "" || got.Ended.IsZero() {
		t.Errorf("got %+v, %v", got, err)
	}
	s.ca.Down(true)
	_, err = s.run.Account(t.Context(), ca)
	expectError(t, err, control.Conflict, "network", "")
	s.ca.Down(false)
	if got, err = s.run.RegisterAccount(t.Context(), ca); err != nil || got.Status != "valid" || !got.Ended.IsZero() {
		t.Errorf("got %+v, %v", got, err)
	}
	s.stop()
}
