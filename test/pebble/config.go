package pebble

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

type profile struct {
	Description    string `json:"description"`
	ValidityPeriod int    `json:"validityPeriod"` // seconds
}

// writeConfig writes the file that Pebble reads at its start.
func (s *Server) writeConfig(acme, management string) error {
	o := s.options
	httpPort, err := portOf(s.HTTPAddr)
	if err != nil {
		return err
	}
	tlsPort, err := portOf(s.TLSAddr)
	if err != nil {
		return err
	}
	settings := map[string]any{
		"listenAddress":                  acme,
		"managementListenAddress":        management,
		"certificate":                    filepath.Join(o.Dir, "listener.pem"),
		"privateKey":                     filepath.Join(o.Dir, "listener.key"),
		"httpPort":                       httpPort,
		"tlsPort":                        tlsPort,
		"externalAccountBindingRequired": len(o.EAB) > 0,
		"externalAccountMACKeys":         o.macKeys(),
		"domainBlocklist":                o.BlockedNames,
		"retryAfter":                     map[string]int{"authz": seconds(o.RetryAfterAuthz), "order": seconds(o.RetryAfterOrder)},
		"keyAlgorithm":                   cmp.Or(o.KeyAlgorithm, "ecdsa"),
		"profiles":                       o.profiles(),
	}
	data, err := json.MarshalIndent(map[string]any{"pebble": settings}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.configFile(), data, 0o600)
}

func (o Options) profiles() map[string]profile {
	profiles := map[string]profile{}
	for name, lifetime := range o.Profiles {
		profiles[name] = profile{Description: fmt.Sprintf("certificates of %s", lifetime), ValidityPeriod: seconds(lifetime)}
	}
	if len(profiles) == 0 {
		profiles["default"] = profile{Description: "certificates of 90 days", ValidityPeriod: seconds(90 * 24 * time.Hour)}
	}
	return profiles
}

func (o Options) macKeys() map[string]string {
	keys := map[string]string{}
	for kid, key := range o.EAB {
		keys[kid] = base64.RawURLEncoding.EncodeToString(key)
	}
	return keys
}

// environment holds the settings for which Pebble has no configuration key.
func (o Options) environment() []string {
	env := []string{
		fmt.Sprint("PEBBLE_WFE_NONCEREJECT=", o.NonceReject),
		fmt.Sprint("PEBBLE_AUTHZREUSE=", o.AuthzReuse),
		fmt.Sprint("PEBBLE_ALTERNATE_ROOTS=", o.AlternateRoots),
		fmt.Sprint("PEBBLE_CHAIN_LENGTH=", max(o.ChainLength, 1)),
		fmt.Sprint("PEBBLE_VA_SLEEPTIME=", seconds(o.MaxValidationDelay)),
	}
	if o.MaxValidationDelay == 0 {
		env = append(env, "PEBBLE_VA_NOSLEEP=1")
	}
	if o.AlwaysValid {
		env = append(env, "PEBBLE_VA_ALWAYS_VALID=1")
	}
	return env
}

func seconds(d time.Duration) int { return int(d / time.Second) }

func orPort(asked, free int) int { return cmp.Or(asked, free) }

func portOf(addr string) (int, error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}
