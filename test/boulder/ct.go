package boulder

import (
	"crypto/sha256"
	"crypto/x509"

	"acmed/test/process"
)

// logNames are the CT logs, each of an operator of its own: a certificate needs timestamps of two operators.
func logNames() []string { return []string{"log a", "log b"} }

// ct returns the configuration of ct-test-srv and the list of logs that Boulder reads.
func (l *Lab) ct() (server, list object, err error) {
	var personalities, operators []object
	for i, name := range logNames() {
		key, err := x509.MarshalECPrivateKey(l.keys.logs[i])
		if err != nil {
			return nil, nil, err
		}
		public, err := x509.MarshalPKIXPublicKey(l.keys.logs[i].Public())
		if err != nil {
			return nil, nil, err
		}
		address := process.Loopback(CT.port() + i)
		id := sha256.Sum256(public)
		personalities = append(personalities, object{"UserAgent": "boulder/1.0", "Addr": address, "PrivKey": encode(key), "FlakinessRate": 0})
		operators = append(operators, object{"name": "operator of " + name, "email": []string{"ct@example.org"}, "logs": []object{{
			"description": name, "log_id": encode(id[:]), "key": encode(public), "url": "http://" + address,
			"temporal_interval": object{"start_inclusive": "1970-01-01T00:00:00Z", "end_exclusive": "2070-01-01T00:00:00Z"},
			"state":             object{"usable": object{"timestamp": "2000-01-01T00:00:00Z"}},
		}}})
	}
	list = object{"version": "0.1", "log_list_timestamp": "1970-01-01T00:00:01Z", "operators": operators}
	return object{"Personalities": personalities}, list, nil
}
