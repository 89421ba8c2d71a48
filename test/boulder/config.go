package boulder

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"acmed/test/process"
)

// object is a JSON object.
type object map[string]any

// perspectives are where the remote VAs claim to be: Boulder requires four, in two regions.
func perspectives() map[Service][2]string {
	return map[Service][2]string{
		RemoteA: {"dadaist", "ARIN"}, RemoteB: {"surrealist", "RIPE"}, RemoteC: {"cubist", "ARIN"}, RemoteD: {"impressionist", "APNIC"},
	}
}

// writeConfig writes the configuration of every service.
func (l *Lab) writeConfig() error {
	files := map[string]any{
		"sa.json": l.sa(), "publisher.json": l.publisher(), "ca.json": l.ca(), "ra.json": l.ra(), "wfe.json": l.wfe(), "sfe.json": l.sfe(),
		"va.json": l.va(), "nonce-a.json": l.nonce(NonceA), "nonce-b.json": l.nonce(NonceB),
		"limits.yml": l.limits(), "overrides.yml": "[]\n", "policy.yml": policy, "zlint.toml": "",
		"my.cnf": l.databaseConfig(), "redis.conf": l.redisConfig(),
	}
	for s := range perspectives() {
		files[string(s)+".json"] = l.remoteVA(s)
	}
	for name, p := range l.options.profiles() {
		if p.Allowed != nil {
			files["allowed-"+name+".yml"] = allowList(p.Allowed)
		}
	}
	logs, list, err := l.ct()
	files["ct.json"], files["logs.json"] = logs, list
	for name, content := range files {
		err = errors.Join(err, l.writeFile(name, content))
	}
	return err
}

// writeFile writes text as it is, and everything else as JSON.
func (l *Lab) writeFile(name string, content any) error {
	text, ok := content.(string)
	if !ok {
		data, err := json.MarshalIndent(content, "", "  ")
		if err != nil {
			return err
		}
		text = string(data)
	}
	return os.WriteFile(l.path("etc", name), []byte(text), 0o600)
}

// policy are the names for which nobody gets a certificate.
const policy = `ExactBlockedNames: [blocked.example.com]
HighRiskBlockedNames: [highrisk.example.com]
AdminBlockedNames: [adminblocked.example.com]
AdminBlockedPrefixes: ["224.0.0.0/4"]
`

func (l *Lab) limits() string {
	var b strings.Builder
	for name, limit := range l.options.limits() {
		burst := limit.Burst
		if burst == 0 {
			burst = limit.Count
		}
		fmt.Fprintf(&b, "%s:\n  count: %d\n  burst: %d\n  period: %s\n", name, limit.Count, burst, limit.Period)
	}
	return b.String()
}

// allowList is in the format of Boulder's package allowlist: no text at all is a list that allows nobody.
func allowList(accounts []int64) string {
	var b strings.Builder
	for _, account := range accounts {
		fmt.Fprintf(&b, "- %d\n", account)
	}
	return b.String()
}

// logging sends information to standard output and nothing to syslog.
func logging() object { return object{"stdoutlevel": 6, "sysloglevel": -1} }

// tlsOf is what a service shows other services.
func (l *Lab) tlsOf(name string) object {
	return object{
		"caCertFile": l.RootsFile, "certFile": l.path("internal", name+".pem"), "keyFile": l.path("internal", name+".key"),
	}
}

// resolver resolves the names of nonce services.
const resolver = "127.0.0.1:53"

// call is how a service is called.
func call(name string, to Service) object {
	return object{"serverAddress": process.Loopback(to.port()), "dnsAuthority": resolver, "timeout": "60s", "hostOverride": host(name)}
}

// grpc is a listener, with the services of it that each client may call.
func grpc(port int, clients map[string][]string) object {
	services := object{"grpc.health.v1.Health": object{"clientNames": []string{host("admin")}}}
	for service, names := range clients {
		var hosts []string
		for _, name := range names {
			hosts = append(hosts, host(name))
		}
		services[service] = object{"clientNames": hosts}
	}
	return object{"maxConnectionAge": "30m", "address": process.Loopback(port), "services": services}
}

// debug is the listener of metrics.
func debug(port int) string { return process.Loopback(port - 1000) }

func policyAuthority() object {
	challenges := object{}
	for _, c := range []string{"http-01", "dns-01", "tls-alpn-01", "dns-account-01", "dns-persist-01"} {
		challenges[c] = true
	}
	return object{"challenges": challenges, "identifiers": object{"dns": true, "ip": true}}
}

func (l *Lab) va() object {
	va := l.validator("va", VA, "ra")
	var remotes []object
	for s, where := range perspectives() {
		remote := call("rva", s)
		remote["perspective"], remote["rir"] = where[0], where[1]
		remotes = append(remotes, remote)
	}
	va["remoteVAs"] = remotes
	return object{"va": va, "syslog": logging()}
}

func (l *Lab) remoteVA(s Service) object {
	rva := l.validator("rva", s, "va")
	rva["perspective"], rva["rir"] = perspectives()[s][0], perspectives()[s][1]
	return object{"rva": rva, "syslog": logging()}
}

func (l *Lab) validator(name string, s Service, caller string) object {
	return object{
		"userAgent": string(s), "debugAddr": debug(s.port()), "dnsTries": 3, "dnsStaticResolvers": []string{"127.0.0.1:8343"}, "dnsTimeout": "10s",
		"issuerDomain": "ca.example", "tls": l.tlsOf(name), "features": newChallenges(), "accountURIPrefixes": []string{"https://localhost:4431/acme/acct/"},
		"grpc": grpc(s.port(), map[string][]string{"va.VA": {caller}, "va.CAA": {caller}}),
	}
}

func newChallenges() object { return object{"DNSAccount01Enabled": true, "DNSPersist01Enabled": true} }

func (l *Lab) sa() object {
	db := func(user string, connections int) object {
		return object{"dbConnectFile": l.path("secrets", user), "maxOpenConns": connections}
	}
	return object{"sa": object{
		"db": db("sa", 50), "readOnlyDB": db("sa_ro", 50), "incidentsDB": db("incidents_sa", 20),
		"ParallelismPerRPC": 10, "debugAddr": debug(SA.port()), "lagFactor": "500ms", "tls": l.tlsOf("sa"), "features": object{},
		"grpc": grpc(SA.port(), map[string][]string{
			"sa.StorageAuthority": {"admin", "ca", "ra"}, "sa.StorageAuthorityReadOnly": {"admin", "wfe", "sfe", "ra"},
		}),
	}, "syslog": logging()}
}

func (l *Lab) publisher() object {
	return object{"publisher": object{
		"userAgent": "boulder/1.0", "debugAddr": debug(Publisher.port()), "chains": l.chains()[:2], "tls": l.tlsOf("publisher"), "features": object{},
		"grpc": grpc(Publisher.port(), map[string][]string{"Publisher": {"ra"}}),
	}, "syslog": logging()}
}

// chains are those of the front end. The last one is an alternate.
func (l *Lab) chains() [][]string {
	file := func(name string) string { return l.path("hierarchy", name+".pem") }
	return [][]string{
		{file("int-rsa"), file("root-rsa")}, {file("int-ecdsa"), file("root-ecdsa")}, {file("int-ecdsa-cross"), file("root-rsa")},
	}
}

func (l *Lab) ca() object {
	profiles := object{}
	var names []string
	for name, p := range l.options.profiles() {
		names = append(names, name)
		profiles[name] = object{
			"omitCommonName": p.Bare, "omitKeyEncipherment": p.Bare, "omitClientAuth": true, "omitSKID": p.Bare,
			"maxValidityPeriod": p.Validity.String(), "maxValidityBackdate": p.Backdate.String(), "lintConfig": l.path("etc/zlint.toml"),
			"ignoredLints": []string{
				"w_subject_common_name_included", "w_ext_subject_key_identifier_not_recommended_subscriber",
				"w_ext_subject_key_identifier_missing_sub_cert", "e_dnsname_not_valid_tld",
			},
		}
	}
	var issuers []object
	for _, kind := range []string{"ecdsa", "rsa"} {
		issuers = append(issuers, object{
			"profiles": names, "crlShards": 2, "issuerURL": "http://crl.example.com/int-" + kind, "crlURLBase": "http://crl.example.com/" + kind + "/",
			"location": object{"file": l.path("hierarchy/int-" + kind + ".key"), "certFile": l.path("hierarchy/int-" + kind + ".pem"), "numSessions": 2},
		})
	}
	timestamps := call("ra", RA)
	timestamps["timeout"] = "10s" // a minute elsewhere: how long an order is processing when CT logs are down
	return object{"ca": object{
		"tls": l.tlsOf("ca"), "debugAddr": debug(CA.port()), "hostnamePolicyFile": l.path("etc/policy.yml"),
		"grpcCA":     grpc(CA.port(), map[string][]string{"ca.CertificateAuthority": {"ra"}, "ca.CRLGenerator": {"admin"}}),
		"sctService": timestamps, "saService": call("sa", SA),
		"issuance": object{
			"certProfiles": profiles, "issuers": issuers,
			"crlProfile": object{"validityInterval": "216h", "maxBackdate": "1h5m", "lintConfig": l.path("etc/zlint.toml")},
		},
		"serialPrefixHex": "6e", "maxNames": 100, "goodkey": object{}, "ctLogListFile": l.path("etc/logs.json"), "features": object{},
	}, "pa": policyAuthority(), "syslog": logging()}
}

func (l *Lab) ra() object {
	features := newChallenges()
	features["AutomaticallyPauseZombieClients"], features["CAARechecksFailOrder"] = true, true
	features["AsyncFinalize"] = !l.options.SyncFinalize
	publisher := call("publisher", Publisher)
	publisher["timeout"] = "300s"
	file := func(name string) string { return l.path("hierarchy", name+".pem") }
	return object{"ra": object{
		"limiter": l.limiter("ra"), "maxContactsPerRegistration": 3, "debugAddr": debug(RA.port()), "hostnamePolicyFile": l.path("etc/policy.yml"),
		"issuerCerts": []string{file("int-rsa"), file("int-ecdsa")}, "validationProfiles": l.validationProfiles(), "defaultProfileName": "classic",
		"tls": l.tlsOf("ra"), "vaService": call("va", VA), "caService": call("ca", CA), "publisherService": publisher, "saService": call("sa", SA),
		"grpc":            grpc(RA.port(), map[string][]string{"ra.RegistrationAuthority": {"admin", "wfe", "sfe"}, "ra.SCTProvider": {"ca"}}),
		"finalizeTimeout": "120s", "features": features,
		"ctLogs": object{"stagger": "500ms", "logListFile": l.path("etc/logs.json"), "sctLogs": logNames(), "infoLogs": []string{}, "finalLogs": []string{}},
	}, "pa": policyAuthority(), "syslog": logging()}
}

func (l *Lab) validationProfiles() object {
	profiles := object{}
	for name, p := range l.options.profiles() {
		identifiers := []string{"dns"}
		if p.Addresses {
			identifiers = append(identifiers, "ip")
		}
		life := week // of an order and of its pending authorizations
		if p.Bare {
			life = 8 * time.Hour
		}
		profile := object{
			"pendingAuthzLifetime": life.String(), "validAuthzLifetime": p.Authorizations.String(), "orderLifetime": life.String(),
			"maxNames": p.MaxNames, "identifierTypes": identifiers,
		}
		if p.Allowed != nil {
			profile["allowList"] = l.path("etc", "allowed-"+name+".yml")
		}
		profiles[name] = profile
	}
	return profiles
}

// limiter is the client of Redis.
func (l *Lab) limiter(name string) object {
	return object{
		"redis": object{
			"username": "boulder", "passwordFile": l.path("secrets/redis"), "shardAddrs": object{"one": process.Loopback(Redis.port())},
			"readTimeout": "5s", "writeTimeout": "5s", "poolSize": 20, "tls": l.tlsOf(name),
		},
		"Defaults": l.path("etc/limits.yml"), "Overrides": l.path("etc/overrides.yml"),
	}
}

func (l *Lab) nonce(s Service) object {
	return object{"NonceService": object{
		"maxUsed": 131072, "nonceHMACKey": object{"keyFile": l.path("secrets/nonce")}, "syslog": logging(), "debugAddr": debug(s.port()),
		"grpc": grpc(s.port(), map[string][]string{"nonce.NonceService": {"wfe"}}), "tls": l.tlsOf("nonce"),
	}}
}

func (l *Lab) wfe() object {
	lookup := func(name string) object { return object{"service": name, "domain": "service.consul"} }
	nonce := func() object {
		return object{"dnsAuthority": resolver, "timeout": "60s", "hostOverride": host("nonce")}
	}
	get, redeem := nonce(), nonce()
	get["srvLookup"] = lookup("nonce-all")
	redeem["srvLookups"], redeem["srvResolver"] = []object{lookup("nonce-a"), lookup("nonce-b")}, "nonce-srv-v2"
	profiles := object{}
	for name := range l.options.profiles() {
		profiles[name] = "https://example.org/profiles#" + name
	}
	terms := l.options.Terms
	if terms == "" {
		terms = "https://localhost:4431/terms/v7"
	}
	return object{"wfe": object{
		"timeout": "60s", "listenAddress": "127.0.0.1:4001", "TLSListenAddress": process.Loopback(WFE.port()),
		"serverCertificatePath": l.path("internal/localhost.pem"), "serverKeyPath": l.path("internal/localhost.key"),
		"allowOrigins": []string{"*"}, "shutdownStopTimeout": "10s", "subscriberAgreementURL": terms, "debugAddr": "127.0.0.1:8313",
		"directoryCAAIdentity": "ca.example", "directoryWebsite": "https://example.org/boulder", "goodkey": object{}, "tls": l.tlsOf("wfe"),
		"raService": call("ra", RA), "saService": call("sa", SA), "getNonceService": get, "redeemNonceService": redeem,
		"nonceHMACKey": object{"keyFile": l.path("secrets/nonce")}, "chains": l.chains(), "staleTimeout": "5m", "limiter": l.limiter("wfe"),
		"maxContactsPerRegistration": 3, "features": object{"CheckIdentifiersPaused": true, "PropagateCancels": true}, "certProfiles": profiles,
		"unpause": object{"hmacKey": object{"keyFile": l.path("secrets/unpause")}, "jwtLifetime": "336h", "url": "https://localhost:4003"},
	}, "syslog": logging()}
}

func (l *Lab) sfe() object {
	return object{"sfe": object{
		"listenAddress": process.Loopback(SFE.port()), "debugAddr": "127.0.0.1:8315", "timeout": "30s", "shutdownStopTimeout": "5s", "tls": l.tlsOf("sfe"),
		"raService": call("ra", RA), "saService": call("sa", SA), "unpauseHMACKey": object{"keyFile": l.path("secrets/unpause")}, "features": object{},
	}, "syslog": logging()}
}

func (l *Lab) databaseConfig() string {
	return fmt.Sprintf(`[mysqld]
datadir=%s
socket=%s
pid-file=%s
bind-address=127.0.0.1
port=%d
user=root
skip-networking=0
innodb_flush_log_at_trx_commit=2
performance_schema=off
max_connections=300
`, l.path("mysql/data"), l.path("mysql/socket"), l.path("mysql/pid"), Database.port())
}

func (l *Lab) redisConfig() string {
	return fmt.Sprintf(`port 0
tls-port %d
bind 127.0.0.1
dir %s
save ""
tls-cert-file %s
tls-key-file %s
tls-ca-cert-file %s
user default off
user boulder on +@all ~* ">%s"
`, Redis.port(), l.Dir, l.path("internal/redis.pem"), l.path("internal/redis.key"), l.RootsFile, redisPassword)
}

// encode is base64 as Boulder's files have it.
func encode(der []byte) string { return base64.StdEncoding.EncodeToString(der) }
