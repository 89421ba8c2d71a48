package spec_test

import (
	"strings"
	"testing"

	"acmed/internal/spec"
)

func TestPreviewIsWhatAReloadWouldBring(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.example.com.yaml", "dnsNames: [a.example.com, b.example.com]\n")
	s.write("certs/bad.example.com.yaml", "profile: one\n")
	s.load()
	s.write("certs/a.example.com.yaml", "dnsNames: [a.example.com]\n") // would wait
	s.write("certs/bad.example.com.yaml", "{")
	s.write("certs/new.example.com.yaml", "")
	recall := func(key string) ([]byte, error) { return []byte(s.texts[key]), nil }
	set, err := spec.Preview(spec.LoaderConfig{Config: s.config, Recall: recall, Known: s.known})
	if err != nil {
		t.Fatal(err)
	}
	s.names(set, "a.example.com", "bad.example.com", "new.example.com")
	if got := set.Certificate("a.example.com").DNSNames; len(got) != 1 {
		t.Errorf("a name that is taken away is still there: %v", got)
	}
	if len(set.Problems) != 1 || !set.Problems[0].Kept || set.Certificate("bad.example.com").Profile != "one" {
		t.Errorf("problems %v, in force %+v", set.Problems, set.Certificate("bad.example.com"))
	}
}

func TestDraft(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.example.com.yaml", "deploy: {files: [{path: /a, content: cert}]}\n")
	s.write("certs/b.example.com.yaml", "")
	inForce := s.load()
	for sentence, tt := range map[string]struct {
		path, text string
		problem    string // "": none
	}{
		"a new name is added":                       {"/draft/c.example.com.yaml", "profile: one", ""},
		"a name in force is replaced":               {"/draft/a.example.com.yaml", "profile: one\ndeploy: {files: [{path: /a, content: cert}]}", ""},
		"what another certificate writes is its":    {"/draft/c.example.com.yaml", "deploy: {files: [{path: /a, content: cert}]}", "/a is written by a.example.com.yaml already"},
		"a text with a fault changes nothing":       {"/draft/a.example.com.yaml", "profil: one", "profil"},
		"a file that is none of ours is not a spec": {"/draft/notes.txt", "", "is not read"},
		"nor is one with an old ending":             {"/draft/a.example.com.yml", "", "is not read"},
		"an issuer has to exist":                    {"/draft/c.example.com.yaml", "issuers: [nobody]", "nobody"},
		"what is too long is refused":               {"/draft/c.example.com.yaml", strings.Repeat("#", 65<<10), "over 64 KiB"},
	} {
		t.Run(sentence, func(t *testing.T) {
			set, names, err := spec.Draft(s.config, inForce, map[string][]byte{tt.path: []byte(tt.text)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.problem != "" {
				if len(set.Problems) == 0 || !strings.Contains(set.Problems[0].Error(), tt.problem) || len(names) > 0 {
					t.Errorf("problems %v, names %v; want %q", set.Problems, names, tt.problem)
				}
				if diff := diff(inForce, set); diff != "" {
					t.Errorf("it changed: %s", diff)
				}
				return
			}
			if len(set.Problems) > 0 || len(names) != 1 || set.Certificate(names[0]).Profile != "one" || set.Len() < inForce.Len() {
				t.Errorf("problems %v, names %v of %d", set.Problems, names, set.Len())
			}
		})
	}
}
