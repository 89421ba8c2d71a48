package reconcile

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"acmed/internal/acme"
	"acmed/internal/spec"
)

// ClientConfig is how an issuer is reached, without an account.
func ClientConfig(s *spec.Issuer) (acme.Config, error) {
	roots, err := caBundle(s.CABundle)
	if err != nil {
		return acme.Config{}, err
	}
	proxy, err := proxyOf(s)
	if err != nil {
		return acme.Config{}, fmt.Errorf("reading proxy of issuer %s: %w", s.Name, err)
	}
	return acme.Config{Directory: s.Directory, RootCAs: roots, Proxy: proxy, Issuer: s.Name}, nil
}

// proxyOf is for http.Transport: what logs in at the proxy is read anew for each request.
func proxyOf(s *spec.Issuer) (func(*http.Request) (*url.URL, error), error) {
	if s.Proxy == "" {
		return http.ProxyFromEnvironment, nil
	}
	u, err := url.Parse(s.Proxy)
	if err != nil || s.ProxyCredentialsFile == "" {
		return http.ProxyURL(u), err
	}
	return func(*http.Request) (*url.URL, error) {
		text, err := os.ReadFile(s.ProxyCredentialsFile)
		user, password, ok := strings.Cut(strings.TrimRight(string(text), "\r\n"), ":")
		if err == nil && (!ok || strings.ContainsAny(user+password, "\r\n")) {
			err = errors.New(s.ProxyCredentialsFile + " does not hold user:password on one line")
		}
		if err != nil {
			return nil, &acme.Error{Kind: acme.Transient, Problem: "proxy", Detail: "reading proxyCredentialsFile: " + err.Error(), Whole: true, Err: err,
				Hint: "write user:password into " + s.ProxyCredentialsFile + ", on one line, and let acmed read it"}
		}
		login := *u
		login.User = url.UserPassword(user, password)
		return &login, nil
	}, nil
}

func caBundle(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err == nil {
		if pool := x509.NewCertPool(); pool.AppendCertsFromPEM(text) {
			return pool, nil
		}
		err = fmt.Errorf("reading %s: no PEM certificate in it", file)
	}
	return nil, &acme.Error{Kind: acme.Permanent, Op: "directory", Problem: "caBundle", Detail: err.Error(), Whole: true,
		Hint: "write the roots of the CA there, readable by acmed, and run acmed reload", Err: err}
}
