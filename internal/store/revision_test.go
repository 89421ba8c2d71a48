package store_test

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	"acmed/internal/store"
)

func TestCommitDescribesTheRevision(t *testing.T) {
	s, _ := newStore(t)
	p := newPair(t)
	must(t, s.Begin(name, p.key, store.Order{Issuer: "ca", Directory: "d", Account: "a", Profile: "p", Key: "ECDSA-256", URL: "u"}))
	got, err := s.Commit(name, p.chain, store.Revision{Issuer: "mine", CertID: "id"})
	must(t, err)
	if time.Since(got.Committed).Abs() > time.Minute || len(got.Sums) != 4 {
		t.Errorf("got %+v", got)
	}
	want := store.Revision{Number: 1, Issuer: "mine", Directory: "d", Account: "a", Order: "u", Profile: "p", DNSNames: []string{name},
		Key: "ECDSA-256", Serial: "abc", SHA256: p.sum, CertID: "id", IssuedBy: "Test CA", Sums: got.Sums, Committed: got.Committed,
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if live, err := s.Live(name); live != 0 || err != nil {
		t.Errorf("live: %d, %v", live, err)
	}
	stored, err := s.Revision(name, 1)
	must(t, err)
	if !reflect.DeepEqual(stored, want) {
		t.Errorf("stored %+v\nwant   %+v", stored, want)
	}
	if p, err := s.Pending(name); p != nil || err != nil {
		t.Errorf("pending: %+v, %v", p, err)
	}
}

func TestCommitRefusesWhatDoesNotBelongTogether(t *testing.T) {
	s, dir := newStore(t)
	p := newPair(t)
	_, err := s.Commit(name, p.chain, store.Revision{})
	wantError(t, err, "no order is pending: begin one first")
	must(t, s.Begin(name, p.key, store.Order{}))
	for sentence, chain := range map[string][][]byte{
		"a chain for another key": newPair(t).chain, "an empty chain": nil, "no certificate": {[]byte("x")},
	} {
		if _, err := s.Commit(name, chain, store.Revision{}); err == nil {
			t.Errorf("%s: no error", sentence)
		}
	}
	wantPending(t, s, store.Order{}, p.key)
	healthy(t, dir)
	_, err = s.Commit(name, p.chain, store.Revision{})
	must(t, err)
}

func TestPruneSparesTheNewestAndTheLive(t *testing.T) {
	s, dir := newStore(t)
	for range 5 {
		issue(t, s, name, newPair(t))
	}
	must(t, s.Activate(name, 2))
	for _, c := range []struct {
		keep int
		want []int
	}{{9, []int{1, 2, 3, 4, 5}}, {3, []int{2, 3, 4, 5}}, {1, []int{2, 5}}, {0, []int{2, 5}}} {
		must(t, s.Prune(name, c.keep))
		if got := s.Numbers(name); !slices.Equal(got, c.want) {
			t.Errorf("keeping %d: got %d, want %d", c.keep, got, c.want)
		}
	}
	if rev := issue(t, s, name, newPair(t)); rev.Number != 6 {
		t.Errorf("the next revision is %d", rev.Number)
	}
	healthy(t, dir)
}

func TestRevisionsAreListedNewestFirst(t *testing.T) {
	s, dir := newStore(t)
	for range 3 {
		issue(t, s, name, newPair(t))
	}
	flip(t, dir+"/certs/"+name+"/rev/0002/meta.json", 200)
	list, err := s.Revisions(name)
	wantDamaged(t, err, dir+"/certs/"+name+"/rev/0002/meta.json")
	if len(list) != 2 || list[0].Number != 3 || list[1].Number != 1 {
		t.Errorf("got %+v", list)
	}
	if n, err := s.Newest(name); n != 3 || err != nil {
		t.Errorf("newest: %d, %v", n, err)
	}
	if list, err := s.Revisions("other"); len(list) != 0 || err != nil {
		t.Errorf("got %+v, %v", list, err)
	}
}

func TestGoodSkipsWhatIsDamaged(t *testing.T) {
	s, dir := newStore(t)
	issue(t, s, name, newPair(t))
	issue(t, s, name, newPair(t))
	rev := dir + "/certs/" + name + "/rev/0002/"
	if good, err := s.Good(name); good.Number != 2 || err != nil {
		t.Fatalf("got %d, %v", good.Number, err)
	}
	for _, base := range []string{"privkey.pem", "cert.pem", "chain.pem", "fullchain.pem", "meta.json"} {
		sound, err := os.ReadFile(rev + base)
		must(t, err)
		spoiled := func(i int) {
			t.Helper()
			good, err := s.Good(name)
			wantDamaged(t, err, rev+base)
			if good.Number != 1 {
				t.Fatalf("byte %d of %s: revision %d is good", i, base, good.Number)
			}
		}
		for i := 0; i < len(sound); i += 1 + len(sound)/50 {
			flip(t, rev+base, i)
			spoiled(i)
			must(t, os.WriteFile(rev+base, sound[:i], 0))
			spoiled(i)
			must(t, os.WriteFile(rev+base, sound, 0))
		}
		must(t, os.Remove(rev+base))
		spoiled(0)
		must(t, os.Mkdir(rev+base, 0o700))
		spoiled(0)
		must(t, os.Remove(rev+base))
		must(t, syscall.Mkfifo(rev+base, 0o600))
		spoiled(0)
		must(t, os.Remove(rev+base))
		must(t, os.WriteFile(rev+base, sound, 0o600))
	}
	if good, err := s.Good(name); good.Number != 2 || err != nil {
		t.Errorf("got %d, %v", good.Number, err)
	}
}

func TestGoodOfNothing(t *testing.T) {
	s, dir := newStore(t)
	if good, err := s.Good(name); good.Number != 0 || err != nil {
		t.Errorf("got %d, %v", good.Number, err)
	}
	issue(t, s, name, newPair(t))
	flip(t, dir+"/certs/"+name+"/rev/0001/cert.pem", 50)
	good, err := s.Good(name)
	wantDamaged(t, err, dir+"/certs/"+name+"/rev/0001/cert.pem")
	if good.Number != 0 {
		t.Errorf("revision %d is good", good.Number)
	}
}

func TestActivateRefusesWhatCannotBeServed(t *testing.T) {
	s, dir := newStore(t)
	issue(t, s, name, newPair(t))
	issue(t, s, name, newPair(t))
	rev := dir + "/certs/" + name + "/rev/0001/"
	wantDamaged(t, s.Activate(name, 7), dir+"/certs/"+name+"/rev/0007/meta.json")
	flip(t, rev+"chain.pem", 50)
	wantDamaged(t, s.Activate(name, 1), rev+"chain.pem")
	if live, err := s.Live(name); live != 2 || err != nil {
		t.Errorf("live: %d, %v", live, err)
	}
}

func TestLiveRefusesOtherLinks(t *testing.T) {
	s, dir := newStore(t)
	issue(t, s, name, newPair(t))
	link := dir + "/live/" + name
	for _, target := range []string{"../certs/other/rev/0001", "/etc", "../certs/" + name + "/rev/1", "../certs/" + name + "/rev/0000",
		"../certs/" + name + "/rev/0001/", "../certs/" + name + "/rev/.0001.tmp", "certs/" + name + "/rev/0001", "../../x/certs/" + name + "/rev/0001"} {
		must(t, os.Remove(link))
		must(t, os.Symlink(target, link))
		_, err := s.Live(name)
		wantError(t, err, "live/"+name, target, "remove the link")
		if len(store.Check(dir)) != 1 {
			t.Errorf("Check of %s: %v", target, store.Check(dir))
		}
	}
	must(t, os.Remove(link))
	must(t, os.WriteFile(link, nil, 0o600))
	_, err := s.Live(name)
	wantError(t, err, "reading live/"+name)
}

func TestReaderNeedsNoLock(t *testing.T) {
	s, dir := newStore(t)
	p := newPair(t)
	issue(t, s, name, p)
	r, err := store.OpenReader(dir)
	must(t, err)
	live, err := r.Live(name)
	must(t, err)
	rev, err := r.Revision(name, live)
	must(t, err)
	files, err := r.Files(name, live)
	must(t, err)
	if rev.SHA256 != p.sum || string(files.Fullchain) != string(files.Cert)+string(files.Chain) || len(files.Privkey) == 0 {
		t.Errorf("got %+v of %+v", files, rev)
	}
	key, err := r.Key(name, live)
	must(t, err)
	leaf, err := r.Leaf(name, live)
	must(t, err)
	if !sameKey(key, p.key) || leaf.DNSNames[0] != name {
		t.Errorf("got %+v", leaf)
	}
	must(t, r.Close())

	_, err = store.OpenReader(filepath.Dir(dir))
	wantError(t, err, "FORMAT", "see that stateDir names")
	_, err = store.OpenReader(dir + "/nowhere")
	wantError(t, err, "nowhere", "see that stateDir names")
	if errs := store.Check(dir + "/nowhere"); len(errs) != 1 {
		t.Errorf("Check: %v", errs)
	}
}

func TestReaderLeavesTheFolderByNoLink(t *testing.T) {
	s, dir := newStore(t)
	issue(t, s, name, newPair(t))
	cert := dir + "/certs/" + name + "/rev/0001/cert.pem"
	outside := filepath.Dir(dir) + "/cert.pem"
	must(t, os.Rename(cert, outside))
	must(t, os.Symlink(outside, cert))
	if _, err := s.Files(name, 1); err == nil {
		t.Error("a link out of the folder was followed")
	}
	must(t, os.Remove(cert))
	ln, err := net.Listen("unix", cert)
	must(t, err)
	defer ln.Close()
	if _, err := s.Files(name, 1); err == nil {
		t.Error("a socket was read")
	}
}

func TestReaderBelievesOnlyTheOwner(t *testing.T) {
	s, dir := newStore(t)
	issue(t, s, name, newPair(t))
	cert := dir + "/certs/" + name + "/rev/0001/cert.pem"
	chown(t, cert)
	_, err := s.Files(name, 1)
	wantDamaged(t, err, cert)
}

// TestSumsAreNotBelievedAlone seals a meta.json whose checksums are right over files that are wrong.
func TestSumsAreNotBelievedAlone(t *testing.T) {
	other := newPair(t)
	for sentence, forge := range map[string]func(f *store.Files, rev *store.Revision){
		"the key of another certificate": func(f *store.Files, _ *store.Revision) { f.Privkey = keyPEM(t, other.key) },
		"a fullchain of something else":  func(f *store.Files, _ *store.Revision) { f.Chain = nil },
		"another leaf than the one meant": func(_ *store.Files, rev *store.Revision) {
			rev.SHA256 = other.sum
		},
		"the number of another revision": func(_ *store.Files, rev *store.Revision) { rev.Number = 2 },
		"a chain that is not PEM": func(f *store.Files, _ *store.Revision) {
			f.Chain = append(f.Chain, "junk"...)
			f.Fullchain = append(f.Fullchain, "junk"...)
		},
		"a chain that holds no certificate": func(f *store.Files, _ *store.Revision) {
			junk := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("junk")})
			f.Chain = append(f.Chain, junk...)
			f.Fullchain = append(f.Fullchain, junk...)
		},
	} {
		s, dir := newStore(t)
		rev := issue(t, s, name, newPair(t))
		files, err := s.Files(name, 1)
		must(t, err)
		forge(&files, &rev)
		write := func(base string, data []byte) {
			rev.Sums[base] = fmt.Sprintf("%x", sha256.Sum256(data))
			must(t, os.WriteFile(dir+"/certs/"+name+"/rev/0001/"+base, data, 0))
		}
		write("privkey.pem", files.Privkey)
		write("cert.pem", files.Cert)
		write("chain.pem", files.Chain)
		write("fullchain.pem", files.Fullchain)
		meta, err := store.Seal(rev)
		must(t, err)
		write("meta.json", meta)
		if errs := s.Check(name); len(errs) != 1 {
			t.Errorf("%s: %v", sentence, errs)
		}
	}
}

func keyPEM(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
