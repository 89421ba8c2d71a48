//go:build e2e

package e2e

import (
	"errors"
	"strings"
	"testing"

	"acmed/internal/deploy"
)

const (
	copied     = "copied.example.com"
	copiedRev  = "/var/lib/acmed/certs/" + copied + "/rev/0001"
	copiedSpec = `deploy:
  run:
    - {command: [/usr/local/bin/exchange], user: acmed}
    - {command: [/usr/local/bin/copied, root]}
    - {command: [/usr/local/bin/copied, nobody], user: nobody}
    - {command: [/usr/local/bin/copied, keyed], user: nobody, privkey: true}
`
)

// copies has acmed's user exchange the files of a revision for links once the helper has verified it, before commands read
// the certificate.
func copies(t *testing.T, m *machine) {
	m.run("chown", "--recursive", "--no-dereference", "root:root", "/var/lib/acmed") // the test itself is root
	issueFor(m, copied)
	key := m.run("cat", copiedRev+"/privkey.pem")
	m.script("/usr/local/bin/exchange", "cd "+copiedRev+" || exit 2\nfor f in *.pem; do mv $f $f.away && ln -s /etc/shadow $f || exit 3; done")
	m.script("/usr/local/bin/copied", `d=$RENEWED_LINEAGE
[ "$d" = "$ACMED_LIVE" ] && [ "$(basename "$d")" = `+copied+` ] || exit 2
[ "$(stat -f -c %T "$d")" = tmpfs ] || exit 3
ls /run/acmed-deploy/* 2>/dev/null && [ "$(id -u)" != 0 ] && exit 4
echo "$d" >/srv/hook/$1.where
stat -c '%a %n' "$d" "$d"/* | sed "s#$d#.#" >/srv/hook/$1.modes
cat "$d"/*.pem >/srv/hook/$1.pem`)
	m.write("/etc/acmed/certs.d/"+copied+".yaml", copiedSpec)
	m.eventually(patience, "the spec stands still", func() error { return m.courier().Accept(t.Context(), []string{copied}) })
	answers, err := m.courier().Deploy(t.Context(), []deploy.Order{{Name: copied}})
	if err != nil || len(answers) != 1 || len(answers[0].Results) != 4 {
		t.Fatalf("%+v, %v", answers, err)
	}
	for _, r := range answers[0].Results {
		if !r.OK {
			t.Errorf("%s: %s (%s): %s", r.Key, r.Problem, r.Hint, r.Output)
		}
	}
	for name, modes := range map[string]string{
		"root":   "700 .\n644 ./cert.pem\n644 ./chain.pem\n644 ./fullchain.pem\n600 ./privkey.pem",
		"nobody": "750 .\n644 ./cert.pem\n644 ./chain.pem\n644 ./fullchain.pem",
		"keyed":  "750 .\n644 ./cert.pem\n644 ./chain.pem\n644 ./fullchain.pem\n600 ./privkey.pem",
	} {
		if got := m.run("cat", "/srv/hook/"+name+".modes"); got != modes {
			t.Errorf("%s finds\n%s", name, got)
		}
		read := m.run("cat", "/srv/hook/"+name+".pem")
		if strings.Contains(read, key) != (name != "nobody") || !strings.Contains(read, "BEGIN CERTIFICATE") || strings.Contains(read, "root:") {
			t.Errorf("%s read\n%s", name, read)
		}
		if out, err := m.try("ls", m.run("cat", "/srv/hook/"+name+".where")); err == nil {
			t.Errorf("the copy for %s is still there: %s", name, out)
		}
	}
	m.run("sh", "-c", "rm /srv/hook/*.pem; cd "+copiedRev+" && for f in *.away; do mv $f ${f%.away}; done")
}

// copiesOfTheKilled kills a helper while its command runs.
func copiesOfTheKilled(t *testing.T, m *machine) {
	m.script("/usr/local/bin/exchange", "touch /tmp/runs; exec sleep 1000")
	done := make(chan error, 1)
	go func() {
		_, err := m.courier().Deploy(t.Context(), []deploy.Order{{Name: copied}})
		done <- err
	}()
	const find = "find /run/acmed-deploy /run/acmed-copies /dev/shm -name '*.pem' 2>/dev/null"
	m.eventually(patience, "the command has its copy", func() error {
		if m.run("sh", "-c", find+" || true") == "" {
			return errors.New("there is none")
		}
		return nil
	})
	m.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "acmed-deploy@*")
	if err := <-done; err == nil {
		t.Error("a helper that was killed has answered")
	}
	m.eventually(patience, "nothing is left of the copy", func() error {
		if left := m.run("sh", "-c", find+" || true"); left != "" {
			return errors.New(left)
		}
		return nil
	})
	m.run("rm", "/etc/acmed/certs.d/"+copied+".yaml")
}
