package spec_test

import (
	"testing"

	"acmed/internal/spec"
)

func TestTwinsOfTheCatalogue(t *testing.T) {
	var issuers []*spec.Issuer
	for _, ca := range spec.Catalogue() {
		issuers = append(issuers, &spec.Issuer{Name: ca.Name})
	}
	set := spec.NewSet(nil, issuers)
	for name, want := range map[string]string{"letsencrypt": "letsencrypt-staging", "google": "google-test"} {
		if twin := set.Twin(name); twin == nil || twin.Name != want {
			t.Errorf("the twin of %s is %v, want %s", name, twin, want)
		}
	}
	for _, name := range []string{"zerossl", "letsencrypt-staging"} {
		if twin := set.Twin(name); twin != nil {
			t.Errorf("%s has the twin %s", name, twin.Name)
		}
	}
}
