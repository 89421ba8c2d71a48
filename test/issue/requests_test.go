package issue_test

import (
	"bytes"
	"fmt"
	"maps"
	"testing"

	"acmed/test/pebble"
	"acmed/test/site"
)

// TestRenewalInAWarmDaemonCostsSevenRequests and two for every further name, beside one look at the CA's renewal
// advice.
func TestRenewalInAWarmDaemonCostsSevenRequests(t *testing.T) {
	t.Parallel()
	for _, names := range []int{1, 5} {
		t.Run(fmt.Sprintf("names=%d", names), func(t *testing.T) {
			ca := pebble.Start(t, pebble.Options{})
			s := site.New(t, ca, site.Options{})
			s.Spec(t, "www.example.com", dnsNames(names))
			s.Start(t)
			site.Eventually(t, "the first certificate is there", func() bool { return served(t, s) == 1 })
			for revision := range 6 {
				countRenewal(t, ca, s, names)
				if got := s.Live(t, "www.example.com"); got != revision+2 {
					t.Fatalf("revision %d is live, want %d", got, revision+2)
				}
			}
		})
	}
}

func dnsNames(n int) string {
	spec := "dnsNames: [www.example.com"
	for i := range n - 1 {
		spec += fmt.Sprintf(", host%d.example.com", i)
	}
	return spec + "]\n"
}

func countRenewal(t *testing.T, ca *pebble.Server, s *site.Site, names int) {
	t.Helper()
	before, mark, odd := ca.Count(t), len(logOf(t, ca)), oddSerial(t, s)
	renew(t, s, "www.example.com")
	got := ca.Count(t).Since(before)
	log := logOf(t, ca)[mark:]

	open := deedsIn(log).authorizations // one in a hundred is reused
	want := pebble.Requests{
		"newOrder": 1, "authz": names, "challenge": open, "order": 2, "finalize": 1, "cert": 1, "renewalInfo": 1,
	}
	if open == 0 { // ready from the beginning
		want = pebble.Requests{"newOrder": 1, "order": 1, "finalize": 1, "cert": 1, "renewalInfo": 1}
	}
	if odd {
		want["newOrder"] = 2
	}
	early := min(earlyPolls(log), max(got["order"]-want["order"], 0))
	if want["order"] += early; !maps.Equal(got, want) {
		t.Errorf("a renewal of %d names took %v, want %v, %d of them because the CA was slow", names, got, want, early)
	}
	total := got.Total("renewalInfo")
	if limit := 3 + 2*names + 2; total-early > limit && !odd {
		t.Errorf("a renewal of %d names took %d requests, want %d", names, total-early, limit)
	}
	t.Logf("names=%d: %d requests and the ARI poll, %d of them because the CA was slow", names, total, early)
}

// oddSerial tells whether the serial number of the certificate has its highest bit set. Pebble, which counts them
// without the zero byte that comes before such a bit, does not know one in 256 when it is told that it is replaced.
func oddSerial(t *testing.T, s *site.Site) bool {
	t.Helper()
	cert, err := s.Served("www.example.com")
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf.SerialNumber.Bytes()[0]&0x80 != 0
}

// earlyPolls counts the polls that came before the CA had done what it was asked for. On a machine that is busy with
// other things even Pebble needs more than the 100 ms after which acmed asks for the first time.
func earlyPolls(log []byte) (early int) {
	validating, issuing := 0, false
	for line := range bytes.Lines(log) {
		has := func(text string) bool { return bytes.Contains(line, []byte(text)) }
		switch {
		case has("/chalZ/ -> calling"):
			validating++
		case has(" set VALID by "):
			validating--
		case has("/finalize-order/ -> calling"):
			issuing = true
		case has("Issued certificate"):
			issuing = false
		case has("/my-order/ -> calling") && (validating > 0 || issuing):
			early++
		}
	}
	return early
}

func logOf(t testing.TB, ca *pebble.Server) []byte {
	t.Helper()
	log, err := ca.Log()
	if err != nil {
		t.Fatal(err)
	}
	return log
}
