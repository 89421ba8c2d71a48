package deploy_test

import (
	"testing"

	"acmed/internal/deploy"
	"acmed/internal/spec"
)

// local returns a courier for the state folder of r, and the certificate site.
func local(t *testing.T, r *realm) *deploy.Local {
	t.Helper()
	site := parse(t, site, siteSpec)
	l, err := deploy.NewLocal(deploy.LocalConfig{
		Certificate: func(name string) *spec.Certificate {
			if name == site.Name {
				return site
			}
			return nil
		},
		Provider: func(string) *spec.Provider { return nil }, State: r.reader(), StateDir: r.path("var/state"), Executor: r.hands,
	})
	r.no(err)
	return l
}

func TestLocalDeliversInItsOwnProcess(t *testing.T) {
	r := newRealm(t)
	l := local(t, r)
	answers, err := l.Deploy(t.Context(), []deploy.Order{{Name: "other.example.com"}, {Name: site}})
	if err != nil || len(answers) != 2 {
		t.Fatalf("%+v, %v", answers, err)
	}
	if a := answers[0]; a.Name != "other.example.com" || a.Problem != "there is no such certificate" || a.Hint == "" {
		t.Errorf("%+v", a)
	}
	if a := answers[1]; a.Name != site || a.Problem != "" || len(a.Results) != 2 {
		t.Errorf("%+v", a)
	}
	if job := r.hands.jobs[0]; job.Live != r.path("var/state/live/"+site) || job.Want.File == "" {
		t.Errorf("%s of %s", job.Live, job.Want.File)
	}
}

func TestLocalVerifiesAsTheHelperDoes(t *testing.T) {
	r := newRealm(t)
	l := local(t, r)
	r.issue("other.example.com", mint(t, site))
	r.swap(r.revision(site), "privkey.pem")
	answers, err := l.Deploy(t.Context(), []deploy.Order{{Name: site}})
	if err != nil || answers[0].Problem == "" || len(r.hands.jobs) > 0 {
		t.Errorf("%+v, %v", answers, err)
	}
}

func TestNewLocalRefuses(t *testing.T) {
	if _, err := deploy.NewLocal(deploy.LocalConfig{}); err == nil {
		t.Error("no error")
	}
}
