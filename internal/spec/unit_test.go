package spec_test

import (
	"strings"
	"testing"

	"acmed/internal/spec"
)

// TestAUnitThatIsNoneGetsTheNameThatItLacks is about names under deploy.reload and deploy.restart from which systemd makes
// no unit: templates, wrong and missing suffixes, paths.
func TestAUnitThatIsNoneGetsTheNameThatItLacks(t *testing.T) {
	for unit, want := range map[string]string{
		"nginx.service":                     "",
		"postgresql@15-main.service":        "",
		"a@b@c.service":                     "",
		"getty@tty1.service":                "",
		"sshd.socket":                       "",
		"foo@.service":                      `"foo@.service" is a template without an instance (add the instance, such as foo@NAME.service)`,
		"postgresql@.socket":                `"postgresql@.socket" is a template without an instance (add the instance, such as postgresql@NAME.socket)`,
		"backup@.timer":                     `"backup@.timer" is a template without an instance (add the instance, such as backup@NAME.timer)`,
		"openvpn-server@":                   `"openvpn-server@" is a template without an instance (add the instance, such as openvpn-server@NAME.service)`,
		"openvpn-server@.servcie":           `"openvpn-server@.servcie" is a template without an instance (add the instance, such as openvpn-server@NAME.service)`,
		"openvpn-server@.":                  `"openvpn-server@." is a template without an instance (add the instance, such as openvpn-server@NAME.service)`,
		"@web.service":                      `"@web.service" lacks the name of a systemd unit (such as nginx@web.service)`,
		".service":                          `".service" lacks the name of a systemd unit (such as nginx.service)`,
		"nginx":                             `"nginx" lacks the suffix of a systemd unit (write nginx.service)`,
		"postgresql@15-main":                `"postgresql@15-main" lacks the suffix of a systemd unit (write postgresql@15-main.service)`,
		"nginx.":                            `"nginx." lacks the suffix of a systemd unit (write nginx.service)`,
		"nginx.sevice":                      `"nginx.sevice" lacks the suffix of a systemd unit (write nginx.service)`,
		"nginx.Service":                     `"nginx.Service" lacks the suffix of a systemd unit (write nginx.service)`,
		"dovecot.sokcet":                    `"dovecot.sokcet" lacks the suffix of a systemd unit (write dovecot.socket)`,
		"certbot.timr":                      `"certbot.timr" lacks the suffix of a systemd unit (write certbot.timer)`,
		"php8.2-fpm":                        `"php8.2-fpm" lacks the suffix of a systemd unit (write php8.2-fpm.service)`,
		"docker.io":                         `"docker.io" lacks the suffix of a systemd unit (write docker.io.service)`,
		"/lib/systemd/system/nginx.service": `"/lib/systemd/system/nginx.service" is a path, and not the name of a systemd unit (write nginx.service)`,
		"/etc/systemd/system/foo@.service":  `"/etc/systemd/system/foo@.service" is a path, and not the name of a systemd unit (write foo@NAME.service)`,
		"system nginx":                      `"system nginx" is not the name of a systemd unit (such as nginx.service)`,
	} {
		for _, key := range []string{"reload", "restart"} {
			_, err := spec.ParseCertificate(spec.DefaultConfig("/etc/acmed/acmed.yaml"), "/etc/acmed/certs.d/www.example.com.yaml", []byte("deploy: {"+key+": [\""+unit+"\"]}\n"), nil)
			switch {
			case want == "" && err != nil:
				t.Errorf("%s %s: %v", key, unit, err)
			case want != "" && (err == nil || !strings.HasSuffix(err.Error(), ": deploy."+key+"[0]: "+want)):
				t.Errorf("%s %s: got %v\nwant %s", key, unit, err, want)
			}
		}
	}
}
