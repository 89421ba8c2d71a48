package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"acmed/test/ca"
)

// write is `vault write pki/PATH`. It returns the data of the answer.
func (s *Server) write(ctx context.Context, path string, values map[string]any) (map[string]any, error) {
	body, err := s.client.Post(ctx, s.url(path), values)
	if err != nil || len(body) == 0 {
		return nil, err
	}
	var answer struct{ Data map[string]any }
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("writing pki/%s: %w", path, err)
	}
	return answer.Data, nil
}

// configure does what an operator does once.
func (s *Server) configure(ctx context.Context) error {
	err := s.configureIssuers(ctx)
	for _, step := range []struct {
		path   string
		values map[string]any
	}{
		{"config/cluster", map[string]any{"path": "https://" + s.address + "/v1/pki"}},
		{"config/crl", map[string]any{"auto_rebuild": false}},
		{"config/acme", map[string]any{"enabled": true, "eab_policy": s.policy(), "dns_resolver": s.options.Resolver}},
	} {
		if err == nil {
			_, err = s.write(ctx, step.path, step.values)
		}
	}
	return err
}

// MoveTo sets the address at which clients find Vault, as an operator does where a proxy is in front of it. The
// directories of the server are not changed.
func (s *Server) MoveTo(ctx context.Context, base string) error {
	_, err := s.write(ctx, "config/cluster", map[string]any{"path": base + "/v1/pki"})
	return err
}

func (s *Server) policy() string {
	if s.options.RequireEAB {
		return "new-account-required"
	}
	return "not-required"
}

// configureIssuers creates a root and, unless the root is to issue, an intermediate that becomes the default issuer.
func (s *Server) configureIssuers(ctx context.Context) error {
	root, err := s.write(ctx, "root/generate/internal", map[string]any{
		"common_name": "root of a test Vault", "issuer_name": "root", "key_type": "ec", "key_bits": 256, "ttl": "87600h",
	})
	if err != nil {
		return err
	}
	text := fmt.Sprint(root["certificate"])
	if s.Root, err = ca.Parse([]byte(text)); err != nil {
		return err
	}
	if err := os.WriteFile(s.RootsFile, []byte(text+"\n"), 0o600); err != nil || s.options.OnlyRoot {
		return err
	}
	request, err := s.write(ctx, "intermediate/generate/internal", map[string]any{
		"common_name": "issuer of a test Vault", "key_type": "ec", "key_bits": 256,
	})
	if err != nil {
		return err
	}
	signed, err := s.write(ctx, "issuer/root/sign-intermediate", map[string]any{
		"csr": request["csr"], "common_name": "issuer of a test Vault", "ttl": "43800h",
	})
	if err != nil {
		return err
	}
	imported, err := s.write(ctx, "intermediate/set-signed", map[string]any{"certificate": signed["certificate"]})
	if err != nil {
		return err
	}
	issuers, ok := imported["imported_issuers"].([]any)
	if !ok || len(issuers) != 1 {
		return fmt.Errorf("importing the intermediate: Vault answered %v", imported)
	}
	_, err = s.write(ctx, "config/issuers", map[string]any{"default": issuers[0]})
	return err
}

// AddRole adds a role, which has an ACME directory, for every name and key. Certificates live for lifetime.
func (s *Server) AddRole(ctx context.Context, name string, lifetime time.Duration) error {
	_, err := s.write(ctx, "roles/"+name, map[string]any{
		"allow_any_name": true, "allow_ip_sans": true, "key_type": "any", "ttl": lifetime.Seconds(), "no_store": false,
	})
	return err
}

// NewBinding creates a key for an external account binding at the directory of a role; "": at the default directory.
func (s *Server) NewBinding(ctx context.Context, role string) (kid, key string, err error) {
	path := "acme/new-eab"
	if role != "" {
		path = "roles/" + role + "/" + path
	}
	answer, err := s.write(ctx, path, nil)
	if err != nil {
		return "", "", err
	}
	kid, _ = answer["id"].(string)
	key, _ = answer["key"].(string)
	if kid == "" || key == "" {
		return "", "", errors.New("creating an external account binding: Vault answered without one")
	}
	return kid, key, nil
}
