// Command lego obtains many certificates with lego's library, as its command does, and writes what that would write.
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"

	"github.com/go-acme/lego/v5/acme"
	"github.com/go-acme/lego/v5/certcrypto"
	"github.com/go-acme/lego/v5/certificate"
	"github.com/go-acme/lego/v5/lego"
	"github.com/go-acme/lego/v5/registration"

	"acmed/tools/peers/load"
)

func main() { load.Main(prepare) }

// user is lego's view of an account.
type user struct {
	key     *ecdsa.PrivateKey
	account *acme.ExtendedAccount
}

func (*user) GetEmail() string                         { return "pki@example.com" }
func (u *user) GetRegistration() *acme.ExtendedAccount { return u.account }
func (u *user) GetPrivateKey() crypto.Signer           { return u.key }

// provider shows proofs in memory.
type provider struct{ tokens *load.Tokens }

func (p provider) Present(_ context.Context, _, token, keyAuth string) error {
	p.tokens.Set(token, keyAuth)
	return nil
}

func (p provider) CleanUp(_ context.Context, _, token, _ string) error {
	p.tokens.Delete(token)
	return nil
}

func prepare(ctx context.Context, job load.Job) (func(context.Context, string) error, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	u := &user{key: key}
	config := lego.NewConfig(u)
	config.CADirURL, config.HTTPClient = job.Directory, job.HTTP
	config.Certificate.OverallRequestLimit = 10_000
	client, err := lego.NewClient(config)
	if err != nil {
		return nil, err
	}
	if u.account, err = client.Registration.Register(ctx, registration.RegisterOptions{TermsOfServiceAgreed: true}); err != nil {
		return nil, err
	}
	tokens := new(load.Tokens)
	tokens.Serve(job.Listen)
	if err := client.Challenge.SetHTTP01Provider(provider{tokens}); err != nil {
		return nil, err
	}
	return func(ctx context.Context, name string) error {
		r, err := client.Certificate.Obtain(ctx, certificate.ObtainRequest{Domains: []string{name}, KeyType: certcrypto.EC256, Bundle: true})
		if err != nil {
			return err
		}
		path := filepath.Join(job.Dir, name)
		return errors.Join(os.WriteFile(path+".crt", r.Certificate, 0o600), os.WriteFile(path+".key", r.PrivateKey, 0o600))
	}, nil
}
