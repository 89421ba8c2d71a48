package spec

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	unitName   = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]{1,255}$`)
	unitSuffix = regexp.MustCompile(`[^@]\.(` + strings.Join(unitSuffixes(), "|") + `)$`)
)

// unitSuffixes returns the types of systemd units (systemd.unit(5)), the most frequent one first.
func unitSuffixes() []string {
	return []string{"service", "socket", "target", "path", "timer", "mount", "automount", "swap", "slice", "scope", "device"}
}

// parseUnit reads the name of a unit that can be reloaded or restarted: prefix, instance if it has one, and suffix.
func parseUnit(s string) (string, *fault) {
	if base := path.Base(s); strings.Contains(s, "/") && unitName.MatchString(base) {
		return "", &fault{fmt.Sprintf("%q is a path, and not the name of a systemd unit", shorten(s)), "write " + completeUnit(base)}
	}
	if !unitName.MatchString(s) {
		return "", &fault{fmt.Sprintf("%q is not the name of a systemd unit", shorten(s)), "such as nginx.service"}
	}
	prefix, suffix := splitUnit(s)
	switch {
	case prefix == "" || prefix[0] == '@':
		return "", &fault{fmt.Sprintf("%q lacks the name of a systemd unit", s), "such as nginx" + prefix + ".service"}
	case strings.HasSuffix(prefix, "@"):
		return "", &fault{fmt.Sprintf("%q is a template without an instance", s), "add the instance, such as " + completeUnit(s)}
	case suffix == "":
		return "", &fault{fmt.Sprintf("%q lacks the suffix of a systemd unit", s), "write " + completeUnit(s)}
	}
	return s, nil
}

// splitUnit returns the name of a unit without its suffix, and the suffix without its dot; "" if the name has none that
// systemd knows. A suffix that is almost one is removed too.
func splitUnit(s string) (prefix, suffix string) {
	dot := strings.LastIndexByte(s, '.')
	if dot < 0 {
		return s, ""
	}
	switch suffix = s[dot+1:]; {
	case slices.Contains(unitSuffixes(), suffix):
		return s[:dot], suffix
	case suffix == "" || nearest(suffix, unitSuffixes()) != "":
		return s[:dot], ""
	}
	return s, ""
}

// completeUnit returns the name of a unit that s most likely stands for. NAME stands for an instance.
func completeUnit(s string) string {
	prefix, suffix := splitUnit(s)
	if suffix == "" {
		suffix = unitSuffixes()[0]
		if dot := strings.LastIndexByte(s, '.'); dot >= 0 && prefix == s[:dot] && dot < len(s)-1 {
			suffix = nearest(s[dot+1:], unitSuffixes())
		}
	}
	if strings.HasSuffix(prefix, "@") {
		prefix += "NAME"
	}
	return prefix + "." + suffix
}
