package doctor

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"syscall"

	"acmed/internal/acme"
	"acmed/internal/spec"
)

// Account is what is stored of an account at a CA, and what the CA says of it.
type Account struct {
	URL       string // "": there is none
	Directory string // of the CA that made it
	Ended     bool   // `acmed account deactivate` was asked to end it
	Status    string // the CA's word, such as "valid"; "": it was not asked, for the account is another CA's or ended
}

// account looks whether the CA takes orders from who has the key here.
func (k *check) account(ctx context.Context, i *spec.Issuer) {
	if k.Account == nil {
		return
	}
	a, err := k.Account(ctx, i)
	if err == nil {
		k.accounts[i.Name] = map[bool]string{true: a.URL}[a.Directory == i.Directory && !a.Ended]
	}
	again := "acmed account register " + i.Name + " makes another one"
	switch {
	case errors.Is(err, fs.ErrPermission):
		k.bad(Skipped, "account", i.Name, "run acmed doctor as root", "whether there is one cannot be seen: %v", err)
	case acme.EndedAs(err) != "":
		k.bad(Failure, "account", i.Name, again, "the CA says that it %s: %s", ended(acme.EndedAs(err)), a.URL)
	case err != nil:
		hint := "acmed account show " + i.Name + " tells more"
		if e, ok := errors.AsType[*acme.Error](err); ok && e.Hint != "" {
			hint = e.Hint
		}
		k.bad(Failure, "account", i.Name, hint, "%v", err)
	case a.URL == "":
		k.good("account", i.Name, "there is none yet: the first order makes one")
		k.binding(i)
	case a.Directory != i.Directory:
		k.good("account", i.Name, "that of %s is put aside: the first order makes one here", a.Directory)
		k.binding(i)
	case a.Ended:
		k.bad(Failure, "account", i.Name, again, "acmed account deactivate has ended it: %s", a.URL)
	case a.Status != "valid":
		k.bad(Failure, "account", i.Name, again, "the CA says that it is %q: %s", a.Status, a.URL)
	default:
		k.good("account", i.Name, "%s is valid", a.URL)
	}
}

// ended completes "the CA says that it".
func ended(how string) string {
	if how == "does not exist" {
		return how
	}
	return "is " + how
}

// binding looks at what the first registration needs, and no later one.
func (k *check) binding(i *spec.Issuer) {
	b := i.Binding
	switch {
	case b == nil:
		return
	case b.HMACKeyFile == "":
		k.bad(Skipped, "account", i.Name, "systemctl show --property=LoadCredential acmed tells whether it has it",
			"the HMAC key is the credential %s, which acmed.service alone can read", b.HMACKeyCredential)
		return
	}
	text, err := os.ReadFile(b.HMACKeyFile)
	if err == nil {
		_, err = spec.ParseHMACKey(text)
	}
	switch info, serr := os.Stat(b.HMACKeyFile); {
	case errors.Is(err, fs.ErrPermission):
		k.bad(Skipped, "account", i.Name, "run acmed doctor as root", "the HMAC key cannot be looked at: %v", err)
	case err != nil:
		k.bad(Failure, "account", i.Name, "put the HMAC key that the CA gave you there, in base64url as it is", "%s: %v", b.HMACKeyFile, problemOf(err))
	case serr == nil && info.Mode().Perm()&0o004 != 0:
		k.bad(Warning, "account", i.Name, "chown root:acmed "+b.HMACKeyFile+"; chmod 0640 "+b.HMACKeyFile, "everybody can read the HMAC key in %s", b.HMACKeyFile)
	}
}

// problemOf leaves the name of the file out.
func problemOf(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// readable looks whether the daemon can read all that it has to: who asks may be root, and see no fault.
func (k *check) readable(context.Context) {
	info, err := os.Stat(k.Settings.StateDir)
	if err != nil {
		return // no daemon has run yet
	}
	daemon, err := account(strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Uid)))
	if err != nil || daemon.uid == 0 {
		return
	}
	for _, file := range slices.Sorted(maps.Keys(k.inputs())) {
		switch at, err := barrier(file, daemon); {
		case err != nil || at == "":
			// what is missing is reported elsewhere
		case at == file:
			k.bad(Failure, "files", file, "chgrp acmed "+at+"; chmod g+r "+at, "%s cannot read this file", daemon.who)
		default:
			k.bad(Failure, "files", file, "chgrp acmed "+at+"; chmod g+x "+at, "%s cannot read this file: %s does not let it pass", daemon.who, at)
		}
	}
}

// inputs are the files that the daemon itself reads, each once.
func (k *check) inputs() map[string]bool {
	all := map[string]bool{k.Settings.File: true}
	for _, c := range k.certs {
		all[c.File], all[c.CSRFile] = true, true
		for _, name := range c.Issuers {
			if i := k.Set.Issuer(name); i != nil {
				all[i.File], all[i.CABundle], all[i.ProxyCredentialsFile] = true, true, true
				if i.Binding != nil {
					all[i.Binding.HMACKeyFile] = true
				}
			}
		}
		if p := k.Set.Provider(c.Challenge.Provider); p != nil {
			all[p.File] = true
			if p.RFC2136 != nil {
				all[p.RFC2136.TSIGKeyFile] = true
			}
			if p.ACMEDNS != nil {
				all[p.ACMEDNS.AccountFile] = true
			}
			if p.HTTPReq != nil {
				all[p.HTTPReq.PasswordFile] = true
			}
		}
	}
	delete(all, "")
	return all
}
