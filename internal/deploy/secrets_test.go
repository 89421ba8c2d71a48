package deploy_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"acmed/internal/deploy"
	"acmed/internal/spec"
)

// TestNoSecretGoesAstray delivers a key and a password in all ways, well and badly, and looks for both in what commands
// get to see, in what is answered and in what is logged.
func TestNoSecretGoesAstray(t *testing.T) {
	const password = "correct horse battery staple"
	dir := folderFor(t)
	write(t, dir+"/password", password+"\n", 0o600)
	spy := sh("cat /proc/$$/environ /proc/$$/cmdline; cat; exit 1")
	good := spec.Deploy{
		Files: []spec.File{{Path: dir + "/key", Content: "privkey"}, {Path: dir + "/all", Content: "combined"}, {Path: dir + "/p12", Content: "pkcs12", PasswordFile: dir + "/password"}},
		Run:   []spec.Run{{Command: spy, Timeout: time.Minute}}, Reload: []string{"a.service"},
	}
	refused, unwritten := good, good
	refused.Check = spy
	unwritten.Files = []spec.File{{Path: dir + "/none/key", Content: "privkey"}, {Path: dir + "/p12", Content: "pkcs12", PasswordFile: dir + "/key"}}
	var log bytes.Buffer
	e, err := deploy.NewExecutor(deploy.ExecutorConfig{
		Units: &units{}, Copies: []string{"/run/acmed-copies"}, Log: zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&log), zapcore.DebugLevel)),
	})
	if err != nil {
		t.Fatal(err)
	}
	e.CopyTo(folderFor(t) + "/copies")
	for _, d := range []spec.Deploy{good, refused, unwritten} {
		j := job(t, "www.example.com", d)
		answers := e.Deploy(t.Context(), []deploy.Job{j})
		text, err := json.Marshal(answers)
		if err != nil {
			t.Fatal(err)
		}
		seen := fmt.Sprintf("%+v\n%s\n%s", answers, text, log.String())
		if !strings.Contains(seen, "exited with status 1") && !strings.Contains(seen, "does not exist") {
			t.Errorf("nothing happened: %s", seen)
		}
		for _, secret := range append(secrets(t, j.Files.Privkey), password) {
			if strings.Contains(seen, secret) {
				t.Errorf("%q is in\n%s", secret, seen)
			}
		}
	}
	if !strings.Contains(log.String(), "www.example.com") {
		t.Error("nothing was logged")
	}
}

// secrets are pieces of a key as they may turn up.
func secrets(t *testing.T, text []byte) (pieces []string) {
	t.Helper()
	block, _ := pem.Decode(text)
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "-----") {
			pieces = append(pieces, strings.TrimSpace(line))
		}
	}
	secret := block.Bytes[36:68] // the number itself, of a key for P-256
	return append(pieces, string(secret), fmt.Sprintf("%x", secret), base64.StdEncoding.EncodeToString(secret), "PRIVATE KEY")
}
