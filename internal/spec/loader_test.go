package spec_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"acmed/internal/spec"
)

func TestFilesComeChangeAndGo(t *testing.T) {
	s := newSite(t)
	s.write("certs/b.example.com.yaml", "")
	s.write("certs/a.example.com.yaml", "profile: one\n")
	first := s.load()
	s.names(first, "a.example.com", "b.example.com")
	s.problems(first)
	if got := diff(nil, first); got != "a.example.com added, b.example.com added" {
		t.Error(got)
	}
	if len(s.last.Good) != 2 || !s.last.Again.IsZero() {
		t.Errorf("loaded %+v", s.last)
	}

	if again := s.load(); again != first || len(s.last.Good) != 0 {
		t.Error("a load without changes made a new set")
	}

	s.write("certs/a.example.com.yaml", "profile: two # changed\n")
	second := s.load()
	if got := diff(first, second); got != "a.example.com edited" {
		t.Error(got)
	}
	if first.Certificate("a.example.com").Profile != "one" || second.Certificate("a.example.com").Profile != "two" {
		t.Error("the old set changed")
	}

	s.write("certs/a.example.com.yaml", "profile: two # only a comment changed\n")
	third := s.load()
	if third.Certificate("a.example.com") != second.Certificate("a.example.com") || len(s.last.Good) != 1 {
		t.Error("a comment made a new certificate, or was not remembered")
	}

	s.remove("certs/b.example.com.yaml")
	fourth := s.load()
	if got := diff(third, fourth); got != "b.example.com removed" {
		t.Error(got)
	}
	if !slices.Equal(s.last.Gone, []string{"certs/b.example.com.yaml"}) {
		t.Errorf("gone %q", s.last.Gone)
	}
}

func TestOnlyYAMLFilesWithFitNamesAreRead(t *testing.T) {
	s := newSite(t)
	for _, file := range []string{".hidden.yaml", "x.yaml~", "x.yaml.bak", "README", ".x.yml", "a.example.com.yaml", "#a.yaml#"} {
		s.write("certs/"+file, "{}")
	}
	s.write("certs/b.example.com.yml", "{}")
	s.write("certs/Www.yaml", "{}")
	s.write("certs/"+strings.Repeat("a", 129)+".yaml", "{}")
	set := s.load()
	s.names(set, "a.example.com")
	unfit := "is not read: its name is not fit for a name (rename it: up to 128 lower-case letters, digits, dots, _ and -, the first a letter or digit, no two dots in a row)"
	s.problems(set,
		"certs/Www.yaml: "+unfit,
		"certs/"+strings.Repeat("a", 129)+".yaml: "+unfit,
		"certs/b.example.com.yml: is not read (rename it to b.example.com.yaml)")
}

func TestFileFromTheFutureIsReadOnceSeenForLongEnough(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.example.com.yaml", "")
	s.now = time.Now().Add(-24 * 365 * time.Hour)
	whole := spec.LoadOptions{Writing: func(string, time.Time) spec.Writing { return spec.Whole }}
	s.names(s.loadAfter(0, whole))
	if want := s.now.Add(500 * time.Millisecond); !s.last.Again.Equal(want) {
		t.Errorf("again at %v, want %v", s.last.Again, want)
	}
	s.names(s.loadAfter(500*time.Millisecond-1, whole))
	s.names(s.loadAfter(1, whole), "a.example.com")
}

func TestBadFileHurtsOnlyItself(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.example.com.yaml", "profile: good\n")
	s.write("certs/b.example.com.yaml", "profle: x\n")
	s.write("certs/c.example.com.yaml", "{}")
	set := s.load()
	s.names(set, "a.example.com", "c.example.com")
	s.problems(set, "certs/b.example.com.yaml:1:1: profle: unknown key (did you mean profile?)")

	s.write("certs/a.example.com.yaml", "profile: [\n")
	kept := s.load()
	s.problems(kept,
		"+certs/a.example.com.yaml:1: is not YAML: did not find expected node content",
		"certs/b.example.com.yaml:1:1: profle: unknown key (did you mean profile?)")
	if diff(set, kept) != "" || kept.Certificate("a.example.com").Profile != "good" {
		t.Error("the last good version did not stay")
	}

	s.write("certs/a.example.com.yaml", "profile: better\n")
	s.write("certs/b.example.com.yaml", "profile: x\n")
	mended := s.load()
	s.problems(mended)
	if got := diff(kept, mended); got != "a.example.com edited, b.example.com added" {
		t.Error(got)
	}
}

func TestEmptiedFile(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.example.com.yaml", "{profile: a}")
	s.write("certs/b.example.com.yaml", "")
	s.load()
	s.write("certs/a.example.com.yaml", "# nothing left\n")
	s.write("certs/b.example.com.yaml", "\n") // still says nothing, as before
	set := s.load()
	s.problems(set, "+certs/a.example.com.yaml:1:1: empty (write {} for defaults)")
	s.names(set, "a.example.com", "b.example.com")
	s.write("certs/a.example.com.yaml", "{}")
	if set = s.load(); set.Certificate("a.example.com").Profile != "" {
		t.Error("{} does not mean defaults")
	}
	s.problems(set)
	s.config = cloneConfig(s.config, func(c *spec.Config) { c.Defaults.Profile = "new" })
	s.loader.SetConfig(s.config)
	set = s.load()
	s.problems(set)
	if set.Certificate("b.example.com").Profile != "new" {
		t.Error("an empty file does not follow the defaults")
	}
}

func TestWhatIsNoRegularFileIsRefusedWithoutBlocking(t *testing.T) {
	s := newSite(t)
	path := func(name string) string { return filepath.Join(s.config.SpecDir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.write("good.yaml", "dnsNames: [linked.example.com]\n")
	s.write("certs/held.yaml", "dnsNames: [held.example.com]\n")
	s.load()
	s.remove("certs/held.yaml")
	must(syscall.Mkfifo(path("held.yaml"), 0o644))
	must(syscall.Mkfifo(path("fifo.yaml"), 0o644))
	must(os.Mkdir(path("folder.yaml"), 0o755))
	must(os.Symlink("loop.yaml", path("loop.yaml")))
	must(os.Symlink("nowhere", path("dangling.yaml")))
	must(os.Symlink("/dev/zero", path("device.yaml")))
	must(os.Symlink("../good.yaml", path("linked.yaml")))
	socket, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	must(err)
	defer syscall.Close(socket)
	must(syscall.Bind(socket, &syscall.SockaddrUnix{Name: path("socket.yaml")}))
	must(os.Truncate(path("linked.yaml"), 31))
	s.write("certs/huge.yaml", "")
	must(os.Truncate(path("huge.yaml"), 1<<30))

	set := s.load()
	s.names(set, "held", "linked")
	plain := " (put a regular file here, or a symbolic link to one)"
	want := []string{
		"certs/dangling.yaml: is a symbolic link to a file that does not exist (point it at a regular file, or remove it)",
		"certs/device.yaml: is a device" + plain,
		"certs/fifo.yaml: is a named pipe" + plain,
		"certs/folder.yaml: is a folder" + plain,
		"+certs/held.yaml: is a named pipe" + plain,
		"certs/huge.yaml: over 64 KiB (a file describes one thing only)",
		"certs/loop.yaml: is a symbolic link that leads back to itself (point it at a regular file)",
		"certs/socket.yaml: is a socket" + plain,
	}
	s.problems(set, want...)
	if s.load() != set {
		t.Error("the same refusals made another set")
	}
}

func TestIssuers(t *testing.T) {
	s := newSite(t)
	s.config.Contact, s.config.TermsOfServiceAgreed = []string{"mailto:pki@example.com"}, true
	s.restart()
	s.write("issuers/zerossl.yaml", "externalAccountBinding: {kid: a, hmacKeyFile: /b}\nlimits: {ordersInFlight: 2}\n")
	s.write("certs/a.yaml", "issuers: [zerossl, corp]\n")
	s.write("certs/b.yaml", "{}")
	set := s.load()
	s.names(set, "b")
	s.problems(set, `certs/a.yaml:1:20: issuers[1]: unknown issuer "corp" (known: letsencrypt, letsencrypt-staging, zerossl)`)
	zerossl := set.Issuer("zerossl")
	if zerossl.Directory != "https://acme.zerossl.com/v2/DV90" || zerossl.Binding.KID != "a" ||
		zerossl.Limits != (spec.Limits{FailuresPerNamePerHour: 4, OrdersInFlight: 2}) || !zerossl.TermsOfServiceAgreed {
		t.Errorf("zerossl %+v", zerossl)
	}
	le := set.Issuer("letsencrypt")
	if le.File != "" || le.Limits.OrdersPer3h != 270 || !slices.Equal(le.Contact, s.config.Contact) {
		t.Errorf("letsencrypt %+v", le)
	}

	s.write("issuers/corp.yaml", "directory: https://acme.corp.example/directory\n")
	before, set := set, s.load()
	if got := diff(before, set); got != "a added" {
		t.Error(got)
	}
	s.problems(set)

	s.write("issuers/corp.yaml", "directory: https://acme.corp.example/other\n")
	before, set = set, s.load()
	if got := diff(before, set); got != "a edited" {
		t.Error(got)
	}

	s.remove("issuers/corp.yaml")
	before, set = set, s.load()
	if got := diff(before, set); got != "a edited" || set.Issuer("corp") != nil {
		t.Errorf("changes %s, corp %v", got, set.Issuer("corp"))
	}
	s.problems(set, `+certs/a.yaml:1:20: issuers[1]: unknown issuer "corp" (known: letsencrypt, letsencrypt-staging, zerossl)`)
}

func TestIssuersOfTheDefaultsMustBeKnown(t *testing.T) {
	s := newSite(t)
	s.config.Defaults.Issuers = []string{"corp"}
	s.restart()
	s.write("certs/a.yaml", "{}")
	s.problems(s.load(), `certs/a.yaml:1:1: issuers: unknown issuer "corp" in the defaults of acmed.yaml (known: letsencrypt, letsencrypt-staging)`)
}

func TestSetConfigParsesAgainOnlyWhatItMust(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.yaml", "profile: own\n")
	s.write("certs/b.yaml", "{}")
	first := s.load()
	s.loader.SetConfig(cloneConfig(s.config, func(*spec.Config) {}))
	if s.load() != first {
		t.Error("the same configuration made another set")
	}
	s.loader.SetConfig(cloneConfig(s.config, func(c *spec.Config) { c.Defaults.Profile = "shared" }))
	second := s.load()
	if got := diff(first, second); got != "b edited" || len(s.last.Good) != 0 {
		t.Errorf("changes %s, good %v", got, s.last.Good)
	}
}

func TestSetConfigMovesTheFolder(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.yaml", "{}")
	s.load()
	if err := os.Mkdir(filepath.Join(s.dir, "other"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.write("other/b.yaml", "{}")
	s.loader.SetConfig(cloneConfig(s.config, func(c *spec.Config) { c.SpecDir = filepath.Join(s.dir, "other") }))
	s.names(s.load(), "b")
}

func TestNewLoaderNeedsAConfig(t *testing.T) {
	if _, err := spec.NewLoader(spec.LoaderConfig{}); err == nil {
		t.Error("no error")
	}
}

func TestFolderThatCannotBeListed(t *testing.T) {
	s := newSite(t)
	s.write("file", "")
	s.config.SpecDir = filepath.Join(s.dir, "file")
	s.restart()
	s.problems(s.load(), "file: cannot be read: not a directory")
}
