package migrate

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"acmed/internal/spec"
)

// translate makes a spec of the settings. It notes those that it does not know.
func (a *acmeSh) translate(c *Certificate, vars map[string]string) {
	a.challenge(c, strings.Split(vars["Le_Webroot"], ","))
	c.copies(vars)
	for _, key := range slices.Sorted(maps.Keys(vars)) {
		if value := decoded(vars[key]); value != "" {
			c.acmeShOption(key, value)
		}
	}
}

// copies has acmed write the files that acme.sh copies.
func (c *Certificate) copies(vars map[string]string) {
	for _, f := range []struct{ key, content string }{
		{"Le_RealKeyPath", "privkey"}, {"Le_RealCertPath", "cert"}, {"Le_RealCACertPath", "chain"}, {"Le_RealFullChainPath", "fullchain"},
	} {
		file := decoded(vars[f.key])
		twice := slices.ContainsFunc(c.Want.Deploy.Files, func(other spec.File) bool { return other.Path == path.Clean(file) })
		switch {
		case file == "":
		case !path.IsAbs(file):
			c.note("write deploy.files with an absolute path", "%s is not an absolute path", f.key)
		case twice:
			c.note("write deploy.files with a path of its own, or content: combined", "%s is the path of another file, too", f.key)
		default:
			c.Want.Deploy.Files = append(c.Want.Deploy.Files, likeNow(file, f.content))
		}
	}
}

func (c *Certificate) acmeShOption(key, value string) {
	switch key {
	case "Le_ReloadCmd", "Le_RenewHook":
		c.hook(key, value)
	case "Le_Preferred_Chain":
		c.Want.PreferredChain = value
	case "Le_Profile", "Le_CertProfile", "Le_Certificate_Profile":
		c.Want.Profile = value
	case "Le_PreHook", "Le_PostHook":
		c.isSet(key, stopsServer)
	case "Le_DeployHook":
		c.isSet(key, "write deploy.files, deploy.reload or deploy.run that do the same")
	case "Le_HTTPPort":
		c.isSet(key, "forward port 80 to acmed-http.socket, or to the server that includes acmed's snippet")
	case "Le_OCSP_Staple":
		c.note("", "Le_OCSP_Staple: CAs have given up OCSP, and the next certificate comes without it")
	case "Le_RenewalDays":
		c.isSet(key, "write renew.before, which counts back from the end; Le_RenewalDays counts from the start")
	default:
		if !slices.Contains(acmeShIgnored(), key) {
			c.isSet(key, checkNeed)
		}
	}
}

// acmeShIgnored are what acme.sh keeps for itself, and what is read in other places.
func acmeShIgnored() []string {
	return []string{
		"Le_API", "Le_Alt", "Le_CertCreateTime", "Le_CertCreateTimeStr", "Le_Domain", "Le_ForceNewDomainKey", "Le_Keylength", "Le_LinkCert",
		"Le_LinkIssuer", "Le_LinkOrder", "Le_NextRenewTime", "Le_NextRenewTimeStr", "Le_OrderFinalize", "Le_RealCACertPath",
		"Le_RealCertPath", "Le_RealFullChainPath", "Le_RealKeyPath", "Le_Vlist", "Le_Webroot",
	}
}

// dnsAPI is the name of a DNS API of acme.sh's.
var dnsAPI = regexp.MustCompile(`^dns_[a-z0-9][a-z0-9_]{0,40}$`)

// challenge translates how names are validated, which acme.sh keeps for each name.
func (a *acmeSh) challenge(c *Certificate, ways []string) {
	c.Want.Challenge.Type = "http-01"
	way, rest := ways[0], sorted(ways)
	rest = slices.DeleteFunc(rest, func(s string) bool { return s == "" })
	server, _, _ := strings.Cut(way, ":")
	switch {
	case len(rest) > 1:
		c.note("include acmed's snippet in each of their web servers", "Le_Webroot: the names are validated in %d different ways", len(rest))
	case way == "no" || way == "":
	case strings.HasPrefix(way, "/"):
		c.webroot(way)
	case server == "nginx", server == "apache":
		c.snippet(server)
	case way == "dns_nsupdate":
		a.dynamic(c)
	case dnsAPI.MatchString(way):
		provider := strings.ReplaceAll(strings.TrimPrefix(way, "dns_"), "_", "-")
		c.Want.Challenge = spec.Challenge{Type: "dns-01", Provider: provider}
		c.note("write the provider to dns.d/"+provider+".yaml", "dns-01 by %s, with credentials of %s", way, a.path("account.conf"))
	default:
		c.isSet("Le_Webroot", "use http-01, or write challenge")
	}
}
