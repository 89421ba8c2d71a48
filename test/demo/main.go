// Command demo shows acmed's main job on this machine, without root: a local
// test CA, the daemon, one spec file, the certificate that comes of it, and
// its renewal. Everything lives in a temporary folder and on loopback ports.
//
//	go run ./test/demo          takes under a minute and cleans up
//	go run ./test/demo -keep    goes on until Ctrl-C, so that you can look around
package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"acmed/test/pebble"
)

const (
	name     = "www.example.com"
	lifetime = time.Minute // so short that a renewal comes while you watch
)

func main() {
	keep := flag.Bool("keep", false, "go on until Ctrl-C")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, keep bool) (err error) {
	dir, err := os.MkdirTemp("", "acmed-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := &demo{dir: dir, acmed: filepath.Join(dir, "acmed"), progress: newProgress(os.Stdout)}
	defer func() { err = errors.Join(err, d.stop()) }()
	for _, step := range []func(context.Context) error{d.build, d.startCA, d.startDaemon, d.issue, d.renew, d.show} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("%w\nThe daemon's log:\n%s", err, d.log())
		}
	}
	if keep {
		say("Look around in %s. Ctrl-C ends everything and removes it.", dir)
		<-ctx.Done()
	}
	return nil
}

type demo struct {
	dir    string
	acmed  string // the program
	ca     *pebble.Server
	daemon *exec.Cmd
	ended  chan error // holds how the daemon ended, once it has

	progress progress
}

func (d *demo) build(ctx context.Context) error {
	say("Building acmed and the test CA; the first time, Go downloads and compiles what they need.")
	if err := d.progress.while(always("building the test CA"), func() error {
		_, err := pebble.Build()
		return err
	}); err != nil {
		return err
	}
	return d.progress.while(always("building acmed"), func() error {
		out, err := exec.CommandContext(ctx, "go", "build", "-o", d.acmed, "acmed/cmd/acmed").CombinedOutput()
		if err != nil {
			return fmt.Errorf("building acmed: %w\n%s", err, out)
		}
		return nil
	})
}

func always(text string) func() string { return func() string { return text } }

func (d *demo) startCA(ctx context.Context) (err error) {
	dir := filepath.Join(d.dir, "ca")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	// One nonce in twenty is refused, as a busy CA does.
	d.ca, err = pebble.New(ctx, pebble.Options{Dir: dir, NonceReject: 5, Profiles: map[string]time.Duration{"demo": lifetime}})
	if err != nil {
		return err
	}
	say("A test CA, Pebble, answers at %s. Its certificates live for %s.", d.ca.DirectoryURL, lifetime)
	return nil
}

func (d *demo) startDaemon(ctx context.Context) error {
	files := map[string]string{
		"acmed.yaml": fmt.Sprintf(`contact: ["mailto:pki@example.com"]
termsOfServiceAgreed: true
defaults: {issuers: [pebble]}
specDir: %[1]s/certs.d
issuerDir: %[1]s/issuers.d
stateDir: %[1]s/state
runtimeDir: %[1]s/run
http: {solver: listen, listen: "%[2]s"}
admin: {listen: ""}
log: {format: console}
control: {socket: %[1]s/run/acmed.sock}
`, d.dir, d.ca.HTTPAddr),
		"issuers.d/pebble.yaml": fmt.Sprintf("directory: %s\ncaBundle: %s\n", d.ca.DirectoryURL, d.ca.RootsFile),
	}
	if err := os.Mkdir(d.path("certs.d"), 0o755); err != nil {
		return err
	}
	for file, content := range files {
		if err := d.write(file, content); err != nil {
			return err
		}
	}
	if err := d.runDaemon(); err != nil {
		return err
	}
	say("The daemon runs, without root: acmed run --config %s", d.path("acmed.yaml"))
	return d.await(ctx, "the daemon answers", nil, func() bool {
		return exec.CommandContext(ctx, d.acmed, d.args("list")...).Run() == nil
	})
}

func (d *demo) runDaemon() error {
	log, err := os.Create(d.path("acmed.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	daemon := exec.Command(d.acmed, d.args("run")...)
	daemon.Stdout, daemon.Stderr = log, log
	// Ctrl-C reaches the whole group: the daemon is stopped by us, in order.
	daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := daemon.Start(); err != nil {
		return err
	}
	d.daemon, d.ended = daemon, make(chan error, 1)
	go func() { d.ended <- daemon.Wait() }()
	return nil
}

func (d *demo) issue(ctx context.Context) error {
	say("An empty file asks for a certificate: touch %s", d.path("certs.d", name+".yaml"))
	start := time.Now()
	if err := d.write(filepath.Join("certs.d", name+".yaml"), ""); err != nil {
		return err
	}
	if err := d.awaitRevision(ctx, 1, nil); err != nil {
		return err
	}
	say("After %.1f s it is there. acmed reads a new file half a second after it was closed, and one that is older than the daemon,\n"+
		"as the issuer's is here, when nobody has written it for five seconds.", time.Since(start).Seconds())
	return d.describe()
}

func (d *demo) renew(ctx context.Context) error {
	say("It expires soon. acmed renews it by itself, at the instant it drew in the window that the CA suggests (ARI) …")
	if err := d.awaitRevision(ctx, 2, func() string { return d.planned(ctx) }); err != nil {
		return err
	}
	if err := d.await(ctx, "the visit that renewed it ends", nil, func() bool {
		out, err := exec.CommandContext(ctx, d.acmed, d.args("list")...).Output()
		return err == nil && strings.Contains(string(out), " valid ")
	}); err != nil {
		return err
	}
	return d.describe()
}

func (d *demo) show(ctx context.Context) error {
	for _, args := range [][]string{{"list"}, {"status", name}} {
		say("$ acmed %s", strings.Join(args, " "))
		out, err := exec.CommandContext(ctx, d.acmed, d.args(args...)...).CombinedOutput()
		fmt.Print(indent(string(out)))
		if err != nil {
			return err
		}
	}
	say("A web server would read %s.", d.path("state/live", name, "{fullchain,privkey}.pem"))
	say("The daemon wrote this:")
	fmt.Print(indent(d.log()))
	return nil
}

// describe prints the certificate that consumers see.
func (d *demo) describe() error {
	data, err := os.ReadFile(d.path("state/live", name, "cert.pem"))
	if err != nil {
		return err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return errors.New("cert.pem holds no PEM block")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	fmt.Printf("    serial %x for %s, by %s, from %s to %s\n", cert.SerialNumber, cert.DNSNames, cert.Issuer.CommonName,
		cert.NotBefore.Local().Format(time.TimeOnly), cert.NotAfter.Local().Format(time.TimeOnly))
	return nil
}

// planned says when acmed is going to renew.
func (d *demo) planned(ctx context.Context) string {
	var list []struct{ Renewal time.Time }
	out, err := exec.CommandContext(ctx, d.acmed, d.args("list", "--output", "json")...).Output()
	if err != nil || json.Unmarshal(out, &list) != nil || len(list) == 0 || !time.Now().Before(list[0].Renewal) {
		return ""
	}
	at := list[0].Renewal
	return fmt.Sprintf(", planned for %s (in %d s)", at.Local().Format(time.TimeOnly), int(time.Until(at)/time.Second))
}

func (d *demo) awaitRevision(ctx context.Context, n int, detail func() string) error {
	want := fmt.Sprintf("../certs/%s/rev/%04d", name, n)
	return d.await(ctx, fmt.Sprintf("revision %d is live", n), detail, func() bool {
		target, err := os.Readlink(d.path("state/live", name))
		return err == nil && target >= want
	})
}

// await polls until a condition holds, for as long as a certificate may live. detail says more of what it waits for; nil: there
// is no more.
func (d *demo) await(ctx context.Context, what string, detail func() string, condition func() bool) error {
	return d.progress.while(func() string {
		if detail == nil {
			return "waiting until " + what
		}
		return "waiting until " + what + detail()
	}, func() error { return d.poll(ctx, what, condition) })
}

func (d *demo) poll(ctx context.Context, what string, condition func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, lifetime+10*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, ctx.Err())
		case err := <-d.ended:
			d.daemon = nil
			return fmt.Errorf("waiting until %s: the daemon ended: %w", what, cmp.Or(err, errors.New("exit status 0")))
		case <-tick.C:
		}
	}
	return nil
}

// stop ends whatever was started: the daemon as systemd would, then the CA.
func (d *demo) stop() (err error) {
	if d.daemon != nil {
		if err = d.daemon.Process.Signal(syscall.SIGTERM); err == nil {
			err = <-d.ended
		}
	}
	if d.ca != nil {
		d.ca.Close()
	}
	return err
}

func (d *demo) path(parts ...string) string {
	return filepath.Join(append([]string{d.dir}, parts...)...)
}

func (d *demo) args(args ...string) []string { return append(args, "--config", d.path("acmed.yaml")) }

func (d *demo) write(file, content string) error {
	path := d.path(file)
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644))
}

func (d *demo) log() string {
	log, err := os.ReadFile(d.path("acmed.log"))
	if err != nil {
		return err.Error() + "\n"
	}
	return string(log)
}

func say(format string, args ...any) { fmt.Printf("\n"+format+"\n", args...) }

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n    ") + "\n"
}
