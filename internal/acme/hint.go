package acme

import "strings"

// hint says in one sentence what the operator can do about a problem; "" when waiting is all. The challenge type,
// if known, sharpens it.
func hint(e *Error, challenge string) string {
	name := e.Identifier
	if name == "" {
		name = "the name"
	}
	switch e.Problem {
	case "connection":
		return hintConnection(name, challenge)
	case problemUnauthorized, "incorrectResponse":
		return hintUnauthorized(e, name, challenge)
	case "dns":
		return "make sure that " + name + " resolves to this machine in public DNS, with every A and AAAA record right"
	case "dnssec":
		return "mend the DNSSEC signatures of " + name + ": the CA must validate them"
	case "caa":
		return "allow this CA in the CAA record of " + name + ", or remove the record"
	case "tls":
		return "let " + name + " answer TLS on port 443 with the challenge's certificate: nothing else may terminate TLS there"
	}
	if e.Op == OpNewAccount && e.Problem == problemMalformed {
		return hintRegistration(e)
	}
	if e.Status >= 500 || e.Problem == problemServerInternal {
		return "acmed retries by itself; if this lasts, check the status page or the log of the CA"
	}
	return hintPolicy(e, name)
}

// hintRegistration is for a CA that refuses an account and has no type for the reason.
func hintRegistration(e *Error) string {
	for _, word := range []string{"contact", "mail"} {
		if strings.Contains(strings.ToLower(e.Detail), word) {
			return "set contact in the issuer or in acmed.yaml: the CA requires a contact address"
		}
	}
	return "check contact, termsOfServiceAgreed and externalAccountBinding of the issuer"
}

// hintHeaders is for answers without the headers that RFC 8555 requires: Vault removes them unless it is configured not to.
const hintHeaders = "let the CA, and a proxy in front of it, pass the headers Replay-Nonce, Location and Link; for Vault, set allowed_response_headers of the mount"

func hintConnection(name, challenge string) string {
	if challenge == "tls-alpn-01" {
		return "make " + name + " reachable from the Internet on port 443"
	}
	return "make http://" + name + "/.well-known/acme-challenge/ reachable from the Internet on port 80"
}

func hintUnauthorized(e *Error, name, challenge string) string {
	switch {
	case e.Op == OpRevoke:
		return "revoke it with its own key: acmed revoke --by-key"
	case e.Op == OpAccount:
		return "the CA has ended this account: acmed account deactivate, then acmed account register, makes another one"
	case e.Op == OpChangeAccount:
		return "acmed account show tells whether the account has ended"
	case e.Op == OpNewAccount:
		return "check externalAccountBinding in the issuer: the CA did not accept it, or it was used before"
	case e.Op == OpNewOrder || e.Op == OpOrder:
		return "ask the CA whether the account is active and may order these names, then run acmed reload"
	case challenge == "dns-01" || challenge == DNSAccount01:
		return "make sure that the public name servers of " + name + " all serve the TXT record _acme-challenge"
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
		return "see what the CA says of each name and mend those"
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
