package migrate_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// keeping is what is noted of a hook that keeps the path of the certificate.
const keeping = " seems to keep a path of the certificate"

// TestHooksThatKeepThePathAreNoted has each hook as an inline command, as a program, and in a directory of hooks.
func TestHooksThatKeepThePathAreNoted(t *testing.T) {
	for sentence, c := range map[string]struct {
		hook string
		want bool
	}{
		"a link":                             {`ln -sf "$RENEWED_LINEAGE/fullchain.pem" /srv/tls.pem`, true},
		"a link by its whole path":           {`test -d /srv && /usr/bin/ln -s $RENEWED_LINEAGE /srv/tls`, true},
		"a unit that is not waited for":      {`systemctl start --no-block "reader@$(systemd-escape "$RENEWED_LINEAGE")"`, true},
		"a process in the background":        {`/srv/push "$RENEWED_LINEAGE" &`, true},
		"a process without a terminal":       {`nohup /srv/push ${RENEWED_LINEAGE}/cert.pem >/dev/null 2>&1`, true},
		"a session of its own":               {`setsid /srv/push $RENEWED_LINEAGE`, true},
		"a unit for later":                   {`systemd-run --on-active=5m /srv/push $RENEWED_LINEAGE`, true},
		"a job for later":                    {`echo "/srv/push $RENEWED_LINEAGE" | at now + 5 minutes`, true},
		"a mount":                            {`mount --bind "$RENEWED_LINEAGE" /srv/tls`, true},
		"a copy":                             {`cp "$RENEWED_LINEAGE"/*.pem /srv/ && systemctl restart app 2>&1`, false},
		"a link without the certificate":     {`ln -sf /srv/a /srv/b`, false},
		"a unit that reads another path":     {`systemctl start --no-block app`, false},
		"two commands, of which one is next": {`cat $RENEWED_LINEAGE/*.pem >/srv/all.pem && systemctl reload app`, false},
		"a word with the same letters":       {`curl -F file=@$RENEWED_LINEAGE/cert.pem https://vuln.example/at/now`, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			w := certbot(t)
			w.write("hook.sh", "#!/bin/sh\n# ln -s $RENEWED_LINEAGE is no good idea\n"+c.hook+"\n")
			w.write("renewal-hooks/deploy/10-app", "#!/bin/sh\nset -e\n"+c.hook+"\n")
			w.executable("renewal-hooks/deploy/10-app")
			w.lineage("inline.example.com", ecKey(t), 60*day, "authenticator = standalone\ndirectory_hooks = False\nrenew_hook = '''"+c.hook+"'''", "inline.example.com")
			w.lineage("program.example.com", ecKey(t), 60*day, "authenticator = standalone\ndirectory_hooks = False\nrenew_hook = "+filepath.Join(w.dir, "hook.sh"), "program.example.com")
			w.lineage("shared.example.com", ecKey(t), 60*day, "authenticator = standalone", "shared.example.com")
			p := w.apply("certbot")
			for name, key := range map[string]string{"inline": "renew_hook", "program": "renew_hook", "shared": "renewal-hooks/deploy/10-app"} {
				found := false
				for _, n := range step(t, p, name+".example.com").Notes {
					if strings.HasPrefix(n.What, key+keeping) {
						found = true
						if !strings.Contains(n.Do, "deploy.files") || strings.Contains(n.What+n.Do, "/srv") {
							t.Errorf("the note is %+v", n)
						}
					}
				}
				if found != c.want {
					t.Errorf("%s: noted: %v", name, found)
				}
			}
		})
	}
}

// TestAHookOfDehydratedThatKeepsThePathIsNoted gets the paths as arguments.
func TestAHookOfDehydratedThatKeepsThePathIsNoted(t *testing.T) {
	for text, want := range map[string]bool{
		"#!/bin/bash\ndeploy_cert() {\n  ln -sf \"$4\" /srv/tls.pem\n}\n":               true,
		"#!/usr/bin/python3\nimport os, sys\nos.symlink(sys.argv[4], '/srv/tls.pem')\n": true,
		"#!/bin/bash\ndeploy_cert() {\n  cp \"$4\" /srv/tls.pem\n}\n":                   false,
		"ELF ln -s nohup & \n": false,
	} {
		w := dehydrated(t, "HOOK=hook.sh\n")
		w.write("hook.sh", text)
		w.executable("hook.sh")
		w.write("domains.txt", "www.example.com\n")
		w.owned("www.example.com", "www.example.com")
		found := false
		for _, n := range step(t, w.apply("dehydrated"), "www.example.com").Notes {
			found = found || strings.HasPrefix(n.What, "HOOK"+keeping)
		}
		if found != want {
			t.Errorf("%q: noted: %v", text, found)
		}
	}
}
