package store

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

const (
	format     = 1 // the version of the layout
	formatFile = "FORMAT"
	lockFile   = "lock"
	lostFound  = "lost+found" // the folder may be a filesystem of its own

	noticesFile    = "notices.json"
	rehearsalsFile = "rehearsals.json"
	dnsSpecs       = "specs/dns" // which folders of before dns-01 lack

	folderMode  fs.FileMode = 0o711 // others pass through to live/NAME and read what its files let them
	privateMode fs.FileMode = 0o700
	publicMode  fs.FileMode = 0o644
	secretMode  fs.FileMode = 0o600
)

// The files of a revision, of a pending order and of an account.
const (
	privkeyFile   = "privkey.pem"
	certFile      = "cert.pem"
	chainFile     = "chain.pem"
	fullchainFile = "fullchain.pem"
	metaFile      = "meta.json"
	keyFile       = "key.pem"
	nextKeyFile   = "next.pem"
	orderFile     = "order"
	accountFile   = "account.json"
)

// rule is what must hold for the paths that match pattern.
type rule struct {
	pattern string      // of path.Match
	mode    fs.FileMode // with the type; stricter permissions are accepted
	check   func(r *Reader, path string) error
}

// fixed tells that the rule is about one path, which every state directory has.
func (r *rule) fixed() bool {
	return !strings.Contains(r.pattern, "*") && r.pattern != noticesFile && r.pattern != rehearsalsFile
}

// rules is the table of docs/state-directory.md. What lies below archive is not judged.
func rules() []rule {
	const dir, link = fs.ModeDir, fs.ModeSymlink
	return []rule{
		{".", dir | folderMode, nil},
		{formatFile, publicMode, nil},
		{lockFile, secretMode, nil},
		{"live", dir | folderMode, nil},
		{"live/*", link, (*Reader).checkLive},
		{"certs", dir | folderMode, nil},
		{"certs/*", dir | folderMode, (*Reader).checkName},
		{"certs/*/rev", dir | folderMode, nil},
		{"certs/*/rev/*", dir | folderMode, (*Reader).checkRevision},
		{"certs/*/rev/*/" + privkeyFile, secretMode, nil},
		{"certs/*/rev/*/" + certFile, publicMode, nil},
		{"certs/*/rev/*/" + chainFile, publicMode, nil},
		{"certs/*/rev/*/" + fullchainFile, publicMode, nil},
		{"certs/*/rev/*/" + metaFile, publicMode, nil},
		{"certs/*/placeholder", dir | folderMode, nil},
		{"certs/*/placeholder/*", dir | folderMode, (*Reader).checkPlaceholder},
		{"certs/*/placeholder/*/" + privkeyFile, secretMode, nil},
		{"certs/*/placeholder/*/" + certFile, publicMode, nil},
		{"certs/*/placeholder/*/" + chainFile, publicMode, nil},
		{"certs/*/placeholder/*/" + fullchainFile, publicMode, nil},
		{"certs/*/pending", dir | privateMode, (*Reader).checkPending},
		{"certs/*/pending/" + keyFile, secretMode, nil},
		{"certs/*/pending/" + orderFile, secretMode, nil},
		{"accounts", dir | privateMode, nil},
		{"accounts/*", dir | privateMode, (*Reader).checkAccount},
		{"accounts/*/" + accountFile, secretMode, nil},
		{"accounts/*/" + keyFile, secretMode, nil},
		{"accounts/*/" + nextKeyFile, secretMode, nil},
		{"ledger", dir | privateMode, nil},
		{"ledger/*.json", secretMode, (*Reader).checkRecord},
		{"issuers", dir | privateMode, nil},
		{"issuers/*.json", secretMode, (*Reader).checkIssuer},
		{"specs", dir | privateMode, nil},
		{"specs/certs", dir | privateMode, nil},
		{"specs/certs/*.yaml", secretMode, (*Reader).checkName},
		{dnsSpecs, dir | privateMode, nil},
		{dnsSpecs + "/*.yaml", secretMode, (*Reader).checkName},
		{"specs/issuers", dir | privateMode, nil},
		{"specs/issuers/*.yaml", secretMode, (*Reader).checkName},
		{noticesFile, secretMode, (*Reader).checkNotices},
		{rehearsalsFile, secretMode, (*Reader).checkRehearsals},
		{"archive", dir | privateMode, nil},
	}
}

// find returns the rule for p, or nil when nothing of that name belongs here.
func find(rules []rule, p string) *rule {
	for i := range rules {
		if ok, _ := path.Match(rules[i].pattern, p); ok {
			return &rules[i]
		}
	}
	return nil
}

func certDir(name string) string    { return "certs/" + name }
func revDir(name string) string     { return "certs/" + name + "/rev" }
func pendingDir(name string) string { return "certs/" + name + "/pending" }
func liveLink(name string) string   { return "live/" + name }
func recordFile(name string) string { return "ledger/" + name + ".json" }
func issuerFile(name string) string { return "issuers/" + name + ".json" }
func accountDir(name string) string { return "accounts/" + name }

func revisionDir(name string, number int) string {
	return fmt.Sprintf("certs/%s/rev/%04d", name, number)
}

// numberOf returns the number of the revision in a folder called base, or 0 when it is none.
func numberOf(base string) int {
	n, err := strconv.Atoi(base)
	if err != nil || n < 1 || fmt.Sprintf("%04d", n) != base {
		return 0
	}
	return n
}

// temp returns the name under which p is made. No name of a certificate or issuer starts with a dot, and neither
// ls nor a consumer's live/* shows such a file.
func temp(p string) string {
	dir, base := path.Split(p)
	return dir + "." + base + ".tmp"
}

// trash returns the name under which p is deleted.
func trash(p string) string { return temp(p + ".old") }

func isTemp(base string) bool { return strings.HasPrefix(base, ".") && strings.HasSuffix(base, ".tmp") }

// stamp makes names in the archive unique and sorts them.
func stamp() string { return time.Now().UTC().Format("20060102T150405.000000000Z") }

// valid refuses what must not become part of a path.
func valid(name string) error {
	ok := len(name) > 0 && len(name) <= 128 && name[0] != '.' && name[0] != '_' && name[0] != '-' && !strings.Contains(name, "..")
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
	}
	if !ok {
		return fmt.Errorf("refusing the name %.140q: use up to 128 of a-z, 0-9, '.', '_' and '-', first a letter or digit, without '..'", name)
	}
	return nil
}

// specPath returns the path of the last good text that key, "certs/NAME.yaml", "dns/NAME.yaml" or "issuers/NAME.yaml", stands for.
func specPath(key string) (string, error) {
	folder, base := path.Split(key)
	name, ok := strings.CutSuffix(base, ".yaml")
	if !ok || folder != "certs/" && folder != "dns/" && folder != "issuers/" {
		return "", fmt.Errorf("refusing the spec key %.140q: it must be certs/NAME.yaml or issuers/NAME.yaml", key)
	}
	return "specs/" + key, valid(name)
}
