package migrate

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"acmed/internal/spec"
)

// dehydratedCAs are the names that dehydrated has for CAs.
func dehydratedCAs() map[string]string {
	return map[string]string{
		"letsencrypt":      certbotV2,
		"letsencrypt-test": "https://acme-staging-v02.api.letsencrypt.org/directory",
		"zerossl":          "https://acme.zerossl.com/v2/DV90",
		"buypass":          "https://api.buypass.com/acme/directory",
		"buypass-test":     "https://api.test4.buypass.no/acme/directory",
		"google":           "https://dv.acme-v02.api.pki.goog/directory",
		"google-test":      "https://dv.acme-v02.test-api.pki.goog/directory",
	}
}

// dehydratedIgnored are settings that mean nothing to acmed, or are read in other places.
func dehydratedIgnored() []string {
	return []string{
		"ACCOUNTDIR", "ACCOUNT_KEYSIZE", "ALPNCERTDIR", "API", "AUTO_CLEANUP", "BASEDIR", "CA", "CERTDIR", "CHAINCACHE", "CHALLENGETYPE",
		"CONFIG_D", "CONTACT_EMAIL", "CURL_OPTS", "DEHYDRATED_GROUP", "DEHYDRATED_USER", "DOMAINS_D", "DOMAINS_TXT", "EAB_HMAC_KEY", "EAB_KID",
		"HOOK", "IP_VERSION", "KEYSIZE", "KEY_ALGO", "LOCKFILE", "OPENSSL", "OPENSSL_CNF", "PREFERRED_CHAIN", "PRIVATE_KEY_RENEW",
		"RENEW_DAYS", "WELLKNOWN", "OLDCA", "KEEP_GOING",
	}
}

// translate makes a spec of the settings for one certificate.
func (d *dehydrated) translate(c *Certificate, vars map[string]string, odd map[string]bool) {
	c.Want.Renew.ARI = true
	c.Want.PrivateKey = dehydratedKey(vars)
	c.Want.PreferredChain = vars["PREFERRED_CHAIN"]
	if n, err := strconv.Atoi(vars["RENEW_DAYS"]); err == nil && n > 0 && n <= 90 {
		c.Want.Renew.Before = time.Duration(n) * 24 * time.Hour
	}
	d.challenge(c, vars, odd)
	for _, key := range slices.Sorted(maps.Keys(vars)) {
		off := vars[key] == "" || vars[key] == "no"
		if !off && !slices.Contains(dehydratedIgnored(), key) {
			c.isSet(key, checkNeed)
		}
	}
	if hook := vars["HOOK"]; hook != "" {
		d.hook(c, hook)
	}
}

// hook has HOOK called as dehydrated does after a renewal.
func (d *dehydrated) hook(c *Certificate, hook string) {
	program, found := d.program(hook)
	if !found {
		c.note("write deploy.run with the absolute path of the program", "HOOK is not the path of a program that is there")
		return
	}
	c.note("all its other operations are not called", "HOOK is called with deploy_cert alone")
	c.run("HOOK", shell, "-c", fmt.Sprintf(`exec %s deploy_cert "$0" "$ACMED_LIVE/privkey.pem" "$ACMED_LIVE/cert.pem" "$ACMED_LIVE/fullchain.pem" "$ACMED_LIVE/chain.pem" "$(date +%%s)"`, shellQuote(program)), c.Name)
}

// program is the absolute path of HOOK, which dehydrated looks for where it was started: commonly in BASEDIR, beside
// config, or on the PATH.
func (d *dehydrated) program(hook string) (string, bool) {
	if filepath.IsAbs(hook) {
		return filepath.Clean(hook), true
	}
	for _, dir := range []string{d.place("BASEDIR", ""), d.dir} {
		program := filepath.Join(dir, hook)
		if info, err := os.Stat(program); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return program, true
		}
	}
	return "", false
}

// dehydratedKey is what kind of key is asked for.
func dehydratedKey(vars map[string]string) spec.PrivateKey {
	k := spec.PrivateKey{Algorithm: "ECDSA", Size: 384, RotationPolicy: "Always"}
	switch vars["KEY_ALGO"] {
	case "prime256v1":
		k.Size = 256
	case "rsa":
		k.Algorithm, k.Size = "RSA", 4096
		if n, err := strconv.Atoi(vars["KEYSIZE"]); err == nil && (n == 2048 || n == 3072) {
			k.Size = n
		}
	}
	if vars["PRIVATE_KEY_RENEW"] == "no" {
		k.RotationPolicy = "Never"
	}
	return k
}

// challenge translates how control is proved. WELLKNOWN is the folder of the proofs themselves.
func (d *dehydrated) challenge(c *Certificate, vars map[string]string, odd map[string]bool) {
	kind := cmp.Or(vars["CHALLENGETYPE"], "http-01")
	switch {
	case odd["CHALLENGETYPE"] || odd["WELLKNOWN"]:
		c.Want.Challenge.Type = "http-01"
		c.note("have the web server serve /run/acmed/http-01/ as acmed's snippets do, or write challenge",
			"CHALLENGETYPE and WELLKNOWN cannot both be read")
	case kind == "dns-01":
		c.Want.Challenge = spec.Challenge{Type: "dns-01", Provider: "hook"}
		c.note("write an exec provider to dns.d/hook.yaml that does the same", "dns-01 by HOOK")
	case kind == "http-01":
		c.Want.Challenge.Type = "http-01"
		known := cmp.Or(vars["WELLKNOWN"], "/var/www/dehydrated")
		if root, ok := strings.CutSuffix(strings.TrimRight(known, "/"), "/.well-known/acme-challenge"); ok && filepath.IsAbs(root) {
			c.webroot(root)
			return
		}
		c.note("have the web server serve /run/acmed/http-01/ in place of the directory that WELLKNOWN names, as acmed's snippets do",
			"WELLKNOWN does not end in /.well-known/acme-challenge")
	default:
		c.Want.Challenge.Type = "http-01"
		c.isSet("CHALLENGETYPE", "use http-01, or write challenge")
	}
}
