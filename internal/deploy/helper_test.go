package deploy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acmed/internal/deploy"
)

func TestHelperDeliversWhatTheSpecSays(t *testing.T) {
	r := newRealm(t)
	a := r.deploy(site)
	if a.Name != site || a.Problem != "" || len(a.Results) != 2 || a.Results[0].Key != "file /srv/site.pem" || !a.Results[1].OK {
		t.Fatalf("%+v", a)
	}
	job := r.hands.jobs[0]
	if job.Want.Name != site || job.Live != r.path("var/state/live/"+site) || len(job.Leaf) != 64 || len(job.Files.Privkey) == 0 ||
		string(job.Files.Fullchain) != string(job.Files.Cert)+string(job.Files.Chain) {
		t.Errorf("%+v", job)
	}
	if r.kept(site) != siteSpec {
		t.Errorf("kept %q", r.kept(site))
	}
}

func TestHelperPassesOnWhoHasAccepted(t *testing.T) {
	r := newRealm(t)
	done := r.deploy(site).Results[0].Fingerprint
	order := deploy.Order{Name: site, Done: []string{done}, Wait: []string{fingerprint}}
	answers, err := r.client().Deploy(t.Context(), []deploy.Order{order})
	if err != nil || len(answers[0].Results) != 1 || !slices.Equal(r.hands.jobs[1].Wait, order.Wait) {
		t.Errorf("%+v, %v", answers, err)
	}
}

func TestHelperAnswersInTheOrderOfTheRequest(t *testing.T) {
	r := newRealm(t)
	var orders []deploy.Order
	for i := range 5 {
		name := fmt.Sprintf("s%d.example.com", i)
		orders = append(orders, deploy.Order{Name: name})
		if i == 2 {
			continue // has no spec
		}
		r.spec(name, siteSpec)
		if i != 3 { // has no certificate
			r.issue(name, mint(t, name))
		}
	}
	answers, err := r.client().Deploy(t.Context(), orders)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range answers {
		if a.Name != orders[i].Name || (a.Problem != "") != (i == 2 || i == 3) {
			t.Errorf("%d: %+v", i, a)
		}
	}
	if len(r.hands.jobs) != 3 {
		t.Errorf("%d jobs", len(r.hands.jobs))
	}
}

func TestHelperAppliesTheDefaults(t *testing.T) {
	r := newRealm(t)
	r.write("etc/acmed.yaml", "specDir: certs.d\nstateDir: ../var/state\ndefaults: {deploy: {check: [nginx, -t]}}\n")
	if a := r.deploy(site); len(a.Results) != 3 || a.Results[1].Key != "check" {
		t.Errorf("%+v", a)
	}
}

// TestWhichSpecIsInForce lists what becomes of a spec that was in force, and what the next delivery does then.
func TestWhichSpecIsInForce(t *testing.T) {
	const better = "deploy: {run: [{command: [/bin/new]}]}\n"
	for sentence, c := range map[string]struct {
		edit func(r *realm)
		want string // the first target; "": refused
		kept string // the last good version afterwards
	}{
		"unchanged":  {func(*realm) {}, "file /srv/site.pem", siteSpec},
		"a new text": {func(r *realm) { r.spec(site, better) }, "run /bin/new", better},
		"a bad text": {func(r *realm) { r.spec(site, "deploy: {rum: []}") }, "file /srv/site.pem", siteSpec},
		"emptied":    {func(r *realm) { r.spec(site, "") }, "file /srv/site.pem", siteSpec},
		"a remark":   {func(r *realm) { r.spec(site, "# nothing\n") }, "file /srv/site.pem", siteSpec},
		"too long":   {func(r *realm) { r.spec(site, better+strings.Repeat("#", 64<<10)) }, "file /srv/site.pem", siteSpec},
		"being written": {func(r *realm) { r.no(os.WriteFile(r.path(r.specFile(site)), []byte(better), 0o644)) },
			"file /srv/site.pem", siteSpec},
		"writable for all": {func(r *realm) { r.spec(site, better); r.no(os.Chmod(r.path(r.specFile(site)), 0o666)) },
			"file /srv/site.pem", siteSpec},
		"in a folder that is writable for all": {func(r *realm) { r.spec(site, better); r.no(os.Chmod(r.path("etc/certs.d"), 0o777)) },
			"file /srv/site.pem", siteSpec},
		"a link to nowhere": {func(r *realm) {
			r.spec("other", "")
			r.no(os.Remove(r.path(r.specFile(site))))
			r.no(os.Symlink("nowhere", r.path(r.specFile(site))))
		}, "file /srv/site.pem", siteSpec},
		"gone while another one is there": {func(r *realm) { r.spec("other", ""); r.no(os.Remove(r.path(r.specFile(site)))) }, "", ""},
		"gone, as are all":                {func(r *realm) { r.no(os.Remove(r.path(r.specFile(site)))) }, "file /srv/site.pem", siteSpec},
		"gone, and only strays are left": {func(r *realm) {
			r.no(os.Rename(r.path(r.specFile(site)), r.path("etc/certs.d/"+site+".yaml.off")))
			r.write("etc/certs.d/.hidden.yaml", "")
		}, "file /srv/site.pem", siteSpec},
		"gone with its folder": {func(r *realm) { r.no(os.RemoveAll(r.path("etc/certs.d"))) }, "file /srv/site.pem", siteSpec},
	} {
		t.Run(sentence, func(t *testing.T) {
			r := newRealm(t)
			r.delivers(site)
			c.edit(r)
			a := r.deploy(site)
			got := ""
			if len(a.Results) > 0 {
				got = a.Results[0].Key
			}
			if got != c.want || (a.Problem == "") != (c.want != "") {
				t.Errorf("%+v", a)
			}
			if r.kept(site) != c.kept {
				t.Errorf("kept %q", r.kept(site))
			}
		})
	}
}

func TestWhatNeverWasGoodIsRefused(t *testing.T) {
	for sentence, c := range map[string]struct {
		edit func(r *realm)
		want []string
	}{
		"a bad text":     {func(r *realm) { r.spec(site, "deploy: {rum: []}") }, []string{site + ".yaml:1:10", "deploy.rum"}},
		"being written":  {func(r *realm) { r.no(os.WriteFile(r.path(r.specFile(site)), []byte("{}"), 0o644)) }, []string{"just being written", "tried again"}},
		"not there":      {func(r *realm) { r.spec("other", ""); r.no(os.Remove(r.path(r.specFile(site)))) }, []string{"its file is gone", "acmed reload"}},
		"no folder":      {func(r *realm) { r.no(os.RemoveAll(r.path("etc/certs.d"))) }, []string{"certs.d: no such file"}},
		"open to others": {func(r *realm) { r.no(os.Chmod(r.path(r.specFile(site)), 0o666)) }, []string{"others than root may write it", "chmod go-w " + "/"}},
	} {
		t.Run(sentence, func(t *testing.T) {
			r := newRealm(t)
			c.edit(r)
			r.refuses(site, c.want...)
		})
	}
}

func TestAnEmptyFileIsFineForANewCertificate(t *testing.T) {
	r := newRealm(t)
	r.spec("new.example.com", "")
	if err := r.client().Accept(t.Context(), []string{"new.example.com"}); err != nil {
		t.Error(err)
	}
	if err := r.client().Accept(t.Context(), []string{"new.example.com"}); err != nil {
		t.Error(err)
	}
}

func TestAcceptKeepsSpecsForLater(t *testing.T) {
	r := newRealm(t)
	if err := r.client().Accept(t.Context(), []string{site}); err != nil || r.kept(site) != siteSpec {
		t.Fatalf("%v, kept %q", err, r.kept(site))
	}
	if len(r.hands.jobs) != 0 {
		t.Error("something was delivered")
	}
	before, err := os.Stat(r.path("memory/specs/" + site + ".yaml"))
	r.no(err)
	if err := r.client().Accept(t.Context(), []string{site}); err != nil {
		t.Error(err)
	}
	if after, err := os.Stat(r.path("memory/specs/" + site + ".yaml")); err != nil || !os.SameFile(before, after) {
		t.Errorf("what did not change was written again: %v", err)
	}
	r.spec(site, "[")
	r.delivers(site)
}

func TestAcceptTellsWhatIsNotBelieved(t *testing.T) {
	r := newRealm(t)
	r.no(os.Chmod(r.path(r.specFile(site)), 0o666))
	r.spec("bad", "[")
	r.spec("good.example.com", "")
	err := r.client().Accept(t.Context(), []string{"good.example.com", site, "bad"})
	for _, want := range []string{site + ": ", "others than root may write it; chmod go-w", "bad.yaml:1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "good.example.com") {
		t.Errorf("%v", err)
	}
}

func TestAcceptForgetsWhatRootTookAway(t *testing.T) {
	r := newRealm(t)
	r.spec("other", "")
	r.delivers(site)
	r.no(os.Remove(r.path(r.specFile(site))))
	if err := r.client().Accept(t.Context(), []string{site}); err != nil || r.kept(site) != "" {
		t.Errorf("%v, kept %q", err, r.kept(site))
	}
}

func TestAcceptIsCalmWhenThereAreNoSpecs(t *testing.T) {
	r := newRealm(t)
	r.delivers(site)
	r.no(os.RemoveAll(r.path("etc/certs.d")))
	if err := r.client().Accept(t.Context(), []string{site}); err != nil || r.kept(site) != siteSpec {
		t.Errorf("%v, kept %q", err, r.kept(site))
	}
}

func TestTheLastGoodConfigurationStaysInForce(t *testing.T) {
	r := newRealm(t)
	r.delivers(site)
	r.write("etc/acmed.yaml", "color: red\n")
	r.delivers(site)
	r.no(os.Remove(r.path("etc/acmed.yaml")))
	r.delivers(site)
	r.no(os.WriteFile(r.path("etc/acmed.yaml"), []byte("specDir: not-all-of-it"), 0o644))
	r.delivers(site)
	if got := r.logs.FilterMessage("the last good configuration stays in force").Len(); got != 3 {
		t.Errorf("it was told %d times", got)
	}
	r.no(os.Remove(r.path("etc/acmed.yaml")))
	r.no(os.Remove(r.path("memory/acmed.yaml")))
	_, err := r.client().Deploy(t.Context(), []deploy.Order{{Name: site}})
	if err == nil || !strings.Contains(err.Error(), "acmed.yaml: no such file") {
		t.Errorf("%v", err)
	}
}

func TestABadConfigurationIsNoDefault(t *testing.T) {
	r := newRealm(t)
	r.write("etc/acmed.yaml", "color: red\n")
	_, err := r.client().Deploy(t.Context(), []deploy.Order{{Name: site}})
	if err == nil || !strings.Contains(err.Error(), "acmed.yaml:1:1: color") {
		t.Errorf("%v", err)
	}
}

func TestWithoutAStateFolderNothingIsDelivered(t *testing.T) {
	r := newRealm(t)
	r.no(os.RemoveAll(r.path("var/state")))
	_, err := r.client().Deploy(t.Context(), []deploy.Order{{Name: site}})
	if err == nil || !strings.Contains(err.Error(), "opening the state directory") {
		t.Errorf("%v", err)
	}
	if err := r.client().Accept(t.Context(), []string{site}); err != nil {
		t.Errorf("specs are accepted all the same: %v", err)
	}
}

func TestAnAnswerComesBeforeTheTimeIsUp(t *testing.T) {
	r := newRealm(t)
	r.config.Budget = time.Nanosecond
	r.hands.do = func(ctx context.Context, _ []deploy.Job) []deploy.Answer {
		<-ctx.Done()
		return nil
	}
	if a := r.deploy(site); !strings.Contains(a.Problem, "no time") || a.Hint == "" {
		t.Errorf("%+v", a)
	}
}

func TestTheHelpersFolderIsPrivate(t *testing.T) {
	r := newRealm(t)
	r.delivers(site)
	for path, want := range map[string]os.FileMode{
		"memory": 0o700, "memory/specs": 0o700, "memory/lock": 0o600, "memory/acmed.yaml": 0o600, "memory/specs/" + site + ".yaml": 0o600,
	} {
		if info, err := os.Stat(r.path(path)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if all, _ := filepath.Glob(r.path("memory/*")); len(all) != 3 {
		t.Errorf("%q", all)
	}
}

func TestHelperLogsWhatItDid(t *testing.T) {
	r := newRealm(t)
	r.hands.do = func(_ context.Context, jobs []deploy.Job) []deploy.Answer {
		return []deploy.Answer{{Name: jobs[0].Name, Results: []deploy.Result{{Key: "check", OK: true}, {Key: "reload x", Problem: "masked"}}}}
	}
	r.deploy(site)
	r.deploy("other.example.com")
	var lines []string
	for _, e := range r.logs.All() {
		m := e.ContextMap()
		lines = append(lines, fmt.Sprint(e.Level, " ", e.Message, " ", m["cert"], " ", m["target"], " ", m["problem"] != nil))
	}
	want := []string{"info delivered www.example.com check false", "warn not delivered www.example.com reload x true",
		"warn delivery refused other.example.com <nil> true"}
	if !slices.Equal(lines, want) {
		t.Errorf("%q", lines)
	}
}

func TestNewHelperRefuses(t *testing.T) {
	good := newRealm(t).config
	for sentence, spoil := range map[string]func(c *deploy.HelperConfig){
		"no configuration":       func(c *deploy.HelperConfig) { c.ConfigFile = "" },
		"a relative file":        func(c *deploy.HelperConfig) { c.ConfigFile = "acmed.yaml" },
		"no folder":              func(c *deploy.HelperConfig) { c.MemoryDir = "" },
		"a relative folder":      func(c *deploy.HelperConfig) { c.MemoryDir = "memory" },
		"nobody who does it all": func(c *deploy.HelperConfig) { c.Executor = nil },
	} {
		c := good
		spoil(&c)
		if _, err := deploy.NewHelper(c); err == nil {
			t.Errorf("%s: no error", sentence)
		}
	}
}

func TestTheWireIsAsDocumented(t *testing.T) {
	r := newRealm(t)
	var answer map[string][]map[string]any
	text := r.ask(`{"verb":"deploy","orders":[{"name":"` + site + `"}]}`)
	if err := json.Unmarshal([]byte(text), &answer); err != nil || answer["answers"][0]["name"] != site {
		t.Errorf("%s: %v", text, err)
	}
}
