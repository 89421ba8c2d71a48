package acme

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"regexp"
	"strings"
)

// hint says in one sentence what the operator can do about a problem; "" when waiting is all. The challenge type,
// if known, sharpens it.
func hint(e *Error, challenge string) string {
	name := e.Identifier
	if name == "" {
		name = anyName
	}
	if h := hintValidation(e, name, challenge); h != "" {
		return h
	}
	if e.Op == OpNewAccount && e.Problem == problemMalformed {
		return hintRegistration(e)
	}
	if e.Status >= 500 || e.Problem == problemServerInternal {
		return "acmed retries by itself; if this lasts, check the status page or the log of the CA"
	}
	return hintPolicy(e, name)
}

// HintFor returns the hint of an error about a name that is validated by a challenge of that type, of which the CA's words
// say nothing.
func (e *Error) HintFor(challenge string) string {
	about := *e
	about.Op = OpAuthorization
	return hint(&about, challenge)
}

// hintValidation is for what a CA finds while it validates a name.
func hintValidation(e *Error, name, challenge string) string {
	switch e.Problem {
	case "connection", problemUnauthorized, "incorrectResponse", "dns", "caa":
		if e.Op == OpAuthorization && (e.Problem == "dns" || failedLookup().MatchString(e.Detail)) {
			return hintLookup(e.Detail, name, challenge)
		}
	}
	switch e.Problem {
	case "connection":
		return hintConnection(name, challenge)
	case problemUnauthorized, "incorrectResponse":
		return hintUnauthorized(e, name, challenge)
	case "dns":
		return hintLookup(e.Detail, name, challenge)
	case "dnssec":
		return "correct the DNSSEC signatures of " + name + ": the CA must validate them"
	case "caa":
		return "allow this CA in the CAA record of " + name + ", or remove the record"
	case "tls":
		if challenge == http01 {
			return "serve /.well-known/acme-challenge/ of " + name + " on port 80 without a redirect, or let the server that it redirects to speak TLS"
		}
		return "let " + name + " answer TLS on port 443 with the challenge's certificate: nothing else may terminate TLS there"
	}
	return ""
}

// The challenge types that hints tell apart from each other.
const (
	http01  = "http-01"
	alpn01  = "tls-alpn-01"
	dns01   = "dns-01"
	rrTypes = `\b(caa|txt)\b`
)

// failedLookup matches the words of CAs, and of the libraries that they use, for a name that they cannot look up. CAs give such
// a failure several types: dns, connection, unauthorized, caa.
func failedLookup() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(not|n't|unable to|failed to|cannot) (be )?resolve|no such host|nxdomain|servfail|name resolution|name or service not known|` +
		`getaddrinfo|looking up|dns (lookup|problem|error)|\blookup [^ ]+( on |: )|no (valid )?(a|aaaa|ip|txt)( or aaaa)? (records?|addresses)`)
}

// hintLookup is for a name whose DNS records the CA does not get.
func hintLookup(detail, name, challenge string) string {
	detail = strings.ToLower(detail)
	record := regexp.MustCompile(rrTypes).FindString(detail)
	switch {
	case record == "caa":
		return "make sure that every public name server of " + name + " answers queries for CAA records, if only that there are none"
	case challenge == dns01 || challenge == DNSAccount01 || record == "txt":
		return hintTXT(name)
	case strings.Contains(detail, "servfail") || strings.Contains(detail, "timed out") || strings.Contains(detail, "timeout"):
		return "make sure that the public name servers of " + name + " answer, and that its DNSSEC signatures are valid"
	}
	return "make sure that " + name + " resolves to this machine in public DNS, with every A and AAAA record right"
}

func hintTXT(name string) string {
	return "make sure that the public name servers of " + name + " all serve the TXT record _acme-challenge"
}

// anyName stands for a name that the CA does not tell.
const anyName = "the name"

// hintRegistration is for a CA that refuses an account and has no type for the reason.
func hintRegistration(e *Error) string {
	for _, word := range []string{"contact", "mail"} {
		if strings.Contains(strings.ToLower(e.Detail), word) {
			return "set contact in the issuer or in acmed.yaml: the CA requires a contact address"
		}
	}
	return "check contact, termsOfServiceAgreed and externalAccountBinding of the issuer"
}

// hintEnded is for an account that the CA does not let order any more.
const hintEnded = "the CA has ended this account: acmed account deactivate ISSUER, then acmed account register ISSUER, makes another one"

// hintHeaders is for answers without the headers that RFC 8555 requires: Vault removes them unless it is configured not to.
const hintHeaders = "let the CA, and a proxy in front of it, pass the headers Replay-Nonce, Location and Link; for Vault, set allowed_response_headers of the mount"

func hintConnection(name, challenge string) string {
	switch challenge {
	case alpn01:
		return "make " + name + " reachable from the Internet on port 443"
	case dns01, DNSAccount01:
		return "make sure that the public name servers of " + name + " can be reached from the Internet on port 53"
	}
	if name == anyName {
		return "make /.well-known/acme-challenge/ of every name reachable from the Internet on port 80"
	}
	return "make http://" + name + "/.well-known/acme-challenge/ reachable from the Internet on port 80"
}

func hintUnauthorized(e *Error, name, challenge string) string {
	switch {
	case e.Op == OpRevoke:
		return "revoke it with its own key: acmed revoke --by-key"
	case e.Op == OpAccount:
		return hintEnded
	case e.Op == OpChangeAccount:
		return "acmed account show tells whether the account has ended"
	case e.Op == OpNewAccount:
		return "check externalAccountBinding in the issuer: the CA did not accept it, or it was used before"
	case e.Op == OpNewOrder || e.Op == OpOrder:
		return "ask the CA whether the account is active and may order these names, then run acmed reload"
	case e.Op != OpAuthorization || e.Status != 0: // not about a name, but a refused request
		return "ask the CA why it refuses this to the account"
	case challenge == dns01 || challenge == DNSAccount01:
		return hintTXT(name)
	}
	return "make sure that " + name + " points to this machine and that no other server answers for it"
}

// hintKey is for a kind of key that the CA refuses: of the account, or of a certificate.
func hintKey(e *Error) string {
	accepted := ""
	if len(e.Algorithms) > 0 {
		accepted = ", which accepts " + strings.Join(e.Algorithms, ", ")
	}
	switch e.Op {
	case OpFinalize, OpOrder, OpAuthorization:
		return "choose another privateKey in the spec: the CA refuses this kind of key"
	case OpRevoke:
		return "let the account sign: the CA refuses signatures of this kind of key"
	case OpNewAccount, OpKeyChange:
		return "set accountKey in the issuer to a kind of key for the CA" + accepted + "; algorithm in externalAccountBinding is for the binding"
	}
	return "the CA" + accepted + ", refuses signatures of the account's key: write an issuer of another name, with accountKey, for another account"
}

func hintPolicy(e *Error, name string) string {
	switch e.Problem {
	case problemAccountDoesNotExist:
		return "restore the account's key from a backup if it was replaced; else acmed makes a new account by itself"
	case problemBadCSR:
		return "change privateKey in the spec, or csrFile if it has one: the CA refuses this request"
	case "badPublicKey", problemBadSignature:
		return hintKey(e)
	case problemCompound:
		return "fix each name listed below"
	case problemExternalAccountRequired:
		return "set externalAccountBinding in the issuer to the values that the CA gave you"
	case "invalidContact", "unsupportedContact":
		return "correct contact in the issuer or in acmed.yaml"
	case problemInvalidProfile:
		return "set profile in the spec to one that the CA offers, or remove it"
	case problemRateLimited:
		return "wait: acmed tries again by itself when the CA allows it"
	case "rejectedIdentifier":
		return "remove " + name + " from the spec, or use another issuer: this CA does not issue for it"
	case "unsupportedIdentifier":
		return "use another issuer or profile for " + name + ": this CA does not issue for names of its kind"
	case problemUserActionRequired:
		return "read what the CA asks for in the detail, agree to it there, then run acmed reload"
	}
	return ""
}

// hintNetwork is for a request of this machine's that got no answer from a host.
func hintNetwork(u *url.URL, err error) string {
	if lookup, ok := errors.AsType[*net.DNSError](err); ok {
		hint := "make sure that this machine resolves " + clean(lookup.Name) + ", see /etc/resolv.conf"
		if u != nil && lookup.Name == u.Hostname() {
			hint += "; correct directory in the issuer if that is not its host"
		}
		return hint
	}
	return "make sure that this machine reaches the CA" + onPort(u) + ", through the proxy if the issuer names one"
}

// hintTLS is for a server with which no TLS connection comes about.
func hintTLS(err error) string {
	if bad, ok := errors.AsType[x509.CertificateInvalidError](err); ok && bad.Reason == x509.Expired {
		return "make sure that the clock of this machine is right: the certificate of the CA's server has expired, or is not valid yet"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "correct directory in the issuer, or make sure that no proxy answers in place of the CA: that server is another one"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "correct the port of directory in the issuer, or make sure that no proxy answers in place of the CA: that server speaks no TLS"
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return "make sure that no firewall or proxy intercepts TLS, and ask the CA which versions of TLS it accepts"
	}
	return "if the CA is a private one, set caBundle in the issuer to the PEM file of its roots"
}
