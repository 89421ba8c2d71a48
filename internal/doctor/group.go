package doctor

import (
	"regexp"
	"strings"
)

// fewSubjects is how many subjects of a cause are named.
const fewSubjects = 5

// placeholder stands for the subject in a hint that is for several.
const placeholder = "NAME"

// grouped makes one of findings that differ in their subject alone, in the order of the first of each. One cause, such as a
// DNS server that does not answer, would hide all others if it were repeated for every name.
func grouped(findings []Finding) (groups []Finding) {
	index := map[[4]string]int{}
	for _, f := range findings {
		of := [4]string{f.Check, string(f.Level), general(f.Text, f.Subject), general(f.Hint, f.Subject)}
		i, known := index[of]
		if !known || f.Subject == "" {
			index[of] = len(groups)
			groups = append(groups, f)
			continue
		}
		groups[i].add(f)
	}
	return groups
}

// add makes f stand for one more subject.
func (f *Finding) add(other Finding) {
	if f.Count == 0 {
		f.Count, f.Subjects = 1, []string{f.Subject}
		f.Text, f.Hint = general(f.Text, f.Subject), general(f.Hint, f.Subject)
	}
	if f.Count++; len(f.Subjects) < fewSubjects {
		f.Subjects = append(f.Subjects, other.Subject)
	}
}

// general returns a text without the subject that it is about.
func general(text, subject string) string {
	if subject == "" || !strings.Contains(text, subject) {
		return text
	}
	whole := regexp.MustCompile(`(^|[^\w.-])` + regexp.QuoteMeta(subject) + `($|[^\w-])`)
	return whole.ReplaceAllString(text, "${1}"+placeholder+"${2}")
}
