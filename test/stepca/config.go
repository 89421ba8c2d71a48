package stepca

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// Provisioner is an ACME directory of the CA.
type Provisioner struct {
	Name     string
	Lifetime time.Duration     // of its certificates; 0: a day
	Terms    string            // URL of the terms of service; "": none
	Bindings map[string][]byte // HMAC keys by key identifier; an account requires one of them if there are any
}

func (p Provisioner) settings() map[string]any {
	settings := map[string]any{"type": "ACME", "name": p.Name, "termsOfService": p.Terms, "requireEAB": len(p.Bindings) > 0}
	if p.Lifetime != 0 {
		lifetime := p.Lifetime.String()
		settings["claims"] = map[string]string{"minTLSCertDuration": lifetime, "defaultTLSCertDuration": lifetime}
	}
	return settings
}

// SetTerms changes the terms of service of every provisioner. The CA reads them when it is restarted.
func (s *Server) SetTerms(url string) error {
	for i := range s.options.Provisioners {
		s.options.Provisioners[i].Terms = url
	}
	return s.writeConfig(s.base[len("https://"):])
}

// writeConfig writes the file that step-ca reads at its start.
func (s *Server) writeConfig(address string) error {
	var provisioners []any
	for _, p := range s.options.Provisioners {
		provisioners = append(provisioners, p.settings())
	}
	dir := s.options.Dir
	data, err := json.MarshalIndent(map[string]any{
		"root":      s.RootsFile,
		"crt":       filepath.Join(dir, "intermediate.pem"),
		"key":       filepath.Join(dir, "intermediate.key"),
		"address":   address,
		"dnsNames":  []string{"127.0.0.1"},
		"logger":    map[string]string{"format": "text"},
		"db":        map[string]string{"type": "badgerv2", "dataSource": s.database()},
		"crl":       map[string]bool{"enabled": true, "generateOnRevoke": true},
		"authority": map[string]any{"provisioners": provisioners},
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.configFile(), data, 0o600)
}
