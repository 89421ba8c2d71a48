package spec

import (
	"cmp"
	"slices"
)

// A CA is a public one whose directory is the same for all who use it: an issuer that needs no file, or only one with
// the external account binding.
type CA struct {
	Name      string // of the issuer
	Title     string // of the CA and what it issues there
	Directory string
	// Credentials says how to get an external account binding, after "get one"; "": the CA needs none.
	Credentials string
	Policy      *Policy // what the CA is known to refuse; nil: nothing is known
}

// Catalogue returns the CAs that are built in, by name.
func Catalogue() []CA {
	cas := []CA{
		{Name: "letsencrypt", Title: "Let's Encrypt", Directory: "https://acme-v02.api.letsencrypt.org/directory", Policy: letsEncrypt()},
		{Name: "letsencrypt-staging", Title: "Let's Encrypt, for tests", Directory: "https://acme-staging-v02.api.letsencrypt.org/directory", Policy: letsEncrypt()},
		{
			Name: "actalis", Title: "Actalis", Directory: "https://acme-api.actalis.com/acme/directory",
			Credentials: "in your Actalis account, among the ACME credentials",
		},
		{
			Name: "digicert", Title: "DigiCert", Directory: "https://one.digicert.com/mpki/api/v1/acme/v2/directory",
			Credentials: "in CertCentral under Automation > ACME Directory URLs, or with a profile of Trust Lifecycle Manager",
		},
		{
			Name: "globalsign", Title: "GlobalSign Atlas", Directory: "https://emea.acme.atlas.globalsign.com/directory",
			Credentials: "in the Atlas portal, for your ACME account",
		},
		{
			Name: "google", Title: "Google Trust Services", Directory: "https://dv.acme-v02.api.pki.goog/directory",
			Credentials: "with `gcloud publicca external-account-keys create`, and use it within 7 days",
		},
		{
			Name: "google-test", Title: "Google Trust Services, for tests", Directory: "https://dv.acme-v02.test-api.pki.goog/directory",
			Credentials: "with `gcloud publicca external-account-keys create` of the staging environment, and use it within 7 days",
		},
		{
			Name: "sslcom-ecc", Title: "SSL.com, ECDSA keys", Directory: "https://acme.ssl.com/sslcom-dv-ecc",
			Credentials: "in your SSL.com account, on the dashboard under api credentials",
		},
		{
			Name: "sslcom-rsa", Title: "SSL.com, RSA keys", Directory: "https://acme.ssl.com/sslcom-dv-rsa",
			Credentials: "in your SSL.com account, on the dashboard under api credentials",
		},
		{
			Name: "zerossl", Title: "ZeroSSL", Directory: "https://acme.zerossl.com/v2/DV90",
			Credentials: "with `acmed zerossl eab --write-issuer zerossl`, or at https://app.zerossl.com/developer",
		},
		sectigo("sectigo-dv", "Sectigo, domain validated", "https://acme.sectigo.com/v2/DV"),
		sectigo("sectigo-ev", "Sectigo, extended validation", "https://acme.sectigo.com/v2/EV"),
		sectigo("sectigo-ov", "Sectigo, organization validated", "https://acme.sectigo.com/v2/OV"),
		{
			Name: "sectigo-universal", Title: "Sectigo, Universal ACME", Directory: "https://acme.enterprise.sectigo.com",
			Credentials: "in Sectigo Certificate Manager, with a Universal ACME account",
		},
	}
	slices.SortFunc(cas, func(a, b CA) int { return cmp.Compare(a.Name, b.Name) })
	return cas
}

// sectigo is one of the directories of Sectigo's public ACME.
func sectigo(name, title, directory string) CA {
	return CA{
		Name: name, Title: title, Directory: directory,
		Credentials: "with `acmed sectigo account create --write-issuer " + name + "`, or in Sectigo Certificate Manager",
	}
}

// catalogued returns the CA that is built in under a name; nil: none is.
func catalogued(name string) *CA {
	for _, ca := range Catalogue() {
		if ca.Name == name {
			return &ca
		}
	}
	return nil
}

// BindingHint says how to get an external account binding for this issuer and where it belongs.
func (i *Issuer) BindingHint() string {
	return "get one " + cmp.Or(i.Credentials, "from the CA") + "; write its key identifier and the path of its HMAC key as externalAccountBinding to " +
		cmp.Or(i.File, i.Name+suffix)
}
