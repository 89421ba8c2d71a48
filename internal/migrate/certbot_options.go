package migrate

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"acmed/internal/spec"
)

// certbotParams are the [renewalparams] of one certificate.
type certbotParams struct {
	*certbot
	cert   *Certificate
	params *section
}

// withoutPair says what is wanted where there is nothing to go by: certbot keeps the names in the certificate alone.
func (t *certbotParams) withoutPair(version string) {
	c := t.cert
	if w := t.params.sections["webroot_map"]; w != nil {
		c.wantNames(slices.Sorted(maps.Keys(w.values)))
	}
	if c.leaf == nil {
		if data, err := t.read(path.Join("live", c.Name, "cert.pem"), maxPEM); err == nil {
			c.leaf = leafOf(parseChain(data))
		}
	}
	if c.leaf != nil {
		c.Want.DNSNames, c.Want.IPAddresses = namesOf(c.leaf, c.Name)
	}
	key := spec.PrivateKey{Algorithm: "ECDSA", Size: 256, RotationPolicy: c.Want.PrivateKey.RotationPolicy}
	if old := strings.HasPrefix(version, "0.") || strings.HasPrefix(version, "1."); t.params.get("key_type") == "rsa" ||
		t.params.get("key_type") == "" && old {
		key.Algorithm, key.Size = "RSA", 2048
		if n, err := strconv.Atoi(t.params.get("rsa_key_size")); err == nil && (n == 3072 || n == 4096) {
			key.Size = n
		}
	} else if t.params.get("elliptic_curve") == "secp384r1" {
		key.Size = 384
	}
	c.Want.PrivateKey = key
}

// translate makes a spec of what certbot was told. What it does not know, it lists.
func (t *certbotParams) translate() {
	t.challenge()
	for _, key := range slices.Sorted(maps.Keys(t.params.values)) {
		if value := t.params.get(key); value != "" {
			t.option(key, value)
		}
	}
	if t.params.get("directory_hooks") == "False" {
		return
	}
	// certbot runs these first.
	own := t.cert.Want.Deploy.Run
	t.cert.Want.Deploy.Run = nil
	for _, program := range t.hooks {
		t.cert.run(hookDir, program)
	}
	t.cert.Want.Deploy.Run = append(t.cert.Want.Deploy.Run, own...)
}

// option translates one option, or lists it.
func (t *certbotParams) option(key, value string) {
	c := t.cert
	switch key {
	case "account", "server", "authenticator", "config_dir", "work_dir", "logs_dir", "key_type", "rsa_key_size", "elliptic_curve",
		"webroot_path", "pref_challs", "directory_hooks", "agree_tos", "email", "http01_address", "manual_public_ip_logging_ok":
	case "reuse_key":
		if value == "True" {
			c.Want.PrivateKey.RotationPolicy = "Never"
		}
	case "preferred_chain":
		c.Want.PreferredChain = value
	case "required_profile", "preferred_profile":
		c.Want.Profile = value
	case "renew_hook":
		c.hook(key, value)
	case "pre_hook", "post_hook":
		c.isSet(key, stopsServer)
	case "must_staple":
		c.note("", "must_staple: CAs have given up OCSP, and the next certificate comes without it")
	case "installer":
		t.installer(value)
	case "http01_port":
		if c.Want.Challenge.Webroot == "" {
			c.isSet(key, "forward port 80 to acmed-http.socket, or to the server that includes acmed's snippet")
		}
	case "autorenew":
		if value == "False" {
			c.note("remove the spec, or acmed renews it", "autorenew = False: certbot does not renew it")
		}
	default:
		if !strings.HasPrefix(key, "dns_") && !strings.HasPrefix(key, "manual_") { // which challenge has listed
			c.isSet(key, checkNeed)
		}
	}
}

// installer has certbot edit and reload a web server.
func (t *certbotParams) installer(name string) {
	unit := map[string]string{"nginx": "nginx.service", "apache": "apache2.service"}[name]
	if unit == "" {
		t.cert.isSet("installer", "write deploy.reload or deploy.run")
		return
	}
	t.cert.reload(unit)
}

// challenge translates how control is proved.
func (t *certbotParams) challenge() {
	c := t.cert
	c.Want.Challenge.Type = "http-01"
	switch auth := t.params.get("authenticator"); {
	case auth == "standalone":
	case auth == "webroot":
		t.webroot()
	case auth == "nginx", auth == "apache":
		c.snippet(auth)
	case pluginName.MatchString(auth):
		t.dns(strings.TrimPrefix(auth, "dns-"))
	case auth == "manual":
		t.manual()
	default:
		c.isSet("authenticator", "use http-01, or write challenge")
	}
}

// webroot has the folder that all names share written to.
func (t *certbotParams) webroot() {
	folders := slices.Clone(t.params.values["webroot_path"].words)
	if w := t.params.sections["webroot_map"]; w != nil && len(w.values) > 0 {
		folders = nil
		for _, folder := range w.values {
			folders = append(folders, folder.String())
		}
	}
	slices.Sort(folders)
	if folders = slices.Compact(folders); len(folders) == 1 {
		t.cert.webroot(folders[0])
		return
	}
	t.cert.note("include acmed's snippet in each of their web servers, for which one folder does for all names",
		"the names have %d different webroots", len(folders))
}

// pluginName is the authenticator of a DNS plugin.
var pluginName = regexp.MustCompile(`^dns-[a-z0-9][a-z0-9-]{0,40}$`)

// dns lists what a DNS plugin needs, for acmed's providers are files of dns.d.
func (t *certbotParams) dns(plugin string) {
	c := t.cert
	c.Want.Challenge = spec.Challenge{Type: "dns-01", Provider: plugin}
	if plugin == "rfc2136" {
		provider, err := t.rfc2136(t.params.get("dns_rfc2136_credentials"))
		if c.Provider = provider; err == nil {
			return
		}
		c.note("write the provider to dns.d/rfc2136.yaml", "certbot's dns-rfc2136 plugin: %v", err)
		return
	}
	credentials := "the environment"
	if key := "dns_" + strings.ReplaceAll(plugin, "-", "_") + "_credentials"; t.params.get(key) != "" {
		credentials = "the file that " + key + " names"
	}
	c.note("write the provider to dns.d/"+plugin+".yaml", "certbot's dns-%s plugin, with the credentials of %s", plugin, credentials)
}

// manual lists the programs that prove control.
func (t *certbotParams) manual() {
	c := t.cert
	dns := strings.Contains(t.params.get("pref_challs"), "dns-01")
	if dns {
		c.Want.Challenge = spec.Challenge{Type: "dns-01", Provider: "manual"}
		if t.params.get("manual_auth_hook") != "" {
			c.Provider = t.manualHooks()
		}
		return
	}
	for _, key := range []string{"manual_auth_hook", "manual_cleanup_hook"} {
		if t.params.get(key) != "" {
			c.isSet(key, "answer http-01 with acmed-http.socket, or with acmed's snippet in the web server")
		}
	}
}
